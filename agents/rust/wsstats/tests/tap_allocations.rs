//! What goes through a tap costs no memory beside its place in the queue.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wsstats::Agent;
use wsstats::adapter::Tap;

/// A stream that reads the same bytes for ever, and writes whatever it gets.
struct Loop(&'static [u8]);

impl AsyncRead for Loop {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        buf.put_slice(self.0);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Loop {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The queue makes room for twice as many records when it is full: behind so many it has
/// room for as many again.
const GROWN: u64 = 64 << 6;

/// Red when: anything is allocated for a message, or for a ping and its pong.
#[test]
fn nothing_is_allocated() {
    let agent = Agent::builder().endpoint("ws://127.0.0.1:9/").max_queue_bytes(64 << 20).build().expect("an agent");
    let request = Request::get("ws://example.com/chat").body(()).expect("a request");
    let mut tap = Tap::new(Loop(&[0x81, 2, b'h', b'i', 0x8a, 2, b'h', b'i']));
    tap.open(agent.client_handshake(&request, []).tapped(&HeaderMap::new(), None), &HeaderMap::new());

    let mut exchange = || {
        let sent = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i', 0x89, 0x82, 0, 0, 0, 0, b'h', b'i'];
        let (mut room, cx) = ([0; 64], &mut Context::from_waker(Waker::noop()));
        let mut buf = ReadBuf::new(&mut room);
        tap.observed().expect("observed").taken();
        assert!(Pin::new(&mut tap).poll_write(cx, &sent).is_ready());
        assert!(Pin::new(&mut tap).poll_read(cx, &mut buf).is_ready());
    };
    while agent.stats().observed <= GROWN {
        exchange();
    }
    let before = agent.stats().observed;
    let allocated = measure(|| (0..GROWN / 5).for_each(|_| exchange()));
    assert_eq!(agent.stats().observed - before, GROWN / 5 * 4, "two messages, a ping and a pong each");
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}
