//! The content of the group `$cluster`: which nodes, stores and replicas there are.
//!
//! It is in keyspaces of one owner, one record for each node, store and replica, as JSON. Numbers in keys are big-endian.
//!
//! ```text
//! registry   "head"         cluster, feature level, revision, the next ids
//! nodes      node u64       name, addresses, zone, incarnation of its log, state
//! stores     group u64      name, configuration, wanted voters
//! replicas   replica u64    group, node
//! ```
//!
//! Every change is one batch that raises the revision, under the guard that the head is still the one that the change was
//! decided on. So of two changes at once one is refused, and is decided again.

mod change;
mod records;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;

use exesdb_storage::{Engine, ReadError, Snapshot};
use serde::{Deserialize, Serialize};

pub use self::change::{Change, NewNode, NewStore, Refused};
pub use self::view::{ChangeError, Follower, RegistryView, Seen, change, read};
use crate::id::{ClusterId, Incarnation};
use crate::limits::{NODES_MAX, NUMBER_MAX, STORES_MAX};
use crate::names::{self, Addresses, Invalid};
use crate::{CLUSTER_GROUP, CLUSTER_NAME, FEATURE_LEVEL};

/// Nodes, stores and replicas of a cluster, as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    head: Head,
    /// The head as it is stored: what a change is guarded by.
    stored_head: Vec<u8>,
    /// By node id.
    pub nodes: BTreeMap<u64, Node>,
    /// By the number of their group. `$cluster` is not among them.
    pub stores: BTreeMap<u64, Store>,
    /// By replica id, those of `$cluster` among them.
    pub replicas: BTreeMap<u64, Replica>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    cluster: ClusterId,
    feature_level: u32,
    revision: u64,
    next_node: u64,
    next_group: u64,
    next_replica: u64,
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name, which its certificate has.
    pub name: String,
    /// Where it is reached.
    pub addresses: Addresses,
    /// What it shares with nodes that fail together with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The log with which it joined. With another one it is another node.
    pub incarnation: Incarnation,
    /// Whether it belongs to the cluster.
    pub state: NodeState,
}

/// Whether a node belongs to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// It is registered, and does not have the registry yet.
    Joining,
    /// It belongs to it.
    Up,
    /// It does not any more, and never will under this name or with this log.
    Removed,
}

/// A store of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Its name.
    pub name: String,
    /// Its table of the configuration file, as TOML.
    pub config: String,
    /// How many voters it should have: 1, 3 or 5.
    pub voters: u8,
}

/// A replica of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// Number of its group.
    pub group: u64,
    /// Id of its node.
    pub node: u64,
}

/// Why a snapshot has no registry that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The snapshot could not be read.
    #[error("the registry of the cluster could not be read: {0}")]
    Read(#[from] ReadError),
    /// There is none.
    #[error("there is no registry of a cluster")]
    Missing,
    /// A record is malformed.
    #[error("the record {key} in {keyspace} of the registry is malformed: {reason}")]
    Malformed {
        /// Its keyspace.
        keyspace: &'static str,
        /// Its key: a number, or text.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The cluster uses features that this version does not have.
    #[error(
        "the cluster has feature level {found}, and this version knows {FEATURE_LEVEL}; use a newer version"
    )]
    FeatureLevel {
        /// The cluster's level.
        found: u32,
    },
    /// Records do not fit each other.
    #[error("the registry is not consistent: {0}")]
    Inconsistent(String),
}

impl Registry {
    /// Reads the registry of a snapshot of `$cluster`.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub fn read<E: Engine>(snapshot: &Snapshot<E>) -> Result<Self, RegistryError> {
        let registry = records::read(snapshot)?;
        registry.check()?;
        Ok(registry)
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.head.cluster
    }

    /// The features that the cluster uses.
    #[must_use]
    pub fn feature_level(&self) -> u32 {
        self.head.feature_level
    }

    /// Number of changes so far.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.head.revision
    }

    /// The node with a name.
    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<(u64, &Node)> {
        self.nodes.iter().find(|(_, node)| node.name == name).map(|(id, node)| (*id, node))
    }

    /// The nodes that belong to the cluster, or are about to.
    pub fn members(&self) -> impl Iterator<Item = (u64, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.state != NodeState::Removed).map(|(id, node)| (*id, node))
    }

    /// The replicas of a group on nodes that are not removed: replica id and node id, ascending.
    pub fn replicas_of(&self, group: u64) -> impl Iterator<Item = (u64, u64)> {
        let is_removed = |node| self.nodes.get(&node).is_none_or(|node| node.state == NodeState::Removed);
        let of = self.replicas.iter().filter(move |(_, replica)| replica.group == group);
        of.filter(move |(_, replica)| !is_removed(replica.node)).map(|(id, replica)| (*id, replica.node))
    }

    /// The groups of a node: number, name and replica id, ascending by number.
    #[must_use]
    pub fn groups_on(&self, node: u64) -> Vec<(u64, &str, u64)> {
        let on = self.replicas.iter().filter(|(_, replica)| replica.node == node);
        let mut groups: Vec<_> = on
            .filter_map(|(id, replica)| Some((replica.group, self.group_name(replica.group)?, *id)))
            .collect();
        groups.sort_unstable();
        groups
    }

    /// The name of a group: that of its store, or `$cluster`.
    #[must_use]
    pub fn group_name(&self, group: u64) -> Option<&str> {
        match group {
            CLUSTER_GROUP => Some(CLUSTER_NAME),
            group => self.stores.get(&group).map(|store| store.name.as_str()),
        }
    }

    /// All groups: number and name, ascending by number.
    pub fn groups(&self) -> impl Iterator<Item = (u64, &str)> {
        let stores = self.stores.iter().map(|(group, store)| (*group, store.name.as_str()));
        std::iter::once((CLUSTER_GROUP, CLUSTER_NAME)).chain(stores)
    }

    /// Checks that the records fit each other. Whoever wrote them had to; what was read is a claim.
    fn check(&self) -> Result<(), RegistryError> {
        let Head { feature_level, next_node, next_group, next_replica, revision, .. } = self.head;
        if feature_level > FEATURE_LEVEL {
            return Err(RegistryError::FeatureLevel { found: feature_level });
        }
        let wrong = |what: String| Err(RegistryError::Inconsistent(what));
        if [next_node, next_group, next_replica, revision].iter().any(|number| *number > NUMBER_MAX) {
            return wrong(format!("a counter is over {NUMBER_MAX}"));
        }
        if self.nodes.len() > NODES_MAX || self.stores.len() > STORES_MAX {
            return wrong(format!("it has {} nodes and {} stores", self.nodes.len(), self.stores.len()));
        }
        let mut seen = std::collections::BTreeSet::new();
        for (id, node) in &self.nodes {
            let valid = check_node(node);
            if let Err(invalid) = valid {
                return wrong(format!("node {id}: {invalid}"));
            }
            if *id == 0
                || *id >= next_node
                || !seen.insert(node.name.clone())
                || !seen.insert(node.incarnation.to_string())
            {
                return wrong(format!(
                    "node {id} has an id that was not given, or a name or log that another one has"
                ));
            }
        }
        for (group, store) in &self.stores {
            let valid = check_store(store);
            if let Err(invalid) = valid {
                return wrong(format!("the store of group {group}: {invalid}"));
            }
            if *group <= CLUSTER_GROUP
                || *group >= next_group
                || !seen.insert(format!("store {}", store.name))
            {
                return wrong(format!(
                    "the store of group {group} has a number that was not given, or another one's name"
                ));
            }
        }
        let mut places = std::collections::BTreeSet::new();
        for (id, Replica { group, node }) in &self.replicas {
            let is_known = self.nodes.contains_key(node) && self.group_name(*group).is_some();
            if *id == 0 || *id >= next_replica || !is_known || !places.insert((group, node)) {
                return wrong(format!("replica {id} of group {group} on node {node} cannot be"));
            }
        }
        Ok(())
    }
}

fn check_node(node: &Node) -> Result<(), Invalid> {
    names::node(&node.name)?;
    names::zone(node.zone.as_deref())?;
    node.addresses.check()
}

fn check_store(store: &Store) -> Result<(), Invalid> {
    names::store(&store.name)?;
    names::config(&store.config)?;
    names::voters(store.voters)
}
