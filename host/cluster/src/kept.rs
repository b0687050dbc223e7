//! The replica of a group while the group runs: applying, persisting, replacing it, and what others may know of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use exesdb_storage::{
    Entry, EntryCheck, EntryContent, LogId, Reader, Replica, ReplicaError, ReplicaState, Snapshot,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::home::{HomeError, ReplicaHome};
use crate::types::Response;

/// Called with the topics of the entries that were applied, once readers see them.
pub(crate) type OnApplied = Arc<dyn Fn(Vec<String>) + Send + Sync>;

/// Where work is done that may wait for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Execution {
    /// On threads that may wait.
    #[default]
    Threads,
    /// On the caller's, for replicas in memory: a simulation has one thread.
    Inline,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The last entry that was applied; `None` without a replica.
    pub(crate) id: Option<LogId>,
    /// The highest time of what was applied.
    pub(crate) time: u64,
}

/// A replica, or the place for one.
pub(crate) struct Kept<H: ReplicaHome> {
    home: H,
    /// Held while the replica works: one thread at a time.
    replica: Mutex<Option<Replica<H::Engine>>>,
    reader: ArcSwapOption<Reader<H::Engine>>,
    reached: watch::Sender<Reached>,
    /// Index of the last entry that the replica holds durably.
    persisted: watch::Sender<u64>,
    unpersisted_bytes: AtomicU64,
    /// Index at which the replica was found to differ from its leader; 0 if it was not.
    diverged: AtomicU64,
    /// Why it does not go on.
    stopped: watch::Sender<Option<String>>,
    on_applied: Option<OnApplied>,
    execution: Execution,
    #[cfg(feature = "faults")]
    fault: Option<crate::Fault>,
    #[cfg(feature = "faults")]
    clock: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
}

impl<H: ReplicaHome> Kept<H> {
    pub(crate) fn open(
        home: H,
        on_applied: Option<OnApplied>,
        execution: Execution,
    ) -> Result<Self, HomeError> {
        let replica = home.open()?;
        let kept = Self {
            home,
            replica: Mutex::new(None),
            reader: ArcSwapOption::empty(),
            reached: watch::Sender::default(),
            persisted: watch::Sender::default(),
            unpersisted_bytes: AtomicU64::new(0),
            diverged: AtomicU64::new(0),
            stopped: watch::Sender::default(),
            on_applied,
            execution,
            #[cfg(feature = "faults")]
            fault: None,
            #[cfg(feature = "faults")]
            clock: None,
        };
        if let Some(replica) = replica {
            kept.put(replica);
        }
        Ok(kept)
    }

    #[cfg(feature = "faults")]
    pub(crate) fn with_fault(
        self,
        fault: Option<crate::Fault>,
        clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    ) -> Self {
        Self { fault, clock: Some(clock), ..self }
    }

    fn put(&self, replica: Replica<H::Engine>) {
        self.reader.store(Some(Arc::new(replica.reader())));
        self.note(&replica);
        *self.replica.lock() = Some(replica);
    }

    fn note(&self, replica: &Replica<H::Engine>) {
        self.persisted.send_replace(replica.persisted().applied.index);
        #[cfg(feature = "faults")]
        if self.fault == Some(crate::Fault::PurgeBeforePersist) {
            self.persisted.send_replace(replica.state().applied.id.index);
        }
        self.unpersisted_bytes.store(replica.unpersisted_bytes(), Ordering::Relaxed);
        let applied = replica.state().applied;
        self.reached.send_replace(Reached { id: Some(applied.id), time: applied.time });
    }

    /// Runs what may wait for the disk.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, String> {
        match self.execution {
            Execution::Inline => Ok(work(self)),
            Execution::Threads => {
                let kept = Arc::clone(self);
                let done = tokio::task::spawn_blocking(move || work(&kept)).await;
                done.map_err(|error| self.stop(format!("it panicked: {error}")))
            }
        }
    }

    /// Applies entries in order.
    pub(crate) fn apply(&self, entries: Vec<Entry>) -> Result<Vec<Response>, String> {
        let mut guard = self.replica.lock();
        let replica = guard.as_mut().ok_or_else(|| "there is no replica to apply entries".to_owned())?;
        let mut responses = Vec::with_capacity(entries.len());
        for mut entry in entries {
            let topics = take_topics(&mut entry);
            #[cfg(feature = "faults")]
            if let (Some(crate::Fault::OwnClock), Some(clock)) = (self.fault, &self.clock) {
                entry.time = clock();
            }
            let outcomes = match replica.apply(entry) {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    if let ReplicaError::Diverged { index, .. } = error {
                        self.diverged.store(index, Ordering::Relaxed);
                        // Nobody reads what is not to be trusted.
                        self.reader.store(None);
                        *guard = None;
                    }
                    return Err(self.stop(error.to_string()));
                }
            };
            responses.push(Response(outcomes));
            if let Some(on_applied) = self.on_applied.as_ref().filter(|_| !topics.is_empty()) {
                on_applied(topics);
            }
        }
        self.note(replica);
        Ok(responses)
    }

    /// Makes durable what was applied. Returns the snapshot that it is.
    pub(crate) fn persist(&self) -> Result<Snapshot<H::Engine>, String> {
        let mut guard = self.replica.lock();
        let replica = guard.as_mut().ok_or_else(|| "there is no replica to make durable".to_owned())?;
        #[cfg(feature = "faults")]
        if self.fault == Some(crate::Fault::PurgeBeforePersist) {
            return Ok(replica.reader().snapshot());
        }
        replica.persist().map_err(|error| self.stop(error.to_string()))?;
        self.note(replica);
        Ok(replica.reader().snapshot())
    }

    /// Puts a snapshot in the place of the replica.
    pub(crate) fn install(&self, incoming: H::Incoming) -> Result<(), String> {
        let mut guard = self.replica.lock();
        // Closed before its files are moved away.
        *guard = None;
        let replica = self.home.install(incoming).map_err(|error| self.stop(error.to_string()))?;
        drop(guard);
        self.put(replica);
        // What came with the snapshot has no topics of its own.
        if let Some(on_applied) = &self.on_applied {
            on_applied(Vec::new());
        }
        Ok(())
    }

    pub(crate) fn home(&self) -> &H {
        &self.home
    }

    /// What was applied, and the replica's state then.
    pub(crate) fn snapshot(&self) -> Option<(Snapshot<H::Engine>, ReplicaState)> {
        let snapshot = self.reader.load().as_ref()?.snapshot();
        let state = snapshot.replica()?.clone();
        Some((snapshot, state))
    }

    pub(crate) fn reader(&self) -> Option<Reader<H::Engine>> {
        self.reader.load().as_ref().map(|reader| (**reader).clone())
    }

    pub(crate) fn reached(&self) -> watch::Receiver<Reached> {
        self.reached.subscribe()
    }

    pub(crate) fn persisted(&self) -> watch::Receiver<u64> {
        self.persisted.subscribe()
    }

    pub(crate) fn unpersisted_bytes(&self) -> u64 {
        self.unpersisted_bytes.load(Ordering::Relaxed)
    }

    /// Index at which the replica was found to differ from its leader.
    pub(crate) fn diverged(&self) -> Option<u64> {
        Some(self.diverged.load(Ordering::Relaxed)).filter(|index| *index > 0)
    }

    /// What was applied last, for others to compare.
    pub(crate) fn check(&self) -> Option<EntryCheck> {
        let guard = self.replica.lock();
        let replica = guard.as_ref()?;
        let index = replica.state().applied.id.index;
        replica.checkpoint(index).map(|checkpoint| checkpoint.check(index))
    }

    pub(crate) fn execution(&self) -> Execution {
        self.execution
    }

    pub(crate) fn stopped(&self) -> watch::Receiver<Option<String>> {
        self.stopped.subscribe()
    }

    /// Notes why the replica does not go on, unless that is known.
    pub(crate) fn stop(&self, reason: String) -> String {
        self.stopped.send_if_modified(|stopped| {
            let is_first = stopped.is_none();
            stopped.get_or_insert_with(|| reason.clone());
            is_first
        });
        reason
    }

    /// Closes the replica.
    pub(crate) fn close(&self) {
        self.reader.store(None);
        *self.replica.lock() = None;
    }
}

/// A replica does not read the topics of an entry.
fn take_topics(entry: &mut Entry) -> Vec<String> {
    match &mut entry.content {
        EntryContent::Blank | EntryContent::Membership(_) | EntryContent::Check(_) => Vec::new(),
        EntryContent::Commits(commits) => {
            commits.iter_mut().flat_map(|commit| std::mem::take(&mut commit.topics)).collect()
        }
    }
}
