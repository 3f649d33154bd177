//! Recording does not allocate.

#![allow(clippy::unwrap_used)] // no application is taken down

use std::net::TcpListener;
use std::time::Duration;

use wsstats::{Agent, Attribute, Connection, Initiator, MessageType, Opening, Role};

/// An agent whose receiver accepts and says nothing, with a connection.
fn held_up(hole: &TcpListener, above: u32, queue: usize) -> (Agent, Connection) {
    let endpoint = format!("ws://{}", hole.local_addr().unwrap());
    let builder = Agent::builder().endpoint(endpoint).aggregates(above).max_queue_bytes(queue);
    let agent = builder.batch(1 << 20, 1 << 30, Duration::from_secs(3600)).build().unwrap();
    let connection = agent.observe(Opening::new(Role::Server));
    (agent, connection)
}

/// Red when: a message without attributes allocates, in a queue that has its size, or that is
/// full.
#[test]
fn messages_do_not_allocate() {
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    for (above, queue, before) in [(0, 4 << 20, 12_000), (0, 64 << 10, 1000), (1, 64 << 10, 1000)] {
        let (agent, connection) = held_up(&hole, above, queue);
        let record = |times| {
            for _ in 0..times {
                connection.sent(MessageType::Text, 64, []);
                connection.received(MessageType::Binary, 1 << 20, []);
                connection.ping_received(4);
            }
        };
        record(before);
        let dropped = agent.stats().dropped.queue_full;
        let allocated = allocation_counter::measure(|| record(1000));
        assert_eq!(allocated.count_total, 0, "{allocated:?}");
        let dropped = agent.stats().dropped.queue_full - dropped;
        assert_eq!(dropped, if queue == 4 << 20 { 0 } else { 3000 });
        let allocated = allocation_counter::measure(|| {
            connection.sent(MessageType::Text, 64, [Attribute::new("room.id", "lobby")]);
        });
        // Those of the attributes, and of the event that an agent which aggregates makes of them.
        assert_eq!(allocated.count_total, if above == 0 { 2 } else { 4 }, "{allocated:?}");
        connection.closed(1000, "", Initiator::Local, []);
    }
}
