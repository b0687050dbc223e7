//! The part of a batch that changes the event log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::keyspaces::KeyspaceHandles;
use super::record::{Record, Removal};
use crate::batch::{Batch, BatchError, Operation};
use crate::engine::Engine;
use crate::engine_failure::EngineFailure;
use crate::format;
use crate::log::removed_value;
use crate::name;
use crate::poison::PoisonReason;
use crate::read::Published;

/// Changes the log, which begins with its first record.
pub(super) struct LogWriter<E: Engine> {
    published: Arc<Published<E>>,
}

impl<E: Engine> LogWriter<E> {
    pub(super) fn new(published: Arc<Published<E>>) -> Self {
        Self { published }
    }

    /// Whether the store has records of the log, or is about to get the first.
    pub(super) fn has_begun(&self) -> bool {
        format::has_log(self.published.format.load(Ordering::Acquire))
    }

    /// Checks what a batch does to the log, which ends before `end`, and looks up what it removes.
    pub(super) fn plan(
        &self,
        engine: &E,
        keyspaces: &KeyspaceHandles<E>,
        owner: &str,
        batch: &Batch,
        end: u64,
    ) -> Result<Vec<Removal<E>>, BatchError> {
        if self.has_begun() {
            check(keyspaces, owner, batch, end)?;
        }
        if let Some(position) = batch.removes.iter().find(|position| **position >= end) {
            return Err(BatchError::Invalid(format!(
                "it removes position {position} from the log, which ends at {end}"
            )));
        }
        if batch.removes.is_empty() {
            return Ok(Vec::new());
        }
        let Some(log) = keyspaces.log(end) else { return Ok(Vec::new()) };
        let mut removals = Vec::new();
        for position in &batch.removes {
            let record = EngineFailure::catch(|| engine.get(&log, &position.to_be_bytes()));
            let record =
                record.map_err(|failure| BatchError::LogUnreadable { position: *position, failure })?;
            if let Some(mark) = record.and_then(|record| removed_value(&record)) {
                removals.push(Removal { log: log.clone(), position: *position, mark });
            }
        }
        Ok(removals)
    }

    /// Appends frames to the log. The first ones change the store's format.
    pub(super) fn append(
        &self,
        engine: &E,
        record: &mut Record<E>,
        keyspaces: &mut KeyspaceHandles<E>,
        frames: &[u8],
        first_position: u64,
    ) -> Result<(), PoisonReason> {
        let log = keyspaces.log_or_create(engine, first_position)?;
        if !self.has_begun() {
            record.begin_log(keyspaces.meta());
            // If the record is not written the store is poisoned, so nobody sees a number that the disk does not have.
            self.published.format.store(format::FORMAT_VERSION, Ordering::Release);
        }
        record.append_to_log(&log, frames);
        Ok(())
    }
}

/// Once the log has begun, only it gives positions, and its keyspace has nothing but its records.
fn check<E: Engine>(
    keyspaces: &KeyspaceHandles<E>,
    owner: &str,
    batch: &Batch,
    end: u64,
) -> Result<(), BatchError> {
    if batch.events > 0 {
        return Err(BatchError::Invalid(
            "it takes positions without records in the log, which this store has; append to the log".into(),
        ));
    }
    let log = keyspaces.log(end);
    let log = log.as_ref().and_then(|log| name::split(E::name(log))).filter(|(of, _)| *of == owner);
    let Some((_, log)) = log else { return Ok(()) };
    let changes = batch.changes.iter().map(|changes| &*changes.keyspace);
    if batch.operations.iter().map(Operation::keyspace).chain(changes).any(|keyspace| keyspace == log) {
        return Err(BatchError::Invalid(format!("it writes to keyspace {log}, which is the store's log")));
    }
    Ok(())
}
