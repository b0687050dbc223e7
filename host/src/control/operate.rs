//! The supervision tree: shown, and its children killed and restarted.

use exesdb_plugin::{Sinks, SnapshotsPool, StreamsPool, SubscriptionsPool, names};
use exesdb_supervisor::{CallError, Node, NodeState, Reason, Registry};

use super::host::Host;
use super::path::resolve;
use super::protocol::{Refusal, Response};
use crate::readiness::cause;
use crate::tree::stores_in_mut;

/// The tree as it is now.
pub(super) async fn tree(host: &Host) -> Response {
    let mut tree = host.handle.tree().await;
    note_troubles(&mut tree, &host.registry);
    Response::Tree { tree }
}

/// Notes at each store why it is parked, at its pools why they refuse calls, and at its sinks why they do not deliver, if so.
fn note_troubles(tree: &mut Node, registry: &Registry) {
    for store in stores_in_mut(tree) {
        let name = store.id.clone();
        if store.state == NodeState::Parked {
            store.note = Some(cause(store, registry));
        }
        let streams = |name: String| registry.get::<StreamsPool>(&name)?.trouble();
        let snapshots = |name: String| registry.get::<SnapshotsPool>(&name)?.trouble();
        let subscriptions = |name: String| registry.get::<SubscriptionsPool>(&name)?.trouble();
        let pools = [
            ("streams/writers", streams(names::writers(&name))),
            ("streams/readers", streams(names::readers(&name))),
            ("snapshots", snapshots(names::snapshots(&name))),
            ("subscriptions", subscriptions(names::subscriptions(&name))),
        ];
        for (pool, trouble) in pools {
            let path = format!("{}/system/core-system/persistence-system/{pool}", store.path);
            if let Some(node) = trouble.is_some().then(|| store.find_mut(&path)).flatten() {
                node.note = trouble;
            }
        }
        for (sink, trouble) in
            registry.get::<Sinks>(&names::sinks(&name)).iter().flat_map(|sinks| sinks.troubles())
        {
            for above in ["system", "system/leadership-system"] {
                let path = format!("{}/{above}/emitter-system/sinks/{sink}", store.path);
                if let Some(node) = store.find_mut(&path) {
                    node.note = Some(trouble.clone());
                }
            }
        }
    }
}

/// Sends an exit signal to a child.
pub(super) async fn kill(host: &Host, asked: &str, reason: Reason) -> Result<Response, Refusal> {
    let path = resolve(&host.handle.tree().await, asked)?;
    tracing::info!(path, %reason, "an exit signal was asked for over the control socket");
    let sent = host.handle.exit(&path, reason).await;
    sent.map_err(|error| Refusal::Declined { detail: error.to_string() })?;
    Ok(Response::Killed { path })
}

/// Starts a child that is parked, or that ended and was not restarted.
pub(super) async fn restart(host: &Host, asked: &str) -> Result<Response, Refusal> {
    let path = resolve(&host.handle.tree().await, asked)?;
    let Some((supervisor, id)) = path.rsplit_once('/') else {
        return Err(Refusal::Declined {
            detail: format!("`{path}` is the root, which runs as long as the host"),
        });
    };
    tracing::info!(path, "a restart was asked for over the control socket");
    match host.handle.restart_child(supervisor, id).await {
        Ok(_) => Ok(Response::Restarted { path }),
        Err(error) => Err(Refusal::Declined { detail: not_restarted(&path, &error) }),
    }
}

/// Why a child was not started, with the command that helps.
fn not_restarted(path: &str, error: &CallError) -> String {
    match error {
        CallError::Running { .. } => {
            format!("`{path}` runs; `exesdb kill {path}` ends it, and its supervisor starts it again")
        }
        CallError::Restarting { .. } => {
            format!("`{path}` is being restarted by its supervisor; `exesdb tree` shows when it runs")
        }
        other => other.to_string(),
    }
}
