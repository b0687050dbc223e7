//! Keyspaces with concurrent writers or failures.

use std::cell::{Cell, RefCell};

use exesdb_sdk::keyspaces::{
    Batch, BatchError, Committed, Direction, EndOfLog, Error, Keyspaces, MemoryKeyspaces, Page, Position,
    Range,
};

type Act<'a> = Box<dyn FnMut(&MemoryKeyspaces) + 'a>;

/// Keyspaces to which another writer writes just before each of the first commits.
pub(crate) struct Rival<'a> {
    store: &'a MemoryKeyspaces,
    left: Cell<u32>,
    act: RefCell<Act<'a>>,
}

impl<'a> Rival<'a> {
    pub(crate) fn new(
        store: &'a MemoryKeyspaces,
        times: u32,
        act: impl FnMut(&MemoryKeyspaces) + 'a,
    ) -> Self {
        Self { store, left: Cell::new(times), act: RefCell::new(Box::new(act)) }
    }
}

impl Keyspaces for Rival<'_> {
    fn get(&self, keyspace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.store.get(keyspace, key)
    }

    fn get_many(&self, keyspace: &str, keys: &[Vec<u8>], max: u32) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.store.get_many(keyspace, keys, max)
    }

    fn scan(&self, range: &Range, direction: Direction, limit: u32, max: u32) -> Result<Page, Error> {
        self.store.scan(range, direction, limit, max)
    }

    fn commit(&self, batches: &[Batch]) -> Result<Vec<Result<Committed, BatchError>>, Error> {
        if self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            (self.act.borrow_mut())(self.store);
        }
        self.store.commit(batches)
    }

    fn durable_position(&self) -> Result<Position, Error> {
        self.store.durable_position()
    }

    fn log_end(&self) -> Result<EndOfLog, Error> {
        self.store.log_end()
    }
}

/// Keyspaces that fail, or violate their contract.
pub(crate) struct Storage<'a> {
    store: &'a MemoryKeyspaces,
    reads: bool,
    commits: Commits,
}

enum Commits {
    Work,
    Fail,
    Short,
}

impl<'a> Storage<'a> {
    pub(crate) fn failing_commits(store: &'a MemoryKeyspaces) -> Self {
        Self { store, reads: true, commits: Commits::Fail }
    }

    pub(crate) fn failing_reads(store: &'a MemoryKeyspaces) -> Self {
        Self { store, reads: false, commits: Commits::Work }
    }

    /// Keyspaces whose commits return no results.
    pub(crate) fn short_results(store: &'a MemoryKeyspaces) -> Self {
        Self { store, reads: true, commits: Commits::Short }
    }

    fn readable(&self) -> Result<&MemoryKeyspaces, Error> {
        if self.reads { Ok(self.store) } else { Err(Error::Unavailable("gone".into())) }
    }
}

impl Keyspaces for Storage<'_> {
    fn get(&self, keyspace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.readable()?.get(keyspace, key)
    }

    fn get_many(&self, keyspace: &str, keys: &[Vec<u8>], max: u32) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.readable()?.get_many(keyspace, keys, max)
    }

    fn scan(&self, range: &Range, direction: Direction, limit: u32, max: u32) -> Result<Page, Error> {
        self.readable()?.scan(range, direction, limit, max)
    }

    fn commit(&self, batches: &[Batch]) -> Result<Vec<Result<Committed, BatchError>>, Error> {
        match self.commits {
            Commits::Work => self.store.commit(batches),
            Commits::Fail => Err(Error::Unavailable("gone".into())),
            Commits::Short => Ok(Vec::new()),
        }
    }

    fn durable_position(&self) -> Result<Position, Error> {
        self.readable()?.durable_position()
    }

    fn log_end(&self) -> Result<EndOfLog, Error> {
        self.readable()?.log_end()
    }
}
