//! The seam to where a replica is kept: opening it, and replacing it by a snapshot.

mod files;
mod memory;

use std::io::Read;
use std::path::PathBuf;

use exesdb_storage::dump::RestoreError;
use exesdb_storage::{Engine, Replica, ReplicaOpenError, ReplicaState};

pub use self::files::FilesHome;
pub use self::memory::MemoryHome;

/// Where the data of one replica is. It has one replica or none; none before the first snapshot.
pub trait ReplicaHome: Send + Sync + 'static {
    /// What keeps the data.
    type Engine: Engine;
    /// A snapshot that was received whole and checked, and is not the replica yet.
    type Incoming: Send + 'static;

    /// Opens the replica, if there is one. Finishes an [`install`](Self::install) that was cut short.
    ///
    /// # Errors
    ///
    /// [`HomeError`].
    fn open(&self) -> Result<Option<Replica<Self::Engine>>, HomeError>;

    /// Receives a snapshot beside the replica, which stays as it is. A snapshot that was received before is deleted.
    ///
    /// # Errors
    ///
    /// [`HomeError`]: the dump is not accepted, or cannot be written.
    fn receive(&self, dump: &mut dyn Read) -> Result<(Self::Incoming, ReplicaState), HomeError>;

    /// Puts a snapshot in the place of the replica, which is closed, and opens it. Durable on return.
    ///
    /// # Errors
    ///
    /// [`HomeError`].
    fn install(&self, incoming: Self::Incoming) -> Result<Replica<Self::Engine>, HomeError>;
}

/// Why a replica was not opened, received or installed.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] ReplicaOpenError),
    /// A snapshot was not accepted.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The file system failed.
    #[error("{what} {} failed: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The dump is not that of a replica.
    #[error("the snapshot is not that of a replica")]
    NoReplica,
}
