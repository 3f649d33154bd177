//! Tells a receiver of the two ends of some connections, each by an agent of its own.
//!
//! `conversation ENDPOINT CONNECTIONS`: for each line of standard input, a request and an
//! answer on each connection; at its end they are closed. Then it writes what became of the
//! events of each agent.

use std::error::Error;
use std::io::BufRead;
use std::time::Duration;

use http::{HeaderMap, Request};
use wsstats::{Agent, Attribute, Connection, Initiator, MessageType};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let endpoint = args.next().ok_or("expected an endpoint")?;
    let connections: usize = args.next().ok_or("expected a number of connections")?.parse()?;
    let agent = |service: &str| {
        let agent = Agent::builder().endpoint(&endpoint).service_name(service).resource("service.instance.id", service);
        agent.batch(512, 256 << 10, Duration::from_millis(50)).build()
    };
    let (client, server) = (agent("client")?, agent("server")?);
    let pairs: Vec<_> = (0..connections).map(|_| open(&client, &server)).collect::<Result<_, _>>()?;

    for line in std::io::stdin().lock().lines() {
        line?;
        for (near, far) in &pairs {
            near.sent(MessageType::Text, 100, []);
            let request = far.received(MessageType::Text, 100, []);
            let handling = far.process(request, []);
            far.sent(MessageType::Binary, 50, [Attribute::new("answer.code", 7)]);
            drop(handling);
            near.received(MessageType::Binary, 50, []);
        }
    }
    for (near, far) in &pairs {
        near.closed(1000, "done", Initiator::Local, []);
        far.closed(1000, "done", Initiator::Remote, []);
    }
    for agent in [client, server] {
        agent.shutdown(Duration::from_secs(20)).await?;
        let s = agent.stats();
        println!("{} {} {} {} {}", s.observed, s.acknowledged, s.rejected, s.sessions, s.unsampled);
    }
    Ok(())
}

/// Opens a connection: the headers of its handshake are what goes between the ends.
fn open(client: &Agent, server: &Agent) -> Result<(Connection, Connection), http::Error> {
    let mut request = Request::get("ws://chat.example/room?token=secret").header("upgrade", "websocket").body(())?;
    let near = client.client_handshake(&request, []);
    near.set_headers(request.headers_mut());
    let peer = "192.0.2.7:4711".parse().ok();
    let far = server.server_handshake(&request, peer, [Attribute::new("room.id", "lobby")]);
    let mut answer = HeaderMap::new();
    far.set_headers(&mut answer);
    let far = far.opened(&answer);
    Ok((near.opened(&answer, None), far))
}
