//! Derived ids (docs/conventions.md, "Derived ids").

use sha2::{Digest, Sha256};

use super::kind::{Direction, Kind, Role};

/// A W3C trace id. All zero stands for none.
pub(crate) type TraceId = [u8; 16];

/// A W3C span id. All zero stands for none.
pub(crate) type SpanId = [u8; 8];

pub(crate) const NO_TRACE: TraceId = [0; 16];
pub(crate) const NO_SPAN: SpanId = [0; 8];

/// A span by its ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanIds {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
}

/// The bits that decide about sampling.
pub(crate) const RANDOM_BITS: u64 = (1 << 56) - 1;

/// What a derived id stands for on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Slot {
    Handshake = 0,
    ClientData = 1,
    ServerData = 2,
}

impl Slot {
    /// The slot of the messages that go this way, seen from this side.
    pub(crate) fn of(role: Role, dir: Direction) -> Slot {
        if (dir == Direction::Sent) == (role == Role::Client) { Slot::ClientData } else { Slot::ServerData }
    }
}

/// What the ids of one connection are derived from: the first three big-endian words of a SHA-256 hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed {
    a: u64,
    b: u64,
    c: u64,
}

impl Seed {
    /// The seed of a connection and its messages with an ordinal.
    pub(crate) fn connection(id: &str) -> Seed {
        Seed::new(&[id])
    }

    pub(super) fn new(parts: &[&str]) -> Seed {
        let mut hash = Sha256::new();
        hash.update(b"wsstats1");
        for part in parts {
            hash.update([0]);
            hash.update(part);
        }
        let mut words = [0_u64; 4];
        for (word, bytes) in words.iter_mut().zip(hash.finalize().chunks_exact(8)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        let [a, b, c, _] = words;
        Seed { a, b, c }
    }

    #[cfg(test)]
    pub(super) fn of_words(a: u64, b: u64, c: u64) -> Seed {
        Seed { a, b, c }
    }

    /// The trace of the n-th item of the slot.
    pub(crate) fn trace_id(&self, n: u64, slot: Slot) -> TraceId {
        self.trace(n, slot as u64)
    }

    pub(super) fn trace(&self, n: u64, slot: u64) -> TraceId {
        let k = mix(n << 8 | slot);
        let id = u128::from(mix(self.a ^ k)) << 64 | u128::from(mix(self.b ^ k));
        id.max(1).to_be_bytes()
    }

    /// The span of that kind and role for the n-th item of the slot.
    pub(crate) fn span_id(&self, n: u64, slot: Slot, kind: Kind, role: Role) -> SpanId {
        self.span(n, slot as u64, kind, role as u64)
    }

    pub(super) fn span(&self, n: u64, slot: u64, kind: Kind, role: u64) -> SpanId {
        let k = mix(n << 8 | slot);
        mix(self.c ^ k ^ (kind_number(kind) << 2 | role)).max(1).to_be_bytes()
    }

    /// The `rv` that all messages of a connection share where it is sampled as a whole.
    pub(crate) fn randomness(&self) -> u64 {
        self.b & RANDOM_BITS
    }
}

/// What decides whether a trace is sampled: its low 56 bits.
pub(crate) fn randomness(trace: &TraceId) -> u64 {
    u128::from_be_bytes(*trace) as u64 & RANDOM_BITS
}

/// Numbers the kinds in derived ids; those without a number of their own share 0.
fn kind_number(kind: Kind) -> u64 {
    if (kind as u8) <= Kind::Close as u8 { kind as u64 } else { 0 }
}

/// The first output of SplitMix64 seeded with x.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}
