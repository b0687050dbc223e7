//! Groups on what a node has: a log in files that they share, and replicas in folders.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use exesdb_cluster::home::FilesHome;
use exesdb_cluster::log::NodeLog;
use exesdb_cluster::{
    Group, Options, Peer, ProposeError, Refused, SendError, SnapshotBody, StartError, Transport, genesis,
};
use exesdb_log::{FailPoint, FailPoints, Log};
use exesdb_storage::{Replica, Snapshot};
use futures_util::future::BoxFuture;
use nodes::{append, member, wait_for, within};
use parking_lot::Mutex;

type FilesGroup = Group<FilesHome>;

/// The groups that are up, by number and replica.
type Groups = Arc<Mutex<BTreeMap<(u64, u64), Arc<FilesGroup>>>>;

struct Wire {
    groups: Groups,
    group: u64,
    me: u64,
}

impl Wire {
    fn to(&self, replica: u64) -> (Result<Arc<FilesGroup>, SendError>, Peer) {
        let group = self.groups.lock().get(&(self.group, replica)).cloned();
        let group = group.ok_or_else(|| SendError::Unreachable { reason: "it is down".into() });
        (group, Peer { replica: self.me, member: member(self.me) })
    }
}

fn refused(refused: Refused) -> SendError {
    SendError::Refused { reason: refused.to_string() }
}

impl Transport for Wire {
    fn send(&self, to: Peer, message: Bytes) -> BoxFuture<'static, Result<Bytes, SendError>> {
        let (group, from) = self.to(to.replica);
        Box::pin(async move { group?.receive(&from, &message).await.map_err(refused) })
    }

    fn send_snapshot(
        &self,
        to: Peer,
        head: Bytes,
        body: SnapshotBody,
    ) -> BoxFuture<'static, Result<Bytes, SendError>> {
        let (group, from) = self.to(to.replica);
        Box::pin(async move { group?.receive_snapshot(&from, &head, body).await.map_err(refused) })
    }
}

/// A machine: the folders of its log and its replicas.
struct Machine {
    dir: PathBuf,
    id: u64,
    groups: Groups,
}

impl Machine {
    fn new(root: &Path, id: u64, groups: &Groups) -> Self {
        let dir = root.join(id.to_string());
        std::fs::create_dir(&dir).unwrap();
        Self { dir, id, groups: Arc::clone(groups) }
    }

    fn log_folder(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn log(&self, fail_points: Option<FailPoints>) -> Arc<Log> {
        self.log_with(exesdb_log::Options { fail_points, ..exesdb_log::Options::default() })
    }

    fn log_with(&self, options: exesdb_log::Options) -> Arc<Log> {
        Arc::new(Log::open(&self.log_folder(), options).unwrap().0)
    }

    fn store(&self, group: u64) -> PathBuf {
        self.dir.join(format!("store-{group}"))
    }

    /// Begins a group here.
    fn found(&self, group: u64) {
        let founder = genesis(self.id, member(self.id));
        drop(Replica::create(&self.store(group), store_options(), &founder).unwrap());
    }

    async fn try_start(&self, group: u64, log: &Arc<Log>) -> Result<Arc<FilesGroup>, StartError> {
        let home = FilesHome::new(&self.store(group), store_options());
        let log = Arc::new(NodeLog::new(Arc::clone(log), group));
        let wire = Arc::new(Wire { groups: Arc::clone(&self.groups), group, me: self.id });
        let started = Group::start(group, self.id, home, log, wire, Options::default()).await?;
        let started = Arc::new(started);
        self.groups.lock().insert((group, self.id), Arc::clone(&started));
        Ok(started)
    }

    async fn start(&self, group: u64, log: &Arc<Log>) -> Arc<FilesGroup> {
        self.try_start(group, log).await.unwrap()
    }

    async fn stop(&self, group: u64) {
        let stopped = self.groups.lock().remove(&(group, self.id)).unwrap();
        stopped.stop().await;
    }
}

fn store_options() -> exesdb_storage::Options {
    exesdb_storage::Options { zeroes_ahead: false, ..exesdb_storage::Options::default() }
}

async fn is_ready(group: &FilesGroup) {
    within(group.ready().wait_for(Option::is_some)).await.unwrap();
}

fn ready_one(groups: &[Arc<FilesGroup>]) -> Option<Arc<FilesGroup>> {
    groups.iter().find(|group| group.metrics().ready.is_some()).cloned()
}

/// Appends, on whichever replica leads. What is not known to be appended is appended again, under another name.
async fn append_somewhere(groups: &[Arc<FilesGroup>], value: &str) {
    for attempt in 0.. {
        wait_for("a ready leader", || ready_one(groups).is_some()).await;
        let Some(leader) = ready_one(groups) else { continue };
        let value = if attempt == 0 { value.to_owned() } else { format!("{value}, attempt {attempt}") };
        if leader.propose(append(&value), None, vec![]).await.is_ok() {
            return;
        }
    }
}

fn values(snapshot: &Snapshot) -> Vec<String> {
    let get = |position: u64| snapshot.get("test", "all", &position.to_be_bytes()).unwrap().unwrap();
    (0..snapshot.next_position()).map(|position| String::from_utf8(get(position).to_vec()).unwrap()).collect()
}

async fn assert_equal(groups: &[Arc<FilesGroup>]) {
    let last = || groups.iter().filter_map(|group| group.metrics().last_log).map(|id| id.index).max();
    let is_equal = || groups.iter().all(|group| group.metrics().applied.map(|id| id.index) == last());
    wait_for("equal replicas", is_equal).await;
    let digests = groups.iter().map(|group| group.reader().unwrap().snapshot().digest().unwrap());
    let digests: Vec<_> = digests.collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_in_files_survive_restarts_and_kills() {
    const GROUP: u64 = 3;
    let root = tempfile::tempdir().unwrap();
    let groups = Groups::default();
    let machines = [1, 2, 3].map(|id| Machine::new(root.path(), id, &groups));
    machines[0].found(GROUP);
    let mut logs: Vec<_> = machines.iter().map(|machine| machine.log(None)).collect();
    let mut up = Vec::new();
    for (machine, log) in machines.iter().zip(&logs) {
        up.push(machine.start(GROUP, log).await);
    }
    is_ready(&up[0]).await;
    for id in [2, 3] {
        within(up[0].add_learner(id, member(id))).await.unwrap();
    }
    within(up[0].set_voters([1, 2, 3].into())).await.unwrap();
    for round in 0..3 {
        for number in 0..10 {
            append_somewhere(&up, &format!("{round}-{number}")).await;
        }
        assert_equal(&up).await;
        up.clear();
        for machine in &machines {
            // Once in order; then as a process that is killed does: the log has what it was given, and nothing is told.
            if round == 0 {
                machine.stop(GROUP).await;
            }
            groups.lock().remove(&(GROUP, machine.id));
        }
        logs.iter().for_each(|log| log.close());
        logs = machines.iter().map(|machine| machine.log(None)).collect();
        for (machine, log) in machines.iter().zip(&logs) {
            let store = machine.store(GROUP);
            wait_for("a closed store", || Replica::open(&store, store_options()).is_ok()).await;
            up.push(machine.start(GROUP, log).await);
        }
    }
    append_somewhere(&up, "last").await;
    assert_equal(&up).await;
    let found = values(&up[1].reader().unwrap().snapshot());
    let acknowledged = (0..3).flat_map(|round| (0..10).map(move |number| format!("{round}-{number}")));
    for value in acknowledged.chain(["last".to_owned()]) {
        assert!(found.iter().any(|found| found.starts_with(&value)), "{value} is lost: {found:?}");
    }
    for machine in &machines {
        machine.stop(GROUP).await;
    }
}

/// A hook of a log that counts its syncs, waits before each write for as long as it is told to, and fails once it is told to.
#[derive(Default)]
struct Hook {
    syncs: AtomicUsize,
    is_held: AtomicBool,
    fails: AtomicBool,
}

impl Hook {
    fn fail_points(self: &Arc<Self>) -> FailPoints {
        let hook = Arc::clone(self);
        Arc::new(move |point| {
            while point == FailPoint::BeforeWrite && hook.is_held.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            if point == FailPoint::AfterSync {
                hook.syncs.fetch_add(1, Ordering::SeqCst);
            }
            if hook.fails.load(Ordering::SeqCst) { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
        })
    }
}

/// Starts groups of one replica each, on one log.
async fn alone(machine: &Machine, log: &Arc<Log>, numbers: &[u64]) -> Vec<Arc<FilesGroup>> {
    let mut groups = Vec::new();
    for number in numbers {
        machine.found(*number);
        let group = machine.start(*number, log).await;
        is_ready(&group).await;
        groups.push(group);
    }
    groups
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_on_one_log_share_its_syncs() {
    let root = tempfile::tempdir().unwrap();
    let machine = Machine::new(root.path(), 1, &Groups::default());
    let hook = Arc::new(Hook::default());
    let log = machine.log(Some(hook.fail_points()));
    let groups = alone(&machine, &log, &[10, 11, 12]).await;
    let next = |group: u64| log.group(group).unwrap().next.unwrap();
    let before = [10, 11, 12].map(next);
    // The writer takes the state, and whatever comes meanwhile waits.
    hook.is_held.store(true, Ordering::SeqCst);
    let syncs = hook.syncs.load(Ordering::SeqCst);
    let (synced, outcome) = mpsc::channel();
    log.set_state(99, "held".into(), move |outcome| drop(synced.send(outcome))).unwrap();
    let propose = |group: Arc<FilesGroup>| async move { group.propose(append("a"), None, vec![]).await };
    let appends: Vec<_> = groups.into_iter().map(|group| tokio::spawn(propose(group))).collect();
    let all_wait = || [10, 11, 12].into_iter().zip(before).all(|(group, before)| next(group) > before);
    wait_for("an entry of each group", all_wait).await;
    hook.is_held.store(false, Ordering::SeqCst);
    outcome.recv().unwrap().unwrap();
    for append in appends {
        within(append).await.unwrap().unwrap();
    }
    let shared = hook.syncs.load(Ordering::SeqCst) - syncs;
    assert!(shared <= 2, "{shared} syncs for three entries and a state");
    for number in [10, 11, 12] {
        machine.stop(number).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_fails_stops_all_its_groups() {
    let root = tempfile::tempdir().unwrap();
    let machine = Machine::new(root.path(), 1, &Groups::default());
    let hook = Arc::new(Hook::default());
    let log = machine.log(Some(hook.fail_points()));
    let groups = alone(&machine, &log, &[10, 11]).await;
    hook.fails.store(true, Ordering::SeqCst);
    for group in &groups {
        let outcome = within(group.propose(append("a"), None, vec![])).await;
        assert!(
            matches!(outcome, Err(ProposeError::Unknown { .. } | ProposeError::Stopped { .. })),
            "{outcome:?}"
        );
    }
    for group in &groups {
        let mut stopped = group.stopped();
        let reason = within(stopped.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
        assert!(reason.contains("the disk is gone"), "{reason}");
    }
    let refused = machine.try_start(10, &log).await;
    assert!(matches!(refused, Err(StartError::Log(_) | StartError::Home(_))), "{:?}", refused.err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_log_lost_what_it_promised_is_not_started() {
    let root = tempfile::tempdir().unwrap();
    let machine = Machine::new(root.path(), 1, &Groups::default());
    let small = exesdb_log::Options {
        segment_bytes: exesdb_log::limits::SEGMENT_BYTES_MIN,
        node_bytes: 32 * exesdb_log::limits::SEGMENT_BYTES_MIN,
        copied_bytes: 1024,
        ..exesdb_log::Options::default()
    };
    let log = machine.log_with(small.clone());
    let groups = alone(&machine, &log, &[10, 11]).await;
    for _ in 0..40 {
        groups[0].propose(append(&"x".repeat(5_000)), None, vec![]).await.unwrap();
    }
    assert!(log.sizes().segments >= 3, "the entries are in several segments");
    for number in [10, 11] {
        machine.stop(number).await;
    }
    drop(groups);
    log.close();
    std::fs::remove_file(machine.log_folder().join("2.seg")).unwrap();
    let log = machine.log_with(small);
    let refused = machine.try_start(10, &log).await;
    assert!(matches!(refused, Err(StartError::LogBroken { group: 10 })), "{:?}", refused.err());
    // A group that lost nothing goes on.
    let whole = machine.start(11, &log).await;
    is_ready(&whole).await;
    whole.propose(append("a"), None, vec![]).await.unwrap();
    machine.stop(11).await;
    drop(whole);
    log.close();
    // A new log in the place of the old one has nothing of the group.
    std::fs::remove_dir_all(machine.log_folder()).unwrap();
    let log = machine.log(None);
    let refused = machine.try_start(11, &log).await;
    assert!(matches!(refused, Err(StartError::LogLost { .. })), "{:?}", refused.err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_fills_its_part_of_the_log_takes_commits_again_once_it_is_released() {
    let root = tempfile::tempdir().unwrap();
    let machine = Machine::new(root.path(), 1, &Groups::default());
    let log =
        machine.log_with(exesdb_log::Options { group_bytes: 200_000, ..exesdb_log::Options::default() });
    let group = alone(&machine, &log, &[10]).await.remove(0);
    let propose = || group.propose(append(&"x".repeat(10_000)), None, vec![]);
    let refused = loop {
        match propose().await {
            Ok(_) => {}
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, ProposeError::Overloaded { .. }), "{refused:?}");
    assert!(group.stopped().borrow().is_none());
    group.release_log();
    wait_for("room", || log.group(10).unwrap().held_bytes == 0).await;
    propose().await.unwrap();
    machine.stop(10).await;
}
