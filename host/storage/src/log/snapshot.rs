//! The log of a snapshot.

use super::page::{Gaps, Log, LogError, LogPage, LogRead};
use crate::engine::Engine;
use crate::engine_failure::EngineFailure;
use crate::format;
use crate::limits;
use crate::read::{Keyspaces, ReadError, Snapshot};

impl<E: Engine> Snapshot<E> {
    /// One page of the event log.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: a limit of 0, a closed store, or a disk that is unreadable or damaged.
    pub fn log_read(&self, read: &LogRead) -> Result<LogPage, ReadError> {
        if read.limit == 0 {
            return Err(ReadError::Invalid("a log read's limit is 0; it must be at least 1".into()));
        }
        self.with_log(|log| log.read(read))
    }

    /// The records at these positions, in this order, as packed frames: the first ones, at least one, that fit into
    /// `max_bytes`. A position in a gap gives the rest of the gap.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: no position, too many, or one after the end of the log; a closed store; or a disk that is unreadable
    /// or damaged.
    pub fn log_get(&self, positions: &[u64], max_bytes: usize) -> Result<Vec<u8>, ReadError> {
        let (most, end) = (limits::PAGE_ENTRIES_MAX, self.next_position());
        if !(1..=most).contains(&positions.len()) {
            return Err(ReadError::Invalid(format!(
                "{} positions at once; give 1 to {most}",
                positions.len()
            )));
        }
        if let Some(position) = positions.iter().find(|position| **position >= end) {
            return Err(ReadError::Invalid(format!(
                "position {position} is not in the log, which ends at {end}"
            )));
        }
        self.with_log(|log| log.get(positions, max_bytes))
    }

    pub(super) fn with_log<T>(
        &self,
        read: impl FnOnce(&Log<'_, E>) -> Result<T, LogError>,
    ) -> Result<T, ReadError> {
        let keyspaces = self.shared_keyspaces().read();
        let keyspaces = keyspaces.as_ref().ok_or(ReadError::Closed)?;
        let (owner, keyspace) = log_keyspace::<E>(keyspaces, self.next_position());
        let find = |owner: &str, keyspace: &str| keyspaces.get(owner).and_then(|owned| owned.get(keyspace));
        let (old_owner, old_gaps) = format::OLD_GAPS;
        let gaps = find(old_owner, old_gaps).cloned().map(Gaps);
        let log = Log {
            snapshot: self.engine(),
            records: find(owner, keyspace),
            gaps: gaps.as_ref(),
            end: self.next_position(),
            is_json: self.is_json(),
        };
        let failed = |failure| ReadError::Engine { owner: owner.into(), keyspace: keyspace.into(), failure };
        EngineFailure::catch(|| {
            read(&log).map_err(|error| match error {
                LogError::Engine(failure) => failure,
                LogError::Damaged { position, what } => EngineFailure::of_log(position, what),
            })
        })
        .map_err(failed)
    }
}

/// Owner and name of the keyspace that the log lies in, in a store whose next position is this one. A store that took
/// positions and has no log of its own took them in format 2.
pub(crate) fn log_keyspace<E: Engine>(
    keyspaces: &Keyspaces<E>,
    next_position: u64,
) -> (&'static str, &'static str) {
    let (owner, keyspace) = format::LOG;
    let has_its_own = keyspaces.get(owner).is_some_and(|owned| owned.contains_key(keyspace));
    if has_its_own || next_position == 0 { format::LOG } else { format::OLD_LOG }
}
