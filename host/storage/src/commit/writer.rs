//! The handle to commit with. A reply is called after the fsync and only then.

use std::sync::Arc;
use std::time::Duration;

use super::health::{Health, HealthState};
use super::queue::CommitQueue;
use super::request::{Commit, CommitError, CommitRequest, Outcomes, Request};
use super::write_clock::WriteClock;

/// A handle to commit with: cheap to clone, and harmless to keep after the store is closed.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

/// What writers share with the committer.
pub(crate) struct Shared {
    pub(super) queue: CommitQueue,
    pub(super) health: HealthState,
    pub(super) write_clock: WriteClock,
    /// Set by the fault [`CheckBeforeQueue`](crate::fault::Fault::CheckBeforeQueue).
    #[cfg(feature = "faults")]
    pub(super) early_guards: std::sync::OnceLock<crate::read::Reader>,
    /// Set by the fault [`PassBarriers`](crate::fault::Fault::PassBarriers).
    #[cfg(feature = "faults")]
    pub(super) barriers_pass: std::sync::atomic::AtomicBool,
}

impl Shared {
    pub(crate) fn new(commits_max: usize, bytes_max: usize) -> Self {
        Self {
            queue: CommitQueue::new(commits_max, bytes_max),
            health: HealthState::default(),
            write_clock: WriteClock::new(),
            #[cfg(feature = "faults")]
            early_guards: std::sync::OnceLock::new(),
            #[cfg(feature = "faults")]
            barriers_pass: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Refuses all further commits; those in the queue are still written.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    pub(crate) fn health(&self) -> Health {
        self.health.get()
    }

    pub(crate) fn on_poisoned(&self, listener: impl FnOnce(&str) + Send + 'static) {
        self.health.on_poisoned(Box::new(listener));
    }

    #[cfg_attr(not(feature = "faults"), allow(unused_mut, reason = "a fault changes it"))]
    fn push_commit(&self, mut commit: CommitRequest) -> Result<(), CommitError> {
        #[cfg(feature = "faults")]
        if let Some(reader) = self.early_guards.get() {
            super::early_guards::check(&reader.applied(), &mut commit);
        }
        self.push(Request::Commit(commit))
    }

    fn push(&self, request: Request) -> Result<(), CommitError> {
        if let Health::Poisoned { reason } = self.health.get() {
            return Err(CommitError::Poisoned { reason });
        }
        self.queue.push(request)
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Queues a commit and returns at once. `reply` is called on the committer thread after the fsync, exactly once; it
    /// must be quick and must not wait for another commit. It is not called if this returns an error.
    ///
    /// # Errors
    ///
    /// [`CommitError`], if the commit was not queued.
    pub fn commit(
        &self,
        commit: Commit,
        reply: impl FnOnce(Result<Outcomes, CommitError>) + Send + 'static,
    ) -> Result<(), CommitError> {
        self.shared.push_commit(CommitRequest::new(commit, Box::new(reply))?)
    }

    /// Like [`commit`](Self::commit), and calls `applied` with the outcome as soon as the commit can be seen in the
    /// [applied](crate::Reader::applied) state, before its fsync. It is called on the committer thread too, at most once,
    /// and not if the commit fails before that.
    ///
    /// # Errors
    ///
    /// [`CommitError`], if the commit was not queued.
    pub fn commit_in_two_steps(
        &self,
        commit: Commit,
        applied: impl FnOnce(&Outcomes) + Send + 'static,
        reply: impl FnOnce(Result<Outcomes, CommitError>) + Send + 'static,
    ) -> Result<(), CommitError> {
        let mut commit = CommitRequest::new(commit, Box::new(reply))?;
        commit.applied = Some(Box::new(applied));
        self.shared.push_commit(commit)
    }

    /// Calls `reply` once everything that can be seen in the [applied](crate::Reader::applied) state now is durable, or
    /// with an error if the store stops writing before that is certain. A store that is read-only for want of room
    /// replies as well.
    ///
    /// # Errors
    ///
    /// [`CommitError`]: the queue is full, or the store is poisoned or closed. `reply` is not called then.
    pub fn when_durable(
        &self,
        reply: impl FnOnce(Result<(), CommitError>) + Send + 'static,
    ) -> Result<(), CommitError> {
        #[cfg(feature = "faults")]
        if self.shared.barriers_pass.load(std::sync::atomic::Ordering::Relaxed) {
            reply(Ok(()));
            return Ok(());
        }
        self.shared.push(Request::Barrier(Box::new(reply)))
    }

    /// Commits and waits for the fsync. Don't call it on a thread that others wait for, and never from within a reply.
    ///
    /// # Errors
    ///
    /// [`CommitError`], if the commit was not queued or not completed.
    pub fn commit_blocking(&self, commit: Commit) -> Result<Outcomes, CommitError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.commit(commit, move |outcomes| {
            // The receiver waits below until this call, so the send cannot fail.
            let _ = sender.send(outcomes);
        })?;
        receiver.recv().expect("the committer replies to every commit it has accepted")
    }

    /// Whether the store takes commits.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// How long the committer has been writing and syncing the group at hand; `None` if there is none. Time in which it
    /// waits for flushes and compactions does not count. Many seconds mean that the disk hangs.
    #[must_use]
    pub fn writing_for(&self) -> Option<Duration> {
        self.shared.write_clock.running_for()
    }
}
