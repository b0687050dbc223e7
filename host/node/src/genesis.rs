//! The first node of a cluster: its identity, and the first replica of each group.
//!
//! What is asked for is written down first. From it follows everything that is made, with all ids; so whoever is killed goes
//! on with the same plan, and each step looks whether it was done. The last step makes the node a member.
//!
//! ```text
//! 1  $log                    made, with its incarnation
//! 2  founding.json           the plan
//! 3  $cluster/replica        the first replica of `$cluster`, with the registry in it
//! 4  of each store           a first replica, empty or of the store that is adopted:
//!                            restored to <store>.adopting, then <store> becomes <store>.single, and the other one <store>
//! 5  node.json               the node is a member
//! 6  founding.json           removed
//! ```

mod adopt;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use exesdb_cluster::{Member, genesis};
use exesdb_log::Log;
use exesdb_storage::dump::{DumpError, RestoreError, restore_replica};
use exesdb_storage::{
    Commit, Entry, EntryCommit, EntryContent, Genesis, Histories, LogId, Memory, OpenError, Options, Replica,
    ReplicaError, ReplicaOpenError,
};
use serde::{Deserialize, Serialize};

use crate::CLUSTER_GROUP;
use crate::id::{ClusterId, Incarnation};
use crate::identity::folder::kept_in;
use crate::identity::{DataFolder, Identity, Kept, Place, StartError};
use crate::names::Addresses;
use crate::registry::{Change, NewNode, NewStore, Refused, Registry};

/// The first node, and what its cluster begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founding {
    /// The node's name.
    pub name: String,
    /// Where it is reached.
    pub addresses: Addresses,
    /// What it shares with nodes that fail together with it.
    #[serde(default)]
    pub zone: Option<String>,
    /// The stores of the cluster.
    pub stores: Vec<NewStore>,
    /// Whether stores that are in the data directory become those of the cluster. All that are there must be named.
    pub adopt: bool,
}

/// A step that was done. A kill after any of them is made good by running the initialisation again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The log is there.
    Log,
    /// The plan is written.
    Plan,
    /// The replica of `$cluster` is there, with the registry.
    Cluster,
    /// The copy of a store is there, beside it.
    Copied(String),
    /// A store was moved aside, and its copy is not in its place.
    Aside(String),
    /// A store has its replica.
    Store(String),
    /// The node is a member.
    Member,
}

/// Called with each step.
pub type OnStep = Arc<dyn Fn(&Step) + Send + Sync>;

/// How to make the first node.
#[derive(Clone, Default)]
pub struct GenesisOptions {
    /// Of the replicas.
    pub storage: Options,
    /// Of the log.
    pub log: exesdb_log::Options,
    /// Called after each step; only for tests, and to show progress.
    pub on_step: Option<OnStep>,
}

/// How an initialisation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Founded {
    /// The cluster was made.
    Now(Identity),
    /// It had been made before.
    Before(Identity),
}

/// Why a cluster was not made. Unless the error says otherwise, running it again goes on.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// The directory cannot be used.
    #[error(transparent)]
    Folder(#[from] StartError),
    /// What was asked for is not possible.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The node belongs to a cluster under another name.
    #[error("{} belongs to node {name} of cluster {cluster} already", path.display())]
    Member {
        /// The data directory.
        path: PathBuf,
        /// The node's name.
        name: String,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// An initialisation was begun for something else.
    #[error(
        "an initialisation of {} was begun with other arguments; run it again with those: {}", path.display(),
        serde_json::to_string(plan).unwrap_or_default()
    )]
    OtherPlan {
        /// The data directory.
        path: PathBuf,
        /// What was asked for then.
        plan: Box<Founding>,
    },
    /// There are stores, and nobody said that they become those of the cluster.
    #[error(
        "{} has stores that belong to no cluster ({}); say --adopt and name all of them, or choose another data directory",
        path.display(), stores.join(", ")
    )]
    Stores {
        /// The data directory.
        path: PathBuf,
        /// Those that are not adopted.
        stores: Vec<String>,
    },
    /// There is a replica of another cluster.
    #[error("{} has a replica of another cluster; choose an empty data directory", path.display())]
    OtherReplica {
        /// Its folder.
        path: PathBuf,
    },
    /// There is something where the adopted store would be kept.
    #[error("{} is in the way: the store that is adopted is kept there; move it elsewhere", path.display())]
    InTheWay {
        /// The folder.
        path: PathBuf,
    },
    /// The plan was made with another log.
    #[error(
        "the initialisation of {} was begun with log {registered}, and now there is log {found}: move $cluster and $log \
         elsewhere, and begin again; a store whose folder ends in .single was adopted, and its data is there as it was",
        path.display()
    )]
    OtherLog {
        /// The data directory.
        path: PathBuf,
        /// The log of the plan.
        registered: Incarnation,
        /// The log that is there.
        found: Incarnation,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] exesdb_log::OpenError),
    /// A replica could not be made or opened.
    #[error(transparent)]
    Replica(#[from] ReplicaOpenError),
    /// The registry could not be written.
    #[error(transparent)]
    Apply(#[from] ReplicaError),
    /// The store that is adopted could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store that is adopted could not be read.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The store that is adopted could not be copied.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The copy of the store that is adopted is not equal to it.
    #[error("the copy of {} in {} is not equal to it; the disk may be failing", store.display(), copy.display())]
    Copy {
        /// The store.
        store: PathBuf,
        /// The copy.
        copy: PathBuf,
    },
}

/// What is in `founding.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    cluster: ClusterId,
    incarnation: Incarnation,
    asked: Founding,
}

/// Makes the first node of a new cluster in a data directory. Blocks its thread, for long if stores are adopted.
///
/// # Errors
///
/// [`GenesisError`].
pub fn init(path: &Path, asked: &Founding, options: &GenesisOptions) -> Result<Founded, GenesisError> {
    let step = |step: Step| {
        if let Some(on_step) = &options.on_step {
            on_step(&step);
        }
    };
    // What is not possible changes nothing.
    found(ClusterId(0), Incarnation(0), asked)?;
    let folder = DataFolder::lock(path)?;
    if let Some(identity) = folder.identity()? {
        folder.remove_founding()?;
        if identity.name != asked.name {
            let Identity { name, cluster, .. } = identity;
            return Err(GenesisError::Member { path: path.to_owned(), name, cluster });
        }
        return Ok(Founded::Before(identity));
    }
    let plan = folder.founding::<Plan>()?;
    match &plan {
        None => check_stores(&folder, asked)?,
        Some(plan) if plan.asked != *asked => {
            let plan = Box::new(plan.asked.clone());
            return Err(GenesisError::OtherPlan { path: path.to_owned(), plan });
        }
        Some(_) => {}
    }
    let (log, _) = Log::open(&folder.log(), options.log.clone())?;
    let incarnation = Incarnation(log.incarnation());
    step(Step::Log);
    let plan = match plan {
        Some(plan) if plan.incarnation != incarnation => {
            let registered = plan.incarnation;
            return Err(GenesisError::OtherLog { path: path.to_owned(), registered, found: incarnation });
        }
        Some(plan) => plan,
        None => {
            let plan = Plan { cluster: ClusterId::random(), incarnation, asked: asked.clone() };
            folder.write_founding(&plan)?;
            plan
        }
    };
    step(Step::Plan);
    let identity = make(&folder, &plan, options, &step)?;
    folder.write_identity(&identity)?;
    step(Step::Member);
    folder.remove_founding()?;
    Ok(Founded::Now(identity))
}

fn found(cluster: ClusterId, incarnation: Incarnation, asked: &Founding) -> Result<Change, Refused> {
    let Founding { name, addresses, zone, stores, .. } = asked.clone();
    Registry::found(cluster, &NewNode { name, addresses, zone, incarnation }, &stores)
}

/// Checks that what is in the directory is what will be adopted.
fn check_stores(folder: &DataFolder, asked: &Founding) -> Result<(), GenesisError> {
    let cluster = folder.cluster_replica();
    if kept_in(&cluster)? != Kept::Nothing {
        return Err(GenesisError::OtherReplica { path: cluster });
    }
    let mut left = Vec::new();
    for (name, kept) in folder.stores()? {
        let path = folder.path().join(&name);
        match kept {
            Kept::Replica => return Err(GenesisError::OtherReplica { path }),
            Kept::Single if asked.adopt && asked.stores.iter().any(|store| store.name == name) => {}
            Kept::Single | Kept::Nothing => left.push(name),
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    Err(GenesisError::Stores { path: folder.path().to_owned(), stores: left })
}

/// Makes every replica. Returns the identity of the node that has them.
fn make(
    folder: &DataFolder,
    plan: &Plan,
    options: &GenesisOptions,
    step: &dyn Fn(Step),
) -> Result<Identity, GenesisError> {
    let Change { commit, after } = found(plan.cluster, plan.incarnation, &plan.asked)?;
    let (node, Founding { name, .. }) = (1, &plan.asked);
    let mut places = Vec::new();
    for (group, store, replica) in after.groups_on(node) {
        let place = Place { group, store: store.to_owned(), replica, is_admitted: true };
        let member = Member { node: name.clone(), incarnation: plan.incarnation.0 };
        let genesis = genesis(replica, member);
        let path = folder.replica(&place);
        if group == CLUSTER_GROUP {
            make_cluster(&path, &genesis, commit.clone())?;
            step(Step::Cluster);
        } else {
            adopt::make_store(&path, &genesis, options, &|what| step(what(store.to_owned())))?;
        }
        places.push(place);
    }
    Ok(Identity::new(plan.cluster, node, name.clone(), plan.incarnation, places))
}

/// Makes the replica of `$cluster`, which is born with the registry in it, as an adopted store's is with its events.
fn make_cluster(path: &Path, genesis: &Genesis, registry: Commit) -> Result<(), GenesisError> {
    if kept_in(path)? == Kept::Replica {
        return Ok(());
    }
    let histories = Histories::begin();
    let mut draft = Replica::create_in(Memory::new(), Options::default(), genesis, &histories)?;
    let Commit { owner, batches, .. } = registry;
    let commits = vec![EntryCommit { owner, batches, ..EntryCommit::default() }];
    let id = LogId { index: genesis.id.index + 1, ..genesis.id };
    let outcomes = draft.apply(Entry { id, time: 0, content: EntryContent::Commits(commits) })?;
    let is_written = outcomes.is_some_and(|outcomes| outcomes.iter().flatten().all(Result::is_ok));
    assert!(is_written, "a registry fits into an empty replica");
    let mut dump = Vec::new();
    draft.reader().snapshot().dump(&mut dump, &mut |_| {})?;
    restore_replica(path, &mut &*dump, Some(genesis), &mut |_| {})?;
    Ok(())
}
