//! One journal record: the operations of a batch, stamped and chained, its records of the log, and the head after it.

use exesdb_packed::{Frames, Record as LogRecord};
use fjall::{Database, Keyspace, OwnedWriteBatch, Slice};

use super::keyspaces::BatchHandles;
use crate::batch::{Changes, Operation};
use crate::format;
use crate::head::{LogHead, RecordedHead, chain};
use crate::log::{LINK_AT, event_value, gap_value};
use crate::packed_puts::{PackedPut, PackedPuts, PackedStamps};
use crate::stamp::{STAMP_BYTES, stamp};

/// Bytes of an operation in the journal besides its key and value.
const OPERATION_BYTES: usize = 21;

/// Bytes of a record in the journal besides its operations: start, end, and head with its time.
const RECORD_BYTES: usize = 91;

/// A record that is being put together.
pub(super) struct Record {
    batch: OwnedWriteBatch,
    first_position: u64,
    chain: u64,
    /// Bytes that the record takes in the journal, approximately.
    bytes: usize,
}

impl Record {
    /// An empty record of a batch that is applied after `head`.
    pub(super) fn new(database: &Database, head: LogHead, operations: usize) -> Self {
        Self {
            batch: OwnedWriteBatch::with_capacity(database.clone(), operations + 1),
            first_position: head.next_position,
            chain: head.chain,
            bytes: RECORD_BYTES,
        }
    }

    /// Adds an operation, with its stamps and its chain filled in.
    pub(super) fn add(&mut self, handles: &BatchHandles, operation: Operation) {
        let handle = handles.iter().find(|(name, _)| name == operation.keyspace()).map(|(_, handle)| handle);
        match operation {
            Operation::Put { mut key, mut value, key_stamps, value_stamps, chain: link, .. } => {
                stamp(&mut key, key_stamps, self.first_position);
                stamp(&mut value, value_stamps, self.first_position);
                if let Some(link) = link {
                    self.link(&key, &mut value, link.at);
                }
                self.bytes += OPERATION_BYTES + key.len() + value.len();
                self.batch.insert(handle.expect("a keyspace that is put to was resolved"), key, value);
            }
            Operation::Delete { key, .. } => {
                self.bytes += OPERATION_BYTES + key.len();
                if let Some(handle) = handle {
                    self.batch.remove(handle, key);
                }
            }
        }
    }

    /// Adds changes, with their stamps filled in.
    pub(super) fn add_changes(&mut self, handles: &BatchHandles, changes: &Changes) {
        let handle = handles.iter().find(|(name, _)| *name == changes.keyspace).map(|(_, handle)| handle);
        for put in PackedPuts::new(&changes.puts) {
            let PackedPut { key, value, key_stamps, value_stamps } = put.expect("the batch was checked");
            self.bytes += OPERATION_BYTES + key.len() + value.len();
            let handle = handle.expect("a keyspace that is put to was resolved");
            let (key, value) = (self.stamped(key, key_stamps), self.stamped(value, value_stamps));
            self.batch.insert(handle, key, value);
        }
        let Some(handle) = handle else { return };
        for key in &changes.deletes {
            self.bytes += OPERATION_BYTES + key.len();
            self.batch.remove(handle, &**key);
        }
    }

    /// The bytes with their stamps filled in.
    fn stamped(&self, bytes: &[u8], stamps: PackedStamps<'_>) -> Slice {
        if stamps.iter().len() == 0 {
            return bytes.into();
        }
        let mut stamped = bytes.to_vec();
        stamp(&mut stamped, stamps.iter(), self.first_position);
        stamped.into()
    }

    /// Appends events and gaps to the log, each with its position and its link.
    pub(super) fn append_to_log(&mut self, log: &Keyspace, frames: &[u8]) {
        let mut position = self.first_position;
        for frame in Frames::new(frames) {
            let (mut value, positions) = match frame.expect("the batch was checked").record {
                LogRecord::Event(envelope) => (event_value(envelope), 1),
                LogRecord::Gap { positions } => (gap_value(positions), positions),
                LogRecord::Removed { .. } => unreachable!("the batch was checked"),
            };
            let key = position.to_be_bytes();
            self.link(&key, &mut value, LINK_AT);
            self.put(log, key, value);
            position += positions;
        }
    }

    /// Replaces a record of the log by the mark of a removed event.
    pub(super) fn remove_from_log(&mut self, log: &Keyspace, position: u64, mark: Vec<u8>) {
        self.put(log, position.to_be_bytes(), mark);
    }

    /// Says that the store has a log, which earlier software must not open.
    pub(super) fn begin_log(&mut self, meta: &Keyspace) {
        self.batch.insert(meta, format::FORMAT_KEY, format::FORMAT_VERSION.to_be_bytes());
    }

    fn put(&mut self, keyspace: &Keyspace, key: [u8; 8], value: Vec<u8>) {
        self.bytes += OPERATION_BYTES + key.len() + value.len();
        self.batch.insert(keyspace, key, value);
    }

    /// Chains an entry, and writes the link into its value.
    fn link(&mut self, key: &[u8], value: &mut [u8], at: u32) {
        self.chain = chain(self.chain, key, value, at);
        let at = at as usize;
        value[at..at + STAMP_BYTES].copy_from_slice(&self.chain.to_be_bytes());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The hash chain after the operations so far.
    pub(super) fn chain(&self) -> u64 {
        self.chain
    }

    /// Lists new keyspaces in `meta`.
    pub(super) fn list_keyspaces(&mut self, meta: &Keyspace, keyspaces: Vec<Keyspace>) {
        for keyspace in keyspaces {
            let key = format!("{}{}", format::KEYSPACE_KEY_PREFIX, &**keyspace.name());
            self.batch.insert(meta, key, keyspace.id().to_be_bytes());
        }
    }

    /// Completes the record with the head after it. Returns the record, and its bytes in the journal, approximately.
    pub(super) fn finish(mut self, meta: &Keyspace, head: RecordedHead) -> (OwnedWriteBatch, u64) {
        self.batch.insert(meta, &format::HEAD_KEY[..], head.encode());
        (self.batch, self.bytes as u64)
    }
}
