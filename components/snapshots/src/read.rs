//! Reads and lists snapshots.

use exesdb_sdk::arguments::{check_count, check_stream_id};
use exesdb_sdk::snapshots::{RecordedSnapshot, SnapshotId, SnapshotPage, SnapshotScope};
use exesdb_sdk::types::{Direction, Error, Version, damaged};
use exesdb_sdk::view::{Entry, View, prefix_range};

use crate::check::{check_after, check_id, check_scope, check_source_id};
use crate::layout::{
    INFOS, SNAPSHOTS, SOURCES, decode_info, decode_snapshot, id_by_source, id_by_stream, key_after,
    key_by_source, key_by_stream, malformed_key, prefix_of_one, prefix_of_two,
};

/// Maximum bytes of a page of infos: 1,000 of the longest.
const INFOS_BYTES_MAX: u32 = 1 << 20;

/// Maximum bytes of a read of one snapshot.
const SNAPSHOT_PAGE_BYTES_MAX: u32 = 2 << 20;

/// The snapshot at exactly this version.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and the problem `damaged` for damaged data.
pub fn read(view: &impl View, id: &SnapshotId) -> Result<RecordedSnapshot, Error> {
    check_id("id", id)?;
    let key = key_by_stream(id);
    let value = view.get(SNAPSHOTS, &key)?.ok_or(Error::NotFound)?;
    decode_snapshot(id.clone(), &value).map_err(|reason| damaged(SNAPSHOTS, &key, reason))
}

/// The snapshot with the highest version, or with the highest that is at most `at_most`.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and the problem `damaged` for damaged data.
pub fn read_latest(
    view: &impl View,
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
    let page = view.scan(&range, Direction::Forward, 1, SNAPSHOT_PAGE_BYTES_MAX)?;
    let Entry { key, value } = page.first().ok_or(Error::NotFound)?;
    let id = id_by_stream(key).ok_or_else(|| malformed_key(SNAPSHOTS, key))?;
    decode_snapshot(id, value).map_err(|reason| damaged(SNAPSHOTS, key, reason))
}

/// The snapshots of a scope after `after`, or all. `after` must be in the scope, but need not exist.
///
/// # Errors
///
/// [`Error::Invalid`], those of the storage, and the problem `damaged` for damaged data.
pub fn list(
    view: &impl View,
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
    let page = view.scan(&range, Direction::Forward, count, INFOS_BYTES_MAX)?;
    let snapshots = page
        .entries()
        .map(|Entry { key, value }| {
            let id = if by_source { id_by_source(key) } else { id_by_stream(key) };
            let id = id.ok_or_else(|| malformed_key(keyspace, key))?;
            decode_info(id, value).map_err(|reason| damaged(keyspace, key, reason))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(SnapshotPage { snapshots, more: page.more })
}
