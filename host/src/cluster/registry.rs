//! `$cluster`: the group that has the registry. Its child also says where other nodes are, and cares for the group's members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use exesdb_node::CLUSTER_NAME;
use exesdb_node::coordinator::coordinate;
use exesdb_node::registry::{Node, NodeState, RegistryView};
use exesdb_peers::Peers;
use exesdb_supervisor::{ChildSpec, Context, Reason, Registry, Shutdown, Start};
use tokio::time::{Duration, sleep};

use super::membership::Membership;
use super::names;
use super::replication::Running;
use super::store::{CLOSE_WITHIN, report_roles};

/// How often the configured name of nodes is looked up: as often as names in a cluster of containers change.
const DNS_EVERY: Duration = Duration::from_secs(10);

/// Addresses of that name that are used: more nodes than a cluster has.
const DNS_ADDRESSES_MAX: usize = 256;

pub(super) fn child(membership: &Arc<Membership>) -> ChildSpec {
    let membership = Arc::clone(membership);
    let start = move |context| start(context, Arc::clone(&membership));
    ChildSpec::worker(CLUSTER_NAME, start).shutdown(Shutdown::Timeout(CLOSE_WITHIN))
}

async fn start(context: Context, membership: Arc<Membership>) -> Result<Start, Reason> {
    let registry = context.registry().clone();
    let place = membership.place(CLUSTER_NAME).expect("an identity has a replica of it").clone();
    let (view, follower) = RegistryView::new();
    // The nodes that this one knows are needed to get the registry.
    set_addresses(&registry, &membership, &membership.known.nodes, &[]);
    let options = exesdb_cluster::Options {
        on_applied: Some(follower.on_applied()),
        log_bytes_kept: membership.log_bytes_kept,
        ..exesdb_cluster::Options::default()
    };
    let running = Running::start(&registry, &place, exesdb_storage::Options::default(), options).await?;
    let replication = Arc::clone(&running.replication);
    let registrations = (
        registry.register(names::REGISTRY, Arc::new(view.clone())),
        registry.register(names::group(CLUSTER_NAME), Arc::clone(&replication)),
    );
    Ok(Start::running(async move {
        let shutdown = context.shutdown();
        let findings = replication.findings.clone();
        let group = Arc::clone(&replication.group);
        let reason = tokio::select! {
            () = shutdown.requested() => Reason::Shutdown,
            reason = running.stopped() => Reason::error(reason),
            () = follower.run(Arc::clone(&group)) => Reason::error("the registry is not followed any more"),
            () = coordinate(group, place.group, view.clone(), findings) => Reason::error("the group ended"),
            () = follow_addresses(&registry, &membership, &view) => Reason::error("the registry ended"),
            () = report_roles(&context, &replication) => Reason::error("the group ended"),
        };
        drop((registrations, replication));
        running.stop().await;
        reason
    }))
}

/// Gives the connections the addresses of the registry, each time that it changes.
async fn follow_addresses(registry: &Registry, membership: &Membership, view: &RegistryView) {
    let mut seen = view.seen();
    loop {
        let known = seen.borrow_and_update().registry.clone();
        let nodes = known.as_ref().map_or(&membership.known.nodes, |known| &known.nodes);
        set_addresses(registry, membership, nodes, &found_by_dns(membership).await);
        let is_over = tokio::select! {
            changed = seen.changed() => changed.is_err(),
            () = sleep(DNS_EVERY), if membership.seeds_dns.is_some() => false,
        };
        if is_over {
            return;
        }
    }
}

/// The addresses that the configured name has now; none if it cannot be looked up, which is tried again.
async fn found_by_dns(membership: &Membership) -> Vec<String> {
    let Some(name) = &membership.seeds_dns else { return Vec::new() };
    match tokio::net::lookup_host(name).await {
        Ok(found) => found.map(|address| address.to_string()).take(DNS_ADDRESSES_MAX).collect(),
        Err(error) => {
            tracing::warn!(name, %error, "peers_dns cannot be looked up; it is tried again");
            Vec::new()
        }
    }
}

/// Where other nodes are: first as the registry says, and then where the configuration says that some node may be. Whoever is reached
/// there says who it is, and is refused if it is another node.
fn set_addresses(
    registry: &Registry,
    membership: &Membership,
    nodes: &BTreeMap<u64, Node>,
    by_dns: &[String],
) {
    // Connections that are being restarted get them when this is started after them.
    let Some(peers) = registry.get::<Peers>(names::PEERS) else { return };
    let others = nodes
        .iter()
        .filter(|(id, node)| **id != membership.identity.node && node.state != NodeState::Removed);
    let registered: BTreeSet<&String> = nodes.values().flat_map(|node| &node.addresses.peers).collect();
    let seeds = membership.seeds.iter().chain(by_dns).filter(|seed| !registered.contains(seed));
    let seeds: Vec<String> = seeds.cloned().collect();
    let addresses = |node: &Node| node.addresses.peers.iter().chain(&seeds).cloned().collect();
    peers.set_addresses(others.map(|(_, node)| (node.name.clone(), addresses(node))).collect());
}
