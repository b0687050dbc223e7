//! One group of this node while it runs.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use exesdb_cluster::home::FilesHome;
use exesdb_cluster::log::NodeLog;
use exesdb_cluster::{Group, HomeError, Metrics, Options, StartError};
use exesdb_node::finding::Finding;
use exesdb_node::identity::{Place, note_admission};
use exesdb_peers::{Attached, Peers};
use exesdb_storage::{OpenError, ReplicaOpenError};
use exesdb_supervisor::{Reason, Registry};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::health::health;
use super::names;
use super::raft_log::NodeLogs;

/// How long a starting group waits for its predecessor to release the replica.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(10);

/// How long a starting group waits for the log and the connections: the log reads itself again, and waits for its predecessor.
const PART_WAIT: Duration = Duration::from_secs(60);

/// How often it is looked whether the log and the connections are those that the group has.
const REPLACED_POLL: Duration = Duration::from_millis(100);

/// Pause between two attempts to start.
const PREDECESSOR_POLL: Duration = Duration::from_millis(20);

/// A group of this node.
pub(crate) struct Replication {
    /// The group.
    pub(crate) group: Arc<Group<FilesHome>>,
    /// This node's replica.
    pub(crate) place: Place,
    /// What is not as it should be; told while the node leads.
    pub(crate) findings: watch::Sender<Vec<Finding>>,
}

impl Replication {
    /// The group of a store, if it runs.
    pub(crate) fn of(registry: &Registry, store: &str) -> Option<Arc<Self>> {
        registry.get(&names::group(store))
    }

    /// The group as this node knows it.
    pub(crate) fn metrics(&self) -> Metrics {
        self.group.metrics()
    }
}

/// Whether a store is a replica of a group.
pub(crate) fn is_replicated(registry: &Registry, store: &str) -> bool {
    Replication::of(registry, store).is_some()
}

/// A group that was started, with its connections. Dropping it stops the group soon after; [`stop`](Self::stop) does so in order.
pub(super) struct Running {
    pub(super) replication: Arc<Replication>,
    attached: Option<Attached>,
    tasks: JoinSet<()>,
    built_on: BuiltOn,
}

/// The parts of the node that a group has taken hold of. They are restarted under another supervisor than the group.
struct BuiltOn {
    registry: Registry,
    logs: Weak<NodeLogs>,
    peers: Weak<Peers>,
}

impl BuiltOn {
    /// Waits until one of them was replaced, and says which.
    async fn replaced(&self) -> String {
        loop {
            sleep(REPLACED_POLL).await;
            if is_replaced(&self.registry, names::LOG, &self.logs) {
                return "the node's log was restarted".to_owned();
            }
            if is_replaced(&self.registry, names::PEERS, &self.peers) {
                return "the connections to peers were restarted".to_owned();
            }
        }
    }
}

/// Whether a part has ended, or another one has its name by now. One that has ended is held by the group still, and its successor may
/// wait for that.
fn is_replaced<T: Send + Sync + 'static>(registry: &Registry, name: &str, part: &Weak<T>) -> bool {
    registry.get::<T>(name).is_none_or(|now| !Weak::ptr_eq(&Arc::downgrade(&now), part))
}

/// A part of the node, which may be being restarted: the group that is made of it waits, instead of using up its restarts.
pub(super) async fn part<T: Send + Sync + 'static>(
    registry: &Registry,
    name: &str,
) -> Result<Arc<T>, Reason> {
    let give_up = Instant::now() + PART_WAIT;
    loop {
        if let Some(part) = registry.get(name) {
            return Ok(part);
        }
        if Instant::now() > give_up {
            return Err(Reason::error(format!("{name} does not run; `exesdb tree` shows why")));
        }
        sleep(PREDECESSOR_POLL).await;
    }
}

impl Running {
    /// Starts the group of a replica.
    pub(super) async fn start(
        registry: &Registry,
        place: &Place,
        storage: exesdb_storage::Options,
        options: Options,
    ) -> Result<Self, Reason> {
        let logs = part::<NodeLogs>(registry, names::LOG).await?;
        let peers = part::<Peers>(registry, names::PEERS).await?;
        let folder = logs.admissions.replica(place, &logs.broken).map_err(Reason::error)?;
        let data = folder.parent().unwrap_or(&folder).to_owned();
        let options =
            Options { health: health(Arc::clone(&logs.log), data, storage.reserve_bytes), ..options };
        let give_up = Instant::now() + PREDECESSOR_WAIT;
        let group = loop {
            let home = FilesHome::new(&folder, storage.clone());
            let log = Arc::new(NodeLog::new(Arc::clone(&logs.log), place.group));
            let transport = peers.transport(place.group);
            // It opens files, and reads the log.
            let starting = Group::start(place.group, place.replica, home, log, transport, options.clone());
            let runtime = tokio::runtime::Handle::current();
            let started =
                tokio::task::spawn_blocking(move || runtime.block_on(starting).map_err(Box::new)).await;
            match started.map_err(Reason::error)? {
                Ok(group) => break Arc::new(group),
                Err(error) if is_locked(&error) && Instant::now() < give_up => {
                    sleep(PREDECESSOR_POLL).await;
                }
                Err(error) => return Err(Reason::error(error)),
            }
        };
        let built_on = BuiltOn {
            registry: registry.clone(),
            logs: Arc::downgrade(&logs),
            peers: Arc::downgrade(&peers),
        };
        let attached = Some(peers.attach(place.group, Arc::clone(&group) as _));
        let mut tasks = JoinSet::new();
        let noted = note_admission(Arc::clone(&group), place.group, Arc::clone(&logs.admissions));
        let store = place.store.clone();
        tasks.spawn(async move {
            if let Err(error) = noted.await {
                tracing::error!(store, %error, "it cannot be written down that the replica is there");
            }
        });
        let replication =
            Arc::new(Replication { group, place: place.clone(), findings: watch::Sender::default() });
        Ok(Self { replication, attached, tasks, built_on })
    }

    /// Waits until the group stops by itself, or has to, and says why.
    pub(super) async fn stopped(&self) -> String {
        let mut stopped = self.replication.group.stopped();
        let stopped = async {
            let reason = stopped.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            reason.unwrap_or_else(|| "the group ended".to_owned())
        };
        tokio::select! {
            reason = stopped => reason,
            reason = self.built_on.replaced() => reason,
        }
    }

    /// Stops the group in order.
    pub(super) async fn stop(mut self) {
        self.attached = None;
        self.tasks.shutdown().await;
        self.replication.group.stop().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Others may hold the group for a moment; what it holds, its successor needs.
        let group = Arc::clone(&self.replication.group);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { group.stop().await });
        }
    }
}

fn is_locked(error: &StartError) -> bool {
    matches!(error, StartError::Home(HomeError::Open(ReplicaOpenError::Store(OpenError::Locked { .. }))))
}
