//! The layer of a router whose connections are observed.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::ConnectInfo;
use http::header::UPGRADE;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use wsstats::Agent;

use crate::pending::Pending;

/// Makes the layer of a router whose WebSocket connections an agent observes: those of
/// its handlers with a [`WebSocketUpgrade`](crate::WebSocketUpgrade), and the requests for
/// one that are refused.
pub fn layer(agent: Agent) -> ObserveLayer {
    ObserveLayer { agent, secure: false }
}

/// What [`layer()`] makes.
#[derive(Clone, Debug)]
pub struct ObserveLayer {
    agent: Agent,
    secure: bool,
}

impl ObserveLayer {
    /// Says that the router is reached by TLS: its connections are `wss` ones.
    #[must_use]
    pub fn secure(mut self) -> ObserveLayer {
        self.secure = true;
        self
    }

    fn handshake<B>(&self, request: &Request<B>) -> Pending {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        let mut handshake = self.agent.server_handshake(request, peer, []);
        if self.secure {
            handshake = handshake.secure();
        }
        Pending::new(handshake)
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { layer: self.clone(), inner }
    }
}

/// A service below an [`ObserveLayer`].
#[derive(Clone, Debug)]
pub struct Observe<S> {
    layer: ObserveLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> ObserveFuture<S::Future> {
        let mut pending = None;
        if asks_for_websocket(&request) && request.extensions().get::<Pending>().is_none() {
            let begun = self.layer.handshake(&request);
            request.extensions_mut().insert(begun.clone());
            pending = Some(begun);
        }
        ObserveFuture { inner: self.inner.call(request), pending }
    }
}

fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    let tokens = request.headers().get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    tokens.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("websocket"))
}

pin_project! {
    /// The answer of an [`Observe`].
    #[derive(Debug)]
    pub struct ObserveFuture<F> {
        #[pin]
        inner: F,
        pending: Option<Pending>, // none: nobody asks for a WebSocket
    }
}

impl<F, R, E> Future for ObserveFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        if let (Some(pending), Ok(answer)) = (this.pending.take(), &result) {
            pending.answered(answer.status());
        }
        Poll::Ready(result)
    }
}
