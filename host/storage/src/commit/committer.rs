//! The committer: the one thread that writes.
//!
//! It takes a group of commits from the queue, writes their batches without syncing, shows the state that was applied to
//! those who decide on the next commits, syncs once, publishes the new snapshot, and only then replies.
//!
//! Any failure to write or sync, and any panic on the way, poisons the store: the group is answered with the reason, the
//! published snapshot stays where the last fsync put it, and nothing more is written until the store is opened again.
//! What was written and not synced may be found after that, but it was neither readable nor acknowledged before.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "faults")]
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::active_journal::ActiveJournal;
use super::backpressure::Backpressure;
use super::close::{self, JournalCleanup};
use super::disk_room::DiskRoom;
use super::group::{Group, PendingCommit};
use super::health::{Health, call_back};
use super::queue::Next;
use super::request::{Applied, Barrier, CommitError, Outcomes, Reply, Request};
use super::writer::Shared;
use super::zeroed_ahead::ZeroedAhead;
use crate::apply::{Applier, Decision};
use crate::batch::{Batch, BatchError, Committed};
use crate::engine::{Engine, Fjall};
use crate::fail_point::FailPoint;
#[cfg(feature = "faults")]
use crate::fault::Fault;
use crate::limits;
use crate::mark::MarkFile;
use crate::open::Opened;
use crate::options::Options;
use crate::panic::catch_panic;
use crate::poison::PoisonReason;
use crate::read::{Published, Reached};
use crate::space::{DiskSpace, Purpose};

/// The committer's state. The fields are dropped in order: every handle of the database, then the journal is emptied if
/// possible, the lock last.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    published: Arc<Published<Fjall>>,
    options: Options,
    mark: MarkFile,
    disk_room: DiskRoom,
    journal: ActiveJournal,
    zeroed_ahead: ZeroedAhead,
    backpressure: Backpressure,
    /// Whether a group was acknowledged that is still to be synced.
    #[cfg(feature = "faults")]
    sync_deferred: bool,
    /// Ahead of what is published while a group is being written.
    applier: Applier<Fjall>,
    cleanup: JournalCleanup,
    _lock: File,
}

impl Committer {
    /// A committer over an open database, and what readers share with it.
    pub(crate) fn new(
        dir: &Path,
        opened: Opened,
        options: Options,
        shared: Arc<Shared>,
    ) -> (Self, Arc<Published<Fjall>>) {
        let Opened {
            meta,
            keyspaces,
            format,
            head,
            histories,
            mark,
            journal: (id, bytes),
            data,
            database,
            lock,
            replica: _,
        } = opened;
        let published = Arc::new(Published::new(
            database.snapshot(),
            Reached { head, replica: None },
            format,
            histories,
            keyspaces,
            meta.clone(),
            options.is_json,
        ));
        #[cfg(feature = "faults")]
        if options.injects(Fault::CheckBeforeQueue) {
            shared.early_guards.get_or_init(|| crate::read::Reader::new(Arc::clone(&published)));
        }
        #[cfg(feature = "faults")]
        shared.barriers_pass.store(options.injects(Fault::PassBarriers), Ordering::Relaxed);
        let space = DiskSpace::new(dir, options.reserve_bytes, options.free_space.clone());
        let stall_limit = Duration::from_millis(options.stall_limit_ms);
        let committer = Self {
            shared,
            published: Arc::clone(&published),
            mark,
            disk_room: DiskRoom::new(space),
            journal: ActiveJournal::new(data.clone(), id, bytes),
            zeroed_ahead: ZeroedAhead::new(&options),
            backpressure: Backpressure::new(Arc::clone(&published), stall_limit),
            #[cfg(feature = "faults")]
            sync_deferred: false,
            applier: Applier::new(
                Fjall::new(database, options.clone()),
                meta,
                head,
                &published,
                limits::OWNER_KEYSPACES_MAX,
            ),
            options,
            cleanup: JournalCleanup::new(data),
            _lock: lock,
        };
        (committer, published)
    }

    /// Sets the store's health before anybody commits.
    pub(crate) fn check_disk_room(&mut self) {
        self.disk_room.refresh(&self.shared.health);
    }

    /// Commits until the store is closed and every accepted commit was answered; then closes the database.
    pub(crate) fn run(mut self) {
        while let Some(first) = self.next() {
            let Group { commits, replies, barriers, applied, bytes, purpose } =
                Group::collect(first, &self.shared.queue, &self.options);
            let outcomes = if commits.is_empty() {
                Ok(Vec::new())
            } else {
                self.commit_or_refuse(commits, applied, bytes, purpose)
            };
            reply(replies, outcomes);
            self.reply_to_barriers(barriers);
            self.after_replies(bytes);
        }
        if !self.shared.health.is_poisoned() {
            let database = self.applier.engine().database();
            close::flush(database, self.applier.keyspaces(), &mut self.mark, &mut self.cleanup);
        }
    }

    /// The next request; `None` once the store is closed and the queue is empty. Does overdue upkeep meanwhile.
    fn next(&mut self) -> Option<Request> {
        loop {
            match self.shared.queue.next(self.next_upkeep()) {
                Next::Request(request) => return Some(request),
                Next::Closed => return None,
                Next::Deadline => self.upkeep(),
            }
        }
    }

    /// When there is upkeep to do even if nobody commits.
    fn next_upkeep(&self) -> Option<Instant> {
        if self.shared.health.is_poisoned() {
            return None;
        }
        self.mark.sync_due().into_iter().chain(self.disk_room.next_check()).min()
    }

    fn upkeep(&mut self) {
        if self.mark_is_due()
            && let Err(error) = self.shared.write_clock.time(|| self.mark.sync())
        {
            self.shared.health.poison(&format!("the durable mark could not be synced: {error}"));
        }
        if self.disk_room.is_read_only() {
            self.disk_room.refresh(&self.shared.health);
        }
    }

    fn mark_is_due(&self) -> bool {
        self.mark.sync_due().is_some_and(|due| due <= Instant::now())
    }

    fn after_replies(&mut self, group_bytes: u64) {
        #[cfg(feature = "faults")]
        if std::mem::take(&mut self.sync_deferred)
            && let Err(PoisonReason(reason)) = self.make_durable()
        {
            self.shared.health.poison(&reason);
        }
        if let Err(PoisonReason(reason)) = self.pass(FailPoint::AfterReply) {
            self.shared.health.poison(&reason);
        }
        if self.shared.health.is_poisoned() {
            return;
        }
        if self.mark_is_due() {
            self.upkeep();
        }
        self.zero_ahead(group_bytes);
    }

    /// Prepares the journal for the next groups, while everything in it is synced.
    fn zero_ahead(&mut self, group_bytes: u64) {
        let range = self.zeroed_ahead.next(group_bytes, &self.journal, &self.disk_room);
        let Some(range) = range else { return };
        let hook = self.options.fail_points.as_ref();
        let pass = |point| hook.map_or(Ok(()), |hook| hook(point));
        self.shared.write_clock.time(|| self.zeroed_ahead.make(&self.journal, range, &pass));
    }

    /// Replies to those who wait until what was applied before is durable. It is, unless a sync failed.
    fn reply_to_barriers(&self, barriers: Vec<Barrier>) {
        let outcome = match self.shared.health() {
            Health::Poisoned { reason } => Err(CommitError::Poisoned { reason }),
            Health::Ok | Health::ReadOnly { .. } => Ok(()),
        };
        for barrier in barriers {
            call_back("a reply", || barrier(outcome.clone()));
        }
    }

    /// Commits a group, unless the store takes no commits.
    fn commit_or_refuse(
        &mut self,
        commits: Vec<PendingCommit>,
        applied: Vec<Option<Applied>>,
        bytes: u64,
        purpose: Purpose,
    ) -> Result<Vec<Outcomes>, CommitError> {
        if let Health::Poisoned { reason } = self.shared.health() {
            return Err(CommitError::Poisoned { reason });
        }
        self.disk_room.check(bytes, purpose, &self.shared.health)?;
        catch_panic(|| self.commit_group(commits, applied))
            .unwrap_or_else(|panic| Err(PoisonReason(format!("the committer panicked: {panic}"))))
            .map_err(|PoisonReason(reason)| {
                self.shared.health.poison(&reason);
                CommitError::Poisoned { reason }
            })
    }

    /// Writes a group once the engine's flushes and compactions keep up.
    fn commit_group(
        &mut self,
        commits: Vec<PendingCommit>,
        applied: Vec<Option<Applied>>,
    ) -> Result<Vec<Outcomes>, PoisonReason> {
        self.backpressure.wait(self.applier.engine().database(), self.applier.keyspaces())?;
        let shared = Arc::clone(&self.shared);
        shared.write_clock.time(|| self.write_group(commits, applied))
    }

    /// Writes a group, syncs once if anything was written, and publishes it.
    fn write_group(
        &mut self,
        commits: Vec<PendingCommit>,
        applied: Vec<Option<Applied>>,
    ) -> Result<Vec<Outcomes>, PoisonReason> {
        self.journal.refresh();
        let before = self.applier.head().sequence;
        let mut all = Vec::with_capacity(commits.len());
        for commit in commits {
            let mut outcomes = Vec::with_capacity(commit.batches.len());
            for batch in commit.batches {
                let outcome = match batch {
                    Ok(batch) => self.apply(&commit.owner, batch, commit.time)?,
                    Err(error) => Err(error),
                };
                outcomes.push(outcome);
            }
            all.push(outcomes);
        }
        let has_written = self.applier.head().sequence > before;
        if has_written {
            let reached = Reached { head: self.applier.head(), replica: None };
            self.published.apply(self.applier.engine().snapshot(), reached);
        }
        for (applied, outcomes) in applied.into_iter().zip(&all) {
            if let Some(applied) = applied {
                call_back("a notice", || applied(outcomes));
            }
        }
        if has_written {
            self.finish_group()?;
        }
        self.pass(FailPoint::BeforeReply)?;
        Ok(all)
    }

    /// Makes durable what was written, then readable.
    fn finish_group(&mut self) -> Result<(), PoisonReason> {
        #[cfg(feature = "faults")]
        {
            if self.options.injects(Fault::AcknowledgeBeforeSync) {
                self.sync_deferred = true;
                return self.publish();
            }
            if self.options.injects(Fault::PublishBeforeDurable) {
                self.publish()?;
            }
        }
        self.make_durable()?;
        self.publish()
    }

    fn make_durable(&mut self) -> Result<(), PoisonReason> {
        self.pass(FailPoint::BeforeSync)?;
        self.applier.engine().sync().map_err(PoisonReason::failed("the fsync failed"))?;
        self.pass(FailPoint::AfterSync)?;
        self.mark
            .advance(self.applier.head(), self.journal.id())
            .map_err(PoisonReason::failed("writing the durable mark failed"))
    }

    fn publish(&self) -> Result<(), PoisonReason> {
        self.pass(FailPoint::BeforePublish)?;
        self.published.publish();
        self.pass(FailPoint::AfterPublish)
    }

    /// Applies one batch, decided on at `time`, if its guards hold.
    fn apply(
        &mut self,
        owner: &str,
        batch: Batch,
        time: u64,
    ) -> Result<Result<Committed, BatchError>, PoisonReason> {
        let step = match self.applier.decide(owner, batch, time)? {
            Decision::Refused(error) => return Ok(Err(error)),
            Decision::Unchanged { first_position } => return Ok(Ok(Committed { first_position })),
            Decision::Apply(step) => step,
        };
        let first_position = step.first_position;
        self.pass(FailPoint::BeforeWrite)?;
        let bytes = self.applier.apply(step)?;
        self.journal.wrote(bytes);
        self.backpressure.wrote(bytes);
        self.pass(FailPoint::AfterWrite)?;
        Ok(Ok(Committed { first_position }))
    }

    fn pass(&self, point: FailPoint) -> Result<(), PoisonReason> {
        match &self.options.fail_points {
            None => Ok(()),
            Some(hook) => hook(point).map_err(PoisonReason::failed(format!("failed at {point:?}"))),
        }
    }
}

impl Drop for Committer {
    /// Takes the database's handles away from all readers, so that dropping the fields closes it.
    fn drop(&mut self) {
        self.published.close();
    }
}

fn reply(replies: Vec<Reply>, outcomes: Result<Vec<Outcomes>, CommitError>) {
    match outcomes {
        Ok(all) => {
            for (reply, outcomes) in replies.into_iter().zip(all) {
                call_back("a reply", || reply(Ok(outcomes)));
            }
        }
        Err(error) => {
            for reply in replies {
                call_back("a reply", || reply(Err(error.clone())));
            }
        }
    }
}
