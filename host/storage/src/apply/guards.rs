//! Checking the guards of a batch against the newest state, batches that are not durable yet included. Only the thread
//! that writes may read that state: nothing can come between its check and its write.

use super::keyspaces::KeyspaceHandles;
use crate::batch::{BatchError, Guard};
use crate::engine::Engine;
use crate::engine_failure::EngineFailure;
use crate::read::key_range;

/// Checks the guards in order, in a store whose next position is `end`; the error names the first that does not hold.
pub(super) fn check<E: Engine>(
    engine: &E,
    keyspaces: &KeyspaceHandles<E>,
    owner: &str,
    guards: &[Guard],
    end: u64,
) -> Result<(), BatchError> {
    for (index, guard) in (0u32..).zip(guards) {
        match holds(engine, keyspaces, owner, guard, end) {
            Ok(true) => {}
            Ok(false) => return Err(BatchError::GuardFailed { index }),
            Err(failure) => return Err(BatchError::GuardUnreadable { index, failure }),
        }
    }
    Ok(())
}

fn holds<E: Engine>(
    engine: &E,
    keyspaces: &KeyspaceHandles<E>,
    owner: &str,
    guard: &Guard,
    end: u64,
) -> Result<bool, EngineFailure> {
    // A keyspace that does not exist is empty.
    let keyspace = |name: &str| -> Option<E::Keyspace> { keyspaces.get(owner, name) };
    EngineFailure::catch::<_, E::Error>(|| match guard {
        Guard::Absent { keyspace: name, key } => match keyspace(name) {
            Some(handle) => Ok(!engine.contains(&handle, key)?),
            None => Ok(true),
        },
        Guard::Equals { keyspace: name, key, value } => match keyspace(name) {
            Some(handle) => Ok(engine.get(&handle, key)?.is_some_and(|found| *found == **value)),
            None => Ok(false),
        },
        Guard::RangeEmpty { keyspace: name, start, end } => {
            match keyspace(name).zip(key_range(start, end.as_deref())) {
                Some((handle, range)) => engine.is_empty(&handle, range),
                None => Ok(true),
            }
        }
        Guard::LogEndsAt { position } => Ok(*position == end),
    })
}
