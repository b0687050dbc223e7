//! `exesdb serve`: from a configuration to a running tree, and back in reverse order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use exesdb_gateway::{
    Connections, Listener, Readiness, Relays, ServiceConfig, StoreReadiness, StoreRoute, WebAccess,
    listener_child,
};
use exesdb_plugin::{Engine, GatewayWorker, names};
use exesdb_supervisor::{Kind, Node, NodeState, Options, Reason, Registration, Registry, Root, Telemetry};
use tokio::sync::oneshot;

use crate::cluster::{self, Membership, Serving};
use crate::config::{Config, StoreConfig};
use crate::control::{self, ControlSocket};
use crate::data_directory::{self, COMPILED, stores_in};
use crate::file_limit;
use crate::readiness::{self, TreeReadiness, cause};
use crate::stop_signals::StopSignals;
use crate::tree::{self, StoreTree};

/// How long clients have to take their last responses when the host stops.
const LAST_RESPONSES: Duration = Duration::from_secs(2);

/// How long blocking work that nobody waits for may go on after the host has stopped. Then a compaction is abandoned, as
/// by a crash: nobody needs what it wrote so far.
const LAST_WORK: Duration = Duration::from_secs(2);

/// The interval of a timer that is always set: shorter than the deadlines that requests set, and long enough to cost
/// nothing.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Exit code after a second signal: as a shell reports SIGINT.
const INTERRUPTED: i32 = 130;

/// Runs a host until it is told to stop or its tree ends.
///
/// # Errors
///
/// What kept it from starting, or made it end by itself.
pub fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the system has no threads for the host")?;
    runtime.spawn(heartbeat());
    let outcome = runtime.block_on(serve(config));
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

/// Always keeps a timer set. A timer that expires before all others wakes the thread that waits for the next one, by a
/// system call; every request sets several timers (deadlines, which hardly ever expire). With this, theirs are never the
/// first.
async fn heartbeat() {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let data = data_directory::prepare(&config)?;
    // First, because it shows whether another host runs on the same data.
    let socket = bind_control(&config, &data)?;
    let membership = membership(&config, &data)?;
    let listener = Listener::bind(config.listen).await?;
    let host = Host::start(&config, &data, &listener, membership).await?;
    let (stopped, stopping) = oneshot::channel::<()>();
    let has_stopped = async move { drop(stopping.await) };
    let (handle, registry, telemetry) = (host.root.handle(), host.registry.clone(), host.telemetry.clone());
    let control = tokio::spawn(control::serve(socket, handle, registry, telemetry, has_stopped));
    // Registered before the host logs that it is ready, because a script that waits for that line may stop it at once.
    let mut signals = StopSignals::listen()?;
    log_start(&host, &data, listener.address())?;

    let ended = tokio::select! {
        reason = host.root.wait() => Some(reason),
        () = signals.next() => None,
    };
    tracing::info!("stopping: finishing what was accepted; a second signal ends at once");
    let impatient = tokio::spawn(async move {
        signals.next().await;
        tracing::warn!(
            "ended by a second signal; what was acknowledged is on disk, what was not may be lost"
        );
        std::process::exit(INTERRUPTED);
    });
    let reason = host.stop().await;
    drop(stopped);
    control.await.context("the control socket's task failed")?;
    impatient.abort();
    outcome(ended, &reason)
}

/// What this host is in a cluster, if its data directory is that of a member.
fn membership(config: &Config, data: &Path) -> anyhow::Result<Option<Arc<Membership>>> {
    if !exesdb_node::identity::is_cluster_member(data) {
        anyhow::ensure!(
            config.cluster.is_none(),
            "the configuration has a table [cluster], and {} belongs to no cluster: run `exesdb cluster init` on the first node, \
             and `exesdb cluster join` on the others",
            data.display()
        );
        return Ok(None);
    }
    let Some(cluster) = &config.cluster else {
        anyhow::bail!(
            "{} belongs to a cluster, and the configuration has no table [cluster]: start it with `--config` and the configuration file of this node",
            data.display()
        );
    };
    Ok(Some(Membership::open(data, cluster)?))
}

fn bind_control(config: &Config, data: &Path) -> anyhow::Result<ControlSocket> {
    ControlSocket::bind(data).map_err(|error| {
        let is_from_environment = std::env::var_os("EXESDB_DATA").is_some_and(|data| config.data == *data);
        let error = anyhow::Error::from(error);
        if is_from_environment {
            error.context("with the data directory that EXESDB_DATA names")
        } else {
            error
        }
    })
}

/// A tree that runs.
struct Host {
    /// What emitters are started with, and what topics say about health.
    _registrations: Vec<Registration>,
    root: Root,
    /// They keep the pools of the stores registered.
    stores: Vec<StoreTree>,
    routes: Vec<StoreRoute>,
    connections: Connections,
    readiness: Readiness,
    registry: Registry,
    telemetry: Telemetry,
    /// It is a node of a cluster.
    is_member: bool,
}

impl Host {
    /// Starts the tree; at least one of the stores has to start.
    async fn start(
        config: &Config,
        data: &Path,
        listener: &Listener,
        membership: Option<Arc<Membership>>,
    ) -> anyhow::Result<Self> {
        let (registry, telemetry) = (Registry::new(), Telemetry::new());
        let engine = Engine::new(Some(data.join(COMPILED)))?;
        let configured = match &membership {
            None => config.stores.clone(),
            // Those of its own file count when the cluster is made, and never again.
            Some(membership) => membership.stores(config)?,
        };
        let files = file_limit::raise(configured.len())?;
        let mut stores = Vec::with_capacity(configured.len());
        for store in &configured {
            let (open_tables, data) = (files.open_tables, data.to_owned());
            let store = StoreConfig { open_tables, data, ..store.clone() };
            let store = store.with_absolute_paths().context("cannot find the working directory")?;
            stores.push(StoreTree::new(&engine, store, &registry, &telemetry, membership.as_ref()));
        }
        // As daemons do: the directory that it was started in may be removed while it runs, and the database engine
        // asks for the working directory whenever it creates a keyspace.
        std::env::set_current_dir(data)
            .with_context(|| format!("cannot enter the data directory {}", data.display()))?;

        let routes = routes(&configured);
        let tree_readiness = TreeReadiness::default();
        let readiness = tree_readiness.of(routes.clone(), &registry);
        let connections = Connections::new(files.connections);
        let cluster = membership.as_ref().map(|membership| {
            Arc::new(Serving::new(Arc::clone(membership), registry.clone()))
                as Arc<dyn exesdb_gateway::Cluster>
        });
        let served = || ServiceConfig {
            registry: registry.clone(),
            stores: routes.clone(),
            readiness: readiness.clone(),
            cluster: cluster.clone(),
            web: WebAccess {
                is_loopback: config.listen.ip().to_canonical().is_loopback(),
                allowed_hosts: config.allowed_hosts.clone(),
                allowed_origins: config.allowed_origins.clone(),
            },
        };
        let listening = listener_child(listener.clone(), connections.clone(), served());
        let mut registrations = Vec::new();
        let spec = match &membership {
            None => tree::host(&stores, data, listening),
            Some(membership) => {
                let inviter = cluster::inviter(membership);
                registrations.push(registry.register(control::Inviter::NAME, inviter));
                registrations.push(registry.register(cluster::RELAYS, Arc::new(Relays::new(served()))));
                registrations.push(registry.register(names::STORES, Arc::new("host/stores".to_owned())));
                tree::member(&stores, data, listening, membership)
            }
        };
        let options =
            Options { registry: registry.clone(), telemetry: telemetry.clone(), ..Options::default() };
        let root = Root::start(spec, options).await?;
        registrations.push(registry.register(names::HANDLE, Arc::new(root.handle().clone())));
        registrations.push(registry.register(names::HEALTH, Arc::new(readiness::health(&readiness))));
        tree_readiness.watch(root.handle());
        if let Some(trouble) = no_store_runs(&root.handle().tree().await, &registry) {
            root.stop().await;
            anyhow::bail!(trouble);
        }
        Ok(Self {
            _registrations: registrations,
            root,
            stores,
            routes,
            connections,
            readiness,
            registry,
            telemetry,
            is_member: membership.is_some(),
        })
    }

    /// Finishes the requests in progress, and stops the tree.
    async fn stop(self) -> Reason {
        self.finish_requests().await;
        let reason = self.root.stop().await;
        self.connections.closed(LAST_RESPONSES).await;
        reason
    }

    /// Takes no new connections, and lets all gateway workers finish their requests at the same time: the tree would
    /// stop one worker after the other.
    async fn finish_requests(&self) {
        // The listener may have ended already, with the tree.
        drop(self.root.handle().terminate_child("host", "listener").await);
        self.connections.finish();
        self.stores.iter().for_each(StoreTree::finish_followers);
        for store in &self.routes {
            for index in 0..store.workers {
                let name = names::gateway_worker(&store.name, index);
                if let Some(worker) = self.registry.get::<GatewayWorker>(&name) {
                    worker.finish();
                }
            }
        }
    }
}

fn routes(stores: &[StoreConfig]) -> Vec<StoreRoute> {
    let route = |store: &StoreConfig| StoreRoute {
        name: store.name.clone(),
        workers: store.gateway_pool_size as usize,
    };
    stores.iter().map(route).collect()
}

/// Logs which stores are served and which are not.
fn log_start(host: &Host, data: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let readiness: &[StoreReadiness] = &(host.readiness)();
    let served: Vec<&str> = host.routes.iter().map(|store| store.name.as_str()).collect();
    // In a cluster no file says which stores there are.
    let others = if host.is_member { Vec::new() } else { stores_in(data)? };
    for store in others.into_iter().filter(|store| !served.contains(&store.as_str())) {
        tracing::warn!(
            store,
            "the data directory has this store, and it is not served, for it is not in the configuration; to serve it, \
             add [[store]] with its name to a configuration file, and start with --config"
        );
    }
    let (stores, data) = (served.join(", "), data.display());
    let troubles: Vec<String> = readiness
        .iter()
        .filter_map(|store| Some(format!("{}: {}", store.store, store.trouble.as_ref()?)))
        .collect();
    if troubles.is_empty() {
        tracing::info!(%address, %data, stores, "exesdb is ready");
    } else {
        let not_ready = troubles.join("; ");
        tracing::warn!(%address, %data, stores, not_ready, "exesdb serves, and not all of its stores are ready");
    }
    Ok(())
}

/// Why no store runs, if none does. A store that does not start is parked, and the others serve.
fn no_store_runs(tree: &Node, registry: &Registry) -> Option<String> {
    let stores = || tree::stores_in(tree).iter().filter(|child| child.kind == Kind::Supervisor);
    if stores().any(|store| store.state != NodeState::Parked) {
        return None;
    }
    let mut troubles = stores().map(|store| format!("store {}: {}", store.id, cause(store, registry)));
    Some(match stores().count() {
        1 => format!("cannot serve {}", troubles.next().unwrap_or_default()),
        _ => format!("none of the stores starts: {}", troubles.collect::<Vec<_>>().join("; ")),
    })
}

fn outcome(ended: Option<Reason>, stopped: &Reason) -> anyhow::Result<()> {
    match ended {
        None => {
            tracing::info!(reason = %stopped, "stopped; everything acknowledged is on disk");
            Ok(())
        }
        Some(reason) => anyhow::bail!(
            "the supervision tree ended by itself ({reason}); the log above says which part gave up"
        ),
    }
}
