//! Writing down that a replica was installed.

use std::path::PathBuf;
use std::sync::Arc;

use exesdb_cluster::{Group, ReplicaHome};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::{DataFolder, Identity, Place, StartError, replica_in};
use crate::limits::ADMISSION_TICK;

/// The identity of a running node, which is written again with each replica that is installed.
pub struct Admissions {
    folder: DataFolder,
    identity: Mutex<Identity>,
}

impl Admissions {
    /// Takes over what was opened.
    #[must_use]
    pub fn new(folder: DataFolder, identity: Identity) -> Self {
        Self { folder, identity: Mutex::new(identity) }
    }

    /// The directory.
    #[must_use]
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// The identity as it was written last.
    pub async fn identity(&self) -> Identity {
        self.identity.lock().await.clone()
    }

    /// The folder of a replica, which is there if it must be: see [`Opened::replica`](super::Opened::replica). `broken` are the
    /// groups that lost something in the log.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn replica(&self, place: &Place, broken: &[u64]) -> Result<PathBuf, StartError> {
        replica_in(&self.folder, place, broken)
    }

    /// Writes down that the replica of a group was installed. Durable on return.
    ///
    /// # Errors
    ///
    /// The operating system's error.
    pub async fn admit(&self, group: u64) -> Result<(), StartError> {
        let mut known = self.identity.lock().await;
        let mut identity = known.clone();
        match identity.replicas.iter_mut().find(|place| place.group == group) {
            Some(place) if !place.is_admitted => place.is_admitted = true,
            _ => return Ok(()),
        }
        // A file of a few hundred bytes, once in the life of a replica.
        self.folder.write_identity(&identity)?;
        *known = identity;
        Ok(())
    }
}

/// Waits until a group has a replica here, and writes that down. A crash in between is no harm: a group does not start without
/// a replica whose log was purged.
///
/// # Errors
///
/// The operating system's error.
pub async fn note_admission<H: ReplicaHome>(
    group: Arc<Group<H>>,
    number: u64,
    admissions: Arc<Admissions>,
) -> Result<(), StartError> {
    let mut tick = interval(ADMISSION_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while group.reader().is_none() {
        tick.tick().await;
    }
    admissions.admit(number).await
}
