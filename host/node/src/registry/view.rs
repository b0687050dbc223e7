//! The registry while the group `$cluster` runs: following it, and changing it.

use std::sync::Arc;

use exesdb_cluster::{Group, ProposeError, ReadError, ReplicaHome};
use exesdb_storage::BatchError;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::{Change, Refused, Registry, RegistryError};
use crate::limits::{CHANGE_TRIES, REGISTRY_TICK};

/// What is told on every node once the registry has changed.
const TOPIC: &str = crate::CLUSTER_NAME;

/// What this node knows of the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The newest registry that it could read; `None` before the first snapshot.
    pub registry: Option<Arc<Registry>>,
    /// Why it could not read a newer one.
    pub failure: Option<RegistryError>,
}

/// The registry as this node has it, without a wait. It may be older than that of other nodes.
#[derive(Clone, Debug)]
pub struct RegistryView {
    seen: watch::Receiver<Seen>,
}

/// Keeps a [`RegistryView`] up to date.
pub struct Follower {
    seen: watch::Sender<Seen>,
    applied: Arc<Notify>,
}

/// Why the registry was not changed, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The change is not possible.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The registry could not be read as of now.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was read is no registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The change was not proposed, or its outcome is unknown.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The change was proposed and refused for what it is.
    #[error("the change of the registry was not applied: {0}")]
    NotApplied(BatchError),
    /// Others were always faster.
    #[error("the registry changed {CHANGE_TRIES} times meanwhile; try again")]
    Contended,
}

impl RegistryView {
    /// A view, and what keeps it up to date.
    #[must_use]
    pub fn new() -> (Self, Follower) {
        let (sender, seen) = watch::channel(Seen::default());
        (Self { seen }, Follower { seen: sender, applied: Arc::default() })
    }

    /// The newest registry that this node could read; `None` before the first snapshot.
    #[must_use]
    pub fn registry(&self) -> Option<Arc<Registry>> {
        self.seen.borrow().registry.clone()
    }

    /// The newest registry that this node could read. Waits for the first one, which comes with the first snapshot.
    pub async fn known(&self) -> Arc<Registry> {
        let mut seen = self.seen.clone();
        let known = seen.wait_for(|seen| seen.registry.is_some()).await.map(|seen| seen.registry.clone());
        match known {
            Ok(Some(registry)) => registry,
            // Nobody follows any more, so there will be none.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Changes with each change of what is seen.
    #[must_use]
    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }
}

impl Follower {
    /// What the group is given as [`on_applied`](exesdb_cluster::Options::on_applied), so that changes are seen at once.
    #[must_use]
    pub fn on_applied(&self) -> Arc<dyn Fn(Vec<String>) + Send + Sync> {
        let applied = Arc::clone(&self.applied);
        Arc::new(move |_| applied.notify_one())
    }

    /// Follows the group until the future is dropped.
    pub async fn run<H: ReplicaHome>(self, group: Arc<Group<H>>) {
        let mut tick = interval(REGISTRY_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sequence = None;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.applied.notified() => {}
            }
            // A snapshot may have replaced the replica, so a reader is not kept.
            let Some(snapshot) = group.reader().map(|reader| reader.snapshot()) else { continue };
            if sequence.replace(snapshot.head().sequence) == Some(snapshot.head().sequence) {
                continue;
            }
            match Registry::read(&snapshot) {
                Ok(registry) => self.note(registry),
                Err(failure) => {
                    // A replica that is being replaced is closed, so it is read again.
                    sequence = None;
                    self.note_failure(failure);
                }
            }
        }
    }

    fn note_failure(&self, failure: RegistryError) {
        self.seen.send_if_modified(|seen| {
            let is_new = seen.failure.as_ref() != Some(&failure);
            if is_new {
                tracing::error!(%failure, "the registry of the cluster cannot be read");
                seen.failure = Some(failure);
            }
            is_new
        });
    }

    fn note(&self, registry: Registry) {
        self.seen.send_if_modified(|seen| {
            let is_new = seen.failure.is_some() || seen.registry.as_deref() != Some(&registry);
            if is_new {
                *seen = Seen { registry: Some(Arc::new(registry)), failure: None };
            }
            is_new
        });
    }
}

/// The registry with every change that was made anywhere before the call.
///
/// # Errors
///
/// [`ChangeError`].
pub async fn read<H: ReplicaHome>(group: &Group<H>) -> Result<Registry, ChangeError> {
    Ok(Registry::read(&group.linearizable().await?.snapshot())?)
}

/// Decides on a change of the registry as it is now, and makes it, if this node leads `$cluster`. If another change came
/// first, it is decided again. Returns the registry after it, or as it is if there is nothing to change.
///
/// # Errors
///
/// [`ChangeError`]. Only after [`ProposeError::Unknown`] the change may have been made.
pub async fn change<H: ReplicaHome>(
    group: &Group<H>,
    decide: impl Fn(&Registry) -> Result<Option<Change>, Refused>,
) -> Result<Registry, ChangeError> {
    for _ in 0..CHANGE_TRIES {
        let registry = read(group).await?;
        let Some(Change { commit, after }) = decide(&registry)? else { return Ok(registry) };
        let accepted = group.propose(commit, None, vec![TOPIC.to_owned()]).await?;
        match accepted.outcomes.into_iter().next() {
            Some(Ok(_)) => return Ok(after),
            Some(Err(BatchError::GuardFailed { .. })) => {}
            Some(Err(error)) => return Err(ChangeError::NotApplied(error)),
            None => unreachable!("a change has one batch"),
        }
    }
    Err(ChangeError::Contended)
}
