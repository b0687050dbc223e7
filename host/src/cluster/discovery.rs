//! `discovery`: where the other replicas of a store are. It waits for nobody: a node that boots alone starts.
//!
//! The nodes of a cluster are in its registry, whose child gives their addresses to the connections. So there is nothing to
//! find, and this child reports which nodes a store has, each time that they change.

use exesdb_node::registry::{Registry as Members, RegistryView};
use exesdb_supervisor::{ChildSpec, Context, Reason, Start};
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::names;

/// Pause before the registry is looked for again that is being restarted.
const AGAIN: Duration = Duration::from_millis(50);

/// The child of a store.
pub(crate) fn discovery(store: &str) -> ChildSpec {
    let store = store.to_owned();
    ChildSpec::worker("discovery", move |context: Context| {
        let store = store.clone();
        async move {
            Ok(Start::running(async move {
                let shutdown = context.shutdown();
                tokio::select! {
                    () = shutdown.requested() => {}
                    () = report(&context, &store) => {}
                }
                Reason::Shutdown
            }))
        }
    })
}

async fn report(context: &Context, store: &str) {
    let mut before = Vec::new();
    loop {
        let Some(view) = context.registry().get::<RegistryView>(names::REGISTRY) else {
            sleep(AGAIN).await;
            continue;
        };
        let mut seen = view.seen();
        drop(view);
        loop {
            let now = seen.borrow_and_update().registry.as_ref().map(|members| nodes_of(members, store));
            if let Some(now) = now.filter(|now| *now != before) {
                context.telemetry().emit(context.path(), "nodes", json!({ "nodes": now }));
                before = now;
            }
            if seen.changed().await.is_err() {
                break;
            }
        }
    }
}

/// The nodes that have a replica of a store, with their addresses.
fn nodes_of(members: &Members, store: &str) -> Vec<Value> {
    let group = members.groups().find(|(_, name)| *name == store).map(|(group, _)| group);
    let replicas = group.into_iter().flat_map(|group| members.replicas_of(group));
    let node = |(_, node): (u64, u64)| {
        let node = members.nodes.get(&node)?;
        Some(json!({ "name": node.name, "peers": node.addresses.peers, "clients": node.addresses.clients }))
    };
    replicas.filter_map(node).collect()
}
