//! What `/health/ready` reports: whether each store serves, and if not, why. Each request looks at the registry and the
//! supervision tree.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use exesdb_gateway::{Readiness, StoreReadiness, StoreRoute};
use exesdb_plugin::{
    CommitFailure, GatewayWorker, HealthSource, SnapshotsPool, StoreAccess, StoreHealth, StreamsPool,
    SubscriptionsPool, Tenure, names,
};
use exesdb_storage::Health;
use exesdb_supervisor::{Handle, Node, NodeState, Reason, Registry};
use futures_util::FutureExt as _;

use crate::tree::{Components, LoadFailure, stores_in};

/// How long the write of a group may take before its disk counts as hung. 10 s: a busy disk takes a second or two.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// Readiness of a tree that starts later: the listener, which reports it, is a part of the tree.
#[derive(Default)]
pub struct TreeReadiness(Arc<OnceLock<Handle>>);

impl TreeReadiness {
    /// Sets the tree when it has started.
    pub fn watch(&self, handle: Handle) {
        // A host has one tree, so this is called once.
        drop(self.0.set(handle));
    }

    /// What every request to `/health/ready` calls.
    pub fn of(&self, routes: Vec<StoreRoute>, registry: &Registry) -> Readiness {
        let (handle, registry) = (self.0.clone(), registry.clone());
        Arc::new(move || {
            // The tree is published state: reading it does not wait.
            let tree = handle.get().and_then(|handle| handle.tree().now_or_never());
            let node = |name: &str| stores_in(tree.as_ref()?).iter().find(|child| child.id == name);
            routes.iter().map(|route| readiness(route, node(&route.name), &registry)).collect()
        })
    }
}

/// The same, for those who listen to the topic `$health` of a store.
pub fn health(readiness: &Readiness) -> HealthSource {
    let readiness = readiness.clone();
    HealthSource::new(move |name| {
        let store = readiness().into_iter().find(|store| store.store == name)?;
        Some(StoreHealth { trouble: store.trouble, degraded: store.degraded })
    })
}

fn readiness(route: &StoreRoute, node: Option<&Node>, registry: &Registry) -> StoreReadiness {
    let name = &route.name;
    let parked = node.filter(|node| node.state == NodeState::Parked);
    let access = registry.get::<StoreAccess>(&names::store(name));
    let next_position = access.as_ref().map(|access| access.reader().next_position());
    let history = access.as_ref().map(|access| access.reader().histories().current().id.to_string());
    let writing_for = access.as_ref().and_then(|access| access.backend().writing_for());
    let leads = access.as_ref().map(|access| access.backend().leads());
    let trouble = match (parked, access.map(|access| access.backend().health())) {
        (Some(node), _) => {
            let cause = cause(node, registry);
            Some(format!(
                "{cause}; the store is parked until `exesdb restart {name}`, or a restart of the host if its configuration was changed"
            ))
        }
        (None, None) => Some("the store is not running".to_owned()),
        (None, Some(Health::ReadOnly { reason })) => Some(format!("the store is read-only: {reason}")),
        (None, Some(Health::Poisoned { reason })) => Some(format!("the store stopped writing: {reason}")),
        (None, Some(Health::Ok)) => hung_write(writing_for)
            .or_else(|| streams(name, registry))
            .or_else(|| leaderless(leads))
            .or_else(|| {
                GatewayWorker::pick(registry, name, route.workers, 0)
                    .is_none()
                    .then(|| "no gateway worker is running".to_owned())
            }),
    };
    // The store serves everything else, so a load balancer should not take it out.
    let snapshots = registry.get::<SnapshotsPool>(&names::snapshots(name)).and_then(|pool| pool.trouble());
    let subscriptions =
        registry.get::<SubscriptionsPool>(&names::subscriptions(name)).and_then(|pool| pool.trouble());
    let degraded = degraded([("snapshots", snapshots), ("durable subscriptions", subscriptions)]);
    let components = registry.get::<Components>(&names::components(name));
    let components = components.iter().flat_map(|components| &components.0);
    let components = components.map(|(role, identity)| (role.clone(), identity.digest.clone())).collect();
    StoreReadiness { store: name.clone(), trouble, degraded, components, next_position, history }
}

/// What the store does without.
fn degraded(roles: [(&str, Option<String>); 2]) -> Option<String> {
    let unavailable = roles.into_iter().filter_map(|(role, trouble)| {
        let trouble = trouble?;
        Some(format!("{role} are unavailable: {trouble}"))
    });
    let unavailable: Vec<String> = unavailable.collect();
    (!unavailable.is_empty()).then(|| unavailable.join("; "))
}

/// Why nothing is committed although no write has failed, if the disk does not finish one.
fn hung_write(writing_for: Option<Duration>) -> Option<String> {
    let writing_for = writing_for.filter(|writing_for| *writing_for >= WRITE_TIME_MAX)?;
    Some(format!("the store's disk hangs: a write has been running for {} s", writing_for.as_secs()))
}

/// Why a store of a cluster takes no changes anywhere, as far as this node knows.
fn leaderless(leads: Option<Result<Tenure, CommitFailure>>) -> Option<String> {
    let is_leaderless = matches!(leads, Some(Err(CommitFailure::NoLeader)));
    is_leaderless
        .then(|| "the store has no leader; `exesdb cluster status` shows which nodes are missing".to_owned())
}

fn streams(name: &str, registry: &Registry) -> Option<String> {
    let pools = [("writers", names::writers(name)), ("readers", names::readers(name))];
    pools.into_iter().find_map(|(pool, key)| {
        let trouble = registry.get::<StreamsPool>(&key)?.trouble()?;
        Some(format!("the {pool} of streams are unavailable: {trouble}"))
    })
}

/// Why a store does not run: the root cause, not the reports of the supervisors above it.
pub fn cause(store: &Node, registry: &Registry) -> String {
    let failure = registry.get::<LoadFailure>(&LoadFailure::name(&store.id));
    failure.and_then(|failure| failure.get()).unwrap_or_else(|| last_exit(store))
}

fn last_exit(node: &Node) -> String {
    let last = node.last_exit.as_deref().unwrap_or("it gave up");
    last.parse().map_or_else(|_| last.to_owned(), |reason: Reason| reason.message().to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{WRITE_TIME_MAX, degraded, hung_write};

    #[test]
    fn everything_that_a_store_does_without_is_named() {
        let of = |snapshots: Option<&str>, subscriptions: Option<&str>| {
            let roles = [("snapshots", snapshots), ("durable subscriptions", subscriptions)];
            degraded(roles.map(|(role, trouble)| (role, trouble.map(str::to_owned))))
        };
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some("a"), None).as_deref(), Some("snapshots are unavailable: a"));
        let both = "snapshots are unavailable: a; durable subscriptions are unavailable: b";
        assert_eq!(of(Some("a"), Some("b")).as_deref(), Some(both));
    }

    #[test]
    fn a_write_is_reported_once_it_exceeds_its_limit() {
        assert_eq!(hung_write(None), None);
        assert_eq!(hung_write(Some(WRITE_TIME_MAX - Duration::from_millis(1))), None);
        let trouble = hung_write(Some(Duration::from_millis(12_900)));
        assert_eq!(trouble.as_deref(), Some("the store's disk hangs: a write has been running for 12 s"));
    }
}
