//! Replicas: stores that apply the entries of a replicated log.
//!
//! A [`Replica`] is a store beside which its group keeps a log. The entries of the log are applied in order, by the same
//! [rules](crate::apply) as the commits of a store that nothing is replicated to, and whoever applies the same entries has
//! the same data. Nothing local decides: no clock, limit, free space or error. What cannot be read or written stops the
//! replica. Unlike a committer, a replica does not sync what it applies: what a loss of power takes away comes from the log
//! again. [`Replica::persist`] makes it durable, and tells what the log may forget then.
//!
//! How far the log was applied is in the same record as each batch; see [`state`].

mod checkpoints;
mod encoding;
mod entry;
mod error;
mod files;
mod in_memory;
mod keeper;
mod proposal;
mod state;

use std::sync::Arc;

use self::checkpoints::Checkpoints;
use self::keeper::Keeper;
use crate::apply::{Applier, Decision};
use crate::batch::{Batch, BatchError, Committed};
use crate::commit::Outcomes;
use crate::dump::DumpError;
use crate::engine::{Engine, EngineRecord, Fjall};
use crate::fail_point::{FailPoint, FailPoints};
use crate::format;
use crate::head::LogHead;
use crate::panic::catch_panic;
use crate::poison::PoisonReason;
use crate::read::{Published, Reached, Reader};

pub use checkpoints::Checkpoint;
pub use encoding::EntryError;
pub use entry::{Entry, EntryCheck, EntryCommit, EntryContent, LogId, Term};
pub use error::{ReplicaError, ReplicaOpenError};
pub use files::Genesis;
pub(crate) use in_memory::write_meta;
pub use proposal::Refused;
pub(crate) use state::APPLIED_BYTES;
pub use state::{Applied, ReplicaState};

/// A store that applies the entries of its group's log. One thread owns it; readers are shared.
///
/// Dropping it closes it. What was not made durable may be found when it is opened again, or not.
pub struct Replica<E: Engine = Fjall> {
    published: Arc<Published<E>>,
    state: ReplicaState,
    /// Whether the last record has not the whole state.
    unrecorded: Unrecorded,
    persisted: LogId,
    /// Bytes of the records since the last time that the replica was made durable, at most.
    unpersisted: u64,
    checkpoints: Checkpoints,
    stopped: Option<String>,
    fail_points: Option<FailPoints>,
    /// Dropped before the keeper: every handle of the engine, then the files.
    applier: Applier<E>,
    keeper: Box<dyn Keeper<E>>,
}

/// What the last record does not have of the state.
#[derive(Clone, Copy, Default)]
struct Unrecorded {
    applied: bool,
    membership: bool,
}

/// How far a replica was made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persisted {
    /// The last entry that is durable. The log need not keep it for this replica, nor any before it.
    pub applied: LogId,
}

/// Where in an entry a batch is.
struct Place {
    /// The entry.
    id: LogId,
    time: u64,
    /// Batches of the entry up to this one, and with it.
    done: u32,
    /// Whether it is the last batch of the entry.
    is_last: bool,
}

impl<E: Engine> Replica<E> {
    fn new(
        published: Arc<Published<E>>,
        state: ReplicaState,
        applier: Applier<E>,
        keeper: Box<dyn Keeper<E>>,
        fail_points: Option<FailPoints>,
    ) -> Self {
        let persisted = state.applied.id;
        let mut replica = Self {
            published,
            state,
            unrecorded: Unrecorded::default(),
            persisted,
            unpersisted: 0,
            checkpoints: Checkpoints::default(),
            stopped: None,
            fail_points,
            applier,
            keeper,
        };
        if replica.state.applied.batches == 0 {
            replica.note_checkpoint();
        }
        replica
    }

    /// Applies an entry, and shows it to readers. Returns the outcomes of each commit's batches, in order; `None` if a part of
    /// the entry was applied before the replica was opened, whose outcomes nobody knows any more.
    ///
    /// Nothing is durable on return. If the process ends, some of the entry's batches may be applied and others not; the
    /// replica then goes on in its middle.
    ///
    /// # Errors
    ///
    /// [`ReplicaError`]. Unless the replica has stopped, nothing was changed.
    pub fn apply(&mut self, entry: Entry) -> Result<Option<Vec<Outcomes>>, ReplicaError> {
        self.check_running()?;
        self.check_follows(&entry)?;
        if let EntryContent::Check(check) = &entry.content {
            self.compare(check)?;
        }
        let applied = catch_panic(|| self.apply_entry(entry));
        self.stop_on_failure(applied)
    }

    /// Makes durable what was applied, and notes durably how far that is.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Stopped`].
    pub fn persist(&mut self) -> Result<Persisted, ReplicaError> {
        self.check_running()?;
        let persisted = catch_panic(|| self.make_durable());
        self.stop_on_failure(persisted)?;
        self.persisted = self.state.applied.id;
        self.unpersisted = 0;
        Ok(self.persisted())
    }

    /// How far the replica is known to be durable.
    #[must_use]
    pub fn persisted(&self) -> Persisted {
        Persisted { applied: self.persisted }
    }

    /// About how many bytes were applied since the replica was last made durable: what the log keeps for it.
    #[must_use]
    pub fn unpersisted_bytes(&self) -> u64 {
        self.unpersisted
    }

    /// How far the log was applied, and the group's members.
    #[must_use]
    pub fn state(&self) -> &ReplicaState {
        &self.state
    }

    /// The head after what was applied.
    #[must_use]
    pub fn head(&self) -> LogHead {
        self.applier.head()
    }

    /// What was applied up to an entry, to compare replicas with; `None` if that is too long ago, or before the replica was
    /// opened, or not applied yet.
    #[must_use]
    pub fn checkpoint(&self, index: u64) -> Option<Checkpoint> {
        self.checkpoints.get(index)
    }

    /// A digest of all that was applied; see [`Snapshot::digest`](crate::Snapshot::digest). Reads everything.
    ///
    /// # Errors
    ///
    /// [`DumpError`]: the replica could not be read.
    pub fn digest(&self) -> Result<u128, DumpError> {
        self.reader().snapshot().digest()
    }

    /// A handle to read with. It sees what was applied, entry by entry.
    #[must_use]
    pub fn reader(&self) -> Reader<E> {
        Reader::new(Arc::clone(&self.published))
    }

    /// Why the replica has stopped, if so.
    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    fn check_running(&self) -> Result<(), ReplicaError> {
        match &self.stopped {
            None => Ok(()),
            Some(reason) => {
                Err(ReplicaError::Stopped { applied: self.state.applied, reason: reason.clone() })
            }
        }
    }

    /// Checks that the entry is the next one, and not less than what was applied of it.
    fn check_follows(&self, entry: &Entry) -> Result<(), ReplicaError> {
        let Applied { id: applied, batches, .. } = self.state.applied;
        if Some(entry.id.index) != applied.index.checked_add(1) || entry.id.term < applied.term {
            return Err(ReplicaError::OutOfOrder { entry: entry.id, applied });
        }
        let count = entry.batches();
        if count < batches as usize {
            return Err(ReplicaError::OtherEntry { entry: entry.id, batches: count, applied: batches });
        }
        if u32::try_from(count).is_err() {
            let reason = format!("it has {count} batches");
            return Err(ReplicaError::Invalid { entry: entry.id, reason });
        }
        Ok(())
    }

    /// Compares what was applied with what the leader had. An entry that is too long ago, or was applied before the replica was
    /// opened, cannot be compared; the hashes go on from there, so the next check finds the same.
    fn compare(&mut self, leader: &EntryCheck) -> Result<(), ReplicaError> {
        let index = leader.index;
        let Some(own) = self.checkpoints.get(index).map(|checkpoint| checkpoint.check(index)) else {
            return Ok(());
        };
        if own == *leader {
            return Ok(());
        }
        let diverged = ReplicaError::Diverged { index, own, leader: *leader };
        tracing::error!(index, ?own, ?leader, "the replica differs from its leader, and stops");
        // Without the note a start would go on until the next check.
        if let Ok(Err(PoisonReason(reason))) = catch_panic(|| self.note_divergence(index)) {
            tracing::error!(reason, "the divergence was not noted in the replica");
        }
        self.stopped = Some(diverged.to_string());
        Err(diverged)
    }

    /// Notes durably that the replica is not to be opened again.
    fn note_divergence(&mut self, index: u64) -> Result<(), PoisonReason> {
        let meta = self.applier.keyspaces().meta();
        let mut record = self.applier.record();
        record.insert(meta, format::DIVERGED_KEY, index.to_be_bytes());
        self.applier.write(record)?;
        self.applier.engine().sync().map_err(PoisonReason::failed("the fsync failed"))
    }

    fn stop_on_failure<T>(
        &mut self,
        outcome: Result<Result<T, PoisonReason>, String>,
    ) -> Result<T, ReplicaError> {
        let reason = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(PoisonReason(reason))) => reason,
            Err(panic) => format!("it panicked: {panic}"),
        };
        tracing::error!(reason, "the replica stopped");
        self.stopped = Some(reason.clone());
        Err(ReplicaError::Stopped { applied: self.state.applied, reason })
    }

    fn apply_entry(&mut self, entry: Entry) -> Result<Option<Vec<Outcomes>>, PoisonReason> {
        self.keeper.begin(&self.applier)?;
        let is_resumed = self.state.applied.batches > 0;
        let Entry { id, time, content } = entry;
        let time = self.state.applied.time.max(time);
        let mut outcomes = Vec::new();
        match content {
            // A check was compared before.
            EntryContent::Blank | EntryContent::Check(_) => {}
            EntryContent::Membership(membership) => {
                self.state.membership = membership.into();
                self.unrecorded.membership = true;
            }
            EntryContent::Commits(commits) => outcomes = self.apply_commits(id, time, commits)?,
        }
        if self.state.applied.id != id {
            self.state.applied = Applied { id, batches: 0, time, ..self.state.applied };
            self.unrecorded.applied = true;
        }
        self.publish()?;
        self.note_checkpoint();
        Ok((!is_resumed).then_some(outcomes))
    }

    fn apply_commits(
        &mut self,
        id: LogId,
        time: u64,
        commits: Vec<EntryCommit>,
    ) -> Result<Vec<Outcomes>, PoisonReason> {
        let skipped = self.state.applied.batches;
        let last: usize = commits.iter().map(|commit| commit.batches.len()).sum();
        let mut done = 0;
        let mut all = Vec::with_capacity(commits.len());
        for EntryCommit { owner, fence, topics: _, batches } in commits {
            let is_fenced = fence.is_some_and(|fence| fence != id.proposed_under());
            let mut outcomes = Vec::with_capacity(batches.len());
            for batch in batches {
                done += 1;
                if done <= skipped {
                    continue;
                }
                let place = Place { id, time, done, is_last: done as usize == last };
                outcomes.push(if is_fenced {
                    self.note_outcome(&place, Err(BatchError::Fenced))
                } else {
                    self.apply_batch(&owner, batch, &place)?
                });
            }
            all.push(outcomes);
        }
        Ok(all)
    }

    fn apply_batch(
        &mut self,
        owner: &str,
        batch: Batch,
        place: &Place,
    ) -> Result<Result<Committed, BatchError>, PoisonReason> {
        let mut step = match self.applier.decide(owner, batch, place.time)? {
            // Others may be able to read it, and decide otherwise than by a failed guard.
            Decision::Refused(
                error @ (BatchError::GuardUnreadable { .. } | BatchError::LogUnreadable { .. }),
            ) => return Err(PoisonReason(error.to_string())),
            Decision::Refused(error) => return Ok(self.note_outcome(place, Err(error))),
            Decision::Unchanged { first_position } => {
                return Ok(self.note_outcome(place, Ok(Committed { first_position })));
            }
            Decision::Apply(step) => step,
        };
        let outcome = Ok(Committed { first_position: step.first_position });
        let applied = self.state.applied.after(place, &outcome);
        let meta = self.applier.keyspaces().meta();
        step.record.insert(meta, format::APPLIED_KEY, applied.encode());
        if self.unrecorded.membership {
            step.record.insert(meta, format::MEMBERSHIP_KEY, &*self.state.membership);
        }
        self.pass(FailPoint::BeforeWrite)?;
        let bytes = self.applier.apply(step)?;
        self.wrote(bytes);
        self.state.applied = applied;
        self.unrecorded = Unrecorded::default();
        self.pass(FailPoint::AfterWrite)?;
        Ok(outcome)
    }

    /// Notes the outcome of a batch that writes nothing; the next record has it.
    fn note_outcome(
        &mut self,
        place: &Place,
        outcome: Result<Committed, BatchError>,
    ) -> Result<Committed, BatchError> {
        self.state.applied = self.state.applied.after(place, &outcome);
        self.unrecorded.applied = true;
        outcome
    }

    fn publish(&self) -> Result<(), PoisonReason> {
        let reached = Reached { head: self.applier.head(), replica: Some(self.state.clone()) };
        self.published.apply(self.applier.engine().snapshot(), reached);
        self.pass(FailPoint::BeforePublish)?;
        self.published.publish();
        self.pass(FailPoint::AfterPublish)
    }

    fn note_checkpoint(&mut self) {
        let Applied { id, link, .. } = self.state.applied;
        self.checkpoints.push(id.index, Checkpoint { head: self.applier.head(), link });
    }

    fn make_durable(&mut self) -> Result<(), PoisonReason> {
        self.record_state()?;
        self.pass(FailPoint::BeforeSync)?;
        self.applier.engine().sync().map_err(PoisonReason::failed("the fsync failed"))?;
        self.pass(FailPoint::AfterSync)?;
        self.keeper
            .persisted(self.applier.head(), self.state.applied.mark())
            .map_err(PoisonReason::failed("writing the durable mark failed"))
    }

    /// Writes what the last record does not have of the state, as a record of its own. It has no head, because it is no step of
    /// the sequence: when a replica makes itself durable is its own business, and the sequence is the same on all.
    fn record_state(&mut self) -> Result<(), PoisonReason> {
        let Unrecorded { applied, membership } = self.unrecorded;
        if !applied && !membership {
            return Ok(());
        }
        let meta = self.applier.keyspaces().meta();
        let mut record = self.applier.record();
        record.insert(meta, format::APPLIED_KEY, self.state.applied.encode());
        if membership {
            record.insert(meta, format::MEMBERSHIP_KEY, &*self.state.membership);
        }
        let bytes = self.applier.write(record)?;
        self.wrote(bytes);
        self.unrecorded = Unrecorded::default();
        Ok(())
    }

    fn wrote(&mut self, bytes: u64) {
        self.keeper.wrote(bytes);
        self.unpersisted += bytes;
    }

    fn pass(&self, point: FailPoint) -> Result<(), PoisonReason> {
        match &self.fail_points {
            None => Ok(()),
            Some(hook) => hook(point).map_err(PoisonReason::failed(format!("failed at {point:?}"))),
        }
    }
}

impl Applied {
    /// The state after a batch.
    fn after(&self, place: &Place, outcome: &Result<Committed, BatchError>) -> Self {
        let Place { id, time, done, is_last } = *place;
        let link = state::link(self.link, outcome);
        if is_last {
            Self { id, batches: 0, time, link }
        } else {
            Self { id: self.id, batches: done, time, link }
        }
    }
}

impl<E: Engine> Drop for Replica<E> {
    /// Takes the engine's handles away from all readers, so that dropping the fields closes it.
    fn drop(&mut self) {
        self.published.close();
    }
}
