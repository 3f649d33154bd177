//! What a tap adds to one message, with recording: the time of a read or write through
//! it, less that of the stream below alone (`bare`).

#![allow(clippy::expect_used)] // no application is taken down
#![allow(missing_docs)] // of what criterion makes

use std::hint::black_box;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wsstats::Agent;
use wsstats::adapter::Tap;

/// A stream that reads one frame for ever, and writes whatever it gets.
struct Loop(&'static [u8]);

impl AsyncRead for Loop {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        buf.put_slice(self.0);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Loop {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A text of 128 bytes as a client sends it, and as a server does.
const SENT: [u8; 136] = {
    let mut frame = [b'x'; 136];
    (frame[0], frame[1], frame[2], frame[3]) = (0x81, 0xfe, 0, 128);
    frame
};
const RECEIVED: [u8; 132] = {
    let mut frame = [b'x'; 132];
    (frame[0], frame[1], frame[2], frame[3]) = (0x81, 126, 0, 128);
    frame
};

/// Nobody takes what is recorded, so that each round has an agent of its own. Its queue
/// grows to twice its size when it is full: behind so many messages there is room for as
/// many again, which are timed.
const ROUND: u64 = 64 << 3;

/// A tapped stream, and the agent that it reports to.
struct Tapped(Tap<Loop>, Agent);

impl Drop for Tapped {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _ = runtime.block_on(self.1.shutdown(Duration::ZERO)); // all of it is dropped
    }
}

fn tapped(stream: Loop) -> Tapped {
    let builder = Agent::builder().endpoint("ws://127.0.0.1:9/").max_queue_bytes(64 << 20);
    let agent = builder.build().expect("an agent");
    let request = Request::get("ws://example.com/chat").body(()).expect("a request");
    let mut tap = Tap::new(stream);
    tap.open(agent.client_handshake(&request, []).tapped(&HeaderMap::new(), None), &HeaderMap::new());
    Tapped(tap, agent)
}

/// Times so many steps, in rounds with a stream of their own.
fn timed<S>(mut steps: u64, stream: impl Fn() -> S, step: impl Fn(&mut S)) -> Duration {
    let mut took = Duration::ZERO;
    while steps > 0 {
        let round = steps.min(ROUND - 1);
        let mut stream = stream();
        for _ in 0..ROUND {
            step(&mut stream); // beside the handshake
        }
        let began = Instant::now();
        for _ in 0..round {
            step(&mut stream);
        }
        took += began.elapsed();
        steps -= round;
    }
    took
}

fn write(stream: &mut (impl AsyncWrite + Unpin)) {
    let _ = black_box(Pin::new(stream).poll_write(&mut Context::from_waker(Waker::noop()), &SENT));
}

fn read(stream: &mut (impl AsyncRead + Unpin)) {
    let mut room = [0; 4096];
    let mut buf = ReadBuf::new(&mut room);
    let _ = black_box(Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf));
}

fn tap(c: &mut Criterion) {
    let stream = || Loop(&RECEIVED);
    let mut group = c.benchmark_group("tap");
    group.bench_function("send", |b| b.iter_custom(|n| timed(n, || tapped(stream()), |tapped| write(&mut tapped.0))));
    // As an adapter does it: the library takes the message first.
    let taken = |tapped: &mut Tapped| {
        if let Some(observed) = tapped.0.observed() {
            observed.taken();
        }
        write(&mut tapped.0);
    };
    group.bench_function("take and send", |b| b.iter_custom(|n| timed(n, || tapped(stream()), taken)));
    group.bench_function("send bare", |b| b.iter_custom(|n| timed(n, stream, write)));
    group.bench_function("receive", |b| b.iter_custom(|n| timed(n, || tapped(stream()), |tapped| read(&mut tapped.0))));
    group.bench_function("receive bare", |b| b.iter_custom(|n| timed(n, stream, read)));
    group.finish();
}

criterion_group!(benches, tap);
criterion_main!(benches);
