//! Faults that are put in on purpose, so that the tests can be seen to find them.
//!
//! **Only for tests.** Each breaks a promise of this crate. They exist only with the feature `faults`, which nothing that
//! is released turns on.

use std::sync::Arc;

use crate::batch::{BatchError, Guard};
use crate::commit::writer::Request;
use crate::engine_failure::EngineFailure;
use crate::read::snapshot::{Direction, Published, ReadError, Reader, Scan, Snapshot};

/// A promise to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A group is acknowledged when it is written; it is synced behind the replies.
    AcknowledgeBeforeSync,
    /// A group is readable when it is written; it is synced behind that.
    PublishBeforeDurable,
    /// Guards are checked on the caller's thread when a commit is queued, against what is readable then, and not again.
    CheckBeforeQueue,
    /// After the replay at open, the last key of the keyspace `events` of owner `streams` is removed.
    DropOneOnReplay,
}

/// Checks the guards of a request against what is readable now, and takes them off: nobody checks them again.
pub(crate) fn check_early(published: &Arc<Published>, request: &mut Request) {
    let snapshot = Reader::new(Arc::clone(published)).snapshot();
    for batch in &mut request.batches {
        let Ok(checked) = batch else { continue };
        let guards = std::mem::take(&mut checked.guards);
        let failed =
            (0u32..).zip(&guards).find_map(|(index, guard)| match holds(&snapshot, &request.owner, guard) {
                Ok(true) => None,
                Ok(false) => Some(BatchError::GuardFailed { index }),
                Err(error) => {
                    let reason = error.to_string();
                    let failure = EngineFailure { said: reason.clone(), reason, is_damage: false };
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
    }
}
