//! The supervision tree of a host.
//!
//! ```text
//! host                        one_for_one   one child per store, and the listener
//! ├─ <store>                  rest_for_one  parked when it gives up: the other stores keep running
//! │  ├─ components            loads the store's components whenever the store starts
//! │  └─ system                rest_for_one
//! │     ├─ core-system        one_for_all
//! │     │  ├─ store-system    rest_for_one
//! │     │  │  ├─ store        the database and its committer
//! │     │  │  └─ store-cluster  membership: on a single node, itself
//! │     │  └─ persistence-system  one_for_one
//! │     │     ├─ streams      one_for_one: `writers` and `readers`, a partition for each instance
//! │     │     ├─ snapshots    a partition for each instance; parked when it gives up or does not start
//! │     │     └─ subscriptions  a partition for each instance; parked as above
//! │     ├─ emitter-system     a partition of subscriptions each; parked as above
//! │     │  ├─ <partition>     rest_for_one
//! │     │  │  ├─ emitters     dynamic: one for each active durable subscription
//! │     │  │  └─ roster       starts them
//! │     │  └─ sinks           one_for_one: a child for each sink, when there are any; parked as above
//! │     └─ gateway-system     one_for_one
//! │        ├─ gateway-workers a partition for each worker
//! │        └─ pubsub          when enabled
//! └─ listener
//! ```
//!
//! Names and strategies are those of ExESDB's layered supervision, and so are the limits that ExESDB's code has.

mod compactor;
mod components;
mod options;
mod pubsub;
mod store;
mod store_cluster;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use exesdb_plugin::{
    Clock, DecisionOrder, Emitters, Engine, Followers, GatewayPlugin, Installed, Limits, Plugin, SinkSpec,
    Sinks, SnapshotsKind, SnapshotsPool, StreamsKind, StreamsPool, SubscriptionsKind, SubscriptionsPool,
    VisibleSnapshots, names,
};
use exesdb_supervisor::{
    AutoShutdown, ChildSpec, Node, Registration, Registry, Strategy, SupervisorSpec, Telemetry,
};

pub use compactor::Compactor;
pub use components::{Components, LoadFailure};

use components::{Roles, Setup};

use crate::cluster::{self, Membership};
use crate::config::StoreConfig;

/// Restarts of stores within the period before the host itself gives up. A store that gives up is parked and does not
/// count; only stores that are killed from outside count, so nothing but a loop reaches this.
const HOST_INTENSITY: (u32, Duration) = (1_000, Duration::from_secs(10));

/// Restarts of a whole store before it is parked: enough for a fault that a restart cures, few enough that an operator
/// soon hears of one that it does not cure.
const STORE_INTENSITY: (u32, Duration) = (3, Duration::from_secs(60));

const CORE_INTENSITY: (u32, Duration) = (3, Duration::from_secs(60));
const STORE_SYSTEM_INTENSITY: (u32, Duration) = (5, Duration::from_secs(30));
const PERSISTENCE_INTENSITY: (u32, Duration) = (10, Duration::from_secs(60));
const LEADERSHIP_INTENSITY: (u32, Duration) = (10, Duration::from_secs(60));

const GATEWAY_INTENSITY: (u32, Duration) = (15, Duration::from_secs(60));

/// A store that can be started: its pools exist. Its first child, `components`, loads its components whenever the store
/// starts.
pub struct StoreTree {
    persistence: Persistence,
    gateway: Arc<Installed<GatewayPlugin>>,
    /// They outlive the gateway workers, whose restart ends none of them.
    followers: Arc<Followers>,
    /// The emitters of its durable subscriptions, whose consumers outlive them.
    emitters: Arc<Emitters>,
    sinks: Arc<Sinks>,
    _registrations: [Registration; 2],
}

/// The part of a store below its gateway: the database, and the components that keep streams and snapshots in it.
pub struct Persistence {
    setup: Setup,
    streams: Arc<Installed<Plugin<StreamsKind>>>,
    snapshots: Arc<Installed<Plugin<SnapshotsKind>>>,
    subscriptions: Arc<Installed<Plugin<SubscriptionsKind>>>,
    writers: Arc<StreamsPool>,
    readers: Arc<StreamsPool>,
    snapshot_workers: Arc<SnapshotsPool>,
    subscription_workers: Arc<SubscriptionsPool>,
    load_failure: Arc<LoadFailure>,
    /// Pools stay registered while their instances come and go.
    _registrations: [Registration; 5],
}

impl Persistence {
    /// Creates the pools of a store, without instances.
    pub fn new(
        engine: &Engine,
        config: StoreConfig,
        clock: Clock,
        registry: &Registry,
        telemetry: &Telemetry,
        membership: Option<&Arc<Membership>>,
    ) -> Self {
        let streams = Limits::from(config.limits_of("streams"));
        let order = DecisionOrder::default();
        let writers = StreamsPool::new(config.writers as usize, &streams, &order);
        let readers = StreamsPool::new(config.readers as usize, &streams, &order);
        let snapshots = Limits::from(config.limits_of("snapshots"));
        let snapshot_workers =
            SnapshotsPool::new(config.snapshot_workers as usize, &snapshots, &DecisionOrder::default());
        let subscriptions = Limits::from(config.limits_of("subscriptions"));
        let subscription_workers = SubscriptionsPool::new(
            config.subscription_workers as usize,
            &subscriptions,
            &DecisionOrder::default(),
        );
        let load_failure = Arc::<LoadFailure>::default();
        let registrations = [
            registry.register(LoadFailure::name(&config.name), load_failure.clone()),
            registry.register(names::writers(&config.name), writers.clone()),
            registry.register(names::readers(&config.name), readers.clone()),
            registry.register(names::snapshots(&config.name), snapshot_workers.clone()),
            registry.register(names::subscriptions(&config.name), subscription_workers.clone()),
        ];
        let (engine, registry, telemetry) = (engine.clone(), registry.clone(), telemetry.clone());
        Self {
            setup: Setup { engine, config, clock, registry, telemetry, membership: membership.cloned() },
            streams: Arc::default(),
            snapshots: Arc::default(),
            subscriptions: Arc::default(),
            writers,
            readers,
            snapshot_workers,
            subscription_workers,
            load_failure,
            _registrations: registrations,
        }
    }

    /// The streams instances that decide about changes.
    pub fn writers(&self) -> &Arc<StreamsPool> {
        &self.writers
    }

    /// The streams instances that read.
    pub fn readers(&self) -> &Arc<StreamsPool> {
        &self.readers
    }

    /// The instances of the snapshots component.
    pub fn snapshot_workers(&self) -> &Arc<SnapshotsPool> {
        &self.snapshot_workers
    }

    /// The instances of the subscriptions component that keep what is stored.
    pub fn subscription_workers(&self) -> &Arc<SubscriptionsPool> {
        &self.subscription_workers
    }

    /// The snapshots of streams that are not deleted.
    pub fn visible_snapshots(&self) -> VisibleSnapshots {
        VisibleSnapshots::new(self.snapshot_workers.clone(), self.readers.clone())
    }

    /// The store as a child of the host, without a gateway. Its database is in `folder`.
    pub fn child(&self, folder: PathBuf) -> ChildSpec {
        let store = SupervisorSpec::new(&self.setup.config.name, Strategy::RestForOne);
        let store = limited(store, STORE_INTENSITY)
            .child(self.components(None, &Sinks::new([])))
            .child(self.core_system(folder));
        ChildSpec::supervisor(store)
    }

    /// The children of `store-system`.
    fn store_children(&self, folder: PathBuf) -> [ChildSpec; 2] {
        let Setup { config, membership, .. } = &self.setup;
        match membership {
            None => [store::child(config, folder), store_cluster::child()],
            Some(membership) => [
                cluster::store_child(membership, &config.name),
                cluster::store_cluster_child(membership, &config.name, store::options(config)),
            ],
        }
    }

    fn components(&self, gateway: Option<Arc<Installed<GatewayPlugin>>>, sinks: &Arc<Sinks>) -> ChildSpec {
        let roles = Roles {
            streams: self.streams.clone(),
            snapshots: self.snapshots.clone(),
            subscriptions: self.subscriptions.clone(),
            gateway,
            sinks: sinks.clone(),
        };
        components::child(self.setup.clone(), roles, self.load_failure.clone())
    }

    fn core_system(&self, folder: PathBuf) -> ChildSpec {
        let store_system =
            limited(SupervisorSpec::new("store-system", Strategy::RestForOne), STORE_SYSTEM_INTENSITY)
                .children(self.store_children(folder));
        let streams = SupervisorSpec::new("streams", Strategy::OneForOne)
            .child(self.writers.supervisor("writers", &self.streams))
            .child(self.readers.supervisor("readers", &self.streams));
        let persistence =
            limited(SupervisorSpec::new("persistence-system", Strategy::OneForOne), PERSISTENCE_INTENSITY)
                .child(ChildSpec::supervisor(streams))
                // Without its streams a store is useless; without the others it serves everything else.
                .child(self.snapshot_workers.supervisor("snapshots", &self.snapshots).park_when_given_up())
                .child(
                    self.subscription_workers
                        .supervisor("subscriptions", &self.subscriptions)
                        .park_when_given_up(),
                );
        let core = limited(SupervisorSpec::new("core-system", Strategy::OneForAll), CORE_INTENSITY)
            .child(ChildSpec::supervisor(store_system))
            .child(ChildSpec::supervisor(persistence));
        ChildSpec::supervisor(core)
    }
}

impl StoreTree {
    /// Creates a store; its pools have no instances yet.
    pub fn new(
        engine: &Engine,
        config: StoreConfig,
        registry: &Registry,
        telemetry: &Telemetry,
        membership: Option<&Arc<Membership>>,
    ) -> Self {
        let persistence = Persistence::new(engine, config, Clock::System, registry, telemetry, membership);
        let config = &persistence.setup.config;
        let followers = Followers::new(config.gateway_pool_size as usize, config.readers as usize);
        let emitters =
            followers.emitters(config.emitter_pool_size as usize, config.subscriptions_max as usize);
        let sinks = Sinks::new(config.sinks.iter().map(|(name, sink)| SinkSpec {
            name: name.clone(),
            subscription: sink.subscription.clone(),
            batch_events: sink.batch_events,
            grants: sink.grants.clone(),
        }));
        let registrations = [
            registry.register(names::emitters(&config.name), emitters.clone()),
            registry.register(names::sinks(&config.name), sinks.clone()),
        ];
        let gateway = Arc::default();
        Self { persistence, gateway, followers, emitters, sinks, _registrations: registrations }
    }

    /// Tells the store's followers that the host stops.
    pub fn finish_followers(&self) {
        self.followers.finish();
    }

    /// The store as a child of the host.
    pub fn child(&self, data: &Path) -> ChildSpec {
        let name = &self.persistence.setup.config.name;
        let system = SupervisorSpec::new("system", Strategy::RestForOne)
            .child(self.persistence.core_system(data.join(name)))
            .children(self.leading_children())
            .child(self.gateway_system());
        // When the components are loaded again, everything made of them is restarted.
        let store = limited(SupervisorSpec::new(name, Strategy::RestForOne), STORE_INTENSITY)
            .child(self.persistence.components(Some(self.gateway.clone()), &self.sinks))
            .child(ChildSpec::supervisor(system));
        ChildSpec::supervisor(store).park_when_given_up()
    }

    /// What stands between core and gateway: on a single node the emitters, and in a cluster what follows the role of the node.
    fn leading_children(&self) -> Vec<ChildSpec> {
        let Persistence { setup, subscriptions, subscription_workers, .. } = &self.persistence;
        let sinks = self.sinks.supervisor("sinks", &self.emitters, subscription_workers);
        // A store whose emitters do not run serves everything else.
        if setup.membership.is_none() {
            let emitters =
                self.emitters.supervisor("emitter-system", subscriptions, subscription_workers, sinks);
            return vec![emitters.park_when_given_up()];
        }
        let name = &setup.config.name;
        let (emitters, installed, pool) =
            (self.emitters.clone(), subscriptions.clone(), subscription_workers.clone());
        let of_leader = move || {
            let mut children = emitters.partitions(&installed, &pool);
            children.extend(sinks.clone());
            children
        };
        let leadership =
            limited(SupervisorSpec::new("leadership-system", Strategy::RestForOne), LEADERSHIP_INTENSITY)
                .child(cluster::leader_system(name, of_leader))
                .child(Emitters::empty_supervisor("emitter-system"));
        vec![
            cluster::discovery(name),
            ChildSpec::supervisor(leadership).park_when_given_up(),
            cluster::cluster_system(name),
        ]
    }

    fn gateway_system(&self) -> ChildSpec {
        let config = &self.persistence.setup.config;
        let count = config.gateway_pool_size as usize;
        let instances = count * config.limits_of("gateway").gateway_instances_per_worker as usize;
        let (gateway, followers) = (&self.gateway, &self.followers);
        let workers = exesdb_plugin::gateway_workers("gateway-workers", count, instances, gateway, followers);
        let mut gateway =
            limited(SupervisorSpec::new("gateway-system", Strategy::OneForOne), GATEWAY_INTENSITY)
                .child(workers);
        if config.pubsub {
            gateway = gateway.child(pubsub::child(&config.name));
        }
        ChildSpec::supervisor(gateway)
    }
}

/// The root of the tree.
pub fn host(stores: &[StoreTree], data: &Path, listener: ChildSpec) -> SupervisorSpec {
    limited(SupervisorSpec::new("host", Strategy::OneForOne), HOST_INTENSITY)
        .children(stores.iter().map(|store| store.child(data)))
        .child(listener)
}

/// The root of the tree of a member of a cluster: what there is once per node stands before the stores.
pub fn member(
    stores: &[StoreTree],
    data: &Path,
    listener: ChildSpec,
    membership: &Arc<Membership>,
) -> SupervisorSpec {
    let all = limited(SupervisorSpec::new("stores", Strategy::OneForOne), HOST_INTENSITY)
        .children(stores.iter().map(|store| store.child(data)));
    limited(SupervisorSpec::new("host", Strategy::RestForOne), HOST_INTENSITY)
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(cluster::node_system(membership))
        .child(ChildSpec::supervisor(all))
        .child(listener)
}

/// The stores in a tree, as nodes: the children of the root, or of `stores` below it.
#[must_use]
pub fn stores_in(root: &Node) -> &[Node] {
    let below = root.children.iter().find(|child| child.id == "stores");
    match below.filter(|_| root.strategy == Some(Strategy::RestForOne)) {
        Some(stores) => &stores.children,
        None => &root.children,
    }
}

/// The same, to change them.
pub fn stores_in_mut(root: &mut Node) -> &mut [Node] {
    let is_member = root.strategy == Some(Strategy::RestForOne);
    match root.children.iter().position(|child| is_member && child.id == "stores") {
        Some(stores) => &mut root.children[stores].children,
        None => &mut root.children,
    }
}

/// The root of a tree of stores without gateways.
pub fn offline<'a>(stores: impl IntoIterator<Item = (&'a Persistence, PathBuf)>) -> SupervisorSpec {
    limited(SupervisorSpec::new("host", Strategy::OneForOne), HOST_INTENSITY)
        .children(stores.into_iter().map(|(store, folder)| store.child(folder)))
}

fn limited(spec: SupervisorSpec, (restarts, period): (u32, Duration)) -> SupervisorSpec {
    spec.intensity(restarts, period)
}
