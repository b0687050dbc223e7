//! `store` and `store-cluster` of a store of the cluster: its replica, and the group that it is one of.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use exesdb_cluster::{Metrics, Role};
use exesdb_plugin::{StoreAccess, names as store_names};
use exesdb_pubsub::Bus;
use exesdb_supervisor::{ChildSpec, Context, Reason, Registry, Shutdown, Start};
use serde_json::json;

use super::backend::GroupBackend;
use super::membership::Membership;
use super::names;
use super::raft_log::NodeLogs;
use super::replication::{Replication, Running, part};

/// Time to stop a group: its replica is closed, which takes long on a slow disk.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// How often it is looked whether the first snapshot has come.
const SNAPSHOT_POLL: Duration = Duration::from_millis(20);

/// How often it is said that it has not.
const SNAPSHOT_SAID_EVERY: Duration = Duration::from_secs(10);

/// What is said of a store that this node has no replica of.
const NO_REPLICA: &str = "this node joined before the cluster had the store, and has no replica of it; remove it from $cluster/known.json";

/// How often the role of a replica is looked at.
const ROLE_POLL: Duration = Duration::from_millis(100);

/// `store`: this node's replica of a store, as far as it is a folder. Without it nothing above starts.
pub(crate) fn store_child(membership: &Arc<Membership>, store: &str) -> ChildSpec {
    let (membership, store) = (Arc::clone(membership), store.to_owned());
    ChildSpec::worker("store", move |context: Context| {
        let (membership, store) = (Arc::clone(&membership), store.clone());
        async move {
            folder(&membership, &store, context.registry()).await?;
            Ok(Start::running(async move {
                context.shutdown().requested().await;
                Reason::Shutdown
            }))
        }
    })
}

/// Checks that the replica's folder is what it must be.
async fn folder(membership: &Membership, store: &str, registry: &Registry) -> Result<PathBuf, Reason> {
    let place = membership.place(store);
    let place = place.ok_or_else(|| Reason::error(NO_REPLICA))?;
    let logs = part::<NodeLogs>(registry, names::LOG).await?;
    logs.admissions.replica(place, &logs.broken).map_err(Reason::error)
}

/// `store-cluster`: the group of a store, from its log on. It waits for no quorum. A node that has never had the store waits for
/// its first snapshot, because nothing can be made of nothing.
pub(crate) fn store_cluster_child(
    membership: &Arc<Membership>,
    store: &str,
    storage: exesdb_storage::Options,
) -> ChildSpec {
    let (membership, store) = (Arc::clone(membership), store.to_owned());
    let start = move |context| start(context, Arc::clone(&membership), store.clone(), storage.clone());
    ChildSpec::worker("store-cluster", start).shutdown(Shutdown::Timeout(CLOSE_WITHIN))
}

async fn start(
    context: Context,
    membership: Arc<Membership>,
    store: String,
    storage: exesdb_storage::Options,
) -> Result<Start, Reason> {
    let registry = context.registry().clone();
    let place = membership.place(&store);
    let place = place.ok_or_else(|| Reason::error(NO_REPLICA))?.clone();
    let on_applied = {
        let (registry, store) = (registry.clone(), store.clone());
        Arc::new(move |streams: Vec<String>| wake(&registry, &store, &streams))
    };
    let options = exesdb_cluster::Options {
        on_applied: Some(on_applied),
        log_bytes_kept: membership.log_bytes_kept,
        ..exesdb_cluster::Options::default()
    };
    let running = Running::start(&registry, &place, storage, options).await?;
    let replication = Arc::clone(&running.replication);
    // The group takes messages, or no snapshot would come.
    let in_group = registry.register(names::group(&store), Arc::clone(&replication));
    let stopped = tokio::select! {
        () = first_snapshot(&store, &replication) => None,
        reason = running.stopped() => Some(reason),
    };
    if let Some(reason) = stopped {
        drop((in_group, replication));
        running.stop().await;
        return Err(Reason::error(reason));
    }
    let backend = GroupBackend::new(Arc::clone(&replication), registry.clone());
    let backend = backend.ok_or_else(|| Reason::error("the replica was closed"))?;
    let access = registry.register(store_names::store(&store), Arc::new(StoreAccess::to(Arc::new(backend))));
    if let Some(bus) = registry.get::<Bus>(&store_names::pubsub(&store))
        && let Some(reader) = replication.group.reader()
    {
        bus.resync(reader.next_position());
    }
    Ok(Start::running(async move {
        let shutdown = context.shutdown();
        let reason = tokio::select! {
            () = shutdown.requested() => Reason::Shutdown,
            reason = running.stopped() => {
                tracing::error!(store, reason, "the replica has stopped, and is opened again");
                Reason::error(reason)
            }
            () = report_roles(&context, &replication) => Reason::error("the group ended"),
        };
        drop((in_group, access, replication));
        running.stop().await;
        reason
    }))
}

/// Waits until this node has data of the store.
async fn first_snapshot(store: &str, replication: &Replication) {
    let mut waited = Duration::ZERO;
    while replication.group.reader().is_none() {
        if waited.as_millis().is_multiple_of(SNAPSHOT_SAID_EVERY.as_millis()) {
            tracing::info!(store, "waiting for the store's data, which its leader sends");
        }
        tokio::time::sleep(SNAPSHOT_POLL).await;
        waited += SNAPSHOT_POLL;
    }
}

/// Wakes those who wait for events of these streams, which are applied.
fn wake(registry: &Registry, store: &str, streams: &[String]) {
    let Some(bus) = registry.get::<Bus>(&store_names::pubsub(store)) else { return };
    let Some(reader) = Replication::of(registry, store).and_then(|replication| replication.group.reader())
    else {
        return;
    };
    let next = reader.next_position();
    if streams.is_empty() || streams.iter().any(|stream| stream == super::backend::EVERYBODY) {
        bus.resync(next);
        return;
    }
    // Which of its events is the last one of a stream, nobody needs to know who only wants to be woken.
    streams.iter().for_each(|stream| bus.publish(stream, next.saturating_sub(1)));
}

/// Reports each change of the role, until the group ends.
pub(super) async fn report_roles(context: &Context, replication: &Replication) {
    let mut before = None;
    loop {
        let metrics = replication.metrics();
        let Metrics { role, term, leader, ready, .. } = &metrics;
        let now = (*role, term.term, *leader, ready.is_some());
        if before != Some(now) {
            before = Some(now);
            let detail = json!({
                "role": role_name(*role),
                "term": term.term,
                "leader": leader.and_then(|leader| metrics.members.members.get(&leader)).map(|member| &member.node),
                "ready": ready.is_some(),
                "replica": replication.place.replica,
                "members": metrics.members.members.len(),
                "voters": metrics.members.all_voters().len(),
            });
            context.telemetry().emit(context.path(), "role", detail);
        }
        if *role == Role::Stopped {
            return;
        }
        tokio::time::sleep(ROLE_POLL).await;
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Learner => "learner",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
        Role::Stopped => "stopped",
    }
}
