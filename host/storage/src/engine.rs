//! The seam between the rules of this crate and what keeps the data: ordered keyspaces, records that are atomic, and
//! snapshots.
//!
//! [Applying](crate::apply) and [reading](crate::read) know an engine only by this trait. There are two: [`Fjall`] keeps a
//! store in files, and [`Memory`] in memory, for tests and simulations. Calls are resolved when the crate is built, so the
//! seam costs nothing.

mod fjall;
mod memory;

use std::fmt;
use std::ops::Bound;

use crate::Slice;
use crate::engine_failure::EngineFailure;

#[cfg(test)]
pub(crate) use self::fjall::COMPRESSED_BYTES_MIN;
pub use self::fjall::Fjall;
pub use self::memory::{Memory, MemoryOperation};

/// Bounds of a range of keys.
pub type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// What keeps the keyspaces of a store. Only this crate implements it.
///
/// One thread writes. A record is applied whole or not at all, also after a crash, and after a crash the engine has a
/// prefix of the records that were committed, which has at least those before the last [`sync`](Self::sync).
pub trait Engine: Send + Sync + 'static {
    /// A handle of a keyspace.
    type Keyspace: Clone + Send + Sync;
    /// Everything as of one record. A range that ends before it begins must not be asked for.
    type Snapshot: Clone + Send + Sync;
    /// The entries of a range, ascending.
    type Range: DoubleEndedIterator<Item = Result<(Slice, Slice), Self::Error>>;
    /// A record that is being put together.
    type Record: EngineRecord<Self::Keyspace>;
    /// Why the engine failed.
    type Error: Into<EngineFailure> + fmt::Display;

    /// Name of a keyspace.
    fn name(keyspace: &Self::Keyspace) -> &str;

    /// Number of a keyspace, which no other keyspace of this engine has. It says nothing in another copy of the store.
    fn number(keyspace: &Self::Keyspace) -> u64;

    /// The keyspace with this name. It is created, durably, if it does not exist: a record that names it is never lost
    /// for want of it.
    ///
    /// # Errors
    ///
    /// The engine's error.
    fn keyspace(&self, name: &str) -> Result<Self::Keyspace, Self::Error>;

    /// The newest value of a key.
    ///
    /// # Errors
    ///
    /// The engine's error.
    fn get(&self, keyspace: &Self::Keyspace, key: &[u8]) -> Result<Option<Slice>, Self::Error>;

    /// Whether a key has a value now.
    ///
    /// # Errors
    ///
    /// The engine's error.
    fn contains(&self, keyspace: &Self::Keyspace, key: &[u8]) -> Result<bool, Self::Error>;

    /// Whether no key lies in the range now.
    ///
    /// # Errors
    ///
    /// The engine's error.
    fn is_empty(&self, keyspace: &Self::Keyspace, range: KeyRange<'_>) -> Result<bool, Self::Error>;

    /// An empty record, with room for so many changes.
    fn record(&self, changes: usize) -> Self::Record;

    /// The next record's number is at least this. Local to this copy of the store.
    fn floor(&self) -> u64;

    /// Applies a record, without making it durable. Returns the bytes that it takes in the engine's journal, at most.
    ///
    /// # Errors
    ///
    /// The engine's error. The record may be found after a crash.
    fn commit(&self, record: Self::Record) -> Result<u64, Self::Error>;

    /// Makes durable what was committed.
    ///
    /// # Errors
    ///
    /// The engine's error. What was committed since the last call may be lost or not.
    fn sync(&self) -> Result<(), Self::Error>;

    /// Everything that was committed.
    fn snapshot(&self) -> Self::Snapshot;

    /// The value of a key in a snapshot.
    ///
    /// # Errors
    ///
    /// The engine's error.
    fn get_in(
        snapshot: &Self::Snapshot,
        keyspace: &Self::Keyspace,
        key: &[u8],
    ) -> Result<Option<Slice>, Self::Error>;

    /// The entries of a range in a snapshot, ascending.
    fn range_in(snapshot: &Self::Snapshot, keyspace: &Self::Keyspace, range: KeyRange<'_>) -> Self::Range;
}

/// Changes that are applied together. Of two changes of one key the later counts.
pub trait EngineRecord<K> {
    /// Sets a key to a value.
    fn insert(&mut self, keyspace: &K, key: impl Into<Slice>, value: impl Into<Slice>);

    /// Removes a key, if it exists.
    fn remove(&mut self, keyspace: &K, key: impl Into<Slice>);
}
