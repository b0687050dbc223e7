//! Checking the guards of a batch against the newest state, unsynced batches of the same group included. Only the
//! committer may read that state: nothing can come between its check and its write.

use super::keyspaces::KeyspaceHandles;
use crate::batch::{BatchError, Guard};
use crate::engine_failure::EngineFailure;
use crate::read::key_range;

/// Checks the guards in order; the error names the first that does not hold.
pub(super) fn check(keyspaces: &KeyspaceHandles, owner: &str, guards: &[Guard]) -> Result<(), BatchError> {
    for (index, guard) in (0u32..).zip(guards) {
        match holds(keyspaces, owner, guard) {
            Ok(true) => {}
            Ok(false) => return Err(BatchError::GuardFailed { index }),
            Err(failure) => return Err(BatchError::GuardUnreadable { index, failure }),
        }
    }
    Ok(())
}

fn holds(keyspaces: &KeyspaceHandles, owner: &str, guard: &Guard) -> Result<bool, EngineFailure> {
    let Some(handle) = keyspaces.get(owner, guard.keyspace()) else {
        return Ok(!matches!(guard, Guard::Equals { .. }));
    };
    EngineFailure::catch(|| match guard {
        Guard::Absent { key, .. } => Ok(!handle.contains_key(key)?),
        Guard::Equals { key, value, .. } => Ok(handle.get(key)?.is_some_and(|found| *found == **value)),
        Guard::RangeEmpty { start, end, .. } => {
            let Some(range) = key_range(start, end.as_deref()) else { return Ok(true) };
            match handle.range::<&[u8], _>(range).next() {
                None => Ok(true),
                Some(entry) => entry.key().map(|_| false),
            }
        }
    })
}
