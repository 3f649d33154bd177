//! Takes what is observed and delivers it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::Uri;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::builder::{AgentBuilder, BuildError, Config};
use crate::clock::unix_now;
use crate::meter::Meter;
use crate::record::{Conn, Record};
use crate::ring::{Dropped, Reason, Ring};
use crate::spanrules::SpanRules;
use crate::wire::kind::{Kind, Role};

/// Takes what is observed and delivers it to a receiver over one link, which it keeps up
/// by itself, on a thread of its own. Clones are the same agent.
///
/// When the last one is dropped the agent shuts down without anybody waiting for it: call
/// [`Agent::shutdown`] before the process ends.
#[derive(Clone)]
pub struct Agent(Arc<Handle>);

/// What the application holds of an agent.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close(self.0.cfg.timing.shutdown);
    }
}

/// An agent's own counts since it was made. At any time `observed` = `acknowledged` + the
/// sum of `dropped` + `held`. A message that aggregates alone tell of goes where its
/// aggregate goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events recorded, and aggregates made of them ([`AgentBuilder::aggregates`]).
    pub observed: u64,
    /// Of `observed`: messages that aggregates alone tell of.
    pub unsampled: u64,
    /// Taken by the receiver, those in `rejected` too.
    pub acknowledged: u64,
    /// Of `acknowledged`: refused by the receiver one by one.
    pub rejected: u64,
    /// Not sent, or not acknowledged.
    pub held: u64,
    /// Lost, by reason.
    pub dropped: Dropped,
    /// Sessions that the receiver welcomed: the first one, and reconnects.
    pub sessions: u64,
    /// Batches that the receiver refused for the moment: they are sent again.
    pub nacks: u64,
}

/// A shutdown that could not deliver all that was held: see [`Stats::dropped`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shutdown: {lost} events were not acknowledged in time")]
pub struct ShutdownError {
    /// How many events were dropped.
    pub lost: u64,
}

impl Agent {
    /// Begins an agent.
    pub fn builder() -> AgentBuilder {
        AgentBuilder::default()
    }

    /// Sends what waits at once, and returns when all that was recorded before is
    /// acknowledged or dropped: it may be long. It may be dropped at any time.
    pub async fn flush(&self) {
        loop {
            let (all, left) = {
                let mut state = self.shared().state.lock();
                (state.ring.seal(unix_now()), state.ring.flush())
            };
            self.shared().wake.notify_one();
            if let Some(left) = left {
                let _ = left.await; // its sender is dropped
            }
            if all {
                return;
            }
        }
    }

    /// Delivers what is held, closes the link and stops the agent; from its call on,
    /// nothing more is recorded. After the timeout what is left is dropped. Where it is
    /// called again all calls end alike, with the shortest timeout.
    ///
    /// # Errors
    ///
    /// Something was dropped.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        let shared = self.shared();
        shared.close(timeout);
        let mut ended = shared.ended.subscribe();
        match ended.wait_for(Option::is_some).await.map(|lost| *lost) {
            Ok(Some(lost)) if lost > 0 => Err(ShutdownError { lost }),
            _ => Ok(()),
        }
    }

    /// The agent's own counts.
    pub fn stats(&self) -> Stats {
        let state = self.shared().state.lock();
        Stats {
            observed: state.ring.observed,
            unsampled: state.unsampled,
            acknowledged: state.ring.acknowledged,
            rejected: state.ring.rejected,
            held: state.ring.held(),
            dropped: state.ring.dropped,
            sessions: state.sessions,
            nacks: state.nacks,
        }
    }

    pub(crate) fn start(cfg: Config) -> Result<Agent, BuildError> {
        let mut ring = Ring::new(cfg.queue_bytes);
        if cfg.aggregates > 0 {
            ring.meter = Some(Meter::new(cfg.aggregates, cfg.queue_bytes / 4));
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                ring,
                conns: HashMap::new(),
                closing: false,
                rules: SpanRules::default(),
                unsampled: 0,
                sessions: 0,
                nacks: 0,
            }),
            cfg,
            reserved: Mutex::default(),
            wake: Notify::new(),
            phase: watch::Sender::new(Phase::Running),
            ended: watch::Sender::new(None),
        });
        crate::link::spawn(&shared).map_err(BuildError::Thread)?;
        Ok(Agent(Arc::new(Handle(shared))))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// How far an agent has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// A shutdown waits until then for what is held.
    Draining(Instant),
    /// A shutdown does not wait any longer.
    Stopped,
}

/// What all parts of an agent have in common.
pub(crate) struct Shared {
    pub(crate) cfg: Config,
    pub(crate) state: Mutex<State>,         // short: never held while waiting or encoding
    reserved: Mutex<HashMap<String, Role>>, // the ids of its open connections
    pub(crate) wake: Notify,                // the ring has something new for the link
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) ended: watch::Sender<Option<u64>>, // the link has ended, and so many events were lost by that
}

pub(crate) struct State {
    pub(crate) ring: Ring,
    pub(crate) conns: HashMap<u64, Arc<Conn>>, // the open ones
    pub(crate) closing: bool,                  // a shutdown has begun
    pub(crate) rules: SpanRules,               // of the receiver
    unsampled: u64,                            // messages left out
    pub(crate) sessions: u64,                  // welcomed
    pub(crate) nacks: u64,                     // retryable
}

impl Shared {
    /// Notes a connection that is to be observed until its close is recorded.
    pub(crate) fn open(&self, conn: &Arc<Conn>) {
        let mut state = self.state.lock();
        if !state.closing && !conn.closed.load(Ordering::Relaxed) {
            state.conns.insert(conn.key, Arc::clone(conn));
        }
    }

    /// Puts an event into the queue, or drops it. It waits for nothing but a short lock.
    pub(crate) fn record(&self, r: Record) {
        let mut state = self.state.lock();
        if let (Kind::Close, Some(conn)) = (r.kind, &r.conn) {
            conn.closed.store(true, Ordering::Relaxed);
            state.conns.remove(&conn.key);
        }
        if state.closing {
            state.ring.observed += 1;
            state.ring.lose(&r, Reason::Shutdown);
            return;
        }
        let (waited, full) = (state.ring.has_more(), self.full(&state));
        let State { ring, rules, unsampled, .. } = &mut *state;
        if ring.meter.as_mut().is_some_and(|meter| meter.take(&r, rules)) {
            ring.observed += 1;
            *unsampled += 1;
        } else {
            ring.push(r);
        }
        let wake = !waited && state.ring.has_more() || !full && self.full(&state);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Tells whether a whole batch waits.
    pub(crate) fn full(&self, state: &State) -> bool {
        state.ring.waiting_rows() >= self.cfg.max_events || state.ring.waiting_bytes() >= self.cfg.max_bytes
    }

    /// What the receiver said last of the spans that it makes.
    pub(crate) fn span_rules(&self) -> SpanRules {
        self.state.lock().rules
    }

    /// Tells whether a URI is the receiver's, so that an observed client leaves alone what
    /// goes there.
    pub(crate) fn is_own(&self, uri: &Uri) -> bool {
        uri.authority() == self.cfg.endpoint.authority() && uri.path() == self.cfg.endpoint.path()
    }

    /// Takes a connection id, or returns the role of the connection that has it. Ids have
    /// to be unique within an agent, which is the receiver's name for them.
    pub(crate) fn reserve(&self, id: &str, role: Role) -> Result<(), Role> {
        let mut reserved = self.reserved.lock();
        match reserved.get(id) {
            Some(holder) => Err(*holder),
            None => {
                reserved.insert(id.to_owned(), role);
                Ok(())
            }
        }
    }

    pub(crate) fn unreserve(&self, id: &str) {
        self.reserved.lock().remove(id);
    }

    /// Begins a shutdown, or shortens one.
    pub(crate) fn close(&self, timeout: Duration) {
        self.state.lock().closing = true;
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(u32::MAX.into()));
        self.phase.send_if_modified(|phase| {
            let later = match phase {
                Phase::Running => true,
                Phase::Draining(until) => *until > deadline,
                Phase::Stopped => false,
            };
            if later {
                *phase = Phase::Draining(deadline);
            }
            later
        });
        self.wake.notify_one();
    }
}
