//! How the other parts of a store access its data: a database of its own, or a replica of a group.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use exesdb_storage::{Commit, CommitError, Health, Outcomes, Reader, Snapshot, Store, Term, Writer};

use crate::clock::Clock;

/// What a store is kept in.
pub trait Backend: Send + Sync + 'static {
    /// A handle to read with. It may fail after the store was opened again or replaced, so it is asked for again for each read.
    fn reader(&self) -> Reader;

    /// Whether this node may decide on changes of the store, and deliver what durable subscriptions select. Asked before the state is
    /// read on which something is decided.
    ///
    /// # Errors
    ///
    /// [`CommitFailure::NotLeader`] and [`CommitFailure::NoLeader`].
    fn leads(&self) -> Result<Tenure, CommitFailure>;

    /// Queues a commit that was decided on during this tenure, and returns at once. It is applied in no other one. `applied` is called with the outcomes as soon as the commit can be seen in the
    /// [applied](Reader::applied) state, at most once, and not if the commit fails before that. `reply` is called exactly once
    /// after it, when the commit is durable or failed. Both must be quick and wait for nothing. Neither is called if this returns
    /// an error.
    ///
    /// # Errors
    ///
    /// [`CommitFailure`], if the commit was not queued.
    fn commit(
        &self,
        tenure: Tenure,
        commit: Commit,
        applied: OnApplied,
        reply: OnReply,
    ) -> Result<(), CommitFailure>;

    /// Calls `reply` once everything that can be seen in the [applied](Reader::applied) state now is durable, and it is certain that
    /// the tenure has lasted until this call: so nothing was acknowledged that could not be seen. With an error if that cannot be
    /// known. `reply` is not called if this returns an error.
    ///
    /// # Errors
    ///
    /// [`CommitFailure`].
    fn when_durable(&self, tenure: Tenure, reply: OnDurable) -> Result<(), CommitFailure>;

    /// Whether the store takes commits.
    fn health(&self) -> Health;

    /// How long the write at hand has been running; `None` if there is none. Many seconds mean that the disk hangs.
    fn writing_for(&self) -> Option<Duration>;
}

/// A time of one leadership of one node: that of a cluster's leader, or of a database that nobody else has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tenure(pub Term);

/// The store that something is decided on.
#[derive(Clone)]
pub(crate) struct Decidable {
    pub(crate) backend: Arc<dyn Backend>,
    /// In which the decision began.
    pub(crate) tenure: Tenure,
}

/// Sees the outcomes of a commit once they are applied.
pub type OnApplied = Box<dyn FnOnce(&Outcomes) + Send>;

/// Gets the outcomes of a commit once they are durable.
pub type OnReply = Box<dyn FnOnce(Result<Outcomes, CommitFailure>) + Send>;

/// Is told that what was seen is durable.
pub type OnDurable = Box<dyn FnOnce(Result<(), CommitFailure>) + Send>;

/// Why a commit has no outcomes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitFailure {
    /// The store refused it, or stopped.
    #[error(transparent)]
    Store(#[from] CommitError),
    /// Another node leads the store. Nothing was or will be applied.
    #[error("another node leads the store{}; ask it", leader.as_ref().map(|leader| format!(": {leader}")).unwrap_or_default())]
    NotLeader {
        /// Where it serves clients, if that is known.
        leader: Option<LeaderAddress>,
    },
    /// The store's nodes are choosing a leader. Nothing was or will be applied.
    #[error("the store has no leader for now; try again")]
    NoLeader,
    /// Nobody knows whether it was or will be applied.
    #[error("whether it was applied is not known: {reason}")]
    Unknown {
        /// What happened.
        reason: String,
    },
}

/// Where the leader of a store serves clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderAddress {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for LeaderAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A store's data, registered as [`crate::names::store`]. It does not keep a database open: after its end it fails, so that
/// nobody else has to close it on a thread that must not wait.
pub struct StoreAccess {
    backend: Arc<dyn Backend>,
    /// The latest time of a view so far: microseconds since 1970-01-01T00:00:00 UTC.
    latest_time: AtomicU64,
}

impl StoreAccess {
    /// The access to an open database.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self::to(Arc::new(Database { reader: store.reader(), writer: store.writer() }))
    }

    /// The access to what keeps a store.
    #[must_use]
    pub fn to(backend: Arc<dyn Backend>) -> Self {
        Self { backend, latest_time: AtomicU64::new(0) }
    }

    /// A handle to read with, for one read.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.backend.reader()
    }

    /// What commits.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Commits, and waits for the outcomes. They stand also if nobody waits for them any more.
    ///
    /// # Errors
    ///
    /// [`CommitFailure`].
    pub(crate) async fn commit(&self, tenure: Tenure, commit: Commit) -> Result<Outcomes, CommitFailure> {
        let (sender, outcomes) = tokio::sync::oneshot::channel();
        // The caller may be gone, as after a kill.
        let reply = Box::new(move |outcomes| drop(sender.send(outcomes)));
        self.backend.commit(tenure, commit, Box::new(|_| ()), reply)?;
        outcomes.await.unwrap_or(Err(CommitError::Closed.into()))
    }

    /// The time of a view of this snapshot (the rule V7): never less than that of an earlier view, nor than any time that was
    /// taken from one and stored, also if the system's clock is set back while the host is stopped.
    pub(crate) fn time_of(&self, snapshot: &Snapshot, clock: Clock) -> u64 {
        let now = u64::try_from(clock.since_epoch().as_micros()).unwrap_or(u64::MAX);
        if clock == Clock::Epoch {
            return now;
        }
        let now = now.max(snapshot.time());
        now.max(self.latest_time.fetch_max(now, Ordering::Relaxed))
    }
}

/// A database of its own, with its committer.
struct Database {
    reader: Reader,
    writer: Writer,
}

impl Backend for Database {
    fn reader(&self) -> Reader {
        self.reader.clone()
    }

    fn leads(&self) -> Result<Tenure, CommitFailure> {
        Ok(Tenure::default())
    }

    fn commit(
        &self,
        _: Tenure,
        commit: Commit,
        applied: OnApplied,
        reply: OnReply,
    ) -> Result<(), CommitFailure> {
        let reply = move |outcomes: Result<Outcomes, CommitError>| reply(outcomes.map_err(Into::into));
        Ok(self.writer.commit_in_two_steps(commit, applied, reply)?)
    }

    fn when_durable(&self, _: Tenure, reply: OnDurable) -> Result<(), CommitFailure> {
        Ok(self.writer.when_durable(move |durable| reply(durable.map_err(Into::into)))?)
    }

    fn health(&self) -> Health {
        self.writer.health()
    }

    fn writing_for(&self) -> Option<Duration> {
        self.writer.writing_for()
    }
}
