//! The fault [`CheckBeforeQueue`](crate::fault::Fault::CheckBeforeQueue): guards are checked when a commit is queued and
//! not when it is applied.

use super::request::CommitRequest;
use crate::batch::{BatchError, Guard};
use crate::engine_failure::EngineFailure;
use crate::read::{Direction, ReadError, Scan, Snapshot};

/// Checks the guards of a request against a snapshot, and takes them off the request.
pub(super) fn check(snapshot: &Snapshot, request: &mut CommitRequest) {
    for batch in &mut request.batches {
        let Ok(checked) = batch else { continue };
        let guards = std::mem::take(&mut checked.guards);
        let failed =
            (0u32..).zip(&guards).find_map(|(index, guard)| match holds(snapshot, &request.owner, guard) {
                Ok(true) => None,
                Ok(false) => Some(BatchError::GuardFailed { index }),
                Err(error) => {
                    let reason = error.to_string();
                    let failure =
                        EngineFailure { said: reason.clone(), reason, advice: "", is_damage: false };
                    Some(BatchError::GuardUnreadable { index, failure })
                }
            });
        if let Some(error) = failed {
            *batch = Err(error);
        }
    }
}

fn holds(snapshot: &Snapshot, owner: &str, guard: &Guard) -> Result<bool, ReadError> {
    match guard {
        Guard::Absent { keyspace, key } => Ok(snapshot.get(owner, keyspace, key)?.is_none()),
        Guard::Equals { keyspace, key, value } => {
            Ok(snapshot.get(owner, keyspace, key)?.is_some_and(|found| *found == **value))
        }
        Guard::RangeEmpty { keyspace, start, end } => {
            let scan = Scan {
                keyspace: keyspace.clone(),
                start: start.clone(),
                end: end.clone(),
                direction: Direction::Forward,
                limit: 1,
                max_bytes: 1,
            };
            Ok(snapshot.scan(owner, &scan)?.entries.is_empty())
        }
        Guard::LogEndsAt { position } => Ok(snapshot.next_position() == *position),
    }
}
