//! Records, reads, lists and deletes snapshots.

use exesdb_sdk::arguments::{check_content_type, check_count, check_stream_id};
use exesdb_sdk::keyspaces::{Batch, BatchBuilder, BatchError, Direction, Keyspaces, Page, Range, damaged};
use exesdb_sdk::snapshots::{RecordedSnapshot, SnapshotData, SnapshotPage};
use exesdb_sdk::stream_keys;
use exesdb_sdk::types::{Error, Version};

use crate::layout::{INFOS, SNAPSHOTS, decode_info, decode_snapshot, encode_info, encode_snapshot};

/// Most bytes of a snapshot's data and metadata together: it is held in memory several times on its way.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 20;

/// Bytes that a page of infos takes at most: 1,000 of the longest.
const INFOS_BYTES_MAX: u32 = 1 << 20;

/// Bytes that the one snapshot of a read takes at most.
const SNAPSHOT_PAGE_BYTES_MAX: u32 = 2 << 20;

/// How often a deletion is tried anew because another writer recorded or deleted the same snapshot meanwhile.
pub const DELETE_ROUNDS_MAX: u32 = 8;

/// Records a snapshot, replacing one that is there. `now` is the time of day in microseconds.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::TooLarge`] name the argument; those of the storage.
pub fn record(
    store: &impl Keyspaces,
    now: u64,
    stream_id: &str,
    version: Version,
    snapshot: &SnapshotData,
) -> Result<(), Error> {
    check_stream_id("stream-id", stream_id)?;
    check_content_type("snapshot.content-type", &snapshot.content_type)?;
    let bytes = snapshot.data.len().saturating_add(snapshot.metadata.len());
    if bytes > SNAPSHOT_BYTES_MAX {
        return Err(Error::TooLarge(format!(
            "snapshot: data and metadata have {bytes} bytes, over the limit of {SNAPSHOT_BYTES_MAX} bytes"
        )));
    }
    let key = stream_keys::versioned(stream_id, version);
    let mut batch = BatchBuilder::new();
    batch.put(SNAPSHOTS, key.clone(), encode_snapshot(now, snapshot));
    batch.put(INFOS, key, encode_info(now, snapshot));
    match commit(store, batch.build())? {
        Committed::Yes => Ok(()),
        Committed::Overtaken => {
            Err(Error::Other("the storage failed a guard of a batch that has none".into()))
        }
    }
}

/// The snapshot at exactly this version.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and [`Error::Other`] for damaged data.
pub fn read(store: &impl Keyspaces, stream_id: &str, version: Version) -> Result<RecordedSnapshot, Error> {
    check_stream_id("stream-id", stream_id)?;
    let key = stream_keys::versioned(stream_id, version);
    let value = store.get(SNAPSHOTS, &key)?.ok_or(Error::NotFound)?;
    decode_snapshot(stream_id, version, &value).map_err(|reason| damaged(SNAPSHOTS, &key, reason))
}

/// The snapshot with the highest version.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and [`Error::Other`] for damaged data.
pub fn read_latest(store: &impl Keyspaces, stream_id: &str) -> Result<RecordedSnapshot, Error> {
    check_stream_id("stream-id", stream_id)?;
    let page = last_first(store, SNAPSHOTS, stream_id, None, 1, SNAPSHOT_PAGE_BYTES_MAX)?;
    let latest = page.entries.first().ok_or(Error::NotFound)?;
    let version = version_in(SNAPSHOTS, &latest.key, stream_id)?;
    decode_snapshot(stream_id, version, &latest.value)
        .map_err(|reason| damaged(SNAPSHOTS, &latest.key, reason))
}

/// The snapshots below version `before`, or all, highest version first.
///
/// # Errors
///
/// [`Error::Invalid`], those of the storage, and [`Error::Other`] for damaged data.
pub fn list(
    store: &impl Keyspaces,
    stream_id: &str,
    before: Option<Version>,
    count: u32,
) -> Result<SnapshotPage, Error> {
    check_stream_id("stream-id", stream_id)?;
    check_count("count", count)?;
    let page = last_first(store, INFOS, stream_id, before, count, INFOS_BYTES_MAX)?;
    let snapshots = page
        .entries
        .iter()
        .map(|entry| {
            let version = version_in(INFOS, &entry.key, stream_id)?;
            decode_info(version, &entry.value).map_err(|reason| damaged(INFOS, &entry.key, reason))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(SnapshotPage { snapshots, more: page.more })
}

/// Deletes the snapshot at exactly this version.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], and those of the storage.
pub fn delete(store: &impl Keyspaces, stream_id: &str, version: Version) -> Result<(), Error> {
    check_stream_id("stream-id", stream_id)?;
    let key = stream_keys::versioned(stream_id, version);
    for _ in 0..DELETE_ROUNDS_MAX {
        let info = store.get(INFOS, &key)?.ok_or(Error::NotFound)?;
        let mut batch = BatchBuilder::new();
        // Of two who delete it at the same time, one is told that it is not there.
        batch.require(INFOS, &key, Some(&info));
        batch.delete(SNAPSHOTS, &key);
        batch.delete(INFOS, &key);
        match commit(store, batch.build())? {
            Committed::Yes => return Ok(()),
            Committed::Overtaken => {}
        }
    }
    Err(Error::Other(format!(
        "other writers changed the snapshot {DELETE_ROUNDS_MAX} times while it was to be deleted; it was not deleted; \
         try again"
    )))
}

fn last_first(
    store: &impl Keyspaces,
    keyspace: &str,
    stream_id: &str,
    before: Option<Version>,
    count: u32,
    max_bytes: u32,
) -> Result<Page, Error> {
    let end = match before {
        None => stream_keys::end(stream_id),
        Some(version) => stream_keys::versioned(stream_id, version),
    };
    let start = stream_keys::versioned(stream_id, 0);
    if start >= end {
        return Ok(Page { entries: Vec::new(), more: false });
    }
    let range = Range { keyspace: keyspace.to_owned(), start, end: Some(end) };
    Ok(store.scan(&range, Direction::Backward, count, max_bytes)?)
}

fn version_in(keyspace: &str, key: &[u8], stream_id: &str) -> Result<Version, Error> {
    stream_keys::version_in(key, stream_id)
        .ok_or_else(|| damaged(keyspace, key, "the key does not end with a version of 8 bytes"))
}

/// What became of a batch that is well-formed and in its limits.
enum Committed {
    Yes,
    /// Its guard did not hold any more.
    Overtaken,
}

fn commit(store: &impl Keyspaces, batch: Batch) -> Result<Committed, Error> {
    let mut outcome = store.commit(&[batch])?;
    match (outcome.pop(), outcome.is_empty()) {
        (Some(Ok(_)), true) => Ok(Committed::Yes),
        (Some(Err(BatchError::GuardFailed(_))), true) => Ok(Committed::Overtaken),
        (Some(Err(BatchError::TooLarge(reason))), true) => Err(Error::TooLarge(reason)),
        (Some(Err(BatchError::Invalid(reason))), true) => {
            Err(Error::Other(format!("the storage refused the component's batch: {reason}")))
        }
        (Some(Err(BatchError::Other(reason))), true) => Err(Error::Other(reason)),
        (None, _) | (_, false) => Err(Error::Other(
            "the storage did not give one result for one batch; the outcome is unknown".into(),
        )),
    }
}
