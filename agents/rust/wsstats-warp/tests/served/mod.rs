//! Filters that are served on a socket.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use warp::{Filter, Rejection, Reply};

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start<F>(routes: F) -> Served
    where
        F: Filter<Extract: Reply, Error = Rejection> + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(warp::serve(routes).incoming(listener).run());
        Served { address, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/chat", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
