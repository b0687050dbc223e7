//! Checking the guards of a batch against the newest state, unsynced batches of the same group included. Only the
//! committer may read that state: nothing can come between its check and its write.

use fjall::Keyspace;

use super::keyspaces::KeyspaceHandles;
use crate::batch::{BatchError, Guard};
use crate::engine_failure::EngineFailure;
use crate::read::key_range;

/// Checks the guards in order, in a store whose next position is `end`; the error names the first that does not hold.
pub(super) fn check(
    keyspaces: &KeyspaceHandles,
    owner: &str,
    guards: &[Guard],
    end: u64,
) -> Result<(), BatchError> {
    for (index, guard) in (0u32..).zip(guards) {
        match holds(keyspaces, owner, guard, end) {
            Ok(true) => {}
            Ok(false) => return Err(BatchError::GuardFailed { index }),
            Err(failure) => return Err(BatchError::GuardUnreadable { index, failure }),
        }
    }
    Ok(())
}

fn holds(keyspaces: &KeyspaceHandles, owner: &str, guard: &Guard, end: u64) -> Result<bool, EngineFailure> {
    // A keyspace that does not exist is empty.
    let keyspace = |name: &str| -> Option<Keyspace> { keyspaces.get(owner, name) };
    EngineFailure::catch(|| match guard {
        Guard::Absent { keyspace: name, key } => match keyspace(name) {
            Some(handle) => Ok(!handle.contains_key(key)?),
            None => Ok(true),
        },
        Guard::Equals { keyspace: name, key, value } => match keyspace(name) {
            Some(handle) => Ok(handle.get(key)?.is_some_and(|found| *found == **value)),
            None => Ok(false),
        },
        Guard::RangeEmpty { keyspace: name, start, end } => {
            let Some((handle, range)) = keyspace(name).zip(key_range(start, end.as_deref())) else {
                return Ok(true);
            };
            match handle.range::<&[u8], _>(range).next() {
                None => Ok(true),
                Some(entry) => entry.key().map(|_| false),
            }
        }
        Guard::LogEndsAt { position } => Ok(*position == end),
    })
}
