//! `components`: loads the components of a store whenever the store starts, for its other children. A component that
//! cannot be loaded keeps its own store from starting and no other. Component files are read again each time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use exesdb_plugin::{
    Clock, ComponentContext, Deployment, Description, Engine, GatewayPlugin, Identity, Installed, LoadError,
    Plugin, SinkPlugin, Sinks, SnapshotsKind, StateOwner, StreamsKind, SubscriptionsKind, WasmSource, names,
};
use exesdb_supervisor::{ChildSpec, Context, Reason, Registry, Start, Telemetry};
use parking_lot::Mutex;

use crate::cluster::Membership;
use crate::config::{ComponentSource, Place, Setting, SinkConfig, StoreConfig, resolve_settings};

/// The components that the binary carries.
static BUILTIN: [(&str, &[u8]); 6] = [
    ("streams", include_bytes!(concat!(env!("EXESDB_COMPONENTS"), "/streams.wasm"))),
    ("snapshots", include_bytes!(concat!(env!("EXESDB_COMPONENTS"), "/snapshots.wasm"))),
    ("subscriptions", include_bytes!(concat!(env!("EXESDB_COMPONENTS"), "/subscriptions.wasm"))),
    ("gateway-http", include_bytes!(concat!(env!("EXESDB_COMPONENTS"), "/gateway-http.wasm"))),
    ("webhook", include_bytes!(concat!(env!("EXESDB_COMPONENTS"), "/webhook.wasm"))),
    ("ndjson-file", include_bytes!(concat!(env!("EXESDB_COMPONENTS"), "/ndjson-file.wasm"))),
];

/// What is needed to load a store's components.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) engine: Engine,
    pub(super) config: StoreConfig,
    /// The time of day that the components see.
    pub(super) clock: Clock,
    pub(super) registry: Registry,
    pub(super) telemetry: Telemetry,
    /// The cluster that the store belongs to, if it does.
    pub(super) membership: Option<Arc<Membership>>,
}

/// Where the loaded components are installed, by their roles.
#[derive(Clone)]
pub(super) struct Roles {
    pub(super) streams: Arc<Installed<Plugin<StreamsKind>>>,
    pub(super) snapshots: Arc<Installed<Plugin<SnapshotsKind>>>,
    pub(super) subscriptions: Arc<Installed<Plugin<SubscriptionsKind>>>,
    /// None for a store without a gateway.
    pub(super) gateway: Option<Arc<Installed<GatewayPlugin>>>,
    pub(super) sinks: Arc<Sinks>,
}

/// The components that a store runs, by their roles; those of sinks as `sinks.NAME`. Registered as [`names::components`].
pub struct Components(pub Vec<(String, Arc<Identity>)>);

/// Why the components of a store could not be loaded the last time, if so. The store's own exit reason does not say it: a
/// store that gave up was shut down.
#[derive(Default)]
pub struct LoadFailure(Mutex<Option<String>>);

impl LoadFailure {
    /// Its name in the registry.
    pub fn name(store: &str) -> String {
        format!("{store}/load-failure")
    }

    /// The error of the last load, if it failed.
    pub fn get(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

pub(super) fn child(setup: Setup, roles: Roles, failure: Arc<LoadFailure>) -> ChildSpec {
    ChildSpec::worker("components", move |context| {
        start(context, setup.clone(), roles.clone(), failure.clone())
    })
}

async fn start(
    context: Context,
    setup: Setup,
    roles: Roles,
    failure: Arc<LoadFailure>,
) -> Result<Start, Reason> {
    let loaded = setup.load(&roles).await;
    *failure.0.lock() = loaded.as_ref().err().cloned();
    let loaded = Arc::new(loaded.map_err(Reason::Error)?);
    let registration = setup.registry.register(names::components(&setup.config.name), loaded);
    let shutdown = context.shutdown();
    Ok(Start::running(async move {
        let _registration = registration;
        shutdown.requested().await;
        Reason::Shutdown
    }))
}

impl Setup {
    /// Loads all of the store's components, and then installs them: all or none.
    async fn load(&self, roles: &Roles) -> Result<Components, String> {
        let components = &self.config.components;
        let streams = self.persistence::<StreamsKind>("streams", &components.streams).await?;
        let snapshots = self.persistence::<SnapshotsKind>("snapshots", &components.snapshots).await?;
        let subscriptions =
            self.persistence::<SubscriptionsKind>("subscriptions", &components.subscriptions).await?;
        let gateway = match &roles.gateway {
            Some(place) => Some((place, self.gateway(&components.gateway).await?)),
            None => None,
        };
        let mut sinks = Vec::new();
        for (name, place) in roles.sinks.components() {
            sinks.push((name, place, self.sink(name).await?));
        }
        let mut loaded = vec![
            ("streams".to_owned(), streams.plugin.identity().clone()),
            ("snapshots".to_owned(), snapshots.plugin.identity().clone()),
            ("subscriptions".to_owned(), subscriptions.plugin.identity().clone()),
        ];
        roles.streams.install(streams);
        roles.snapshots.install(snapshots);
        roles.subscriptions.install(subscriptions);
        if let Some((place, gateway)) = gateway {
            loaded.push(("gateway".to_owned(), gateway.plugin.identity().clone()));
            place.install(gateway);
        }
        for (name, place, sink) in sinks {
            loaded.push((format!("sinks.{name}"), sink.plugin.identity().clone()));
            place.install(sink);
        }
        Ok(Components(loaded))
    }

    async fn persistence<K: exesdb_plugin::Kind>(
        &self,
        role: &'static str,
        component: &ComponentSource,
    ) -> Result<Deployment<Plugin<K>>, String> {
        let load = move |engine: &Engine, source: &WasmSource| Plugin::<K>::load(engine, role, source);
        let place = self.config.component_places.get(role);
        let plugin = self.compile(role, component, place, load).await?;
        let description = plugin
            .describe(role, &self.config.limits_of(role).into())
            .await
            .map_err(|error| self.refused(role, place, &error))?;
        let digest = plugin.digest().to_owned();
        self.deployment(role, plugin, description.as_ref(), &digest)
    }

    async fn gateway(&self, component: &ComponentSource) -> Result<Deployment<GatewayPlugin>, String> {
        let role = "gateway";
        let place = self.config.component_places.get(role);
        let plugin = self.compile(role, component, place, GatewayPlugin::load).await?;
        let description = plugin
            .describe(&self.config.limits_of(role).into())
            .await
            .map_err(|error| self.refused(role, place, &error))?;
        let digest = plugin.digest().to_owned();
        self.deployment(role, plugin, description.as_ref(), &digest)
    }

    async fn sink(&self, name: &str) -> Result<Deployment<SinkPlugin>, String> {
        let role = "sink";
        let sink = self.config.sinks.get(name).ok_or_else(|| format!("there is no sink {name}"))?;
        let place = Some(&sink.component_place);
        check_directory(sink, &self.config.data)?;
        let plugin = self.compile(role, &sink.component, place, SinkPlugin::load).await?;
        let description = plugin
            .describe(&self.config.limits_of(role).into())
            .await
            .map_err(|error| self.refused(role, place, &error))?;
        let digest = plugin.identity().digest.clone();
        let deployment = self.deployment_with(role, plugin, description.as_ref(), &digest, &sink.settings)?;
        let path = format!("{}/components", names::child(&self.registry, &self.config.name)).into();
        let checked = SinkPlugin::check(&deployment, &sink.grants, &path).await;
        checked.map_err(|why| format!("{}: the sink {name} cannot start: {why}", sink.component_place))?;
        Ok(deployment)
    }

    /// Reads and compiles a component, away from the threads that serve the other stores.
    async fn compile<P: Send + 'static>(
        &self,
        role: &'static str,
        component: &ComponentSource,
        place: Option<&Place>,
        load: impl FnOnce(&Engine, &WasmSource) -> Result<P, LoadError> + Send + 'static,
    ) -> Result<P, String> {
        let (engine, source) = (self.engine.clone(), source(component)?);
        let loaded = tokio::task::spawn_blocking(move || load(&engine, &source)).await;
        loaded.map_err(|error| error.to_string())?.map_err(|error| self.refused(role, place, &error))
    }

    fn deployment<P>(
        &self,
        role: &'static str,
        plugin: Arc<P>,
        description: Option<&Description>,
        digest: &str,
    ) -> Result<Deployment<P>, String> {
        let given = self.config.settings.get(role);
        self.deployment_with(role, plugin, description, digest, given.unwrap_or(&BTreeMap::new()))
    }

    fn deployment_with<P>(
        &self,
        role: &'static str,
        plugin: Arc<P>,
        description: Option<&Description>,
        digest: &str,
        given: &BTreeMap<String, Setting>,
    ) -> Result<Deployment<P>, String> {
        let declared = description.map_or(&[][..], |description| &description.settings);
        let settings = resolve_settings(role, declared, given)?;
        let owner = StateOwner::of(description, digest);
        let detail = serde_json::json!({
            "component": role,
            "name": owner.name,
            "state_version": owner.state_version,
            "sha256": digest,
        });
        self.telemetry.emit(&names::child(&self.registry, &self.config.name), "loaded", detail);
        let (registry, telemetry) = (self.registry.clone(), self.telemetry.clone());
        let context = ComponentContext::new(
            &self.config.name,
            role,
            settings,
            self.config.limits_of(role).into(),
            self.clock,
            registry,
            telemetry,
        );
        Ok(Deployment { plugin, context, owner })
    }

    /// The error, with the place in the configuration of the limit that was reached, or else of the component, if it has
    /// one.
    fn refused(&self, role: &'static str, place: Option<&Place>, error: &LoadError) -> String {
        let limit = error.limit().and_then(|limit| self.config.limit_place(role, limit));
        match limit.or(place) {
            Some(place) => format!("{place}: {error}"),
            None => error.to_string(),
        }
    }
}

/// Checks that the directory of a sink is there and has no part of the data directory, so that a mistake is seen when the
/// store starts.
fn check_directory(sink: &SinkConfig, data: &Path) -> Result<(), String> {
    let (Some(directory), Some(place)) = (&sink.grants.directory, &sink.directory_place) else {
        return Ok(());
    };
    let is_there = std::fs::metadata(directory);
    let wrong = match is_there {
        Ok(found) if found.is_dir() => {
            let (own, data) = (real(directory), real(data));
            if !own.starts_with(&data) && !data.starts_with(&own) {
                return Ok(());
            }
            format!("would give the sink files of the data directory {}; name another one", data.display())
        }
        Ok(_) => "is not a directory; name a directory, or leave it out".to_owned(),
        Err(error) => format!("cannot be opened: {error}; create it, or name another one"),
    };
    Err(format!("{place}: directory {} {wrong}", directory.display()))
}

/// The path without links, as far as it can be told.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn source(component: &ComponentSource) -> Result<WasmSource, String> {
    match component {
        ComponentSource::File(path) => Ok(WasmSource::File(path.clone())),
        ComponentSource::Builtin(wanted) => BUILTIN
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(name, wasm)| WasmSource::Builtin { name, wasm })
            .ok_or_else(|| {
                let there_are = BUILTIN.map(|(name, _)| format!("builtin:{name}")).join(", ");
                format!("there is no component builtin:{wanted}; there are {there_are}")
            }),
    }
}
