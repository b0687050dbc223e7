//! `exesdb serve`: from a configuration to a running tree, and back in reverse order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use cap_std::fs::Dir;
use exesdb_gateway::{
    Connections, Listener, ServiceConfig, StoreReadiness, StoreRoute, WebAccess, listener_child,
};
use exesdb_plugin::{Engine, GatewayWorker, names};
use exesdb_supervisor::{Kind, Node, NodeState, Options, Reason, Registry, Root, Telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::command::restore::stores_in;
use crate::config::{Config, StoreConfig};
use crate::control::{self, ControlSocket};
use crate::file_limit;
use crate::readiness::{TreeReadiness, cause};
use crate::tree::{self, StoreTree};

/// How long clients have to take their last answers when the host stops.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How long blocking work that nobody waits for may go on when the host has stopped: a compaction, which is given up then
/// as a crash would. It has written nothing that anybody needs.
const LAST_WORK: Duration = Duration::from_secs(2);

/// How soon one timer is always due: less than the deadlines that requests set, and seldom enough to cost nothing.
const TIMER_DUE: Duration = Duration::from_millis(100);

/// Exit code after a second signal: as a shell tells of SIGINT.
const INTERRUPTED: i32 = 130;

/// Folder of compiled components, in the data directory; no store can have this name. Its content is run as machine code, so it belongs to the
/// host's user as the databases do.
pub(crate) const COMPILED: &str = ".compiled";

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
    runtime.spawn(keep_a_timer_due());
    let outcome = runtime.block_on(host(config));
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

/// Keeps one timer due soon. Whoever sets a timer that is due before all others wakes the thread that waits for the
/// next one, by a call of the system; every request sets several (deadlines, which are hardly ever reached). With this,
/// theirs are never the first.
async fn keep_a_timer_due() {
    loop {
        tokio::time::sleep(TIMER_DUE).await;
    }
}

/// Says in the log what is served and what is not.
fn tell(
    config: &Config,
    data: &Path,
    address: SocketAddr,
    readiness: &[StoreReadiness],
) -> anyhow::Result<()> {
    let served: Vec<&str> = config.stores.iter().map(|store| store.name.as_str()).collect();
    for store in stores_in(data)?.into_iter().filter(|store| !served.contains(&store.as_str())) {
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

async fn host(mut config: Config) -> anyhow::Result<()> {
    let data = prepare(&config)?;
    // First, because it tells whether another host runs on the same data.
    let socket = ControlSocket::bind(&data).map_err(|error| {
        let is_from_environment = std::env::var_os("EXESDB_DATA").is_some_and(|data| config.data == *data);
        let error = anyhow::Error::from(error);
        if is_from_environment {
            error.context("with the data directory that EXESDB_DATA names")
        } else {
            error
        }
    })?;
    let listener = Listener::bind(config.listen).await?;
    let (registry, telemetry) = (Registry::new(), Telemetry::new());
    let engine = Engine::new(Some(data.join(COMPILED)))?;
    let files = file_limit::raise(config.stores.len())?;
    for store in &mut config.stores {
        store.open_tables = files.open_tables;
    }
    let stores = config.stores.iter().cloned().map(StoreConfig::with_absolute_paths);
    let stores = stores.collect::<std::io::Result<Vec<_>>>().context("cannot find the working directory")?;
    let stores = stores.into_iter().map(|store| StoreTree::new(&engine, store, &registry, &telemetry));
    let stores: Vec<StoreTree> = stores.collect();
    // As daemons do: the folder that it was started in may be removed while it runs, and the database engine asks
    // for the working directory whenever it makes a keyspace.
    std::env::set_current_dir(&data)
        .with_context(|| format!("cannot enter the data directory {}", data.display()))?;

    let readiness = TreeReadiness::default();
    let connections = Connections::new(files.connections);
    let each_readiness = readiness.of(routes(&config.stores), &registry);
    let accepting = listener_child(
        listener.clone(),
        connections.clone(),
        ServiceConfig {
            registry: registry.clone(),
            stores: routes(&config.stores),
            readiness: each_readiness.clone(),
            web: WebAccess {
                is_loopback: config.listen.ip().to_canonical().is_loopback(),
                allowed_hosts: config.allowed_hosts.clone(),
                allowed_origins: config.allowed_origins.clone(),
            },
        },
    );
    let spec = tree::host(&stores, &data, accepting);
    let options = Options { registry: registry.clone(), telemetry: telemetry.clone(), ..Options::default() };
    let root = Root::start(spec, options).await?;
    readiness.watch(root.handle());
    if let Some(trouble) = no_store_runs(&root.handle().tree().await, &registry) {
        root.stop().await;
        anyhow::bail!(trouble);
    }
    let (stopped, stopping) = oneshot::channel::<()>();
    let over = async move { drop(stopping.await) };
    let control = tokio::spawn(control::serve(socket, root.handle(), registry.clone(), telemetry, over));
    tell(&config, &data, listener.address(), &each_readiness())?;

    let mut signals = StopSignals::listen()?;
    let ended = tokio::select! {
        reason = root.wait() => Some(reason),
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
    finish(&root, &connections, &registry, &config.stores).await;
    let reason = root.stop().await;
    connections.closed(LAST_ANSWERS).await;
    drop(stopped);
    control.await.context("the control socket's task failed")?;
    impatient.abort();
    outcome(ended, &reason)
}

/// The signals that ask the host to stop: Ctrl-C, `kill`, and the end of the terminal that it was started from.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// None where whoever started the host had it ignored, as `nohup` does: it is to outlive the terminal.
    hangup: Option<Signal>,
}

impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup })
    }

    /// Completes at the next of them.
    async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hangup => {}
        }
    }
}

/// Whether this process was started with SIGHUP ignored. The kernel's list of ignored signals has one bit for each, the
/// lowest for signal 1; where there is no such list it is not.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|bits| bits & 1 == 1)
}

/// Before the tree stops in its order: no new connections, and all gateway workers finish their requests at the same
/// time, because one after the other would add up.
async fn finish(root: &Root, connections: &Connections, registry: &Registry, stores: &[StoreConfig]) {
    // It may have ended already, with the tree.
    drop(root.handle().terminate_child("host", "listener").await);
    connections.finish();
    for store in routes(stores) {
        for index in 0..store.workers {
            if let Some(worker) = registry.get::<GatewayWorker>(&names::gateway_worker(&store.name, index)) {
                worker.finish();
            }
        }
    }
}

/// Why no store runs, if none does. One of many that does not start is parked, and the others serve.
fn no_store_runs(tree: &Node, registry: &Registry) -> Option<String> {
    let stores = || tree.children.iter().filter(|child| child.kind == Kind::Supervisor);
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

/// Makes the data directory, readable by its owner alone, with a folder for each store, and names it without links.
/// The folders are made and opened through the directory's handle, so that none of them can be a link that leads
/// out of it.
pub(crate) fn prepare(config: &Config) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let shown = config.data.display();
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data);
    made.map_err(|error| refused(&error, format_args!("the data directory {shown} cannot be made")))?;
    let directory = Dir::open_ambient_dir(&config.data, cap_std::ambient_authority())
        .map_err(|error| refused(&error, format_args!("the data directory {shown} cannot be opened")))?;
    for folder in config.stores.iter().map(|store| store.name.as_str()).chain([COMPILED]) {
        directory.create_dir_all(folder).and_then(|()| directory.open_dir(folder)).map_err(|error| {
            let path = config.data.join(folder);
            refused(&error, format_args!("the folder {} cannot be made or entered", path.display()))
        })?;
    }
    config.data.canonicalize().with_context(|| format!("cannot find the data directory {shown}"))
}

/// What the system refused, with what to do about it.
fn refused(error: &std::io::Error, what: std::fmt::Arguments<'_>) -> anyhow::Error {
    anyhow::anyhow!("{what}: {error}{}", exesdb_storage::advice(error))
}

fn routes(stores: &[StoreConfig]) -> Vec<StoreRoute> {
    let route = |store: &StoreConfig| StoreRoute {
        name: store.name.clone(),
        workers: store.gateway_pool_size.into(),
    };
    stores.iter().map(route).collect()
}
