//! `peers`: the connections to other nodes.

use std::sync::Arc;

use exesdb_node::registry::{NodeState, RegistryView};
use exesdb_peers::{Admission, Peers, Registered};
use exesdb_supervisor::{ChildSpec, Context, Reason, Registry, Start};

use super::membership::Membership;
use super::names;
use super::services::NodeServices;

pub(super) fn child(membership: &Arc<Membership>) -> ChildSpec {
    let membership = Arc::clone(membership);
    ChildSpec::worker("peers", move |context| start(context, Arc::clone(&membership)))
}

async fn start(context: Context, membership: Arc<Membership>) -> Result<Start, Reason> {
    let registry = context.registry().clone();
    let listener = membership.listener().map_err(Reason::error)?;
    let admission = Arc::new(ByRegistry { membership: Arc::clone(&membership), registry: registry.clone() });
    let services = Arc::new(NodeServices::new(Arc::clone(&membership), registry.clone()));
    let (identity, credentials) = (membership.as_peer(), membership.credentials.clone());
    let peers = Peers::start(listener, identity, credentials, admission, services).map_err(Reason::error)?;
    let peers = Arc::new(peers);
    let registration = registry.register(names::PEERS, Arc::clone(&peers));
    Ok(Start::running(async move {
        context.shutdown().requested().await;
        drop(registration);
        peers.stop().await;
        Reason::Shutdown
    }))
}

/// Admits the nodes of the registry, and before there is one those that were known when this node joined.
struct ByRegistry {
    membership: Arc<Membership>,
    registry: Registry,
}

impl Admission for ByRegistry {
    fn registered(&self, name: &str) -> Option<Registered> {
        let registered = |(id, node): (u64, &exesdb_node::registry::Node)| Registered {
            node: id,
            incarnation: node.incarnation.0,
            is_removed: node.state == NodeState::Removed,
        };
        let seen = self.registry.get::<RegistryView>(names::REGISTRY).and_then(|view| view.registry());
        match seen {
            Some(registry) => registry.node_named(name).map(registered),
            None => {
                let mut nodes = self.membership.known.nodes.iter();
                nodes.find(|(_, node)| node.name == name).map(|(id, node)| registered((*id, node)))
            }
        }
    }

    fn feature_level(&self) -> u32 {
        let seen = self.registry.get::<RegistryView>(names::REGISTRY).and_then(|view| view.registry());
        seen.map_or(self.membership.known.feature_level, |registry| registry.feature_level())
    }
}
