//! Records, reads, lists and deletes snapshots.

use exesdb_sdk::arguments::{check_content_type, check_count, check_part, check_stream_id, invalid};
use exesdb_sdk::keyspaces::{
    Batch, BatchBuilder, BatchError, Direction, Entry, Keyspaces, Page, Range, damaged, prefix_end,
    prefix_range,
};
use exesdb_sdk::snapshots::{RecordedSnapshot, SnapshotData, SnapshotId, SnapshotPage, SnapshotScope};
use exesdb_sdk::types::{Error, Version};

use crate::layout::{
    INFOS, SNAPSHOTS, SOURCES, decode_info, decode_snapshot, encode_info, encode_snapshot, id_by_source,
    id_by_stream, key_by_source, key_by_stream, prefix_of_one, prefix_of_two,
};

/// Maximum bytes of a snapshot's data and metadata together. Each snapshot is held in memory several times.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 20;

/// Maximum bytes of a source id, which is part of every key.
pub const SOURCE_ID_BYTES_MAX: usize = 256;

/// Maximum bytes of a page of infos: 1,000 of the longest.
const INFOS_BYTES_MAX: u32 = 1 << 20;

/// Maximum bytes of a read of one snapshot.
const SNAPSHOT_PAGE_BYTES_MAX: u32 = 2 << 20;

/// How often a deletion is retried if another writer records or deletes the same snapshot meanwhile.
pub const DELETE_ROUNDS_MAX: u32 = 8;

/// Maximum number of snapshots that one batch of [`keep_newest`] deletes. It bounds the batch, and the work that is lost if
/// another writer overtakes it.
pub const KEEP_BATCH_SNAPSHOTS: u32 = 500;

/// Records a snapshot, replacing an existing one. `now` is the time of day in microseconds.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::TooLarge`] name the argument; those of the storage.
pub fn record(
    store: &impl Keyspaces,
    now: u64,
    id: &SnapshotId,
    snapshot: &SnapshotData,
) -> Result<(), Error> {
    check_id("id", id)?;
    check_content_type("snapshot.content-type", &snapshot.content_type)?;
    let bytes = snapshot.data.len().saturating_add(snapshot.metadata.len());
    if bytes > SNAPSHOT_BYTES_MAX {
        return Err(Error::TooLarge(format!(
            "snapshot: data and metadata have {bytes} bytes, over the limit of {SNAPSHOT_BYTES_MAX} bytes"
        )));
    }
    let info = encode_info(now, &snapshot.content_type, snapshot.data.len());
    let mut batch = BatchBuilder::new();
    batch.put(SNAPSHOTS, key_by_stream(id), encode_snapshot(now, snapshot));
    batch.put(INFOS, key_by_stream(id), info.clone());
    batch.put(SOURCES, key_by_source(id), info);
    match commit(store, batch.build())? {
        Committed::Yes => Ok(()),
        Committed::Overtaken => {
            Err(Error::Other("the storage failed a guard of a batch that has none".into()))
        }
    }
}

/// Records a snapshot from another store, with the time that it has there.
///
/// # Errors
///
/// As [`record`].
pub fn import(
    store: &impl Keyspaces,
    id: &SnapshotId,
    snapshot: &SnapshotData,
    created: u64,
) -> Result<(), Error> {
    record(store, created, id, snapshot)
}

/// The snapshot at exactly this version.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and [`Error::Damaged`] for damaged data.
pub fn read(store: &impl Keyspaces, id: &SnapshotId) -> Result<RecordedSnapshot, Error> {
    check_id("id", id)?;
    let key = key_by_stream(id);
    let value = store.get(SNAPSHOTS, &key)?.ok_or(Error::NotFound)?;
    decode_snapshot(id.clone(), &value).map_err(|reason| damaged(SNAPSHOTS, &key, reason))
}

/// The snapshot with the highest version, or with the highest that is at most `at_most`.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and [`Error::Damaged`] for damaged data.
pub fn read_latest(
    store: &impl Keyspaces,
    stream_id: &str,
    source_id: &str,
    at_most: Option<Version>,
) -> Result<RecordedSnapshot, Error> {
    check_stream_id("stream-id", stream_id)?;
    check_source_id("source-id", source_id)?;
    let mut range = prefix_range(SNAPSHOTS, &prefix_of_two(stream_id, source_id));
    if let Some(version) = at_most {
        let id = SnapshotId { stream_id: stream_id.to_owned(), source_id: source_id.to_owned(), version };
        range.start = key_by_stream(&id);
    }
    let page = store.scan(&range, Direction::Forward, 1, SNAPSHOT_PAGE_BYTES_MAX)?;
    let Entry { key, value } = page.entries.first().ok_or(Error::NotFound)?;
    let id = id_by_stream(key).ok_or_else(|| malformed_key(SNAPSHOTS, key))?;
    decode_snapshot(id, value).map_err(|reason| damaged(SNAPSHOTS, key, reason))
}

/// The snapshots of a scope after `after`, or all. `after` must be in the scope, but need not exist.
///
/// # Errors
///
/// [`Error::Invalid`], those of the storage, and [`Error::Damaged`] for damaged data.
pub fn list(
    store: &impl Keyspaces,
    scope: &SnapshotScope,
    after: Option<&SnapshotId>,
    count: u32,
) -> Result<SnapshotPage, Error> {
    check_scope(scope)?;
    if let Some(after) = after {
        check_id("after", after)?;
        check_after(scope, after)?;
    }
    check_count("count", count)?;
    let by_source = scope.stream_id.is_none() && scope.source_id.is_some();
    let prefix = match (&scope.stream_id, &scope.source_id) {
        (None, None) => Vec::new(),
        (Some(one), None) | (None, Some(one)) => prefix_of_one(one),
        (Some(stream_id), Some(source_id)) => prefix_of_two(stream_id, source_id),
    };
    let keyspace = if by_source { SOURCES } else { INFOS };
    let mut range = prefix_range(keyspace, &prefix);
    if let Some(after) = after {
        let key = if by_source { key_by_source(after) } else { key_by_stream(after) };
        range.start = key_after(&key);
    }
    let page = store.scan(&range, Direction::Forward, count, INFOS_BYTES_MAX)?;
    let snapshots = page
        .entries
        .iter()
        .map(|Entry { key, value }| {
            let id = if by_source { id_by_source(key) } else { id_by_stream(key) };
            let id = id.ok_or_else(|| malformed_key(keyspace, key))?;
            decode_info(id, value).map_err(|reason| damaged(keyspace, key, reason))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(SnapshotPage { snapshots, more: page.more })
}

/// Deletes the snapshot at exactly this version.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], and those of the storage.
pub fn delete(store: &impl Keyspaces, id: &SnapshotId) -> Result<(), Error> {
    check_id("id", id)?;
    let key = key_by_stream(id);
    for _ in 0..DELETE_ROUNDS_MAX {
        let info = store.get(INFOS, &key)?.ok_or(Error::NotFound)?;
        let mut batch = BatchBuilder::new();
        // If two clients delete it at the same time, one gets `not-found`.
        batch.require(INFOS, &key, Some(&info));
        delete_entries(&mut batch, id);
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

/// Deletes all but the newest `keep` snapshots that a source has of a stream, and returns how many. The newest ones are
/// determined once; snapshots that are recorded meanwhile stay.
///
/// # Errors
///
/// [`Error::Invalid`], those of the storage, [`Error::Damaged`] for damaged data, and [`Error::Other`] if other writers
/// keep changing the same snapshots. Snapshots that were deleted before an error stay deleted; a retry deletes the rest.
pub fn keep_newest(
    store: &impl Keyspaces,
    stream_id: &str,
    source_id: &str,
    keep: u32,
) -> Result<u64, Error> {
    check_stream_id("stream-id", stream_id)?;
    check_source_id("source-id", source_id)?;
    if keep == 0 {
        return Err(invalid("keep", "is 0; it must be at least 1: delete the last snapshot by its version"));
    }
    let prefix = prefix_of_two(stream_id, source_id);
    let Some(mut start) = after_first(store, &prefix, keep)? else {
        return Ok(0);
    };
    let mut deleted = 0_u64;
    let mut overtaken = 0;
    loop {
        let page = infos_from(store, &prefix, start.clone(), KEEP_BATCH_SNAPSHOTS)?;
        let Some(last) = page.entries.last() else {
            return Ok(deleted);
        };
        let mut batch = BatchBuilder::new();
        for Entry { key, value } in &page.entries {
            let id = id_by_stream(key).ok_or_else(|| malformed_key(INFOS, key))?;
            // If several clients delete a snapshot, only one counts it.
            batch.require(INFOS, key, Some(value));
            delete_entries(&mut batch, &id);
        }
        match commit(store, batch.build())? {
            Committed::Yes => {
                deleted = deleted.saturating_add(page.entries.len() as u64);
                overtaken = 0;
                if !page.more {
                    return Ok(deleted);
                }
                start = key_after(&last.key);
            }
            Committed::Overtaken if overtaken < DELETE_ROUNDS_MAX => overtaken += 1,
            Committed::Overtaken => {
                return Err(Error::Other(format!(
                    "other writers changed the same snapshots {DELETE_ROUNDS_MAX} times in a row; {deleted} were \
                     deleted; try again for the rest"
                )));
            }
        }
    }
}

/// The first key after the first `skipped` infos with this prefix; none if there are no more of them.
fn after_first(store: &impl Keyspaces, prefix: &[u8], skipped: u32) -> Result<Option<Vec<u8>>, Error> {
    let mut start = prefix.to_owned();
    let mut left = skipped;
    loop {
        let page = infos_from(store, prefix, start, left.min(KEEP_BATCH_SNAPSHOTS))?;
        let (Some(last), true) = (page.entries.last(), page.more) else {
            return Ok(None);
        };
        start = key_after(&last.key);
        left = left.saturating_sub(u32::try_from(page.entries.len()).unwrap_or(u32::MAX));
        if left == 0 {
            return Ok(Some(start));
        }
    }
}

fn infos_from(store: &impl Keyspaces, prefix: &[u8], start: Vec<u8>, count: u32) -> Result<Page, Error> {
    let range = Range { keyspace: INFOS.to_owned(), start, end: prefix_end(prefix) };
    Ok(store.scan(&range, Direction::Forward, count, INFOS_BYTES_MAX)?)
}

fn delete_entries(batch: &mut BatchBuilder, id: &SnapshotId) {
    batch.delete(SNAPSHOTS, &key_by_stream(id));
    batch.delete(INFOS, &key_by_stream(id));
    batch.delete(SOURCES, &key_by_source(id));
}

fn check_id(argument: &str, id: &SnapshotId) -> Result<(), Error> {
    check_stream_id(&format!("{argument}.stream-id"), &id.stream_id)?;
    check_source_id(&format!("{argument}.source-id"), &id.source_id)
}

fn check_source_id(argument: &str, source_id: &str) -> Result<(), Error> {
    check_part(argument, source_id, SOURCE_ID_BYTES_MAX)
}

fn check_scope(scope: &SnapshotScope) -> Result<(), Error> {
    if let Some(stream_id) = &scope.stream_id {
        check_stream_id("scope.stream-id", stream_id)?;
    }
    if let Some(source_id) = &scope.source_id {
        check_source_id("scope.source-id", source_id)?;
    }
    Ok(())
}

/// Checks that `after` is in the scope: a list cannot continue from elsewhere.
fn check_after(scope: &SnapshotScope, after: &SnapshotId) -> Result<(), Error> {
    let is_other =
        |wanted: &Option<String>, given: &str| wanted.as_ref().is_some_and(|wanted| wanted != given);
    if is_other(&scope.stream_id, &after.stream_id) {
        return Err(invalid(
            "after.stream-id",
            "is not the scope's; give the last snapshot of the page before",
        ));
    }
    if is_other(&scope.source_id, &after.source_id) {
        return Err(invalid(
            "after.source-id",
            "is not the scope's; give the last snapshot of the page before",
        ));
    }
    Ok(())
}

/// The first key after this one.
pub(crate) fn key_after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn malformed_key(keyspace: &str, key: &[u8]) -> Error {
    damaged(keyspace, key, "the key is not two ids and a version of 8 bytes")
}

/// The outcome of a well-formed batch.
enum Committed {
    Yes,
    /// Its guard no longer held.
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
