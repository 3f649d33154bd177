//! A chat over WebSockets on axum that reports what happens on its connections to a
//! wsstats receiver:
//!
//! ```text
//! rust-chat [ADDRESS] # to listen at, default localhost:8394
//! ```
//!
//! It speaks the protocol of `examples/chat`. The receiver is that of `WSSTATS_ENDPOINT`,
//! by default `ws://localhost:4390/v1/wsstats`.

mod room;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use serde_json::json;
use tokio::net::TcpListener;
use wsstats::Agent;
use wsstats_axum::WebSocketUpgrade;

use crate::room::Chat;

const MAX_MESSAGE_BYTES: usize = 4096;
const DRAIN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("chat: {err}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "localhost:8394".to_owned());
    let listener = TcpListener::bind(address).await?;
    let agent = Agent::builder().service_name("rust-chat").build()?;
    let chat = Arc::new(Chat::new(agent.clone()));
    let app = Router::new()
        .route("/chat", any(join))
        .with_state(Arc::clone(&chat))
        .layer(wsstats_axum::layer(agent.clone())) // the line that makes it observed
        .into_make_service_with_connect_info::<SocketAddr>();
    println!("chat: listening on ws://{}/chat", listener.local_addr()?);

    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await; // where there are no signals, it is time to end
    };
    axum::serve(listener, app).with_graceful_shutdown(interrupted).await?;
    let left = tokio::time::timeout(DRAIN, chat.close()).await;
    let flushed = agent.shutdown(DRAIN).await;
    report(&chat, &agent);
    left.map_err(|_| "members did not leave in time")?;
    Ok(flushed?)
}

async fn join(State(chat): State<Arc<Chat>>, ws: WebSocketUpgrade) -> Response {
    ws.max_message_size(MAX_MESSAGE_BYTES).on_upgrade(move |ws| chat.serve(ws))
}

/// Prints, as one line of JSON, what the application saw and what its agent did.
fn report(chat: &Chat, agent: &Agent) {
    let stats = agent.stats();
    let dropped = stats.dropped;
    let line = json!({
        "application": chat.counts(),
        "agent": {
            "observed": stats.observed,
            "acknowledged": stats.acknowledged,
            "rejected": stats.rejected,
            "dropped": {
                "queue_full": dropped.queue_full,
                "oversize": dropped.oversize,
                "refused": dropped.refused,
                "poison": dropped.poison,
                "shutdown": dropped.shutdown,
            },
        },
    });
    println!("{line}");
}
