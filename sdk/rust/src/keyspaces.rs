//! The key-value log that the host offers to persistence components: `exesdb:storage/keyspaces`.
//!
//! Write a component's rules against the trait [`Keyspaces`]. [`HostKeyspaces`] implements it with the host's keyspaces,
//! and `MemoryKeyspaces` (feature `testing`) in memory, for tests.
//!
//! ```no_run
//! use exesdb_sdk::keyspaces::{BatchBuilder, Error, HostKeyspaces, Keyspaces};
//!
//! fn count_up(key: &[u8]) -> Result<u64, Error> {
//!     let old = HostKeyspaces.get("counters", key)?;
//!     let count = old.as_deref().and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
//!     let next = count.unwrap_or(0).saturating_add(1);
//!     let mut batch = BatchBuilder::new();
//!     batch.require("counters", key, old.as_deref()); // somebody else may count at the same time
//!     batch.put("counters", key, next.to_be_bytes());
//!     let outcome = HostKeyspaces.commit(&[batch.build()])?;
//!     assert_eq!(outcome.len(), 1);
//!     Ok(next)
//! }
//! ```

pub use crate::bindings::common::exesdb::storage::keyspaces::{
    Batch, BatchError, ChainHash, Committed, Direction, EndOfLog, Entry, Error, Expectation, Guard, Location,
    Operation, Page, Position, Put, Range, Stamp,
};

use xxhash_rust::xxh3::Xxh3Default;

use crate::bindings::common::exesdb::storage::keyspaces as host;
use crate::types;

#[cfg(feature = "testing")]
mod memory;
#[cfg(feature = "testing")]
pub use memory::MemoryKeyspaces;

/// Maximum number of keys of one [`Keyspaces::get_many`], which bounds the lookups of a host call.
pub const GET_MANY_KEYS_MAX: usize = 2_000;

/// Maximum bytes that the host returns for one read. [`Keyspaces::get_all`] reads in parts of this size.
pub const READ_BYTES_MAX: u32 = 8 << 20;

/// The functions of `exesdb:storage/keyspaces`, whose contract is in `wit/storage/storage.wit`.
pub trait Keyspaces {
    /// The value of a key, if it has one.
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn get(&self, keyspace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The values of the first n keys, n at least 1, that fit into `max_bytes`. At most [`GET_MANY_KEYS_MAX`] keys.
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn get_many(
        &self,
        keyspace: &str,
        keys: &[Vec<u8>],
        max_bytes: u32,
    ) -> Result<Vec<Option<Vec<u8>>>, Error>;

    /// The entries of a range in key order, or from its end backward.
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn scan(&self, range: &Range, direction: Direction, limit: u32, max_bytes: u32) -> Result<Page, Error>;

    /// Applies batches in order, each on its own, and returns one result for each when they are on disk.
    ///
    /// # Errors
    ///
    /// Those of the interface; [`Error::Unavailable`] leaves the outcome open.
    fn commit(&self, batches: &[Batch]) -> Result<Vec<Result<Committed, BatchError>>, Error>;

    /// The number of positions that are durable.
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn durable_position(&self) -> Result<Position, Error>;

    /// The end of the log in the state that this call reads.
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn log_end(&self) -> Result<EndOfLog, Error>;

    /// The values of any number of keys, read in parts. All of them are held in memory, so they should be small.
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn get_all(&self, keyspace: &str, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut values = Vec::with_capacity(keys.len());
        while let Some(rest) = keys.get(values.len()..).filter(|rest| !rest.is_empty()) {
            let part = &rest[..rest.len().min(GET_MANY_KEYS_MAX)];
            let got = self.get_many(keyspace, part, READ_BYTES_MAX)?;
            if got.is_empty() || got.len() > part.len() {
                return Err(Error::Other(format!(
                    "get-many gave {} values for {} keys",
                    got.len(),
                    part.len()
                )));
            }
            values.extend(got);
        }
        Ok(values)
    }
}

/// The keyspaces that the host provides.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostKeyspaces;

impl Keyspaces for HostKeyspaces {
    fn get(&self, keyspace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        host::get(&location(keyspace, key))
    }

    fn get_many(
        &self,
        keyspace: &str,
        keys: &[Vec<u8>],
        max_bytes: u32,
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        host::get_many(keyspace, keys, max_bytes)
    }

    fn scan(&self, range: &Range, direction: Direction, limit: u32, max_bytes: u32) -> Result<Page, Error> {
        host::scan(range, direction, limit, max_bytes)
    }

    fn commit(&self, batches: &[Batch]) -> Result<Vec<Result<Committed, BatchError>>, Error> {
        host::commit(batches)
    }

    fn durable_position(&self) -> Result<Position, Error> {
        host::durable_position()
    }

    fn log_end(&self) -> Result<EndOfLog, Error> {
        host::log_end()
    }
}

/// Bytes of the placeholder that a stamp fills.
pub const STAMP_BYTES: usize = size_of::<Position>();

/// Builds a batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    batch: Batch,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self { batch: Batch { guards: Vec::new(), operations: Vec::new(), events: 0 } }
    }

    /// Guard: the key has exactly this value, or (none) no value.
    pub fn require(&mut self, keyspace: &str, key: &[u8], value: Option<&[u8]>) {
        self.batch.guards.push(match value {
            None => Guard::Absent(location(keyspace, key)),
            Some(value) => Guard::Equals(Expectation {
                keyspace: keyspace.to_owned(),
                key: key.to_owned(),
                value: value.to_owned(),
            }),
        });
    }

    /// Guard: the range has no keys.
    pub fn require_empty(&mut self, range: Range) {
        self.batch.guards.push(Guard::Empty(range));
    }

    /// Takes a position for one event. Returns the event's index in the batch, which stamps refer to.
    pub fn add_event(&mut self) -> u32 {
        let event = self.batch.events;
        self.batch.events = event.checked_add(1).expect("a batch has far fewer events than its limit");
        event
    }

    /// Writes a value, replacing an existing one.
    pub fn put(&mut self, keyspace: &str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.put_stamped(Put {
            keyspace: keyspace.to_owned(),
            key: key.into(),
            value: value.into(),
            key_stamps: Vec::new(),
            value_stamps: Vec::new(),
            chain: None,
        });
    }

    /// Writes a value with placeholders that the commit fills with positions.
    pub fn put_stamped(&mut self, put: Put) {
        self.batch.operations.push(Operation::Put(put));
    }

    /// Removes a key.
    pub fn delete(&mut self, keyspace: &str, key: &[u8]) {
        self.batch.operations.push(Operation::Delete(location(keyspace, key)));
    }

    /// The batch.
    #[must_use]
    pub fn build(self) -> Batch {
        self.batch
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// A placeholder at offset `at` for the position of the batch's event `event`.
#[must_use]
pub fn stamp(at: u32, event: u32) -> Stamp {
    Stamp { at, event }
}

/// The link of a chained value, as the commit writes it: see `chain-hash` in `wit/storage/storage.wit`. `at` is the offset
/// of the link in the value; none if the value is too short.
#[must_use]
pub fn chain_link(previous: ChainHash, key: &[u8], value: &[u8], at: usize) -> Option<ChainHash> {
    let after = value.get(at.checked_add(STAMP_BYTES)?..)?;
    let mut hash = Xxh3Default::new();
    hash.update(&previous.to_be_bytes());
    hash.update(key);
    hash.update(&value[..at]);
    hash.update(&[0; STAMP_BYTES]);
    hash.update(after);
    Some(hash.digest())
}

/// The keys that begin with `prefix`.
#[must_use]
pub fn prefix_range(keyspace: &str, prefix: &[u8]) -> Range {
    Range { keyspace: keyspace.to_owned(), start: prefix.to_owned(), end: prefix_end(prefix) }
}

/// The first key after all keys that begin with `prefix`; none if there is none.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_owned();
    end[kept] = end[kept].checked_add(1).expect("it is not the highest byte");
    Some(end)
}

/// Translates errors of the storage into those for the store's callers.
impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(reason) => Self::Restarting(reason),
            Error::Overloaded => Self::Overloaded,
            Error::ReadOnly(reason) => Self::ReadOnly(reason),
            Error::Damaged(reason) => Self::Damaged(reason),
            // These are mistakes of the component, not of the caller.
            Error::Invalid(reason) => {
                Self::Other(format!("the storage refused the component's call: {reason}"))
            }
            Error::Denied(reason) => {
                Self::Other(format!("the storage denied the component's call: {reason}"))
            }
            Error::Other(reason) => Self::Other(reason),
        }
    }
}

/// The error for an entry that is not as the component wrote it, or that is missing although another entry refers to it.
#[must_use]
pub fn damaged(keyspace: &str, key: &[u8], reason: impl std::fmt::Display) -> types::Error {
    types::Error::Damaged(format!(
        "the store's data is damaged: keyspace `{keyspace}`, key `{}`: {reason}; restore it from a backup",
        key.escape_ascii()
    ))
}

fn location(keyspace: &str, key: &[u8]) -> Location {
    Location { keyspace: keyspace.to_owned(), key: key.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn the_end_of_a_prefix_is_after_all_keys_that_begin_with_it() {
        let table: [(&[u8], Option<&[u8]>); 6] = [
            (b"", None),
            (b"a", Some(b"b")),
            (b"a\x00", Some(b"a\x01")),
            (b"a\xff", Some(b"b")),
            (b"a\xff\xff", Some(b"b")),
            (b"\xff\xff", None),
        ];
        for (prefix, end) in table {
            assert_eq!(prefix_end(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}
