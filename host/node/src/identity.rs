//! Who this node is, and whether its data directory is what it must be.
//!
//! ```text
//! $log/                  the log of the node; it makes the incarnation
//! $cluster/lock          held while a process uses the directory
//! $cluster/node.json     the identity: written when the node has joined, and when a replica is admitted
//! $cluster/founding.json what `init` was asked for, while it is not finished
//! $cluster/replica/      the replica of `$cluster`
//! <store>/               the replica of a store
//! <store>.single/        the store that was adopted, as it was
//! ```

mod admission;
pub(crate) mod folder;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use exesdb_log::Log;
use exesdb_storage::Replica;
use serde::{Deserialize, Serialize};

pub use self::admission::{Admissions, note_admission};
pub use self::folder::{DataFolder, Kept, is_cluster_member};
use crate::id::{ClusterId, Incarnation};
use crate::limits::NUMBER_MAX;
use crate::{CLUSTER_GROUP, CLUSTER_NAME, names};

/// Version of the file of an identity.
const VERSION: u32 = 1;

/// A node of a cluster, as it knows itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    version: u32,
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// Its id in that cluster.
    pub node: u64,
    /// Its name.
    pub name: String,
    /// The log that it joined with.
    pub incarnation: Incarnation,
    /// Its replicas, the one of `$cluster` among them.
    pub replicas: Vec<Place>,
}

/// A replica of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Number of its group.
    pub group: u64,
    /// Name of its store, or `$cluster`.
    pub store: String,
    /// Its replica id.
    pub replica: u64,
    /// Whether it was installed here. From then on it may have promised something, so its data must be there.
    pub is_admitted: bool,
}

/// The data directory of a node that belongs to a cluster, checked and locked, with its log.
pub struct Opened {
    /// The directory.
    pub folder: DataFolder,
    /// Who the node is.
    pub identity: Identity,
    /// Its log.
    pub log: Log,
    /// Groups that lost entries that were synced. Their replicas are not started.
    pub broken: Vec<u64>,
}

/// Why a node does not start, or one of its replicas does not.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The node belongs to no cluster.
    #[error("{} belongs to no cluster: run `exesdb cluster init` on the first node, and `exesdb cluster join` on others", path.display())]
    NoMember {
        /// The data directory.
        path: PathBuf,
    },
    /// The node belongs to no cluster, and has stores.
    #[error(
        "{} has stores that belong to no cluster ({}): run `exesdb cluster init --adopt` to make a cluster of them, or choose \
         another data directory", path.display(), stores.join(", ")
    )]
    SingleNodeStores {
        /// The data directory.
        path: PathBuf,
        /// Their names.
        stores: Vec<String>,
    },
    /// The initialisation was begun.
    #[error("`exesdb cluster init` was begun in {} and not finished: run it again, with the same arguments", path.display())]
    Founding {
        /// The data directory.
        path: PathBuf,
    },
    /// Another process uses the directory.
    #[error("{} is used by another process: every node has a data directory of its own", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The file of the identity, or of an unfinished initialisation, is malformed.
    #[error("{} is malformed: {reason}; without it nobody knows what this node has promised: empty the data directory, and join under a new name", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The log is gone.
    #[error(
        "node {name} lost its log ({} is missing), and with it what it had promised to its cluster: empty the data \
         directory, and join under a new name", path.display()
    )]
    LogMissing {
        /// The node.
        name: String,
        /// Where the log was.
        path: PathBuf,
    },
    /// The log is another one.
    #[error(
        "node {name} joined with log {registered}, and {} has log {found}: it was replaced, or copied from elsewhere; empty \
         the data directory, and join under a new name", path.display()
    )]
    OtherLog {
        /// The node.
        name: String,
        /// Where the log is.
        path: PathBuf,
        /// The log of the identity.
        registered: Incarnation,
        /// The log that is there.
        found: Incarnation,
    },
    /// The data of a replica is gone.
    #[error(
        "replica {replica} of {store} is missing in {}: it had promised to keep what it lost; bring the folder back, or empty \
         the data directory, and join under a new name", path.display()
    )]
    ReplicaMissing {
        /// Its store.
        store: String,
        /// Its id.
        replica: u64,
        /// Where it was.
        path: PathBuf,
    },
    /// Where a replica should be, there is a store that belongs to no cluster.
    #[error(
        "{} has a store that belongs to no cluster, where replica {replica} of {store} should be: move it away",
        path.display()
    )]
    NoReplica {
        /// The store of the replica.
        store: String,
        /// The replica's id.
        replica: u64,
        /// The folder.
        path: PathBuf,
    },
    /// The log lost entries of the replica's group.
    #[error(
        "the log lost what replica {replica} of {store} had promised: empty the data directory, and join under a new name"
    )]
    Broken {
        /// Its store.
        store: String,
        /// Its id.
        replica: u64,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] exesdb_log::OpenError),
    /// The operating system refused.
    #[error("{action} {} failed: {source}{}", path.display(), exesdb_storage::advice(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
}

impl Identity {
    /// A new identity.
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        node: u64,
        name: String,
        incarnation: Incarnation,
        replicas: Vec<Place>,
    ) -> Self {
        Self { version: VERSION, cluster, node, name, incarnation, replicas }
    }

    /// The replica of a group.
    #[must_use]
    pub fn place(&self, group: u64) -> Option<&Place> {
        self.replicas.iter().find(|place| place.group == group)
    }

    /// Checks what was read, or what a leader answered. The error says what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("it has version {}, and this software knows {VERSION}", self.version));
        }
        names::node(&self.name).map_err(|invalid| invalid.to_string())?;
        if !(1..=NUMBER_MAX).contains(&self.node) {
            return Err(format!("{} is no id of a node", self.node));
        }
        let mut seen = BTreeSet::new();
        for Place { group, store, replica, .. } in &self.replicas {
            let is_named =
                if *group == CLUSTER_GROUP { store == CLUSTER_NAME } else { names::store(store).is_ok() };
            let is_number = [group, replica].iter().all(|number| (1..=NUMBER_MAX).contains(*number));
            let is_new = seen.insert(format!("group {group}"))
                && seen.insert(format!("replica {replica}"))
                && seen.insert(format!("store {store}"));
            if !is_named || !is_number || !is_new {
                return Err(format!("replica {replica} of group {group}, {store:?}, is not possible"));
            }
        }
        if self.place(CLUSTER_GROUP).is_none() {
            return Err(format!("it has no replica of {CLUSTER_NAME}"));
        }
        Ok(())
    }
}

impl Opened {
    /// Opens the data directory of a member: locks it, checks that its log is the one that it joined with, and that its
    /// replica of `$cluster` is there.
    ///
    /// # Errors
    ///
    /// [`StartError`], which says what is wrong and what to do. Nothing was changed.
    pub fn open(path: &Path, log: exesdb_log::Options) -> Result<Self, StartError> {
        if !path.is_dir() {
            return Err(StartError::NoMember { path: path.to_owned() });
        }
        let folder = DataFolder::lock(path)?;
        let Some(identity) = folder.identity()? else { return Err(no_member(&folder)?) };
        let (log, recovery) = open_log(&folder, &identity, log)?;
        let opened = Self { folder, identity, log, broken: recovery.broken };
        let cluster = opened.identity.place(CLUSTER_GROUP).expect("it was checked");
        opened.replica(cluster)?;
        Ok(opened)
    }

    /// The folder of a replica, which is there if it must be. A store whose replica cannot be started is parked; the others
    /// start.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn replica(&self, place: &Place) -> Result<PathBuf, StartError> {
        replica_in(&self.folder, place, &self.broken)
    }
}

fn replica_in(folder: &DataFolder, place: &Place, broken: &[u64]) -> Result<PathBuf, StartError> {
    let path = folder.replica(place);
    let Place { group, store, replica, is_admitted } = place.clone();
    if broken.contains(&group) {
        return Err(StartError::Broken { store, replica });
    }
    match folder::kept_in(&path)? {
        Kept::Single => Err(StartError::NoReplica { store, replica, path }),
        Kept::Nothing if is_admitted && !is_swapping(&path) => {
            Err(StartError::ReplicaMissing { store, replica, path })
        }
        Kept::Replica | Kept::Nothing => Ok(path),
    }
}

/// Whether a replica is being replaced by a snapshot: for a moment it has no folder. The home finishes that.
fn is_swapping(path: &Path) -> bool {
    let beside = |suffix: &str| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        path.with_file_name(name)
    };
    beside(".outgoing").is_dir() && Replica::is_in(&beside(".incoming")).unwrap_or(false)
}

/// Why a directory without an identity is none of a member.
fn no_member(folder: &DataFolder) -> Result<StartError, StartError> {
    let path = folder.path().to_owned();
    if folder.is_founding() {
        return Ok(StartError::Founding { path });
    }
    let stores = folder.stores()?;
    let stores: Vec<_> =
        stores.into_iter().filter(|(_, kept)| *kept == Kept::Single).map(|(name, _)| name).collect();
    Ok(if stores.is_empty() {
        StartError::NoMember { path }
    } else {
        StartError::SingleNodeStores { path, stores }
    })
}

/// Opens the log of a member. It is not created: without it the node is another one.
fn open_log(
    folder: &DataFolder,
    identity: &Identity,
    options: exesdb_log::Options,
) -> Result<(Log, exesdb_log::Recovery), StartError> {
    let path = folder.log();
    let name = identity.name.clone();
    if !path.is_dir() {
        return Err(StartError::LogMissing { name, path });
    }
    let (log, recovery) = Log::open(&path, options)?;
    let (registered, found) = (identity.incarnation, Incarnation(log.incarnation()));
    if found != registered {
        return Err(StartError::OtherLog { name, path, registered, found });
    }
    Ok((log, recovery))
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::{Identity, Place};
    use crate::id::{ClusterId, Incarnation};

    #[test]
    fn an_identity_that_cannot_be_is_refused() {
        let place =
            |group, store: &str, replica| Place { group, store: store.into(), replica, is_admitted: false };
        let good = || {
            let replicas = vec![place(1, "$cluster", 4), place(2, "x", 5)];
            Identity::new(ClusterId(7), 2, "b".into(), Incarnation(2), replicas)
        };
        assert_eq!(good().check(), Ok(()));
        let changed = |change: &dyn Fn(&mut Identity)| {
            let mut identity = good();
            change(&mut identity);
            identity.check()
        };
        let add = |group, store: &'static str, replica| {
            move |identity: &mut Identity| identity.replicas.push(place(group, store, replica))
        };
        let table: [&dyn Fn(&mut Identity); 11] = [
            &|identity| identity.version = 2,
            &|identity| identity.node = 0,
            &|identity| identity.node = u64::MAX,
            &|identity| identity.name = "B".into(),
            &|identity| drop(identity.replicas.remove(0)),
            &add(3, "../x", 6),
            &add(3, "$cluster", 6),
            &add(2, "y", 6),
            &add(3, "x", 6),
            &add(3, "y", 5),
            &add(3, "y", 0),
        ];
        for (case, change) in table.into_iter().enumerate() {
            assert!(changed(change).is_err(), "{case}");
        }
    }
}
