//! Retries that wait for the end of a pause; at most one per child.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use crate::pid::Key;

#[derive(Default)]
pub(super) struct Retries {
    by_time: BTreeSet<(Instant, Key)>,
    by_child: HashMap<Key, Instant>,
}

impl Retries {
    pub(super) fn insert(&mut self, key: Key, at: Instant) {
        self.remove(key);
        self.by_time.insert((at, key));
        self.by_child.insert(key, at);
    }

    pub(super) fn remove(&mut self, key: Key) {
        if let Some(at) = self.by_child.remove(&key) {
            self.by_time.remove(&(at, key));
        }
    }

    /// When the next retry is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the next retry, if it is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Key> {
        let (at, key) = self.by_time.first().copied()?;
        if at > now {
            return None;
        }
        self.remove(key);
        Some(key)
    }
}
