//! The retries that wait for their pause to end; at most one for each child.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use crate::decide::Key;

#[derive(Default)]
pub(super) struct Pauses {
    due: BTreeSet<(Instant, Key)>,
    of: HashMap<Key, Instant>,
}

impl Pauses {
    pub(super) fn insert(&mut self, key: Key, at: Instant) {
        self.remove(key);
        self.due.insert((at, key));
        self.of.insert(key, at);
    }

    pub(super) fn remove(&mut self, key: Key) {
        if let Some(at) = self.of.remove(&key) {
            self.due.remove(&(at, key));
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the next one, if it is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Key> {
        let (at, key) = self.due.first().copied()?;
        if at > now {
            return None;
        }
        self.remove(key);
        Some(key)
    }
}
