//! Nodes in one process, with real files, and a network between them that has no wires.

#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exesdb_cluster::home::FilesHome;
use exesdb_cluster::log::NodeLog;
use exesdb_cluster::{Group, Member, Peer, ProposeError, SendError, SnapshotBody, Transport};
use exesdb_log::Log;
use exesdb_node::coordinator::coordinate;
use exesdb_node::finding::Finding;
use exesdb_node::genesis::{Founded, Founding, GenesisOptions, init};
use exesdb_node::identity::{Admissions, Identity, Opened, note_admission};
use exesdb_node::join::{Begun, JoinAnswer, JoinError, JoinRequest, Joining, Signed, admit};
use exesdb_node::registry::{Change, ChangeError, NewStore, Refused, Registry, RegistryView, change};
use exesdb_node::status::{ClusterStatus, GroupReport, NodeReport};
use exesdb_node::{Addresses, CLUSTER_GROUP};
use exesdb_storage::{Batch, Commit, Operation, Snapshot, Stamp};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a test waits for what should happen.
const WAIT: Duration = Duration::from_secs(120);

pub type FilesGroup = Group<FilesHome>;

/// The groups that are up, by number and replica.
#[derive(Default)]
pub struct Net {
    groups: Mutex<BTreeMap<(u64, u64), Arc<FilesGroup>>>,
}

struct Wire {
    net: Arc<Net>,
    group: u64,
    me: Peer,
}

impl Wire {
    fn carry<F, A>(&self, to: u64, handle: F) -> BoxFuture<'static, Result<Bytes, SendError>>
    where
        F: FnOnce(Arc<FilesGroup>, Peer) -> A + Send + 'static,
        A: Future<Output = Result<Bytes, exesdb_cluster::Refused>> + Send + 'static,
    {
        let (net, me, group) = (Arc::clone(&self.net), self.me.clone(), self.group);
        Box::pin(async move {
            let unreachable = || SendError::Unreachable { reason: "it is down".into() };
            let is_up = |replica| net.groups.lock().get(&(group, replica)).cloned();
            is_up(me.replica).ok_or_else(unreachable)?;
            let receiver = is_up(to).ok_or_else(unreachable)?;
            let answer = tokio::spawn(handle(receiver, me)).await.map_err(|_| unreachable())?;
            answer.map_err(|refused| SendError::Refused { reason: refused.to_string() })
        })
    }
}

impl Transport for Wire {
    fn send(&self, to: Peer, message: Bytes) -> BoxFuture<'static, Result<Bytes, SendError>> {
        self.carry(to.replica, |group, from| async move { group.receive(&from, &message).await })
    }

    fn send_snapshot(
        &self,
        to: Peer,
        head: Bytes,
        body: SnapshotBody,
    ) -> BoxFuture<'static, Result<Bytes, SendError>> {
        self.carry(to.replica, |group, from| async move { group.receive_snapshot(&from, &head, body).await })
    }
}

/// A node that runs.
pub struct Node {
    pub admissions: Arc<Admissions>,
    pub view: RegistryView,
    pub groups: BTreeMap<u64, Arc<FilesGroup>>,
    pub findings: BTreeMap<u64, watch::Receiver<Vec<Finding>>>,
    net: Arc<Net>,
    log: Arc<Log>,
    identity: Identity,
    tasks: JoinSet<()>,
}

impl Node {
    pub async fn start(dir: &Path, net: &Arc<Net>) -> Self {
        let opened = Opened::open(dir, log_options()).unwrap();
        assert!(opened.broken.is_empty());
        let (view, follower) = RegistryView::new();
        let places = opened.identity.replicas.clone();
        let folders: Vec<_> = places.iter().map(|place| opened.replica(place).unwrap()).collect();
        let Opened { folder, identity, log, .. } = opened;
        let (log, mut groups, mut findings) = (Arc::new(log), BTreeMap::new(), BTreeMap::new());
        for (place, folder) in places.iter().zip(folders) {
            let member = Member { node: identity.name.clone(), incarnation: identity.incarnation.0 };
            let me = Peer { replica: place.replica, member };
            let wire = Wire { net: Arc::clone(net), group: place.group, me };
            let home = FilesHome::new(&folder, storage_options());
            let group_log = Arc::new(NodeLog::new(Arc::clone(&log), place.group));
            let on_applied = (place.group == CLUSTER_GROUP).then(|| follower.on_applied());
            let options = exesdb_cluster::Options { on_applied, ..exesdb_cluster::Options::default() };
            let group = Group::start(place.group, place.replica, home, group_log, Arc::new(wire), options);
            let group = Arc::new(group.await.unwrap());
            net.groups.lock().insert((place.group, place.replica), Arc::clone(&group));
            groups.insert(place.group, group);
        }
        let mut tasks = JoinSet::new();
        let admissions = Arc::new(Admissions::new(folder, identity.clone()));
        tasks.spawn(follower.run(Arc::clone(&groups[&CLUSTER_GROUP])));
        for (number, group) in &groups {
            let (sender, receiver) = watch::channel(Vec::new());
            findings.insert(*number, receiver);
            tasks.spawn(coordinate(Arc::clone(group), *number, view.clone(), sender));
            let noted = note_admission(Arc::clone(group), *number, Arc::clone(&admissions));
            tasks.spawn(async move { noted.await.unwrap() });
        }
        Self { admissions, view, groups, findings, net: Arc::clone(net), log, identity, tasks }
    }

    /// Ends the node. Peers lose it first, so it hands nothing over.
    pub async fn stop(mut self) {
        for place in &self.identity.replicas {
            self.net.groups.lock().remove(&(place.group, place.replica));
        }
        self.tasks.shutdown().await;
        for group in self.groups.values() {
            group.stop().await;
        }
        self.groups.clear();
        drop(self.log);
    }

    pub fn report(&self) -> NodeReport {
        let report = |place: &exesdb_node::identity::Place| {
            let group = &self.groups[&place.group];
            let stopped = group.stopped().borrow().clone();
            GroupReport::of(place.group, place.replica, &group.metrics(), stopped)
        };
        NodeReport { pid: std::process::id(), groups: self.identity.replicas.iter().map(report).collect() }
    }
}

/// A cluster: folders by the number of their node, and the nodes that run.
pub struct Cluster {
    pub root: tempfile::TempDir,
    pub net: Arc<Net>,
    pub up: BTreeMap<u64, Node>,
}

impl Cluster {
    /// One node, with the stores `x` and `y`.
    pub async fn found() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut cluster = Self { root, net: Arc::default(), up: BTreeMap::new() };
        let founded = init(&cluster.dir(1), &founding("n1", &["x", "y"], false), &genesis_options()).unwrap();
        assert!(matches!(founded, Founded::Now(_)));
        cluster.start(1).await;
        cluster
    }

    pub fn dir(&self, node: u64) -> PathBuf {
        self.root.path().join(node.to_string())
    }

    pub async fn start(&mut self, node: u64) {
        let started = Node::start(&self.dir(node), &self.net).await;
        self.up.insert(node, started);
    }

    pub async fn stop(&mut self, node: u64) {
        self.up.remove(&node).unwrap().stop().await;
    }

    /// The node that is ready to lead a group.
    pub async fn leader(&self, group: u64) -> u64 {
        let ready = || {
            let mut leaders =
                self.up.iter().filter(|(_, node)| node.groups[&group].metrics().ready.is_some());
            leaders.next().map(|(node, _)| *node)
        };
        wait_for(&format!("a leader of group {group}"), || ready().is_some()).await;
        ready().unwrap()
    }

    /// Asks the cluster to let a node join, as often as it takes: the leader may change meanwhile.
    pub async fn ask(&self, node: u64, name: &str) -> Result<JoinAnswer, JoinError> {
        let cluster = self.registry_when_seen().await;
        let Begun::Joining(joining) = Joining::begin(&self.dir(node), cluster, name, log_options())? else {
            panic!("it has joined before")
        };
        let request = joining.request(cluster, name.into(), addresses(name), None, "csr".into());
        let answer = self.admit(&request).await?;
        joining.accept(&request, &answer)?;
        Ok(answer)
    }

    /// Asks whoever leads, and again if that changes meanwhile.
    pub async fn admit(&self, request: &JoinRequest) -> Result<JoinAnswer, JoinError> {
        loop {
            let leader = self.leader(CLUSTER_GROUP).await;
            let sign = |request: &JoinRequest| {
                Ok(Signed { certificate: format!("certificate of {}", request.csr), ca: "ca".into() })
            };
            match admit(&self.up[&leader].groups[&CLUSTER_GROUP], request, sign).await {
                Err(JoinError::Change(error))
                    if matches!(*error, ChangeError::Propose(_) | ChangeError::Read(_)) => {}
                answer => return answer,
            }
        }
    }

    /// Changes the registry, as an operator does who repeats what did not work.
    pub async fn change(
        &self,
        decide: impl Fn(&Registry) -> Result<Option<Change>, Refused>,
    ) -> Result<Registry, ChangeError> {
        loop {
            let leader = self.leader(CLUSTER_GROUP).await;
            match change(&self.up[&leader].groups[&CLUSTER_GROUP], &decide).await {
                Err(ChangeError::Propose(_) | ChangeError::Read(_)) => {}
                changed => return changed,
            }
        }
    }

    pub async fn join(&mut self, node: u64) {
        self.ask(node, &format!("n{node}")).await.unwrap();
        self.start(node).await;
    }

    /// The registry as the first node sees it.
    pub fn registry(&self) -> Arc<Registry> {
        let seen = self.up.values().find_map(|node| node.view.registry());
        seen.expect("some node has the registry")
    }

    /// The cluster's id, once a node has the registry.
    pub async fn registry_when_seen(&self) -> exesdb_node::ClusterId {
        wait_for("the registry", || self.up.values().any(|node| node.view.registry().is_some())).await;
        self.registry().cluster()
    }

    /// Waits until the nodes that are up agree on the number of voters of every group.
    pub async fn voters(&self, groups: &[u64], voters: usize) {
        for group in groups {
            let has = |node: &Node| {
                let members = node.groups[group].metrics().members;
                members.voters.len() == 1 && members.voters[0].len() == voters
            };
            wait_for(&format!("{voters} voters of group {group}"), || self.up.values().all(has)).await;
        }
    }

    /// Appends a value that was never appended before, once, whoever leads meanwhile.
    pub async fn append(&self, group: u64, value: &str) {
        let appending = async {
            loop {
                let leader = self.leader(group).await;
                let group = &self.up[&leader].groups[&group];
                match group.propose(append(value), None, vec![]).await {
                    Ok(accepted) => return assert!(accepted.outcomes[0].is_ok(), "{accepted:?}"),
                    Err(ProposeError::NotLeader { .. }) => sleep(Duration::from_millis(20)).await,
                    // On a machine that is starved, leaders change. A read that a leader confirms tells.
                    Err(ProposeError::Unknown { .. }) => {
                        let values = group.linearizable().await.map(|reader| values(&reader.snapshot()));
                        if values.is_ok_and(|values| values.iter().any(|known| known == value)) {
                            return;
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        };
        timeout(WAIT, appending).await.expect("the store takes commits");
    }

    /// What was appended to a store, as every node that is up reads it.
    pub async fn appended(&self, group: u64) -> Vec<String> {
        let mut all = Vec::new();
        for node in self.up.values() {
            let group = &node.groups[&group];
            let reading = async {
                loop {
                    if let Ok(reader) = group.linearizable().await {
                        return values(&reader.snapshot());
                    }
                }
            };
            all.push(timeout(WAIT, reading).await.expect("the store is read"));
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
        all.remove(0)
    }

    pub fn status(&self) -> ClusterStatus {
        let reports = self.up.iter().map(|(node, running)| (*node, running.report())).collect();
        ClusterStatus::of(&self.registry(), &reports)
    }
}

fn values(snapshot: &Snapshot) -> Vec<String> {
    let get = |position: u64| snapshot.get("test", "all", &position.to_be_bytes()).unwrap().unwrap();
    (0..snapshot.next_position()).map(|at| String::from_utf8(get(at).to_vec()).unwrap()).collect()
}

pub fn addresses(name: &str) -> Addresses {
    Addresses { peers: vec![format!("{name}:2114")], clients: vec![format!("{name}:2113")] }
}

pub fn founding(name: &str, stores: &[&str], adopt: bool) -> Founding {
    let store = |name: &&str| NewStore { name: (*name).into(), config: "[[store]]".into(), voters: 3 };
    let stores = stores.iter().map(store).collect();
    Founding { name: name.into(), addresses: addresses(name), zone: None, stores, adopt }
}

pub fn genesis_options() -> GenesisOptions {
    GenesisOptions { storage: storage_options(), log: log_options(), on_step: None }
}

pub fn log_options() -> exesdb_log::Options {
    const MIB: u64 = 1024 * 1024;
    let default = exesdb_log::Options::default();
    exesdb_log::Options { segment_bytes: MIB, group_bytes: 16 * MIB, node_bytes: 64 * MIB, ..default }
}

pub fn storage_options() -> exesdb_storage::Options {
    exesdb_storage::Options { zeroes_ahead: false, ..exesdb_storage::Options::default() }
}

/// Appends a value at the next position.
pub fn append(value: &str) -> Commit {
    let put = Operation::Put {
        keyspace: "all".into(),
        key: vec![0; 8],
        value: value.into(),
        key_stamps: vec![Stamp { at: 0, event: 0 }],
        value_stamps: vec![],
        chain: None,
    };
    let mut log = Vec::new();
    exesdb_packed::push_gap(&mut log, 0, 1);
    let batch = Batch { operations: vec![put], log, ..Batch::default() };
    Commit { owner: "test".into(), batches: vec![batch], ..Commit::default() }
}

pub async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WAIT, waiting).await.unwrap_or_else(|_| panic!("waited for {what} in vain"));
}
