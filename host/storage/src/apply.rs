//! Applying a batch: guards, positions, stamps, the chain, and the head after it.
//!
//! These are the rules of both modes. They read the newest state of an [engine](crate::engine), and everything that a batch
//! changes is one record of it. When the record is made durable and who may see it is not decided here: the
//! [committer](crate::commit) syncs before it shows anything, a [replica](crate::Replica) has a log in front of it.

mod guards;
mod keyspaces;
mod log;
mod record;

use std::sync::Arc;

pub(crate) use self::keyspaces::KeyspaceHandles;
use self::log::LogWriter;
use self::record::Record;
use crate::batch::{Batch, BatchError, Changes};
use crate::engine::Engine;
use crate::head::{LogHead, RecordedHead};
use crate::poison::PoisonReason;
use crate::read::Published;

/// Decides on batches, and applies them. The fields are dropped in order: every handle before the engine.
pub(crate) struct Applier<E: Engine> {
    /// The head as written.
    head: LogHead,
    log: LogWriter<E>,
    keyspaces: KeyspaceHandles<E>,
    engine: E,
}

/// What a batch does to the store.
pub(crate) enum Decision<E: Engine> {
    /// Nothing, because it may not.
    Refused(BatchError),
    /// Nothing, because it has nothing to write.
    Unchanged {
        /// The position that the next event will get.
        first_position: u64,
    },
    /// It is applied with this step.
    Apply(Step<E>),
}

/// A batch that may be applied: one record, and the head after it.
pub(crate) struct Step<E: Engine> {
    /// Whoever applies it may add to the record.
    pub(crate) record: E::Record,
    head: LogHead,
    /// Position of the batch's event 0.
    pub(crate) first_position: u64,
}

impl<E: Engine> Applier<E> {
    /// Goes on after `head`. An owner may have `owner_keyspaces_max` keyspaces.
    pub(crate) fn new(
        engine: E,
        meta: E::Keyspace,
        head: LogHead,
        published: &Arc<Published<E>>,
        owner_keyspaces_max: usize,
    ) -> Self {
        let log = LogWriter::new(Arc::clone(published));
        let keyspaces = KeyspaceHandles::new(Arc::clone(published), meta, owner_keyspaces_max);
        Self { head, log, keyspaces, engine }
    }

    /// The head after what was applied.
    pub(crate) fn head(&self) -> LogHead {
        self.head
    }

    pub(crate) fn engine(&self) -> &E {
        &self.engine
    }

    pub(crate) fn keyspaces(&self) -> &KeyspaceHandles<E> {
        &self.keyspaces
    }

    /// Decides on a batch of well-formed content, which was decided on at `time`. Keyspaces that it is the first to write to
    /// are created.
    pub(crate) fn decide(
        &mut self,
        owner: &str,
        batch: Batch,
        time: u64,
    ) -> Result<Decision<E>, PoisonReason> {
        let Self { head, log, keyspaces, engine } = self;
        let first_position = head.next_position;
        if let Err(error) = guards::check(engine, keyspaces, owner, &batch.guards, first_position) {
            return Ok(Decision::Refused(error));
        }
        let Some(next_position) = first_position.checked_add(batch.positions()) else {
            return Ok(Decision::Refused(BatchError::Invalid("there are no positions left".into())));
        };
        let removals = match log.plan(engine, keyspaces, owner, &batch, first_position) {
            Ok(removals) => removals,
            Err(error) => return Ok(Decision::Refused(error)),
        };
        let handles = match keyspaces.resolve(engine, owner, &batch)? {
            Ok(handles) => handles,
            Err(error) => return Ok(Decision::Refused(error)),
        };
        if !has_changes(&batch) && removals.is_empty() {
            return Ok(Decision::Unchanged { first_position });
        }
        let mut record = Record::<E>::new(engine, *head, batch.operations.len());
        for operation in batch.operations {
            record.add(&handles, operation);
        }
        for changes in &batch.changes {
            record.add_changes(&handles, changes);
        }
        if !batch.log.is_empty() {
            log.append(engine, &mut record, keyspaces, &batch.log, first_position)?;
        }
        for removal in removals {
            record.remove_from_log(removal);
        }
        Ok(Decision::Apply(self.step(record, next_position, time)))
    }

    fn step(&mut self, mut record: Record<E>, next_position: u64, time: u64) -> Step<E> {
        let LogHead { sequence, next_position: first_position, .. } = self.head;
        // The record that begins the log has the first time: before it, the store may be opened by software of format 2.
        let time = if self.log.has_begun() { self.head.time.max(time) } else { 0 };
        let head = LogHead { sequence: sequence + 1, next_position, chain: record.chain(), time };
        let unlisted = self.keyspaces.take_unlisted();
        record.list_keyspaces(self.keyspaces.meta(), unlisted);
        let recorded = RecordedHead { head, engine_floor: self.engine.floor() };
        let record = record.finish(self.keyspaces.meta(), recorded);
        Step { record, head, first_position }
    }

    /// An empty record, which changes neither data nor head.
    pub(crate) fn record(&self) -> E::Record {
        self.engine.record(2)
    }

    /// Writes a record that changes neither data nor head. Returns its bytes as [`apply`](Self::apply) does.
    pub(crate) fn write(&self, record: E::Record) -> Result<u64, PoisonReason> {
        self.engine.commit(record).map_err(PoisonReason::failed("writing a record failed"))
    }

    /// Applies the step that was decided on last. Returns the bytes that it takes in the engine's journal, at most.
    pub(crate) fn apply(&mut self, step: Step<E>) -> Result<u64, PoisonReason> {
        let bytes =
            self.engine.commit(step.record).map_err(PoisonReason::failed("writing a batch failed"))?;
        self.head = step.head;
        Ok(bytes)
    }
}

/// Whether a batch is a step of the sequence, apart from what it removes from the log. Deleting counts also where there is
/// nothing to delete: whether an empty keyspace exists may differ between copies of a store, as a dump has none, and the
/// sequence may not.
fn has_changes(batch: &Batch) -> bool {
    let Batch { guards: _, operations, changes, events, log, removes: _ } = batch;
    let changes_some = |changes: &Changes| !changes.puts.is_empty() || !changes.deletes.is_empty();
    !operations.is_empty() || changes.iter().any(changes_some) || *events > 0 || !log.is_empty()
}
