//! Changes of the registry: pure functions from one to the next, and to the commit between them.

use exesdb_storage::Commit;
use serde::{Deserialize, Serialize};

use super::{Head, Node, NodeState, Registry, Replica, Store, check_store, records};
use crate::id::{ClusterId, Incarnation};
use crate::limits::{NODES_MAX, STORES_MAX};
use crate::names::{self, Addresses, Invalid};
use crate::{CLUSTER_GROUP, FEATURE_LEVEL};

/// A change that was decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What to propose to `$cluster`. Its one batch fails at its guard if the registry has changed meanwhile.
    pub commit: Commit,
    /// The registry after it.
    pub after: Registry,
}

/// A node that wants to be registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNode {
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub addresses: Addresses,
    /// What it shares with nodes that fail together with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its log.
    pub incarnation: Incarnation,
}

/// A store that is to be part of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewStore {
    /// Its name.
    pub name: String,
    /// Its table of the configuration file, as TOML.
    pub config: String,
    /// How many voters it should have: 1, 3 or 5.
    pub voters: u8,
}

/// Why the registry is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another node has the name: one that lost its log, or was copied without it.
    #[error(
        "node {name} is registered with log {registered}, and this one has log {found}: what it had promised is gone with \
         its log; empty its data directory, and join under a new name"
    )]
    OtherLog {
        /// The name.
        name: String,
        /// The log that is registered.
        registered: Incarnation,
        /// The log of the node that asks.
        found: Incarnation,
    },
    /// The log belongs to a node with another name.
    #[error(
        "this node's log is that of node {registered}; join under that name, or with an empty data directory"
    )]
    OtherName {
        /// The name that is registered.
        registered: String,
    },
    /// The node was removed.
    #[error("node {name} was removed from the cluster; empty its data directory, and join under a new name")]
    Removed {
        /// The name.
        name: String,
    },
    /// There is no such node.
    #[error("there is no node {node}")]
    UnknownNode {
        /// Its id.
        node: u64,
    },
    /// No node has the name.
    #[error("node {name} is not registered; it joins with `exesdb cluster join`")]
    Unregistered {
        /// The name.
        name: String,
    },
    /// There is no such store.
    #[error("there is no store {name}; the cluster has {}", known.join(", "))]
    UnknownStore {
        /// The name.
        name: String,
        /// The stores that there are.
        known: Vec<String>,
    },
    /// There is such a store already.
    #[error("there is a store {name} already")]
    StoreExists {
        /// The name.
        name: String,
    },
    /// An even number of voters was asked for.
    #[error(
        "{wanted} voters are not possible: a group has an odd number of them, because an even one survives no more \
         failures than one less"
    )]
    EvenVoters {
        /// The number.
        wanted: u8,
    },
    /// There would be too many.
    #[error("the cluster has {max} {what}, and can have no more")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A name, an address or a number is not possible.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Registry {
    /// The registry of a new cluster with its first node. The commit is for an empty replica.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn found(cluster: ClusterId, node: &NewNode, stores: &[NewStore]) -> Result<Change, Refused> {
        let mut after = Self {
            head: Head {
                cluster,
                feature_level: FEATURE_LEVEL,
                revision: 1,
                next_node: 1,
                next_group: CLUSTER_GROUP + 1,
                next_replica: 1,
            },
            stored_head: Vec::new(),
            nodes: Default::default(),
            stores: Default::default(),
            replicas: Default::default(),
        };
        for store in stores {
            after.add_store(store)?;
        }
        let id = after.add_node(node)?;
        // The founder has the registry.
        after.nodes.get_mut(&id).expect("it was added").state = NodeState::Up;
        let commit = records::commit(None, &mut after);
        Ok(Change { commit, after })
    }

    /// Registers a node, and a replica of each group on it. `None` if it is registered as it is. A node that is registered
    /// with other addresses or another zone gets the new ones.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn register_node(&self, new: &NewNode) -> Result<Option<Change>, Refused> {
        let NewNode { name, addresses, zone, incarnation } = new;
        names::node(name)?;
        names::zone(zone.as_deref())?;
        addresses.check()?;
        let mut after = self.clone();
        match self.node_named(name) {
            Some((id, node)) => {
                check_known(node, *incarnation)?;
                if node.addresses == *addresses && node.zone == *zone {
                    return Ok(None);
                }
                let node = Node { addresses: addresses.clone(), zone: zone.clone(), ..node.clone() };
                after.nodes.insert(id, node);
            }
            None => {
                if let Some(owner) = self.nodes.values().find(|node| node.incarnation == *incarnation) {
                    check_known(owner, *incarnation)?;
                    return Err(Refused::OtherName { registered: owner.name.clone() });
                }
                after.add_node(new)?;
            }
        }
        Ok(Some(self.changed_to(after)))
    }

    /// Whether a node may take part, given what it says and its certificate shows. Returns its id.
    ///
    /// # Errors
    ///
    /// [`Refused`]: it is not registered, or was removed, or has another log than the one that it joined with.
    pub fn check_peer(&self, name: &str, incarnation: Incarnation) -> Result<u64, Refused> {
        let (id, node) =
            self.node_named(name).ok_or_else(|| Refused::Unregistered { name: name.to_owned() })?;
        check_known(node, incarnation)?;
        Ok(id)
    }

    /// Notes that a node has the registry. `None` if that is known.
    ///
    /// # Errors
    ///
    /// [`Refused`]: there is no such node, or it was removed.
    pub fn mark_up(&self, id: u64) -> Result<Option<Change>, Refused> {
        let node = self.nodes.get(&id).ok_or(Refused::UnknownNode { node: id })?;
        match node.state {
            NodeState::Up => Ok(None),
            NodeState::Removed => Err(Refused::Removed { name: node.name.clone() }),
            NodeState::Joining => {
                let mut after = self.clone();
                after.nodes.insert(id, Node { state: NodeState::Up, ..node.clone() });
                Ok(Some(self.changed_to(after)))
            }
        }
    }

    /// Changes how many voters a store should have. `None` if that is so.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn set_voters(&self, name: &str, wanted: u8) -> Result<Option<Change>, Refused> {
        check_voters(wanted)?;
        let Some((group, store)) = self.stores.iter().find(|(_, store)| store.name == name) else {
            let known = self.stores.values().map(|store| store.name.clone()).collect();
            return Err(Refused::UnknownStore { name: name.to_owned(), known });
        };
        if store.voters == wanted {
            return Ok(None);
        }
        let mut after = self.clone();
        after.stores.insert(*group, Store { voters: wanted, ..store.clone() });
        Ok(Some(self.changed_to(after)))
    }

    fn changed_to(&self, mut after: Self) -> Change {
        after.head.revision += 1;
        let commit = records::commit(Some(self), &mut after);
        Change { commit, after }
    }

    fn add_node(&mut self, new: &NewNode) -> Result<u64, Refused> {
        let NewNode { name, addresses, zone, incarnation } = new.clone();
        let node = Node { name, addresses, zone, incarnation, state: NodeState::Joining };
        super::check_node(&node)?;
        if self.nodes.len() >= NODES_MAX {
            return Err(Refused::TooMany { what: "nodes", max: NODES_MAX });
        }
        let id = self.head.next_node;
        self.head.next_node += 1;
        self.nodes.insert(id, node);
        let groups: Vec<u64> = self.groups().map(|(group, _)| group).collect();
        for group in groups {
            self.replicas.insert(self.head.next_replica, Replica { group, node: id });
            self.head.next_replica += 1;
        }
        Ok(id)
    }

    /// Only of a new cluster, whose nodes are added after its stores.
    fn add_store(&mut self, new: &NewStore) -> Result<(), Refused> {
        let NewStore { name, config, voters } = new.clone();
        check_voters(voters)?;
        let store = Store { name, config, voters };
        check_store(&store)?;
        if self.stores.values().any(|known| known.name == store.name) {
            return Err(Refused::StoreExists { name: store.name });
        }
        if self.stores.len() >= STORES_MAX {
            return Err(Refused::TooMany { what: "stores", max: STORES_MAX });
        }
        self.stores.insert(self.head.next_group, store);
        self.head.next_group += 1;
        Ok(())
    }
}

/// Checks that a node belongs to the cluster, and has the log that it joined with.
fn check_known(node: &Node, found: Incarnation) -> Result<(), Refused> {
    let (name, registered) = (node.name.clone(), node.incarnation);
    if node.state == NodeState::Removed {
        return Err(Refused::Removed { name });
    }
    if registered != found {
        return Err(Refused::OtherLog { name, registered, found });
    }
    Ok(())
}

fn check_voters(wanted: u8) -> Result<(), Refused> {
    if wanted != 0 && wanted.is_multiple_of(2) {
        return Err(Refused::EvenVoters { wanted });
    }
    Ok(names::voters(wanted)?)
}
