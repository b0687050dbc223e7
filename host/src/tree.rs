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

mod compactor;
mod options;
mod pubsub;
mod store;
mod store_cluster;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use exesdb_plugin::{
    Engine, GatewayPlugin, Limits, LoadError, Plugin, SnapshotsPool, Source, StreamsPool, Tenancy, names,
};
use exesdb_supervisor::{ChildSpec, Registration, Registry, Strategy, SupervisorSpec, Telemetry};

pub use compactor::Compactor;

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
    persistence: Persistence,
    gateway: Arc<GatewayPlugin>,
    gateway_tenancy: Arc<Tenancy>,
}

/// The part of a store below its gateway: the database, and the components that keep streams and snapshots in it.
pub struct Persistence {
    config: StoreConfig,
    streams: Arc<Plugin<exesdb_plugin::StreamsKind>>,
    snapshots: Arc<Plugin<exesdb_plugin::SnapshotsKind>>,
    streams_tenancy: Arc<Tenancy>,
    snapshots_tenancy: Arc<Tenancy>,
    writers: Arc<StreamsPool>,
    readers: Arc<StreamsPool>,
    snapshot_workers: Arc<SnapshotsPool>,
    /// Pools are found by name as everything else, and stay registered while their instances come and go.
    _registrations: [Registration; 3],
}

impl Persistence {
    /// Loads a store's streams and snapshots components.
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
        let streams = source(&store, &config.components.streams)?;
        let streams = Plugin::load(engine, "streams", &streams).map_err(failed)?;
        let snapshots = source(&store, &config.components.snapshots)?;
        let snapshots = Plugin::load(engine, "snapshots", &snapshots).map_err(failed)?;
        loaded(telemetry, &store, "streams", streams.digest());
        loaded(telemetry, &store, "snapshots", snapshots.digest());
        let streams_tenancy = tenancy(&config, "streams", registry, telemetry);
        let snapshots_tenancy = tenancy(&config, "snapshots", registry, telemetry);
        let writers = StreamsPool::new(config.writers.into(), &streams_tenancy);
        let readers = StreamsPool::new(config.readers.into(), &streams_tenancy);
        let snapshot_workers = SnapshotsPool::new(config.snapshot_workers.into(), &snapshots_tenancy);
        let registrations = [
            registry.register(names::writers(&store), writers.clone()),
            registry.register(names::readers(&store), readers.clone()),
            registry.register(names::snapshots(&store), snapshot_workers.clone()),
        ];
        Ok(Self {
            config,
            streams,
            snapshots,
            streams_tenancy,
            snapshots_tenancy,
            writers,
            readers,
            snapshot_workers,
            _registrations: registrations,
        })
    }

    /// The instances that append.
    pub fn writers(&self) -> &Arc<StreamsPool> {
        &self.writers
    }

    /// The instances that read.
    pub fn readers(&self) -> &Arc<StreamsPool> {
        &self.readers
    }

    /// The instances of the snapshots component.
    pub fn snapshot_workers(&self) -> &Arc<SnapshotsPool> {
        &self.snapshot_workers
    }

    /// The store's child of a host that serves nobody; its database is in `folder`.
    pub fn child(&self, folder: PathBuf) -> ChildSpec {
        let store = SupervisorSpec::new(&self.config.name, Strategy::OneForOne);
        ChildSpec::supervisor(limited(store, STORE_INTENSITY).child(self.core_system(folder)))
    }

    fn core_system(&self, folder: PathBuf) -> ChildSpec {
        let store_system =
            limited(SupervisorSpec::new("store-system", Strategy::RestForOne), STORE_SYSTEM_INTENSITY)
                .child(store::child(&self.config.name, folder))
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
        let gateway = source(&store, &config.components.gateway)?;
        let gateway_tenancy = tenancy(&config, "gateway", registry, telemetry);
        let persistence = Persistence::load(engine, config, registry, telemetry)?;
        let failed = |error| TreeError::Load { store: store.clone(), error };
        let gateway = GatewayPlugin::load(engine, &gateway).map_err(failed)?;
        loaded(telemetry, &store, "gateway", gateway.digest());
        Ok(Self { persistence, gateway, gateway_tenancy })
    }

    /// The store's child of the host.
    pub fn child(&self, data: &Path) -> ChildSpec {
        let name = &self.persistence.config.name;
        let system = SupervisorSpec::new("system", Strategy::RestForOne)
            .child(self.persistence.core_system(data.join(name)))
            .child(self.gateway_system());
        let store = limited(SupervisorSpec::new(name, Strategy::OneForOne), STORE_INTENSITY)
            .child(ChildSpec::supervisor(system));
        ChildSpec::supervisor(store).park_when_given_up()
    }

    fn gateway_system(&self) -> ChildSpec {
        let config = &self.persistence.config;
        let pool = config.gateway_pool_size.into();
        let workers =
            exesdb_plugin::gateway_workers("gateway-workers", pool, &self.gateway, &self.gateway_tenancy);
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

/// The root of a tree of stores without gateways.
pub fn offline<'a>(stores: impl IntoIterator<Item = (&'a Persistence, PathBuf)>) -> SupervisorSpec {
    limited(SupervisorSpec::new("host", Strategy::OneForOne), HOST_INTENSITY)
        .children(stores.into_iter().map(|(store, folder)| store.child(folder)))
}

fn tenancy(
    config: &StoreConfig,
    role: &'static str,
    registry: &Registry,
    telemetry: &Telemetry,
) -> Arc<Tenancy> {
    let settings = config.settings.get(role).cloned().unwrap_or_default();
    Tenancy::new(&config.name, role, settings, limits(config), registry.clone(), telemetry.clone())
}

fn loaded(telemetry: &Telemetry, store: &str, role: &str, digest: &str) {
    let detail = serde_json::json!({ "component": role, "sha256": digest });
    telemetry.emit(&format!("host/{store}"), "loaded", detail);
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
