//! The cluster as this node sees it: what it knows itself, and what the other nodes say when they are asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use exesdb_node::CLUSTER_NAME;
use exesdb_node::identity::Place;
use exesdb_node::registry::{Registry as Members, RegistryView};
use exesdb_node::status::{ClusterStatus, GroupReport, NodeReport};
use exesdb_peers::{ControlRequest, ControlResponse, Peers};
use exesdb_supervisor::Registry;
use futures_util::future::join_all;

use super::membership::Membership;
use super::names;
use super::replication::Replication;

/// The call that asks a node for its report.
pub(super) const REPORT: &str = "report";

/// What this node says about itself.
pub(super) fn report(membership: &Membership, registry: &Registry) -> NodeReport {
    let groups = membership.identity.replicas.iter();
    let group = |place: &Place| match Replication::of(registry, &place.store) {
        Some(replication) => {
            let stopped = replication.group.stopped().borrow().clone();
            GroupReport::of(place.group, place.replica, &replication.metrics(), stopped)
        }
        None => {
            let reason = "it does not run; `exesdb tree` on its node shows why".to_owned();
            GroupReport::not_started(place.group, place.replica, reason)
        }
    };
    NodeReport { pid: std::process::id(), groups: groups.map(group).collect() }
}

/// Asks all nodes.
///
/// # Errors
///
/// This node does not have the registry.
pub(super) async fn of_cluster(
    membership: &Membership,
    registry: &Registry,
) -> Result<ClusterStatus, String> {
    let members = members(registry)?;
    let peers = registry.get::<Peers>(names::PEERS);
    let others = members.members().filter(|(id, _)| *id != membership.identity.node);
    let asked = others.map(|(id, node)| {
        let (peers, name) = (peers.clone(), node.name.clone());
        async move { Some((id, ask(&*peers?, &name).await?)) }
    });
    let mut reports: BTreeMap<u64, NodeReport> = join_all(asked).await.into_iter().flatten().collect();
    reports.insert(membership.identity.node, report(membership, registry));
    Ok(ClusterStatus::of(&members, &reports))
}

/// The registry as this node knows it.
pub(super) fn members(registry: &Registry) -> Result<Arc<Members>, String> {
    let view = registry.get::<RegistryView>(names::REGISTRY).and_then(|view| view.registry());
    view.ok_or_else(|| format!("this node does not have {CLUSTER_NAME} yet; try again"))
}

/// The report of another node; none if it does not answer, or answers something else.
async fn ask(peers: &Peers, node: &str) -> Option<NodeReport> {
    let request = ControlRequest { what: REPORT.to_owned(), content: serde_json::Value::Null };
    match peers.call(node, &request).await {
        Ok(ControlResponse::Done(report)) => serde_json::from_value(report).ok(),
        Ok(ControlResponse::Refused(_)) | Err(_) => None,
    }
}
