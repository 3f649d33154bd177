//! What it costs the application to record a message.

#![allow(clippy::expect_used)] // no application is taken down
#![allow(missing_docs)] // of what criterion makes

use std::hint::black_box;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use wsstats::{Agent, Attribute, Connection, MessageType, Opening, Role};

/// An agent whose receiver accepts and says nothing, with a connection.
fn held_up(hole: &TcpListener, queue: usize) -> (Agent, Connection) {
    let endpoint = format!("ws://{}", hole.local_addr().expect("bound"));
    let builder = Agent::builder().endpoint(endpoint).max_queue_bytes(queue);
    let agent = builder.batch(1 << 20, 1 << 30, Duration::from_secs(3600)).build().expect("valid options");
    let connection = agent.observe(Opening::new(Role::Server));
    (agent, connection)
}

/// Measures a recording that gets into the queue, whose growth is in it.
fn held(c: &mut Criterion, name: &str, record: impl Fn(&Connection)) {
    let hole = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    c.bench_function(name, |b| {
        b.iter_custom(|mut left| {
            let mut took = Duration::ZERO;
            while left > 0 {
                let (agent, connection) = held_up(&hole, 16 << 20);
                let n = left.min(40_000);
                let at = Instant::now();
                for _ in 0..n {
                    record(&connection);
                }
                took += at.elapsed();
                left -= n;
                let _ = runtime.block_on(agent.shutdown(Duration::ZERO));
            }
            took
        });
    });
}

fn record(c: &mut Criterion) {
    held(c, "sent/held", |connection| connection.sent(MessageType::Text, black_box(64), []));
    held(c, "received, processed/held", |connection| {
        let message = connection.received(MessageType::Text, black_box(64), []);
        drop(connection.process(message, []));
    });
    held(c, "sent with an attribute/held", |connection| {
        connection.sent(MessageType::Text, black_box(64), [Attribute::new("room.id", "lobby")]);
    });
    let hole = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let (_agent, connection) = held_up(&hole, 64 << 10);
    c.bench_function("sent/queue full", |b| b.iter(|| connection.sent(MessageType::Text, black_box(64), [])));
}

criterion_group!(benches, record);
criterion_main!(benches);
