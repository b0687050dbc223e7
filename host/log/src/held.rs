//! The entries of one record, as the index in memory has them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::disk::FolderFile;
use crate::limits::RECORD_COUNTS_MIN;
use crate::record::{HEAD_BYTES, Raw};

/// The entries of one record. Two are equal if they are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Held(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    /// Bytes of the record.
    len: usize,
    /// Set when the record is written. Without place and payload it is missing.
    place: OnceLock<RecordPlace>,
    /// The record's payload, for as long as it is cached.
    payload: Mutex<Option<Bytes>>,
}

/// Where a record is, and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordPlace {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// The link of the record before.
    pub(crate) before: u64,
    /// The record's own link.
    pub(crate) link: u64,
}

/// What a record of so many bytes counts in the limits.
pub(crate) fn counts(len: usize) -> u64 {
    (len as u64).max(RECORD_COUNTS_MIN)
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Held {
    /// A record that is not written yet.
    pub(crate) fn pending(len: usize, payload: Bytes) -> Self {
        Self(Arc::new(Parts { len, place: OnceLock::new(), payload: Mutex::new(Some(payload)) }))
    }

    /// A record in a file.
    pub(crate) fn at(len: usize, place: RecordPlace) -> Self {
        Self(Arc::new(Parts { len, place: place.into(), payload: Mutex::default() }))
    }

    /// Entries that should be there.
    pub(crate) fn missing() -> Self {
        Self(Arc::new(Parts { len: 0, place: OnceLock::new(), payload: Mutex::default() }))
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.0.place.get().is_none() && self.0.payload.lock().is_none()
    }

    /// What the record counts in the limits.
    pub(crate) fn counts(&self) -> u64 {
        counts(self.0.len)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len
    }

    pub(crate) fn place(&self) -> Option<RecordPlace> {
        self.0.place.get().copied()
    }

    /// Says where the record was written.
    pub(crate) fn written_to(&self, place: RecordPlace) {
        self.0.place.set(place).expect("a record is written once");
    }

    /// The payload, if it is cached.
    pub(crate) fn cached(&self) -> Option<Bytes> {
        self.0.payload.lock().clone()
    }

    /// Ends the caching of the payload of a record that was written.
    pub(crate) fn evict(&self) {
        *self.0.payload.lock() = None;
    }

    /// Reads the payload from the record's file. `None` if the record there is not the one that was written.
    pub(crate) fn load(&self, place: RecordPlace, file: &dyn FolderFile) -> std::io::Result<Option<Bytes>> {
        let mut record = vec![0; self.0.len];
        match file.read(place.offset, &mut record) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            outcome => outcome?,
        }
        let raw = Raw::at_start_of(&record)
            .filter(|raw| raw.len() == self.0.len && raw.link == place.link && raw.follows(place.before));
        let Some(end) = raw.map(|raw| HEAD_BYTES + raw.payload.len()) else { return Ok(None) };
        Ok(Some(Bytes::from(record).slice(HEAD_BYTES..end)))
    }
}
