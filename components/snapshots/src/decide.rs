//! Decides about changes of snapshots.
//!
//! A snapshot is put without guards, so one list may put any number. What is deleted is guarded, so it waits for earlier
//! changes of its stream and source in the list, and later changes wait for it.

use std::collections::HashMap;

use exesdb_sdk::arguments::{check_content_type, check_stream_id};
use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::snapshots::{NewSnapshot, Newest, SnapshotId, SnapshotRequest};
use exesdb_sdk::types::{
    Batch, ChangeResult, Decision, Direction, Error, Planned, Range, invalid, too_large,
};
use exesdb_sdk::view::{Entry, Page, View, prefix_end};

use crate::check::{check_id, check_source_id};
use crate::layout::{
    INFOS, SNAPSHOTS, SOURCES, encode_info, encode_snapshot, id_by_stream, key_after, key_by_source,
    key_by_stream, malformed_key, prefix_of_two,
};

/// Maximum bytes of a snapshot's data and metadata together. Each snapshot is held in memory several times.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 20;

/// Maximum number of snapshots that one request for the newest deletes: as many of the longest ids as a batch can hold. Asked
/// again, it deletes the rest.
pub const SURPLUS_MAX: u32 = 2_000;

/// Maximum bytes of a page of infos: [`SURPLUS_MAX`] of the longest.
const INFOS_BYTES_MAX: u32 = 2 << 20;

/// What a list has changed of a stream's snapshots of one source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    /// Snapshots were put.
    Put,
    /// Snapshots were deleted, or a request waits.
    Other,
}

/// Decides about requests. Returns one decision for each, in their order.
pub fn decide(view: &impl View, requests: &[SnapshotRequest]) -> Vec<Decision> {
    let mut changed: HashMap<(&str, &str), Changed> = HashMap::new();
    let decisions = requests.iter().map(|request| {
        let (place, change) = match request {
            SnapshotRequest::Put(NewSnapshot { id, .. }) => {
                ((id.stream_id.as_str(), id.source_id.as_str()), Changed::Put)
            }
            SnapshotRequest::Remove(id) => ((id.stream_id.as_str(), id.source_id.as_str()), Changed::Other),
            SnapshotRequest::KeepNewest(Newest { stream_id, source_id, .. }) => {
                ((stream_id.as_str(), source_id.as_str()), Changed::Other)
            }
        };
        let before = changed.get(&place).copied();
        let must_wait = before.is_some_and(|before| before == Changed::Other || change == Changed::Other);
        let planned = if must_wait { None } else { Some(plan(view, request)) };
        match planned {
            None => {
                changed.insert(place, Changed::Other);
                Decision::Later
            }
            Some(Ok(Some((batch, count)))) => {
                changed.insert(place, change);
                Decision::Commit(Planned { batch, placed: Vec::new(), count })
            }
            Some(Ok(None)) => Decision::Done(Ok(ChangeResult { placed: Vec::new(), count: 0 })),
            Some(Err(error)) => Decision::Done(Err(error)),
        }
    });
    decisions.collect()
}

/// The batch of a request with its count; none if there is nothing to change.
fn plan(view: &impl View, request: &SnapshotRequest) -> Result<Option<(Batch, u64)>, Error> {
    match request {
        SnapshotRequest::Put(new) => put(new, view.now()).map(|batch| Some((batch, 0))),
        SnapshotRequest::Remove(id) => remove(view, id).map(|batch| Some((batch, 0))),
        SnapshotRequest::KeepNewest(newest) => keep_newest(view, newest),
    }
}

fn put(NewSnapshot { id, snapshot, created }: &NewSnapshot, now: u64) -> Result<Batch, Error> {
    check_id("id", id)?;
    check_content_type("snapshot.content-type", &snapshot.content_type)?;
    let bytes = snapshot.data.len().saturating_add(snapshot.metadata.len());
    if bytes > SNAPSHOT_BYTES_MAX {
        return Err(too_large(format!(
            "snapshot: data and metadata have {bytes} bytes, over the limit of {SNAPSHOT_BYTES_MAX} bytes"
        )));
    }
    let created = created.unwrap_or(now);
    let info = encode_info(created, &snapshot.content_type, snapshot.data.len());
    let mut batch = BatchBuilder::new();
    batch.put(SNAPSHOTS, &key_by_stream(id), &encode_snapshot(created, snapshot));
    batch.put(INFOS, &key_by_stream(id), &info);
    batch.put(SOURCES, &key_by_source(id), &info);
    Ok(batch.build())
}

fn remove(view: &impl View, id: &SnapshotId) -> Result<Batch, Error> {
    check_id("id", id)?;
    let key = key_by_stream(id);
    let info = view.get(INFOS, &key)?.ok_or(Error::NotFound)?;
    let mut batch = BatchBuilder::new();
    // If two clients delete it at the same time, one gets `not-found`.
    batch.require(INFOS, &key, Some(&info));
    delete_entries(&mut batch, id);
    Ok(batch.build())
}

/// Deletes all but the newest snapshots that a source has of a stream, at most [`SURPLUS_MAX`].
fn keep_newest(
    view: &impl View,
    Newest { stream_id, source_id, keep }: &Newest,
) -> Result<Option<(Batch, u64)>, Error> {
    check_stream_id("stream-id", stream_id)?;
    check_source_id("source-id", source_id)?;
    if *keep == 0 {
        return Err(invalid("keep", "is 0; it must be at least 1: delete the last snapshot by its version"));
    }
    let prefix = prefix_of_two(stream_id, source_id);
    let Some(start) = after_first(view, &prefix, *keep)? else { return Ok(None) };
    let surplus = infos_from(view, &prefix, start, SURPLUS_MAX)?;
    if surplus.is_empty() {
        return Ok(None);
    }
    let mut batch = BatchBuilder::new();
    for Entry { key, value } in surplus.entries() {
        let id = id_by_stream(key).ok_or_else(|| malformed_key(INFOS, key))?;
        // If several clients delete a snapshot, only one counts it.
        batch.require(INFOS, key, Some(value));
        delete_entries(&mut batch, &id);
    }
    Ok(Some((batch.build(), surplus.len() as u64)))
}

/// The first key after the first `skipped` infos with this prefix; none if there are no more of them.
fn after_first(view: &impl View, prefix: &[u8], skipped: u32) -> Result<Option<Vec<u8>>, Error> {
    let mut start = prefix.to_owned();
    let mut left = skipped;
    loop {
        let page = infos_from(view, prefix, start, left.min(SURPLUS_MAX))?;
        let (Some(last), true) = (page.last(), page.more) else {
            return Ok(None);
        };
        start = key_after(last.key);
        left = left.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
        if left == 0 {
            return Ok(Some(start));
        }
    }
}

fn infos_from(view: &impl View, prefix: &[u8], start: Vec<u8>, count: u32) -> Result<Page, Error> {
    let range = Range { keyspace: INFOS.to_owned(), start, end: prefix_end(prefix) };
    Ok(view.scan(&range, Direction::Forward, count, INFOS_BYTES_MAX)?)
}

fn delete_entries(batch: &mut BatchBuilder, id: &SnapshotId) {
    batch.delete(SNAPSHOTS, &key_by_stream(id));
    batch.delete(INFOS, &key_by_stream(id));
    batch.delete(SOURCES, &key_by_source(id));
}
