//! A byte stream with a tap on it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{HeaderMap, SEC_WEBSOCKET_EXTENSIONS};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::adapter::Observed;
use crate::connection::Connection;
use crate::sight::Sight;

/// Bounds what is kept of what comes behind the head of an answer.
const MAX_EARLY: usize = 64 << 10;

/// A byte stream whose WebSocket connection is observed: below a library, what goes
/// by is recorded, its automatic pongs and close frames too. No byte is changed, held
/// back or asked for; of payload nothing is kept but a close reason.
///
/// Until it is [opened](Tap::open) it passes everything on, and records nothing. The
/// close is recorded when both close frames or the end of the stream went by, at the
/// latest when the tap is dropped.
#[derive(Debug)]
pub struct Tap<S> {
    state: State, // before stream: the close is recorded before the socket is closed
    stream: S,
}

#[derive(Debug)]
enum State {
    /// The handshake is under way. What a client reads behind the answer's head is
    /// the connection's.
    Handshake(Early),
    Open(Box<Sight>),
    NotObserved,
}

impl<S> Tap<S> {
    /// Taps a stream whose opening handshake (RFC 6455 section 4) is under way.
    pub fn new(stream: S) -> Tap<S> {
        Tap { state: State::Handshake(Early::default()), stream }
    }

    /// Observes the connection that the handshake has opened; none: nothing is, from
    /// now on. The headers are those of the answer, whose `Sec-WebSocket-Extensions`
    /// says whether messages may be compressed.
    pub fn open(&mut self, observed: Option<Observed>, answer: &HeaderMap) {
        let Some(observed) = observed else {
            self.state = State::NotObserved;
            return;
        };
        let mut sight = Box::new(Sight::new(observed, compressed(answer)));
        if let State::Handshake(early) = &self.state {
            match &early.bytes {
                Some(bytes) => sight.received(bytes),
                None => sight.lost_track(),
            }
        }
        self.state = State::Open(sight);
    }

    /// The connection, for what bytes do not say; the default one where it is not open
    /// or not observed.
    pub fn connection(&self) -> Connection {
        self.sight().map(|sight| sight.observed().connection().clone()).unwrap_or_default()
    }

    /// What the tap tells; none where the connection is not open or not observed.
    pub fn observed(&self) -> Option<&Observed> {
        self.sight().map(Sight::observed)
    }

    /// The stream below. What is read from or written to it is not observed.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream below: see [`Tap::get_ref`].
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Ends the observation and returns the stream below.
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn sight(&self) -> Option<&Sight> {
        match &self.state {
            State::Open(sight) => Some(sight),
            State::Handshake(_) | State::NotObserved => None,
        }
    }
}

impl State {
    fn read(&mut self, bytes: &[u8]) {
        match self {
            State::Handshake(early) => early.read(bytes),
            State::Open(sight) => sight.received(bytes),
            State::NotObserved => {}
        }
    }

    fn open(&mut self) -> Option<&mut Sight> {
        match self {
            State::Open(sight) => Some(sight),
            State::Handshake(_) | State::NotObserved => None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Tap { state, stream } = self.get_mut();
        let (before, room) = (buf.filled().len(), buf.remaining());
        let result = ready!(Pin::new(stream).poll_read(cx, buf));
        let read = buf.filled().get(before..).unwrap_or_default();
        if !read.is_empty() {
            state.read(read);
        }
        let ended = match &result {
            Ok(()) => read.is_empty() && room > 0,
            Err(err) => !is_timeout(err),
        };
        if let (true, Some(sight)) = (ended, state.open()) {
            sight.read_ended();
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write(&[IoSlice::new(buf)], |stream| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write(bufs, |stream| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Tap { state, stream } = self.get_mut();
        let result = ready!(Pin::new(stream).poll_flush(cx));
        state.write_result(&result);
        Poll::Ready(result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Tap { state, stream } = self.get_mut();
        if let Some(sight) = state.open() {
            sight.write_ended();
        }
        Pin::new(stream).poll_shutdown(cx)
    }
}

impl<S: Unpin> Tap<S> {
    /// Writes, and has seen as much as was written: as of before the write, so that an
    /// answer never seems to be earlier.
    fn write(
        &mut self,
        bufs: &[IoSlice<'_>],
        write: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let began = self.state.open().map(|sight| sight.now());
        let result = ready!(write(Pin::new(&mut self.stream)));
        if let (Some(sight), Some(began), Ok(written)) = (self.state.open(), began, &result) {
            let mut left = *written;
            for buf in bufs {
                let sent = buf.get(..left.min(buf.len())).unwrap_or_default();
                sight.sent(sent, began);
                left -= sent.len();
            }
        }
        self.state.write_result(&result);
        Poll::Ready(result)
    }
}

impl State {
    /// A write that failed is the end of that direction.
    fn write_result<T>(&mut self, result: &io::Result<T>) {
        if let (Err(err), Some(sight)) = (result, self.open()) {
            if !is_timeout(err) {
                sight.write_ended();
            }
        }
    }
}

/// Tells whether an error is one after which the connection lives on, such as that of
/// a deadline. `ETIMEDOUT` is no such: the peer is gone.
fn is_timeout(err: &io::Error) -> bool {
    match err.kind() {
        io::ErrorKind::TimedOut => err.raw_os_error().is_none(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => true,
        _ => false,
    }
}

/// Tells whether a 101 agreed on permessage-deflate (RFC 7692 section 5.1).
fn compressed(answer: &HeaderMap) -> bool {
    let values = answer.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|extension| {
        let name = extension.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("permessage-deflate")
    })
}

/// What came behind the head of an HTTP message.
#[derive(Debug)]
struct Early {
    head: Head,
    bytes: Option<Vec<u8>>, // none: more than is kept
}

/// Where in the head of an HTTP message its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    Start, // in front of its first line, where empty ones are ignored
    Line,
    LineEnd, // at the beginning of a line, which may be the empty one
    Over,
}

impl Default for Early {
    fn default() -> Early {
        Early { head: Head::Start, bytes: Some(Vec::new()) }
    }
}

impl Early {
    fn read(&mut self, bytes: &[u8]) {
        let mut rest = bytes.iter();
        while self.head != Head::Over {
            let Some(byte) = rest.next() else { return };
            self.head = match (self.head, byte) {
                (Head::LineEnd, b'\n') => Head::Over,
                (Head::Line, b'\n') => Head::LineEnd,
                (Head::Start | Head::LineEnd, b'\r' | b'\n') => self.head,
                _ => Head::Line,
            };
        }
        let rest = rest.as_slice();
        self.bytes = self.bytes.take().filter(|bytes| bytes.len() + rest.len() <= MAX_EARLY).map(|mut bytes| {
            bytes.extend_from_slice(rest);
            bytes
        });
    }
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
