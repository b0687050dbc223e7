//! What follows the role of this node in a store: `leader-system` starts and stops what only a leader has, `cluster-system` cares
//! for the members.

use std::sync::Arc;
use std::time::Duration;

use exesdb_cluster::Metrics;
use exesdb_node::coordinator::coordinate;
use exesdb_node::registry::RegistryView;
use exesdb_plugin::names as store_names;
use exesdb_storage::Term;
use exesdb_supervisor::{
    CallError, ChildSpec, Context, Handle, Reason, Registry, Start, Strategy, SupervisorSpec,
};
use serde_json::json;
use tokio::time::sleep;

use super::names;
use super::replication::Replication;

/// Pause before something is looked for again that is being restarted.
const AGAIN: Duration = Duration::from_millis(50);

/// How often it is looked whether the leader's children are there.
const CHILDREN_POLL: Duration = Duration::from_millis(200);

/// How often the lag of a replica is looked at.
const LAG_POLL: Duration = Duration::from_secs(1);

/// Missing entries from which on a replica is reported as lagging: a second of a busy store.
const LAG_ENTRIES: u64 = 1_000;

/// `leader-system`: while the store's replica on this node leads and is ready, it keeps these children of `emitter-system` started.
/// `children` makes them anew each time. It ends none of itself when the leadership ends: that is no failure.
pub(crate) fn leader_system(
    store: &str,
    children: impl Fn() -> Vec<ChildSpec> + Send + Sync + 'static,
) -> ChildSpec {
    let (store, children) = (store.to_owned(), Arc::new(children));
    ChildSpec::worker("leader-system", move |context: Context| {
        let (store, children) = (store.clone(), Arc::clone(&children));
        async move {
            Ok(Start::running(async move {
                let shutdown = context.shutdown();
                tokio::select! {
                    // What it has started ends with `emitter-system`, which the supervisor stops before this.
                    () = shutdown.requested() => {}
                    () = follow(&context, &store, &*children) => {}
                }
                Reason::Shutdown
            }))
        }
    })
}

/// Starts and stops the leader's children as the role changes.
async fn follow(context: &Context, store: &str, children: &(dyn Fn() -> Vec<ChildSpec> + Send + Sync)) {
    let registry = context.registry();
    let handle = part::<Handle>(registry, store_names::HANDLE).await;
    let supervisor = sibling(context.path(), "emitter-system");
    let mut term: Option<Term> = None;
    // What a predecessor started ended with `emitter-system`.
    loop {
        let replication = part::<Replication>(registry, &names::group(store)).await;
        let mut ready = replication.group.ready();
        let mut stopped = replication.group.stopped();
        loop {
            let now = *ready.borrow_and_update();
            if now != term {
                // Also when it leads again: what was started in the time before belongs to that.
                if term.take().is_some() {
                    stop(&handle, &supervisor).await;
                    context.telemetry().emit(context.path(), "leadership", json!({ "is": "lost" }));
                }
                if let Some(gained) = now
                    && start(&handle, &supervisor, children()).await
                {
                    term = now;
                    let detail = json!({ "is": "gained", "term": gained.term });
                    context.telemetry().emit(context.path(), "leadership", detail);
                }
            }
            let pause = if now.is_some() && term.is_none() { AGAIN } else { CHILDREN_POLL };
            tokio::select! {
                changed = ready.changed() => if changed.is_err() { break },
                _ = stopped.wait_for(Option::is_some) => break,
                () = sleep(pause) => {}
            }
            // `emitter-system` may have been restarted, and a supervisor starts again without what was added to it.
            if term.is_some() && !has_children(&handle, &supervisor).await {
                term = None;
            }
        }
        // The group is being restarted. It does not lead meanwhile.
        drop(replication);
        if term.take().is_some() {
            stop(&handle, &supervisor).await;
            context.telemetry().emit(context.path(), "leadership", json!({ "is": "lost" }));
        }
        sleep(AGAIN).await;
    }
}

/// Starts the children in order. If one does not start, those before it are stopped again.
async fn start(handle: &Handle, supervisor: &str, children: Vec<ChildSpec>) -> bool {
    for child in children {
        let id = child.id().to_owned();
        if let Err(error) = handle.start_child(supervisor, child).await {
            // Usually the supervisor is being started.
            tracing::debug!(supervisor, id, %error, "a child of the leader did not start; trying again");
            stop(handle, supervisor).await;
            return false;
        }
    }
    true
}

async fn has_children(handle: &Handle, supervisor: &str) -> bool {
    handle.which_children(supervisor).await.is_ok_and(|children| !children.is_empty())
}

/// Stops all children in reverse order.
async fn stop(handle: &Handle, supervisor: &str) {
    // In reverse start order already.
    let Ok(children) = handle.which_children(supervisor).await else { return };
    for child in children {
        match handle.terminate_child(supervisor, &child.id).await {
            Ok(()) | Err(CallError::NotFound { .. }) => {}
            Err(error) => {
                tracing::debug!(supervisor, id = child.id, %error, "a child of the leader was not stopped")
            }
        }
        drop(handle.delete_child(supervisor, &child.id).await);
    }
}

/// `cluster-system`: the members of the store's group, and how far its replicas are.
pub(crate) fn cluster_system(store: &str) -> ChildSpec {
    ChildSpec::supervisor(
        SupervisorSpec::new("cluster-system", Strategy::OneForOne)
            .child(store_coordinator(store))
            .child(node_monitor(store)),
    )
}

/// `store-coordinator`: gives the group the members that the registry says.
fn store_coordinator(store: &str) -> ChildSpec {
    worker("store-coordinator", store, |context, store| async move {
        let registry = context.registry();
        loop {
            let replication = part::<Replication>(registry, &names::group(&store)).await;
            let view = part::<RegistryView>(registry, names::REGISTRY).await;
            let mut stopped = replication.group.stopped();
            let mut seen = view.seen();
            let group = Arc::clone(&replication.group);
            tokio::select! {
                () = coordinate(group, replication.place.group, (*view).clone(), replication.findings.clone()) => {}
                _ = stopped.wait_for(Option::is_some) => {}
                // The registry is followed by a successor.
                () = async { while seen.changed().await.is_ok() {} } => {}
            }
            drop((replication, view));
            sleep(AGAIN).await;
        }
    })
}

/// `node-monitor`: says when a replica begins to lag, and when it does not any more.
fn node_monitor(store: &str) -> ChildSpec {
    worker("node-monitor", store, |context, store| async move {
        let mut lagging = Vec::new();
        loop {
            let now = match Replication::of(context.registry(), &store) {
                Some(replication) => lagging_members(&replication.metrics()),
                None => Vec::new(),
            };
            if now != lagging {
                context.telemetry().emit(context.path(), "lag", json!({ "nodes": now }));
                lagging = now;
            }
            sleep(LAG_POLL).await;
        }
    })
}

/// Names of the nodes whose replicas lag, as the leader knows.
fn lagging_members(metrics: &Metrics) -> Vec<String> {
    let last = metrics.last_log.map_or(0, |id| id.index);
    let is_behind = |index: &Option<u64>| index.is_none_or(|index| last.saturating_sub(index) > LAG_ENTRIES);
    let behind = metrics.followers.iter().filter(|(_, index)| is_behind(index));
    behind.filter_map(|(replica, _)| Some(metrics.members.members.get(replica)?.node.clone())).collect()
}

/// A worker that runs until its supervisor stops it.
fn worker<F, Body>(id: &str, store: &str, body: F) -> ChildSpec
where
    F: Fn(Context, String) -> Body + Send + Sync + 'static,
    Body: Future<Output = ()> + Send + 'static,
{
    let (store, body) = (store.to_owned(), Arc::new(body));
    ChildSpec::worker(id, move |context: Context| {
        let (store, body) = (store.clone(), Arc::clone(&body));
        async move {
            Ok(Start::running(async move {
                let shutdown = context.shutdown();
                tokio::select! {
                    () = shutdown.requested() => {}
                    () = body(context, store) => {}
                }
                Reason::Shutdown
            }))
        }
    })
}

/// A part of the node, once it is there.
async fn part<T: Send + Sync + 'static>(registry: &Registry, name: &str) -> Arc<T> {
    loop {
        if let Some(part) = registry.get(name) {
            return part;
        }
        sleep(AGAIN).await;
    }
}

/// The path of a child with the same supervisor.
fn sibling(path: &str, id: &str) -> String {
    path.rsplit_once('/').map_or_else(|| id.to_owned(), |(above, _)| format!("{above}/{id}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use exesdb_cluster::{Campaigns, Member, Members, Metrics, Role};
    use exesdb_storage::{LogId, Term};

    use super::{LAG_ENTRIES, lagging_members, sibling};

    #[test]
    fn who_is_far_behind_or_unknown_lags() {
        let member = |node: &str| Member { node: node.into(), incarnation: 1 };
        let members =
            BTreeMap::from([(1, member("a")), (2, member("b")), (3, member("c")), (4, member("d"))]);
        let last = LAG_ENTRIES + 10;
        let metrics = Metrics {
            role: Role::Leader,
            term: Term::default(),
            leader: Some(1),
            ready: None,
            is_muted: false,
            last_log: Some(LogId { term: 1, leader: 1, index: last }),
            applied: None,
            persisted: 0,
            purged: None,
            members: Members { voters: vec![[1, 2, 3].into()], members },
            followers: [(2, Some(9)), (3, Some(10)), (4, None)].into(),
            campaigns: Campaigns::default(),
            answered: [].into(),
            diverged: None,
            lost_logs: [].into(),
        };
        assert_eq!(lagging_members(&metrics), ["b", "d"]);
    }

    #[test]
    fn a_sibling_has_the_same_supervisor() {
        assert_eq!(
            sibling("host/stores/main/leadership-system/leader-system", "x"),
            "host/stores/main/leadership-system/x"
        );
    }
}
