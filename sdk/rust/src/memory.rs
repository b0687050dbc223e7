//! A store in memory with the host's semantics, for tests of components.

mod apply;
mod read;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use exesdb_packed::Record;
use xxhash_rust::xxh3::Xxh3Default;

use crate::types::{ChainHash, Position};

pub use apply::ApplyError;
pub use read::MemoryView;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store in memory. What is applied is durable at once. Its clock stands still until it is set.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    keyspaces: BTreeMap<String, Map>,
    /// The records by their first position.
    log: BTreeMap<Position, Logged>,
    next_position: Position,
    chain: ChainHash,
    now: u64,
    /// Positions whose records cannot be read.
    damaged: BTreeSet<Position>,
    fails: bool,
}

/// A record of the log.
#[derive(Clone, Debug)]
enum Logged {
    Event { envelope: Vec<u8>, link: ChainHash },
    Removed { link: ChainHash },
    Gap { positions: u64 },
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The present state. Nothing can be applied while it is held.
    #[must_use]
    pub fn view(&self) -> MemoryView<'_> {
        MemoryView { state: self.state.borrow() }
    }

    /// Sets the clock: microseconds since 1970-01-01T00:00:00 UTC. Other than the host's, it may go back.
    pub fn set_now(&self, now: u64) {
        self.state.borrow_mut().now = now;
    }

    /// Writes a value without a batch, for tests of damaged data.
    pub fn overwrite(&self, keyspace: &str, key: &[u8], value: &[u8]) {
        let mut state = self.state.borrow_mut();
        state.keyspaces.entry(keyspace.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
    }

    /// Removes a key without a batch, for tests of damaged data.
    pub fn remove(&self, keyspace: &str, key: &[u8]) {
        if let Some(map) = self.state.borrow_mut().keyspaces.get_mut(keyspace) {
            map.remove(key);
        }
    }

    /// Makes the record at a position unreadable.
    pub fn damage(&self, position: Position) {
        self.state.borrow_mut().damaged.insert(position);
    }

    /// Replaces the envelope of an event without a batch, for tests of damaged data.
    pub fn overwrite_event(&self, position: Position, envelope: Vec<u8>) {
        let link = 0;
        self.state.borrow_mut().log.insert(position, Logged::Event { envelope, link });
    }

    /// Removes an event's content without a batch, for tests of damaged data.
    pub fn lose_event(&self, position: Position) {
        self.state.borrow_mut().log.insert(position, Logged::Removed { link: 0 });
    }

    /// Makes all reads fail from now on, or work again.
    pub fn fail_reads(&self, fails: bool) {
        self.state.borrow_mut().fails = fails;
    }

    /// The entries of a keyspace in order.
    #[must_use]
    pub fn entries(&self, keyspace: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let state = self.state.borrow();
        state
            .keyspaces
            .get(keyspace)
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// The names of the keyspaces that have entries.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<String> {
        let state = self.state.borrow();
        let written = state.keyspaces.iter().filter(|(_, map)| !map.is_empty());
        written.map(|(keyspace, _)| keyspace.clone()).collect()
    }
}

impl State {
    fn value(&self, keyspace: &str, key: &[u8]) -> Option<&Vec<u8>> {
        self.keyspaces.get(keyspace)?.get(key)
    }

    /// The record that a position lies in, with its first position.
    fn record(&self, position: Position) -> Option<(Position, &Logged)> {
        let (first, record) = self.log.range(..=position).next_back()?;
        Some((*first, record))
    }
}

impl Logged {
    fn positions(&self) -> u64 {
        match self {
            Self::Gap { positions } => *positions,
            Self::Event { .. } | Self::Removed { .. } => 1,
        }
    }
}

/// The link of a record, which covers the one before it.
fn link_of(before: ChainHash, position: Position, record: &Record<'_>) -> ChainHash {
    let mut hash = Xxh3Default::new();
    hash.update(&before.to_be_bytes());
    hash.update(&position.to_be_bytes());
    match record {
        Record::Event(envelope) => hash.update(envelope),
        Record::Gap { positions } => hash.update(&positions.to_be_bytes()),
        Record::Removed { .. } => {}
    }
    hash.digest()
}
