//! The engine in files: a fjall database.

use std::iter::Map;

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode, Readable};

use super::{Engine, EngineRecord, KeyRange};
use crate::Slice;
use crate::open::sync_keyspace_folder;
use crate::options::Options;

/// Bytes of a record in the journal besides its changes: start and end.
const RECORD_BYTES: usize = 26;

/// Bytes of a change in the journal besides its key and value.
const CHANGE_BYTES: usize = 21;

/// Shortest value that fjall compresses in the journal. Incompressible ones become longer by that.
pub(crate) const COMPRESSED_BYTES_MIN: usize = 4096;

/// A fjall database.
pub struct Fjall {
    database: Database,
    options: Options,
}

/// A record of fjall's journal that is being put together.
pub struct FjallRecord {
    batch: OwnedWriteBatch,
    /// Bytes that the record takes in the journal at most; exactly those if no value is compressed.
    bytes: usize,
}

impl Fjall {
    pub(crate) fn new(database: Database, options: Options) -> Self {
        Self { database, options }
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}

impl Engine for Fjall {
    type Keyspace = Keyspace;
    type Snapshot = fjall::Snapshot;
    type Range = Map<fjall::Iter, fn(fjall::Guard) -> fjall::Result<(Slice, Slice)>>;
    type Record = FjallRecord;
    type Error = fjall::Error;

    fn name(keyspace: &Keyspace) -> &str {
        keyspace.name()
    }

    fn number(keyspace: &Keyspace) -> u64 {
        keyspace.id()
    }

    /// At replay fjall drops records that name a keyspace which does not exist.
    fn keyspace(&self, name: &str) -> fjall::Result<Keyspace> {
        let keyspace = self.database.keyspace(name, || self.options.keyspace())?;
        sync_keyspace_folder(&keyspace)?;
        Ok(keyspace)
    }

    fn get(&self, keyspace: &Keyspace, key: &[u8]) -> fjall::Result<Option<Slice>> {
        keyspace.get(key)
    }

    fn contains(&self, keyspace: &Keyspace, key: &[u8]) -> fjall::Result<bool> {
        keyspace.contains_key(key)
    }

    fn is_empty(&self, keyspace: &Keyspace, range: KeyRange<'_>) -> fjall::Result<bool> {
        match keyspace.range::<&[u8], _>(range).next() {
            None => Ok(true),
            Some(entry) => entry.key().map(|_| false),
        }
    }

    fn record(&self, changes: usize) -> FjallRecord {
        FjallRecord {
            batch: OwnedWriteBatch::with_capacity(self.database.clone(), changes),
            bytes: RECORD_BYTES,
        }
    }

    fn floor(&self) -> u64 {
        self.database.seqno()
    }

    fn commit(&self, record: FjallRecord) -> fjall::Result<u64> {
        let bytes = record.bytes as u64;
        record.batch.commit().map(|()| bytes)
    }

    fn sync(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncData)
    }

    fn snapshot(&self) -> fjall::Snapshot {
        self.database.snapshot()
    }

    fn get_in(snapshot: &fjall::Snapshot, keyspace: &Keyspace, key: &[u8]) -> fjall::Result<Option<Slice>> {
        snapshot.get(keyspace, key)
    }

    fn range_in(snapshot: &fjall::Snapshot, keyspace: &Keyspace, range: KeyRange<'_>) -> Self::Range {
        snapshot.range::<&[u8], _>(keyspace, range).map(fjall::Guard::into_inner)
    }
}

impl EngineRecord<Keyspace> for FjallRecord {
    fn insert(&mut self, keyspace: &Keyspace, key: impl Into<Slice>, value: impl Into<Slice>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += CHANGE_BYTES + key.len() + stored_bytes_max(value.len());
        self.batch.insert(keyspace, key, value);
    }

    fn remove(&mut self, keyspace: &Keyspace, key: impl Into<Slice>) {
        let key = key.into();
        self.bytes += CHANGE_BYTES + key.len();
        self.batch.remove(keyspace, key);
    }
}

/// Bytes of a value in the journal, at most.
fn stored_bytes_max(bytes: usize) -> usize {
    // LZ4 adds one byte for each 255 literals, and a few for the first and the last sequence.
    let added = if bytes < COMPRESSED_BYTES_MIN { 0 } else { bytes / 255 + 16 };
    bytes + added
}
