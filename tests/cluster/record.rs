//! What clients of a cluster did and were told, with the times at which they asked and were answered.

use std::time::Instant;

use exesdb_tests::Append;
use serde_json::{Value, json};

/// A clock that all clients share: microseconds since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).expect("no test runs for so long")
    }
}

/// The version that a stream must have for an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Any.
    Any,
    /// The stream must not exist.
    NoStream,
    /// That of its last event.
    Version(u64),
}

impl Expected {
    pub(crate) fn json(self) -> Value {
        match self {
            Self::Any => json!("any"),
            Self::NoStream => json!("no_stream"),
            Self::Version(version) => json!(version),
        }
    }

    /// How many events the stream must have; none for any number.
    pub(crate) fn count(self) -> Option<u64> {
        match self {
            Self::Any => None,
            Self::NoStream => Some(0),
            Self::Version(version) => Some(version + 1),
        }
    }
}

/// An append: all attempts to send the same events.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Number of the client.
    pub(crate) client: usize,
    /// What was sent, and the outcome.
    pub(crate) append: Append,
    pub(crate) expected: Expected,
    /// When the first attempt began.
    pub(crate) begun: u64,
    /// When the last attempt ended. While the outcome is unknown, it may still be carried out later.
    pub(crate) ended: u64,
}

/// What a read was to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Everything that was acknowledged to anybody.
    Linearizable,
    /// Everything that was acknowledged to, or read by, this client.
    AtLeast,
    /// What the node has.
    Local,
}

/// A read of the last event of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    /// Number of the client.
    pub(crate) client: usize,
    pub(crate) level: Level,
    pub(crate) stream: String,
    /// The version and id of the last event; none if there was no stream.
    pub(crate) last: Option<(u64, String)>,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

impl Read {
    /// How many events the stream had.
    pub(crate) fn count(&self) -> u64 {
        self.last.as_ref().map_or(0, |(version, _)| version + 1)
    }
}

/// What clients did.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) calls: Vec<Call>,
    /// The reads that were answered.
    pub(crate) reads: Vec<Read>,
    /// Responses that no node should give.
    pub(crate) strange: Vec<String>,
    /// Attempts that had to be repeated.
    pub(crate) repeated: u64,
}

impl History {
    pub(crate) fn add(&mut self, other: Self) {
        let Self { calls, reads, strange, repeated } = other;
        self.calls.extend(calls);
        self.reads.extend(reads);
        self.strange.extend(strange);
        self.repeated += repeated;
    }
}
