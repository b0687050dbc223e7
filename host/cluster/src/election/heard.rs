//! When a replica last heard of a leader.

use exesdb_storage::Term;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

/// When the last message of a leader was accepted. A start, a vote that was granted and the end of an own leadership count as
/// one: all three give a leader the time to make itself heard.
pub(crate) struct Heard(Mutex<State>);

struct State {
    at: Instant,
    /// Whom a leader that gives up its place has named, and its term.
    successor: Option<(Term, u64)>,
}

impl Heard {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { at: Instant::now(), successor: None }))
    }

    pub(crate) fn note(&self) {
        self.0.lock().at = Instant::now();
    }

    pub(crate) fn since(&self) -> Duration {
        self.0.lock().at.elapsed()
    }

    pub(crate) fn set_successor(&self, of: Term, successor: u64) {
        self.0.lock().successor = Some((of, successor));
    }

    /// Whom the leader of this term has named to follow it.
    pub(crate) fn successor(&self, of: Term) -> Option<u64> {
        self.0.lock().successor.filter(|(term, _)| *term == of).map(|(_, successor)| successor)
    }
}
