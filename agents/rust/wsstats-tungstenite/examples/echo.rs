//! A server that shouts back, and a client that talks to it, each with an agent:
//!
//!     cargo run --example echo
//!
//! With the URL of another server the client talks to that one. Each message's send, receive and handling are in one trace. The receiver is at
//! `WSSTATS_ENDPOINT`, by default `ws://localhost:4390/v1/wsstats`.

use std::error::Error;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{self, Message};
use wsstats::Agent;
use wsstats_tungstenite::{accept_async, connect_async};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let near = Agent::builder().service_name("talker").build()?;
    let far = Agent::builder().service_name("echo").build()?;
    match std::env::args().nth(1) {
        Some(url) => talk(&near, &url).await?,
        None => run(&near, &far).await?,
    }
    // What is left is handed over; without a receiver it is lost after this time.
    for agent in [near, far] {
        agent.shutdown(Duration::from_secs(5)).await?;
        println!("{} events were acknowledged", agent.stats().acknowledged);
    }
    Ok(())
}

/// Runs both ends of one connection, until it is closed.
pub(crate) async fn run(near: &Agent, far: &Agent) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("localhost:0").await?;
    let url = format!("ws://{}/echo", listener.local_addr()?);
    tokio::try_join!(serve(far, listener), talk(near, &url))?;
    Ok(())
}

async fn serve(agent: &Agent, listener: TcpListener) -> Result<(), tungstenite::Error> {
    let (socket, _) = listener.accept().await?;
    let mut ws = accept_async(agent, socket).await?;
    while let Some(message) = ws.next().await {
        let Message::Text(text) = message? else { continue };
        let processing = ws.process([]); // of this message, until it is dropped
        let answer = processing.run(shout(text.to_string())).await;
        processing.run(ws.send(Message::text(answer))).await?;
    }
    Ok(())
}

/// What is done with a message, such as a query of a database, which would be in the
/// message's trace.
async fn shout(text: String) -> String {
    text.to_uppercase()
}

async fn talk(agent: &Agent, url: &str) -> Result<(), tungstenite::Error> {
    let (mut ws, _) = connect_async(agent, url).await?;
    for word in ["hello", "how are you", "good bye"] {
        ws.send(Message::text(word)).await?;
        if let Some(answer) = ws.next().await {
            println!("{word}: {}", answer?);
        }
    }
    ws.close(None).await?;
    while let Some(message) = ws.next().await {
        message?;
    }
    Ok(())
}
