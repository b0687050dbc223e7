//! The names of a node's parts in the registry of its tree.

/// The node's log: [`super::raft_log::NodeLogs`].
pub(super) const LOG: &str = "$node/log";

/// The connections to other nodes: [`exesdb_peers::Peers`].
pub(super) const PEERS: &str = "$node/peers";

/// The registry as this node knows it: [`exesdb_node::registry::RegistryView`].
pub(super) const REGISTRY: &str = "$node/registry";

/// A group: [`super::replication::Replication`].
pub(super) fn group(store: &str) -> String {
    format!("{store}/group")
}
