//! Handing batches to the committer: a bounded queue, and a reply that is called after the fsync and only then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::batch::{Batch, BatchError, Committed};
use crate::commit::queue::Waiting;
use crate::limits;
use crate::name;
use crate::open::panic_message;
use crate::space::Purpose;

/// Batches of one owner. They are independent of each other: one that fails does not stop the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Whose keyspaces the batches name.
    pub owner: String,
    /// The batches, applied in order.
    pub batches: Vec<Batch>,
}

/// What became of each batch of a commit, in order.
pub type Outcomes = Vec<Result<Committed, BatchError>>;

/// Why a whole commit was not taken, or not finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The queue is full. Nothing was written.
    #[error("the commit queue is full ({limit}); slow down and try again")]
    Overloaded {
        /// Which limit was reached, with its unit.
        limit: String,
    },
    /// The commit is malformed; it would never be taken. Nothing was written.
    #[error("the commit is malformed: {0}")]
    Invalid(String),
    /// There is too little room on the disk. Nothing was written, and the store takes commits again once there is room.
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// What is short, with its unit.
        reason: String,
    },
    /// A write or fsync failed, and the store stopped. A commit that was waiting then may or may not be found after the
    /// store is opened again: ask with a guard.
    #[error("the store stopped writing: {reason}; open it again once the cause is removed")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The store was closed before it took the commit. Nothing was written.
    #[error("the store is closed; find its successor and try again")]
    Closed,
}

/// Whether the store takes commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ok,
    /// It takes none for now: there is too little room on the disk. Reads go on, and it takes commits again by itself.
    ReadOnly {
        /// What is short, with its unit.
        reason: String,
    },
    /// A write or fsync failed: it takes none any more, and reads stay at the last durable snapshot.
    Poisoned {
        /// The first failure.
        reason: String,
    },
}

/// A handle to commit with: cheap to clone, and harmless to keep after the store is gone.
#[derive(Clone)]
pub struct Writer {
    queue: Arc<Queue>,
}

pub(crate) type Reply = Box<dyn FnOnce(Result<Outcomes, CommitError>) + Send>;
type DurableListener = Box<dyn Fn(u64) + Send + Sync>;
type PoisonedListener = Box<dyn FnOnce(&str) + Send>;

/// A commit on its way to the committer.
pub(crate) struct Request {
    pub(crate) owner: String,
    /// Batches that were found malformed before they were queued keep their place in the answer.
    pub(crate) batches: Vec<Result<Batch, BatchError>>,
    pub(crate) bytes: usize,
    pub(crate) purpose: Purpose,
    pub(crate) reply: Reply,
}

/// What writers share with the committer.
pub(crate) struct Queue {
    pub(crate) waiting: Waiting,
    /// Whether `stopped` has a reason; so that nobody takes its lock while all is well.
    stopped_at_all: AtomicBool,
    stopped: Mutex<Stopped>,
    durable: RwLock<Vec<DurableListener>>,
    opened: Instant,
    /// Set for the fault of this name.
    #[cfg(feature = "faults")]
    pub(crate) checks_before_queue: std::sync::OnceLock<Arc<crate::read::snapshot::Published>>,
    /// Microseconds from `opened` to the start of the group in progress, plus one; 0 between groups.
    group_started: AtomicU64,
}

/// Why no commits are taken.
#[derive(Default)]
struct Stopped {
    poisoned: Option<String>,
    read_only: Option<String>,
    listeners: Vec<PoisonedListener>,
}

impl Writer {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// Queues a commit and returns at once. `reply` is called on the committer thread after the fsync, exactly once; it
    /// must be quick and must not wait for another commit. It is not called when this returns an error.
    ///
    /// # Errors
    ///
    /// [`CommitError`], when the commit was not queued.
    pub fn commit(
        &self,
        commit: Commit,
        reply: impl FnOnce(Result<Outcomes, CommitError>) + Send + 'static,
    ) -> Result<(), CommitError> {
        self.queue.push(commit, Purpose::Ordinary, Box::new(reply))
    }

    /// As [`commit`](Self::commit), for what makes room, at once or when the store is scavenged: it may use most of what
    /// is kept in reserve on the disk.
    ///
    /// # Errors
    ///
    /// [`CommitError`], when the commit was not queued.
    pub fn commit_making_room(
        &self,
        commit: Commit,
        reply: impl FnOnce(Result<Outcomes, CommitError>) + Send + 'static,
    ) -> Result<(), CommitError> {
        self.queue.push(commit, Purpose::MakesRoom, Box::new(reply))
    }

    /// Commits and waits for the fsync. Not for a thread that others wait for, and never from within a reply.
    ///
    /// # Errors
    ///
    /// [`CommitError`], when the commit was not queued or not finished.
    pub fn commit_blocking(&self, commit: Commit) -> Result<Outcomes, CommitError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.commit(commit, move |outcomes| {
            // The receiver waits below until this call, so there is nobody to miss a failed send.
            let _ = sender.send(outcomes);
        })?;
        receiver.recv().expect("the committer replies to every commit it has taken")
    }

    /// Whether the store takes commits.
    #[must_use]
    pub fn health(&self) -> Health {
        self.queue.health()
    }
}

impl Queue {
    pub(crate) fn new(commits_max: usize, bytes_max: usize) -> Self {
        Self {
            waiting: Waiting::new(commits_max, bytes_max),
            stopped_at_all: AtomicBool::new(false),
            stopped: Mutex::default(),
            durable: RwLock::default(),
            opened: Instant::now(),
            #[cfg(feature = "faults")]
            checks_before_queue: std::sync::OnceLock::new(),
            group_started: AtomicU64::new(0),
        }
    }

    fn push(&self, commit: Commit, purpose: Purpose, reply: Reply) -> Result<(), CommitError> {
        #[cfg_attr(not(feature = "faults"), allow(unused_mut, reason = "a fault changes it"))]
        let mut request = prepare(commit, purpose, reply)?;
        #[cfg(feature = "faults")]
        if let Some(published) = self.checks_before_queue.get() {
            crate::fault::check_early(published, &mut request);
        }
        if let Health::Poisoned { reason } = self.health() {
            return Err(CommitError::Poisoned { reason });
        }
        self.waiting.push(request)
    }

    pub(crate) fn health(&self) -> Health {
        if !self.stopped_at_all.load(Ordering::Acquire) {
            return Health::Ok;
        }
        let stopped = self.stopped.lock();
        match (stopped.poisoned.clone(), stopped.read_only.clone()) {
            (Some(reason), _) => Health::Poisoned { reason },
            (None, Some(reason)) => Health::ReadOnly { reason },
            (None, None) => Health::Ok,
        }
    }

    /// Poisons the store; the first reason stays.
    pub(crate) fn poison(&self, reason: &str) {
        let listeners = {
            let mut stopped = self.stopped.lock();
            if stopped.poisoned.is_some() {
                return;
            }
            stopped.poisoned = Some(reason.to_owned());
            self.stopped_at_all.store(true, Ordering::Release);
            std::mem::take(&mut stopped.listeners)
        };
        tracing::error!(reason, "the store stopped writing");
        for listener in listeners {
            contain("a listener", || listener(reason));
        }
    }

    /// Makes the store read-only, with a reason, or no longer.
    pub(crate) fn set_read_only(&self, reason: Option<String>) {
        let mut stopped = self.stopped.lock();
        match (&stopped.read_only, &reason) {
            (None, Some(reason)) => tracing::error!(reason, "the store is read-only"),
            (Some(_), None) => tracing::info!("the store takes commits again"),
            _ => {}
        }
        stopped.read_only = reason;
        let stopped_at_all = stopped.poisoned.is_some() || stopped.read_only.is_some();
        self.stopped_at_all.store(stopped_at_all, Ordering::Release);
    }

    pub(crate) fn on_poisoned(&self, listener: PoisonedListener) {
        let mut stopped = self.stopped.lock();
        match stopped.poisoned.clone() {
            None => stopped.listeners.push(listener),
            Some(reason) => {
                drop(stopped);
                listener(&reason);
            }
        }
    }

    pub(crate) fn on_durable(&self, listener: DurableListener) {
        self.durable.write().push(listener);
    }

    pub(crate) fn announce(&self, next_position: u64) {
        for listener in self.durable.read().iter() {
            contain("a listener", || listener(next_position));
        }
    }

    pub(crate) fn group_begins(&self) {
        let now = u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        self.group_started.store(now + 1, Ordering::Release);
    }

    pub(crate) fn group_ends(&self) {
        self.group_started.store(0, Ordering::Release);
    }

    pub(crate) fn busy_for(&self) -> Option<Duration> {
        match self.group_started.load(Ordering::Acquire) {
            0 => None,
            started => Some(self.opened.elapsed().saturating_sub(Duration::from_micros(started - 1))),
        }
    }
}

/// Calls back into somebody else's code. Its panic is not a reason to doubt what is on disk, nor may it keep others from
/// their replies.
pub(crate) fn contain(what: &str, call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        tracing::error!(panic = panic_message(&*panic), "{what} panicked on the committer thread");
    }
}

/// Checks a commit on the caller's thread, so that the committer only meets well-formed batches.
fn prepare(commit: Commit, purpose: Purpose, reply: Reply) -> Result<Request, CommitError> {
    name::check("owner", &commit.owner).map_err(CommitError::Invalid)?;
    if commit.batches.len() > limits::COMMIT_BATCHES_MAX {
        return Err(CommitError::Invalid(format!(
            "{} batches, over the limit of {}",
            commit.batches.len(),
            limits::COMMIT_BATCHES_MAX
        )));
    }
    let mut bytes = 0;
    let mut batches = Vec::with_capacity(commit.batches.len());
    for batch in commit.batches {
        batches.push(batch.check().map(|()| {
            bytes += batch.bytes();
            batch
        }));
    }
    if bytes > limits::COMMIT_BYTES_MAX {
        return Err(CommitError::Invalid(format!(
            "{bytes} bytes, over the limit of {} for one commit",
            limits::COMMIT_BYTES_MAX
        )));
    }
    Ok(Request { owner: commit.owner, batches, bytes, purpose, reply })
}
