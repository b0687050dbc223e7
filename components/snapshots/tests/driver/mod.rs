//! Does with the component what the host does: it decides a request, applies its batch, and asks again if that is overtaken.

#![allow(dead_code, reason = "each test uses a part of it")]

use exesdb_sdk::maintenance::{Cursor, VerifyStep};
use exesdb_sdk::memory::{ApplyError, MemoryStore};
use exesdb_sdk::snapshots::{
    NewSnapshot, Newest, RecordedSnapshot, SnapshotData, SnapshotId, SnapshotPage, SnapshotRequest,
    SnapshotScope,
};
use exesdb_sdk::types::{Decision, Error, Version};
use exesdb_snapshots::{decide, maintenance, read as reads};

/// Decides one request until it has a result, which is its count. Before each batch is applied, `foreign` may write.
pub(crate) fn settle_beside(
    store: &MemoryStore,
    request: &SnapshotRequest,
    mut foreign: impl FnMut(&MemoryStore),
) -> Result<u64, Error> {
    loop {
        let decision = decide::decide(&store.view(), std::slice::from_ref(request)).remove(0);
        foreign(store);
        match decision {
            Decision::Done(result) => return result.map(|result| result.count),
            Decision::Later => panic!("the first of a list is never later"),
            Decision::Commit(planned) => match store.apply(&planned.batch) {
                Ok(_) => return Ok(planned.count),
                Err(ApplyError::GuardFailed(_)) => {}
                Err(error) => panic!("{error}"),
            },
        }
    }
}

fn settle(store: &MemoryStore, request: &SnapshotRequest) -> Result<u64, Error> {
    settle_beside(store, request, |_| ())
}

pub(crate) fn put_request(id: &SnapshotId, snapshot: &SnapshotData, created: Option<u64>) -> SnapshotRequest {
    SnapshotRequest::Put(NewSnapshot { id: id.clone(), snapshot: snapshot.clone(), created })
}

pub(crate) fn newest_request(stream_id: &str, source_id: &str, keep: u32) -> SnapshotRequest {
    SnapshotRequest::KeepNewest(Newest { stream_id: stream_id.into(), source_id: source_id.into(), keep })
}

pub(crate) fn record(
    store: &MemoryStore,
    now: u64,
    id: &SnapshotId,
    snapshot: &SnapshotData,
) -> Result<(), Error> {
    store.set_now(now);
    settle(store, &put_request(id, snapshot, None)).map(|_| ())
}

pub(crate) fn import(
    store: &MemoryStore,
    id: &SnapshotId,
    snapshot: &SnapshotData,
    created: u64,
) -> Result<(), Error> {
    settle(store, &put_request(id, snapshot, Some(created))).map(|_| ())
}

pub(crate) fn delete(store: &MemoryStore, id: &SnapshotId) -> Result<(), Error> {
    settle(store, &SnapshotRequest::Remove(id.clone())).map(|_| ())
}

pub(crate) fn keep_newest(
    store: &MemoryStore,
    stream_id: &str,
    source_id: &str,
    keep: u32,
) -> Result<u64, Error> {
    settle(store, &newest_request(stream_id, source_id, keep))
}

pub(crate) fn read(store: &MemoryStore, id: &SnapshotId) -> Result<RecordedSnapshot, Error> {
    reads::read(&store.view(), id)
}

pub(crate) fn read_latest(
    store: &MemoryStore,
    stream_id: &str,
    source_id: &str,
    at_most: Option<Version>,
) -> Result<RecordedSnapshot, Error> {
    reads::read_latest(&store.view(), stream_id, source_id, at_most)
}

pub(crate) fn list(
    store: &MemoryStore,
    scope: &SnapshotScope,
    after: Option<&SnapshotId>,
    count: u32,
) -> Result<SnapshotPage, Error> {
    reads::list(&store.view(), scope, after, count)
}

/// Runs one step of verification, and applies its repairs.
pub(crate) fn verify(store: &MemoryStore, from: Option<&Cursor>, repair: bool) -> Result<VerifyStep, Error> {
    let mut step = maintenance::verify(&store.view(), from, repair)?;
    assert!(repair || step.batches.is_empty(), "nothing is repaired without being asked for");
    for batch in step.batches.drain(..) {
        store.apply(&batch).expect("nobody else writes");
    }
    Ok(step)
}
