//! Faults that are injected to show that the tests find them.
//!
//! **Only for tests.** Each breaks a promise of this crate. They exist only with the feature `faults`, which no release
//! turns on.

use exesdb_storage::{Batch, Engine, EntryCommit, Guard, ReadError, Scan, Snapshot};

/// A promise to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Guards that hold when a commit is proposed are not checked when it is applied.
    GuardsByLeader,
    /// What is in the log counts as committed when a replica starts.
    ApplyUncommitted,
    /// A leader that starts again goes on leading its term.
    LeaderGoesOn,
    /// A linearizable read asks no leader.
    ReadWithoutIndex,
    /// A leader answers for a read without asking a majority whether it still leads.
    ReadWithoutMajority,
    /// What was applied counts as durable, and the log is purged of it.
    PurgeBeforePersist,
    /// Fences are not proposed.
    FencesIgnored,
    /// Each replica takes the time of an entry from its own clock.
    OwnClock,
    /// A proposal that became an entry is answered as one that did not when its outcome is not known.
    UnknownAsRefused,
}

/// Takes the guards away that hold in a snapshot.
pub(crate) fn drop_guards_that_hold<E: Engine>(commit: &mut EntryCommit, snapshot: &Snapshot<E>) {
    let owner = &commit.owner;
    for Batch { guards, .. } in &mut commit.batches {
        guards.retain(|guard| !holds(guard, owner, snapshot).unwrap_or(false));
    }
}

fn holds<E: Engine>(guard: &Guard, owner: &str, snapshot: &Snapshot<E>) -> Result<bool, ReadError> {
    match guard {
        Guard::LogEndsAt { position } => Ok(snapshot.next_position() == *position),
        Guard::Absent { keyspace, key } => Ok(snapshot.get(owner, keyspace, key)?.is_none()),
        Guard::Equals { keyspace, key, value } => {
            Ok(snapshot.get(owner, keyspace, key)?.is_some_and(|found| *found == **value))
        }
        Guard::RangeEmpty { keyspace, start, end } => {
            let scan = Scan {
                keyspace: keyspace.clone(),
                start: start.clone(),
                end: end.clone(),
                direction: exesdb_storage::Direction::Forward,
                limit: 1,
                max_bytes: 1,
            };
            Ok(snapshot.scan(owner, &scan)?.entries.is_empty())
        }
    }
}
