//! Delivers an agent's ring, session after session.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::agent::{Phase, Shared};
use crate::backoff::{Backoff, jitter, milliseconds};
use crate::connect::{ConnectError, connect};
use crate::encode::Encoder;
use crate::identity::new_instance;
use crate::record::Record;
use crate::ring::{Dropped, Reason};
use crate::session::{Ending, Outcome, Session};

pub(crate) const MAX_NUMBERS: usize = 1024; // unanswered at once
const POISON_SESSIONS: u32 = 3; // that end badly in a row before a number is given up

/// Starts the thread of an agent's link, with a runtime of its own: it depends on none of
/// the application's.
pub(crate) fn spawn(agent: &Arc<Shared>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = Ended(Arc::clone(agent));
    thread::Builder::new().name("wsstats".to_owned()).spawn(move || {
        let agent = Arc::clone(&ended.0);
        runtime.block_on(async {
            tokio::select! {
                () = Link::new(Arc::clone(&agent)).run() => {}
                () = cut(&agent) => {}
            }
        });
        runtime.shutdown_background(); // the resolver's thread may hang
        drop(ended);
    })?;
    Ok(())
}

/// Returns when a shutdown does not wait any longer, and the link had a little time to say
/// goodbye.
async fn cut(agent: &Shared) {
    let mut phase = agent.phase.subscribe();
    loop {
        let now = *phase.borrow_and_update();
        match now {
            Phase::Running => {
                let _ = phase.changed().await; // the sender is as old as the agent
            }
            Phase::Draining(until) => {
                if timeout(until.saturating_duration_since(Instant::now()), phase.changed()).await.is_err() {
                    agent.phase.send_replace(Phase::Stopped);
                }
            }
            Phase::Stopped => return sleep(agent.cfg.timing.closing / 4).await,
        }
    }
}

/// Ends what is left of an agent when its link has ended, however that was.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let agent = &self.0;
        agent.phase.send_replace(Phase::Stopped);
        let (lost, conns) = {
            let mut state = agent.state.lock();
            state.closing = true;
            (state.ring.discard(), std::mem::take(&mut state.conns))
        };
        drop(conns);
        agent.ended.send_replace(Some(lost));
    }
}

/// Delivers an agent's ring. It outlives sessions: it knows which records each unanswered
/// number stands for.
pub(crate) struct Link {
    pub(crate) agent: Arc<Shared>,

    pub(crate) instance: String,
    pub(crate) next: u64,                 // the number of the next batch, from 1
    pub(crate) taken: u64,                // the highest number that was answered
    pub(crate) sent_up_to: u64,           // the highest number that was ever sent
    pub(crate) numbers: VecDeque<Number>, // the unanswered ones, ascending

    pub(crate) since: Option<Instant>, // when the oldest record without a number began to wait

    pub(crate) enc: Encoder,
    pub(crate) scratch: Vec<Record>, // of the number that enc holds

    backoff: Backoff,
    suspect: u64,                 // the number that sessions break on
    pub(crate) suspicions: u32,   // how many did so in a row
    pub(crate) complaint: String, // what was logged last
}

/// An unanswered batch. Its records are in the ring, in the order of the numbers.
pub(crate) struct Number {
    pub(crate) seq: u64,
    pub(crate) rows: usize,    // how many records it stands for
    pub(crate) bytes: usize,   // its length when last encoded
    pub(crate) threshold: u64, // by which messages were left out beside it, 0: none were
    pub(crate) dropped: Dropped,
    pub(crate) sent_at: Instant, // last
}

impl Link {
    fn new(agent: Arc<Shared>) -> Link {
        Link {
            instance: new_instance(),
            next: 1,
            taken: 0,
            sent_up_to: 0,
            numbers: VecDeque::new(),
            since: None,
            enc: Encoder::default(),
            scratch: Vec::new(),
            backoff: Backoff::new(&agent.cfg.timing),
            suspect: 0,
            suspicions: 0,
            complaint: String::new(),
            agent,
        }
    }

    /// Keeps a session up until a shutdown.
    async fn run(mut self) {
        let mut after = jitter(self.agent.cfg.timing.first_jitter);
        while self.pause(after).await {
            let agent = Arc::clone(&self.agent);
            let connected = tokio::select! {
                connected = connect(&agent.cfg) => connected,
                () = self.until_finished() => return,
            };
            match connected {
                Err(e) => {
                    self.complain("wsstats: receiver not reached", &e.to_string());
                    after = self.after_refusal(&e);
                }
                Ok((ws, binary)) => {
                    let (ending, outcome) = Session::run(&mut self, ws, binary).await;
                    after = self.after_session(&ending, &outcome);
                }
            }
        }
    }

    /// Waits, and tells whether to go on.
    async fn pause(&self, d: Duration) -> bool {
        let mut phase = self.agent.phase.subscribe();
        let until = tokio::time::Instant::now() + d;
        while !self.finished() {
            tokio::select! {
                _ = phase.changed() => {}
                () = tokio::time::sleep_until(until) => return true,
            }
        }
        false
    }

    /// Returns when a shutdown waits for nothing more: once it has begun, nothing new comes.
    async fn until_finished(&self) {
        let mut phase = self.agent.phase.subscribe();
        while !self.finished() {
            let _ = phase.changed().await; // the sender is as old as the agent
        }
    }

    /// Tells whether a shutdown waits for nothing more.
    fn finished(&self) -> bool {
        if *self.agent.phase.borrow() == Phase::Stopped {
            return true;
        }
        let state = self.agent.state.lock();
        state.closing && state.ring.is_empty()
    }

    /// The pause after a failed dial.
    fn after_refusal(&mut self, e: &ConnectError) -> Duration {
        let t = &self.agent.cfg.timing;
        let backoff = self.backoff.next();
        let ConnectError::Refused { status, after } = e else { return backoff };
        let pause = if *status < 500 && *status != 429 {
            // A configuration that is wrong is not right a second later.
            t.max_backoff / 2 + jitter(t.max_backoff / 2)
        } else {
            backoff
        };
        let asked = (*after).min(t.max_retry);
        pause.max(asked + jitter(asked / 10))
    }

    /// Draws the conclusions of how a session ended, and returns the pause before the next.
    fn after_session(&mut self, e: &Ending, outcome: &Outcome) -> Duration {
        let t = self.agent.cfg.timing;
        if outcome.welcomed_at.is_some_and(|at| at.elapsed() >= t.stable) {
            self.backoff.reset();
        }
        if let Some(ms) = outcome.goaway {
            let least = self.backoff.min / 2;
            let after = milliseconds(ms, Duration::ZERO, t.max_retry).max(least);
            return after + jitter((after / 2).max(least));
        }
        match e.code {
            1000 | 1001 => {}
            1008 if e.text.starts_with("taken over") => {
                self.complain("wsstats: another agent came with the same instance", "");
                self.renew();
            }
            _ => {
                if !e.stopped {
                    self.complain("wsstats: link lost", &e.why);
                }
                self.judge(e, outcome.sent);
            }
        }
        self.backoff.next()
    }

    /// Looks for a number that sessions break on. Only one that was sent, and was first in
    /// line, is held against what followed.
    fn judge(&mut self, e: &Ending, sent: usize) {
        let Some(first) = self.numbers.front().filter(|_| !e.ours && sent > 0) else { return };
        let bad = match e.code {
            1002 | 1003 | 1007 | 1008 | 1009 | 1011 => true,
            0 => first.sent_at.elapsed() <= self.agent.cfg.timing.poison,
            _ => false,
        };
        if !bad {
            self.suspicions = 0;
            return;
        }
        if self.suspect != first.seq {
            (self.suspect, self.suspicions) = (first.seq, 0);
        }
        self.suspicions += 1;
        if self.suspicions == POISON_SESSIONS {
            self.suspicions = 0;
            tracing::warn!(
                seq = first.seq,
                events = first.rows,
                "wsstats: batch given up, the link broke on it again and again"
            );
            self.drop_number(0, Reason::Poison);
        }
    }

    /// Begins a new counter of numbers: what is not answered waits again.
    pub(crate) fn renew(&mut self) {
        {
            let mut state = self.agent.state.lock();
            for n in &self.numbers {
                state.ring.unreport(&n.dropped);
                if let Some(meter) = &mut state.ring.meter {
                    meter.put_back(n.threshold);
                }
            }
            state.ring.set_numbered(0);
        }
        self.numbers.clear();
        self.instance = new_instance();
        (self.next, self.taken, self.sent_up_to, self.suspicions) = (1, 0, 0, 0);
    }

    /// Frees all numbers up to seq and returns how many, and their bytes.
    pub(crate) fn acknowledge(&mut self, seq: u64) -> (usize, usize) {
        let k = self.numbers.iter().take_while(|n| n.seq <= seq).count();
        let (mut rows, mut size) = (0, 0);
        for n in self.numbers.drain(..k) {
            rows += n.rows;
            size += n.bytes;
        }
        self.agent.state.lock().ring.acknowledge(rows);
        self.taken = self.taken.max(seq);
        (k, size)
    }

    /// Gives up the records of the i-th unanswered number. The number stays.
    pub(crate) fn drop_number(&mut self, i: usize, why: Reason) {
        let offset = self.offset(i);
        if let Some(n) = self.numbers.get_mut(i) {
            self.agent.state.lock().ring.drop_rows(offset, n.rows, why);
            n.rows = 0;
        }
    }

    /// Where in the ring the records of the i-th unanswered number begin.
    pub(crate) fn offset(&self, i: usize) -> usize {
        self.numbers.iter().take(i).map(|n| n.rows).sum()
    }

    /// Logs a trouble unless it was the last thing logged.
    pub(crate) fn complain(&mut self, what: &str, why: &str) {
        let text = if why.is_empty() { what.to_owned() } else { format!("{what}: {why}") };
        if text != self.complaint {
            tracing::warn!("{text}");
            self.complaint = text;
        }
    }
}
