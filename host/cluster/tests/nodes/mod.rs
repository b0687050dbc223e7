//! Nodes in one process, and a network between them that can be cut.
//!
//! The tests run on a paused clock: it goes on when nobody has anything to do. So they are fast, and a wait is as long as
//! it says.

#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exesdb_cluster::home::MemoryHome;
use exesdb_cluster::log::{MemoryLog, Syncs};
use exesdb_cluster::{
    Accepted, Execution, Group, GroupLog, Health, Member, Metrics, Options, Peer, ProposeError, SendError,
    SnapshotBody, StartError, Transport, genesis,
};
use exesdb_storage::{Batch, Commit, Histories, Operation, Stamp, Term};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

pub const GROUP: u64 = 7;
/// How long a test waits for what should happen, on the paused clock.
const WAIT: Duration = Duration::from_secs(60);

pub type MemoryGroup = Group<MemoryHome>;

/// The network between nodes.
#[derive(Default)]
pub struct Net {
    groups: Mutex<BTreeMap<u64, (Member, Arc<MemoryGroup>)>>,
    /// From whom to whom nothing gets through.
    cut: Mutex<BTreeSet<(u64, u64)>>,
}

struct Wire {
    net: Arc<Net>,
    me: Peer,
}

impl Net {
    pub fn cut(&self, from: u64, to: u64) {
        self.cut.lock().insert((from, to));
    }

    pub fn isolate(&self, node: u64, from: &[u64]) {
        for other in from.iter().copied().filter(|other| *other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    pub fn heal(&self) {
        self.cut.lock().clear();
    }

    fn passes(&self, from: u64, to: u64) -> bool {
        !self.cut.lock().contains(&(from, to))
    }
}

impl Wire {
    /// Carries a message there and its answer back. What is cut off is lost without a word.
    fn carry<F, A>(&self, to: u64, handle: F) -> BoxFuture<'static, Result<Bytes, SendError>>
    where
        F: FnOnce(Arc<MemoryGroup>, Peer) -> A + Send + 'static,
        A: Future<Output = Result<Bytes, SendError>> + Send + 'static,
    {
        let (net, me) = (Arc::clone(&self.net), self.me.clone());
        Box::pin(async move {
            sleep(Duration::from_micros(200)).await;
            if !net.passes(me.replica, to) {
                std::future::pending::<()>().await;
            }
            let group = net.groups.lock().get(&to).map(|(_, group)| Arc::clone(group));
            let group = group.ok_or_else(|| SendError::Unreachable { reason: "it is down".into() })?;
            let from = me.replica;
            // A message that has arrived is handled, whether its sender waits or not.
            let answer = tokio::spawn(async move { handle(group, me).await }).await.unwrap();
            sleep(Duration::from_micros(200)).await;
            if !net.passes(to, from) {
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}

fn refused(refused: exesdb_cluster::Refused) -> SendError {
    SendError::Refused { reason: refused.to_string() }
}

impl Transport for Wire {
    fn send(&self, to: Peer, message: Bytes) -> BoxFuture<'static, Result<Bytes, SendError>> {
        self.carry(
            to.replica,
            |group, from| async move { group.receive(&from, &message).await.map_err(refused) },
        )
    }

    fn send_snapshot(
        &self,
        to: Peer,
        head: Bytes,
        body: SnapshotBody,
    ) -> BoxFuture<'static, Result<Bytes, SendError>> {
        self.carry(to.replica, |group, from| async move {
            group.receive_snapshot(&from, &head, body).await.map_err(refused)
        })
    }
}

/// What of a node outlives its process.
pub struct Node {
    pub member: Member,
    pub home: MemoryHome,
    pub log: MemoryLog,
    pub options: Options,
    pub health: Arc<Mutex<Health>>,
}

pub struct Nodes {
    pub net: Arc<Net>,
    pub nodes: BTreeMap<u64, Node>,
    pub log_bytes_kept: u64,
    /// How long a sync takes.
    pub sync: Duration,
}

impl Nodes {
    /// One node, on which a group was born.
    pub async fn born() -> Self {
        Self::born_on(Duration::from_millis(1)).await
    }

    /// One node whose syncs take so long, as do those of all others.
    pub async fn born_on(sync: Duration) -> Self {
        let mut nodes = Self { net: Arc::default(), nodes: BTreeMap::new(), log_bytes_kept: u64::MAX, sync };
        let founder = genesis(1, member(1));
        let home = MemoryHome::create(&founder, &Histories::begin()).unwrap();
        nodes.add(1, home);
        nodes.start(1).await;
        nodes
    }

    /// Three voters.
    pub async fn three() -> Self {
        let mut nodes = Self::born().await;
        nodes.ready().await;
        for id in [2, 3] {
            nodes.join(id).await;
        }
        within(nodes.group(1).set_voters([1, 2, 3].into())).await.unwrap();
        nodes
    }

    pub fn add(&mut self, id: u64, home: MemoryHome) {
        let log = MemoryLog::new(Syncs::After(self.sync));
        let health = Arc::new(Mutex::new(Health::default()));
        let asked = Arc::clone(&health);
        let options = Options {
            execution: Execution::Inline,
            seed: Some(exesdb_test_support::seed() + id),
            log_bytes_kept: self.log_bytes_kept,
            health: Arc::new(move || *asked.lock()),
            ..Options::default()
        };
        self.nodes.insert(id, Node { member: member(id), home, log, options, health });
    }

    /// Starts an empty node, and adds it as a learner.
    pub async fn join(&mut self, id: u64) {
        self.add(id, MemoryHome::new());
        self.start(id).await;
        let leader = self.ready().await;
        within(self.group(leader).add_learner(id, member(id))).await.unwrap();
    }

    pub async fn try_start(&self, id: u64) -> Result<(), StartError> {
        let Node { member, home, log, options, .. } = &self.nodes[&id];
        let me = Peer { replica: id, member: member.clone() };
        let wire = Wire { net: Arc::clone(&self.net), me };
        let log: Arc<dyn GroupLog> = Arc::new(log.clone());
        let group = Group::start(GROUP, id, home.clone(), log, Arc::new(wire), options.clone()).await?;
        self.net.groups.lock().insert(id, (member.clone(), Arc::new(group)));
        Ok(())
    }

    pub async fn start(&self, id: u64) {
        self.try_start(id).await.unwrap();
    }

    /// Stops a node in order.
    pub async fn stop(&self, id: u64) {
        let (_, group) = self.net.groups.lock().remove(&id).unwrap();
        group.stop().await;
    }

    /// Lets go of a node's group, without stopping it.
    pub fn drop_group(&self, id: u64) {
        self.net.groups.lock().remove(&id).unwrap();
    }

    /// Takes a node's power: neither its log nor its store has what was not synced.
    pub async fn crash(&mut self, id: u64) {
        let (_, group) = self.net.groups.lock().remove(&id).unwrap();
        let node = self.nodes.get_mut(&id).unwrap();
        node.log = node.log.crash();
        group.stop().await;
        if let Some(memory) = node.home.memory() {
            memory.lose_power(0);
        }
    }

    pub fn up(&self) -> Vec<u64> {
        self.net.groups.lock().keys().copied().collect()
    }

    pub fn group(&self, id: u64) -> Arc<MemoryGroup> {
        Arc::clone(&self.net.groups.lock()[&id].1)
    }

    pub fn metrics(&self, id: u64) -> Metrics {
        self.group(id).metrics()
    }

    /// Waits for a node that leads and is ready.
    pub async fn ready(&self) -> u64 {
        self.ready_among(&self.up()).await
    }

    pub async fn ready_among(&self, among: &[u64]) -> u64 {
        let ready = || {
            let mut ready = among.iter().filter(|id| self.metrics(**id).ready.is_some());
            ready.next().copied()
        };
        wait_for("a ready leader", || ready().is_some()).await;
        ready().unwrap()
    }

    pub fn term(&self, id: u64) -> Term {
        self.metrics(id).ready.unwrap()
    }

    /// Waits until all nodes that are up have applied the same, and compares what they have.
    pub async fn assert_equal(&self) {
        self.assert_equal_applied().await;
        let digests = self.up().into_iter().map(|id| {
            let reader = self.group(id).reader().unwrap();
            (reader.head(), reader.snapshot().digest().unwrap())
        });
        let digests: Vec<_> = digests.collect();
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    }

    /// Waits until all nodes that are up have applied the same entries.
    pub async fn assert_equal_applied(&self) {
        let up = self.up();
        let applied = || up.iter().map(|id| self.metrics(*id).applied).collect::<Vec<_>>();
        let last = || up.iter().filter_map(|id| self.metrics(*id).last_log).map(|id| id.index).max();
        let is_equal = || applied().iter().all(|id| id.map(|id| id.index) == last());
        if timeout(WAIT * 9 / 10, wait_for("equal replicas", is_equal)).await.is_err() {
            let metrics: Vec<_> = up.iter().map(|id| self.metrics(*id)).collect();
            panic!("the replicas do not become equal: {metrics:#?}");
        }
    }

    /// The values that were appended, in order, as one node has them.
    pub fn appended(&self, id: u64) -> Vec<String> {
        let reader = self.group(id).reader().unwrap();
        let snapshot = reader.snapshot();
        let get = |position: u64| snapshot.get("test", "all", &position.to_be_bytes()).unwrap();
        (0..snapshot.next_position())
            .map(|position| String::from_utf8(get(position).unwrap().to_vec()).unwrap())
            .collect()
    }

    pub async fn append(&self, id: u64, value: &str) -> Result<Accepted, ProposeError> {
        self.group(id).propose(append(value), None, vec![]).await
    }
}

/// Appends a value at the next position.
pub fn append(value: &str) -> Commit {
    let stamp = Stamp { at: 0, event: 0 };
    let put = Operation::Put {
        keyspace: "all".into(),
        key: vec![0; 8],
        value: value.into(),
        key_stamps: vec![stamp],
        value_stamps: vec![],
        chain: None,
    };
    let mut log = Vec::new();
    exesdb_packed::push_gap(&mut log, 0, 1);
    let batch = Batch { operations: vec![put], log, ..Batch::default() };
    Commit { owner: "test".into(), batches: vec![batch], ..Commit::default() }
}

pub fn member(id: u64) -> Member {
    Member { node: format!("node-{id}"), incarnation: 1_000 + id }
}

pub fn peer(replica: u64) -> Peer {
    Peer { replica, member: member(replica) }
}

/// A pre-vote of a replica without entries, as the crate's `wire.rs` describes it.
pub fn pre_vote(from: u64, to: u64) -> Bytes {
    let numbers = [GROUP, from, to].map(u64::to_be_bytes).concat();
    [&[1, 2][..], &numbers, &[0]].concat().into()
}

/// Waits for something that should take no longer than anything here.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(WAIT, future).await.expect("it ends in time")
}

pub async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WAIT, waiting).await.unwrap_or_else(|_| panic!("waited for {what} in vain"));
    start.elapsed()
}
