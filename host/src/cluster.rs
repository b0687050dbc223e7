//! This node as a member of a cluster: what there is once per node, and how its stores are kept.
//!
//! ```text
//! membership   who this node is, and what it needs before its tree starts
//! raft_log     child `raft-log`: the node's log
//! peers        child `peers`: connections to other nodes
//! registry     child `$cluster`: the group that has the registry; it also says where other nodes are
//! replication  one group of this node while it runs
//! store        children `store` and `store-cluster` of a store: its replica and its group
//! backend      how components read and commit
//! discovery    child `discovery` of a store: where its other replicas are
//! health       whether this node should lead
//! leadership   children `leader-system` and `cluster-system`: what follows the role
//! serving      who serves a request, for the listener
//! services     what this node does for others
//! status       what `exesdb cluster status` shows
//! ```
//!
//! Children find each other in the registry of the tree, by the names in [`names`], each time they need one another.

mod backend;
mod discovery;
mod health;
mod known;
mod leadership;
mod membership;
mod names;
mod peers;
mod raft_log;
mod registry;
mod replication;
mod services;
mod serving;
mod status;
mod store;

pub(crate) use discovery::discovery;
pub use known::Known;
pub(crate) use leadership::{cluster_system, leader_system};
pub use membership::{Membership, MembershipError};
pub(crate) use replication::is_replicated;
pub use services::Welcome;
pub(crate) use services::{RELAYS, inviter};
pub(crate) use serving::Serving;
pub(crate) use store::{store_child, store_cluster_child};

use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{ChildSpec, Restart, Strategy, SupervisorSpec};

/// Restarts within the period before the process ends: a node without its log is none.
const NODE_INTENSITY: (u32, Duration) = (3, Duration::from_secs(60));

/// What stands before the stores.
pub(crate) fn node_system(membership: &Arc<Membership>) -> ChildSpec {
    let (restarts, period) = NODE_INTENSITY;
    ChildSpec::supervisor(
        SupervisorSpec::new("node-system", Strategy::RestForOne)
            .intensity(restarts, period)
            .child(raft_log::child(membership))
            .child(peers::child(membership))
            .child(registry::child(membership)),
    )
    // When it gives up, the root ends, and so does the process. When it is killed, it is restarted.
    .restart(Restart::Transient)
    .significant(true)
}
