//! The supervision tree of a host.
//!
//! ```text
//! host                        one_for_one   one child per store, and the listener
//! ├─ <store>                  one_for_one   parked when it gives up: the other stores go on
//! │  └─ system                rest_for_one
//! │     ├─ core-system        one_for_all
//! │     │  ├─ store-system    rest_for_one
//! │     │  │  ├─ store        the database and its committer
//! │     │  │  └─ store-cluster  membership: on a single node, itself
//! │     │  └─ persistence-system  one_for_one
//! │     │     ├─ streams      one_for_one: `writers` and `readers`, a partition for each instance
//! │     │     ├─ snapshots    a partition for each instance
//! │     │     └─ subscriptions  one_for_one: no children yet
//! │     └─ gateway-system     one_for_one
//! │        ├─ gateway-workers a partition for each worker
//! │        └─ pubsub          when enabled
//! └─ listener
//! ```
//!
//! Names and strategies are those of ExESDB's layered supervision; so are the limits where ExESDB's code has any.

mod pubsub;
mod store;
mod store_cluster;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use exesdb_plugin::{
    Engine, GatewayPlugin, Limits, LoadError, Plugin, SnapshotsPool, Source, StreamsPool, Tenancy, names,
};
use exesdb_supervisor::{ChildSpec, Registration, Registry, Strategy, SupervisorSpec, Telemetry};

use crate::config::{ComponentSource, StoreConfig};

/// Restarts of stores within the period before the host itself gives up. A store that gives up is parked and does
/// not count; what counts is stores that are killed from outside, so this is out of reach of anything but a loop.
const HOST_INTENSITY: (u32, Duration) = (1_000, Duration::from_secs(10));

/// Restarts of a whole store before it is parked: enough for a fault that a restart cures, few enough that an
/// operator hears of one that it does not.
const STORE_INTENSITY: (u32, Duration) = (3, Duration::from_secs(60));

const CORE_INTENSITY: (u32, Duration) = (3, Duration::from_secs(60));
const STORE_SYSTEM_INTENSITY: (u32, Duration) = (5, Duration::from_secs(30));
const PERSISTENCE_INTENSITY: (u32, Duration) = (10, Duration::from_secs(60));
const GATEWAY_INTENSITY: (u32, Duration) = (15, Duration::from_secs(60));

/// The components that ship.
static BUILTIN: [(&str, &[u8]); 3] = [
    ("streams", include_bytes!(concat!(env!("EXESDB_COMPONENTS"), "/streams.wasm"))),
    ("snapshots", include_bytes!(concat!(env!("EXESDB_COMPONENTS"), "/snapshots.wasm"))),
    ("gateway-http", include_bytes!(concat!(env!("EXESDB_COMPONENTS"), "/gateway-http.wasm"))),
];

/// Why a store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A component cannot be loaded.
    #[error("store {store}: {error}")]
    Load {
        /// The store.
        store: String,
        /// What is wrong with the component.
        error: LoadError,
    },
    /// The binary has no such component.
    #[error("store {store}: there is no component builtin:{name}; there are {}", BUILTIN.map(|(name, _)| format!("builtin:{name}")).join(", "))]
    NoBuiltin {
        /// The store.
        store: String,
        /// The name after `builtin:`.
        name: String,
    },
}

/// A store that is ready to be started: its components are loaded and its pools exist.
pub struct StoreTree {
    config: StoreConfig,
    streams: Arc<Plugin<exesdb_plugin::StreamsKind>>,
    snapshots: Arc<Plugin<exesdb_plugin::SnapshotsKind>>,
    gateway: Arc<GatewayPlugin>,
    streams_tenancy: Arc<Tenancy>,
    snapshots_tenancy: Arc<Tenancy>,
    gateway_tenancy: Arc<Tenancy>,
    writers: Arc<StreamsPool>,
    readers: Arc<StreamsPool>,
    snapshot_workers: Arc<SnapshotsPool>,
    /// Pools are found by name as everything else, and stay registered while their instances come and go.
    _registrations: [Registration; 3],
}

impl StoreTree {
    /// Loads a store's components.
    ///
    /// # Errors
    ///
    /// See [`TreeError`].
    pub fn load(
        engine: &Engine,
        config: StoreConfig,
        registry: &Registry,
        telemetry: &Telemetry,
    ) -> Result<Self, TreeError> {
        let store = config.name.clone();
        let failed = |error| TreeError::Load { store: store.clone(), error };
        let source = |component: &ComponentSource| source(&store, component);
        let tenancy = |role: &'static str| {
            let settings = config.settings.get(role).cloned().unwrap_or_default();
            Tenancy::new(&store, role, settings, limits(&config), registry.clone(), telemetry.clone())
        };
        let streams =
            Plugin::load(engine, "streams", &source(&config.components.streams)?).map_err(failed)?;
        let snapshots =
            Plugin::load(engine, "snapshots", &source(&config.components.snapshots)?).map_err(failed)?;
        let gateway = GatewayPlugin::load(engine, &source(&config.components.gateway)?).map_err(failed)?;
        for (role, digest) in
            [("streams", streams.digest()), ("snapshots", snapshots.digest()), ("gateway", gateway.digest())]
        {
            let detail = serde_json::json!({ "component": role, "sha256": digest });
            telemetry.emit(&format!("host/{store}"), "loaded", detail);
        }
        let (streams_tenancy, snapshots_tenancy) = (tenancy("streams"), tenancy("snapshots"));
        let writers = StreamsPool::new(config.writers.into(), &streams_tenancy);
        let readers = StreamsPool::new(config.readers.into(), &streams_tenancy);
        let snapshot_workers = SnapshotsPool::new(config.snapshot_workers.into(), &snapshots_tenancy);
        let registrations = [
            registry.register(names::writers(&store), writers.clone()),
            registry.register(names::readers(&store), readers.clone()),
            registry.register(names::snapshots(&store), snapshot_workers.clone()),
        ];
        Ok(Self {
            gateway_tenancy: tenancy("gateway"),
            config,
            streams,
            snapshots,
            gateway,
            streams_tenancy,
            snapshots_tenancy,
            writers,
            readers,
            snapshot_workers,
            _registrations: registrations,
        })
    }

    /// The store's child of the host.
    pub fn child(&self, data: &Path) -> ChildSpec {
        let system = SupervisorSpec::new("system", Strategy::RestForOne)
            .child(self.core_system(data))
            .child(self.gateway_system());
        let store = limited(SupervisorSpec::new(&self.config.name, Strategy::OneForOne), STORE_INTENSITY)
            .child(ChildSpec::supervisor(system));
        ChildSpec::supervisor(store).park_when_given_up()
    }

    fn core_system(&self, data: &Path) -> ChildSpec {
        let store_system =
            limited(SupervisorSpec::new("store-system", Strategy::RestForOne), STORE_SYSTEM_INTENSITY)
                .child(store::child(&self.config.name, data.join(&self.config.name)))
                .child(store_cluster::child());
        let streams = SupervisorSpec::new("streams", Strategy::OneForOne)
            .child(self.writers.supervisor("writers", &self.streams, &self.streams_tenancy))
            .child(self.readers.supervisor("readers", &self.streams, &self.streams_tenancy));
        let persistence =
            limited(SupervisorSpec::new("persistence-system", Strategy::OneForOne), PERSISTENCE_INTENSITY)
                .child(ChildSpec::supervisor(streams))
                .child(self.snapshot_workers.supervisor(
                    "snapshots",
                    &self.snapshots,
                    &self.snapshots_tenancy,
                ))
                .child(ChildSpec::supervisor(SupervisorSpec::new("subscriptions", Strategy::OneForOne)));
        let core = limited(SupervisorSpec::new("core-system", Strategy::OneForAll), CORE_INTENSITY)
            .child(ChildSpec::supervisor(store_system))
            .child(ChildSpec::supervisor(persistence));
        ChildSpec::supervisor(core)
    }

    fn gateway_system(&self) -> ChildSpec {
        let pool = self.config.gateway_pool_size.into();
        let workers =
            exesdb_plugin::gateway_workers("gateway-workers", pool, &self.gateway, &self.gateway_tenancy);
        let mut gateway =
            limited(SupervisorSpec::new("gateway-system", Strategy::OneForOne), GATEWAY_INTENSITY)
                .child(workers);
        if self.config.pubsub {
            gateway = gateway.child(pubsub::child(&self.config.name));
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

fn limited(spec: SupervisorSpec, (restarts, period): (u32, Duration)) -> SupervisorSpec {
    spec.intensity(restarts, period)
}

fn limits(config: &StoreConfig) -> Limits {
    Limits {
        call_cpu_ms: config.limits.call_cpu_ms.into(),
        call_wall_ms: config.limits.call_wall_ms.into(),
        memory_bytes: (config.limits.memory_mib as usize) << 20,
        mailbox: config.limits.mailbox as usize,
        gateway_instances_per_worker: config.limits.gateway_instances_per_worker as usize,
    }
}

fn source(store: &str, component: &ComponentSource) -> Result<Source, TreeError> {
    match component {
        ComponentSource::File(path) => Ok(Source::File(path.clone())),
        ComponentSource::Builtin(wanted) => BUILTIN
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(name, wasm)| Source::Builtin { name, wasm })
            .ok_or_else(|| TreeError::NoBuiltin { store: store.to_owned(), name: wanted.clone() }),
    }
}
