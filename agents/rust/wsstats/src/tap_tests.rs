//! Taps on a stream whose every answer is in the test's hands.

use std::collections::VecDeque;
use std::task::Waker;

use http::{HeaderValue, Request};
use proptest::prelude::*;

use super::*;
use crate::Agent;
use crate::record::Record;
use crate::wire::attr::Attr;
use crate::wire::kind::Kind;

/// What a stream answers; with nothing left it is not ready.
#[derive(Debug, Default)]
struct Script {
    reads: VecDeque<Poll<io::Result<Vec<u8>>>>,
    writes: VecDeque<Poll<io::Result<usize>>>, // at most so many bytes
    flushes: VecDeque<io::Result<()>>,
    written: Vec<u8>,
    shut: bool,
    vectored: bool,
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = ready!(self.reads.pop_front().unwrap_or(Poll::Pending))?;
        if bytes.len() > buf.remaining() {
            self.reads.push_front(Poll::Ready(Ok(bytes.split_off(buf.remaining()))));
        }
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let most = ready!(self.writes.pop_front().unwrap_or(Poll::Ready(Ok(usize::MAX))))?;
        let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.to_vec()).collect();
        let taken = most.min(all.len());
        self.written.extend(&all[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.flushes.pop_front().unwrap_or(Ok(())))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

/// A tapped connection of a client, and an agent that delivers to nobody.
struct Tapped {
    agent: Agent,
    tap: Tap<Script>,
}

impl Tapped {
    /// One whose handshake is under way.
    fn new() -> Tapped {
        let agent = Agent::builder().endpoint("ws://127.0.0.1:9/").build().expect("an agent");
        Tapped { agent, tap: Tap::new(Script::default()) }
    }

    fn open(mut self) -> Tapped {
        let request = Request::get("ws://example.com/chat").body(()).expect("a request");
        let observed = self.agent.client_handshake(&request, []).tapped(&HeaderMap::new(), None);
        self.tap.open(observed, &HeaderMap::new());
        self
    }

    fn read(&mut self, size: usize) -> Poll<io::Result<Vec<u8>>> {
        let mut room = vec![0; size];
        let mut buf = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.tap).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf))?;
        Poll::Ready(Ok(buf.filled().to_vec()))
    }

    fn write(&mut self, bufs: &[&[u8]]) -> Poll<io::Result<usize>> {
        let cx = &mut Context::from_waker(Waker::noop());
        match bufs {
            [buf] => Pin::new(&mut self.tap).poll_write(cx, buf),
            bufs => {
                let bufs: Vec<_> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
                Pin::new(&mut self.tap).poll_write_vectored(cx, &bufs)
            }
        }
    }

    fn records(&self) -> Vec<Record> {
        records(&self.agent)
    }

    fn sizes(&self, kind: Kind) -> Vec<i64> {
        self.records().iter().filter(|r| r.kind == kind).map(|r| r.size).collect()
    }

    fn close_code(&self) -> Option<i64> {
        close_code(&self.agent)
    }
}

fn records(agent: &Agent) -> Vec<Record> {
    agent.shared().state.lock().ring.rows().cloned().collect()
}

fn close_code(agent: &Agent) -> Option<i64> {
    records(agent).iter().find(|r| r.kind == Kind::Close)?.extra.as_ref()?.attrs.int(Attr::CloseCode)
}

fn client_text(payload: &[u8]) -> Vec<u8> {
    [&[0x81, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

fn server_text(payload: &[u8]) -> Vec<u8> {
    [&[0x81, payload.len() as u8], payload].concat()
}

/// Red when: what was not written is seen, or the parts of a vectored write are seen in
/// another order or twice.
#[test]
fn only_what_was_written_is_seen() {
    let mut t = Tapped::new().open();
    let bytes = client_text(b"hello");
    t.tap.get_mut().writes = [Poll::Pending, Poll::Ready(Ok(3)), Poll::Ready(Ok(0)), Poll::Ready(Ok(7))].into();
    assert!(t.write(&[&bytes]).is_pending());
    assert_eq!(t.write(&[&bytes]).map(Result::unwrap), Poll::Ready(3));
    assert_eq!(t.write(&[&bytes[3..]]).map(Result::unwrap), Poll::Ready(0));
    assert_eq!(t.write(&[&bytes[3..5], &bytes[5..6], &[], &bytes[6..]]).map(Result::unwrap), Poll::Ready(7));
    assert!(t.sizes(Kind::Send).is_empty());
    assert_eq!(t.write(&[&[], &bytes[10..], &client_text(b"bye")]).map(Result::unwrap), Poll::Ready(10));
    assert_eq!(t.sizes(Kind::Send), [5, 3]);
    assert!(!t.tap.is_write_vectored());
    t.tap.get_mut().vectored = true;
    assert!(t.tap.is_write_vectored());
}

/// Red when: an empty buffer is taken for the end of the stream, or the end is not seen.
#[test]
fn the_end_is_where_nothing_is_read_into_room() {
    let mut t = Tapped::new().open();
    t.tap.get_mut().reads = [Poll::Ready(Ok(server_text(b"hello"))), Poll::Ready(Ok(vec![]))].into();
    assert!(matches!(t.read(0), Poll::Ready(Ok(bytes)) if bytes.is_empty()));
    assert!(matches!(t.read(100), Poll::Ready(Ok(bytes)) if bytes == server_text(b"hello")));
    assert_eq!((t.sizes(Kind::Receive), t.close_code()), (vec![5], None));
    assert!(matches!(t.read(100), Poll::Ready(Ok(bytes)) if bytes.is_empty()));
    assert_eq!(t.close_code(), Some(1006));
    assert!(t.read(100).is_pending());
}

/// A deadline is not the end of a connection; a write that failed alone is not either,
/// as the peer's close frame may still be there to read.
///
/// Red when: either ends it, or an error of reading does not.
#[test]
fn errors_of_an_open_connection() {
    let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
    for flush in [false, true] {
        let mut t = Tapped::new().open();
        t.tap.get_mut().reads = [
            Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Ready(Ok(vec![0x88, 4, 0x03, 0xf4, b'o', b'k'])),
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        ]
        .into();
        t.tap.get_mut().writes = [Poll::Ready(Err(io::ErrorKind::TimedOut.into()))].into();
        assert!(matches!(t.read(100), Poll::Ready(Err(err)) if err.kind() == io::ErrorKind::TimedOut));
        assert!(matches!(t.write(&[b"x"]), Poll::Ready(Err(err)) if err.kind() == io::ErrorKind::TimedOut));
        if flush {
            t.tap.get_mut().flushes = [Err(broken())].into();
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(matches!(Pin::new(&mut t.tap).poll_flush(cx), Poll::Ready(Err(_))));
        } else {
            t.tap.get_mut().writes = [Poll::Ready(Err(broken()))].into();
            assert!(matches!(t.write(&[b"x"]), Poll::Ready(Err(err)) if err.kind() == io::ErrorKind::BrokenPipe));
        }
        assert!(matches!(t.read(100), Poll::Ready(Ok(_))));
        assert_eq!(t.close_code(), None);
        assert!(matches!(t.read(100), Poll::Ready(Err(_))));
        assert_eq!(t.close_code(), Some(1012), "without our answer, which cannot be written");
    }
}

/// Red when: a peer that is gone is taken for a deadline.
#[test]
#[cfg(target_os = "linux")]
fn a_dead_peer_is_no_deadline() {
    let gone = io::Error::from_raw_os_error(110); // ETIMEDOUT
    assert_eq!(gone.kind(), io::ErrorKind::TimedOut);
    let mut t = Tapped::new().open();
    t.tap.get_mut().reads = [Poll::Ready(Err(gone))].into();
    assert!(matches!(t.read(100), Poll::Ready(Err(_))));
    assert_eq!(t.close_code(), Some(1006));
}

/// Red when: to end the sending direction ends the other one too, or is not passed on.
#[test]
fn half_close() {
    let mut t = Tapped::new().open();
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(Pin::new(&mut t.tap).poll_shutdown(cx), Poll::Ready(Ok(()))));
    assert!(t.tap.get_ref().shut);
    t.tap.get_mut().reads = [Poll::Ready(Ok(server_text(b"hello"))), Poll::Ready(Ok(vec![]))].into();
    assert!(t.read(100).is_ready());
    assert_eq!((t.sizes(Kind::Receive), t.close_code()), (vec![5], None));
    assert!(t.read(100).is_ready());
    assert_eq!(t.close_code(), Some(1006));
}

/// What a client has read with the answer's head is the connection's, in whatever pieces
/// it came.
///
/// Red when: the end of the head is found elsewhere than an HTTP parser finds it.
#[test]
fn what_comes_with_the_answer_is_of_the_connection() {
    for head in
        ["HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n", "\r\n\nHTTP/1.1 101 X\nA: b\n\n", "HTTP/1.1 101 X\r\n\n"]
    {
        let stream = [head.as_bytes(), &server_text(b"\r\n\r\nhi"), &server_text(b"!")].concat();
        for piece in 1..=stream.len() {
            let mut t = Tapped::new();
            t.tap.get_mut().reads = stream.chunks(piece).map(|piece| Poll::Ready(Ok(piece.to_vec()))).collect();
            while let Poll::Ready(bytes) = t.read(100) {
                bytes.expect("read");
            }
            t = t.open();
            assert_eq!(t.sizes(Kind::Receive), [6, 1], "{head:?} in pieces of {piece}");
        }
    }
}

/// Red when: the memory of what comes with the answer is not bounded, or a direction of
/// which bytes are missing is read on.
#[test]
fn too_much_with_the_answer() {
    let mut t = Tapped::new();
    let piece = [server_text(&[b'x'; 125]), server_text(&[b'y'; 125])].concat();
    t.tap.get_mut().reads = [Poll::Ready(Ok(b"HTTP/1.1 101 X\r\n\r\n".to_vec()))].into();
    for _ in 0..=MAX_EARLY / piece.len() {
        t.tap.get_mut().reads.push_back(Poll::Ready(Ok(piece.clone())));
    }
    while let Poll::Ready(bytes) = t.read(1000) {
        bytes.expect("read");
    }
    assert!(matches!(&t.tap.state, State::Handshake(Early { bytes: None, .. })));
    t = t.open();
    t.tap.get_mut().reads = [Poll::Ready(Ok(piece))].into();
    assert!(t.read(1000).is_ready());
    assert!(t.write(&[&client_text(b"hello")]).is_ready());
    assert_eq!((t.sizes(Kind::Receive), t.sizes(Kind::Send)), (vec![], vec![5]));
}

/// Red when: a connection that is not to be observed is, its bytes are not passed on, or
/// the end of the observation is not recorded.
#[test]
fn observed_or_not() {
    let mut t = Tapped::new();
    t.tap.open(None, &HeaderMap::new());
    t.tap.get_mut().reads = [Poll::Ready(Ok(server_text(b"hello")))].into();
    assert!(matches!(t.read(100), Poll::Ready(Ok(bytes)) if bytes == server_text(b"hello")));
    assert!(t.write(&[&client_text(b"hello")]).is_ready());
    assert_eq!(t.tap.get_ref().written, client_text(b"hello"));
    assert!(!t.tap.connection().is_observed() && t.tap.observed().is_none());
    drop(t.tap.into_inner());
    assert!(records(&t.agent).is_empty());

    let t = Tapped::new().open();
    assert!(t.tap.connection().is_tapped());
    let held = t.tap.connection(); // by the application
    t.tap.into_inner();
    assert_eq!(close_code(&t.agent), Some(1006));
    assert!(held.is_observed());

    let t = Tapped::new().open();
    drop(t.tap);
    assert_eq!(close_code(&t.agent), Some(1006));
}

/// Red when: another extension is taken for permessage-deflate, or it is not found
/// among others.
#[test]
fn compression_is_what_the_answer_says() {
    for (value, want) in [
        ("", false),
        ("permessage-deflate", true),
        ("x, Permessage-Deflate ;a=b", true),
        ("permessage-deflated", false),
        ("x-webkit-deflate-frame; permessage-deflate", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static("first"));
        headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(value));
        assert_eq!(compressed(&headers), want, "{value}");
    }
}

proptest! {
    /// Red when: any byte is changed, lost, doubled or held back, or messages are seen
    /// otherwise than they went by.
    #[test]
    fn bytes_pass_as_they_are(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
        sizes in prop::collection::vec(prop_oneof![Just(None), (1usize..40).prop_map(Some)], 1..20),
    ) {
        let mut t = Tapped::new().open();
        let sent: Vec<u8> = payloads.iter().flat_map(|payload| client_text(payload)).collect();
        let received: Vec<u8> = payloads.iter().flat_map(|payload| server_text(payload)).collect();
        let mut steps = sizes.iter().cycle().enumerate();

        let mut left = &sent[..];
        while !left.is_empty() {
            let (i, size) = steps.next().expect("endless");
            let answer = size.map_or(Poll::Pending, |size| Poll::Ready(Ok(size)));
            t.tap.get_mut().writes.push_back(answer);
            let (first, second) = left.split_at(left.len().min(i % 50));
            match if i % 2 == 0 { t.write(&[left]) } else { t.write(&[first, second]) } {
                Poll::Ready(written) => left = &left[written.expect("written")..],
                Poll::Pending if sizes.iter().all(Option::is_none) => break,
                Poll::Pending => {}
            }
        }
        let mut got = vec![];
        let pieces = received.chunks(7).map(|piece| Poll::Ready(Ok(piece.to_vec())));
        t.tap.get_mut().reads = pieces.collect();
        while let Poll::Ready(bytes) = t.read(5) {
            got.extend(bytes.expect("read"));
        }

        prop_assert_eq!(&got, &received);
        let want: Vec<i64> = payloads.iter().map(|payload| payload.len() as i64).collect();
        prop_assert_eq!(t.sizes(Kind::Receive), want.clone());
        if left.is_empty() {
            prop_assert_eq!(&t.tap.get_ref().written, &sent);
            prop_assert_eq!(t.sizes(Kind::Send), want);
        }
    }
}
