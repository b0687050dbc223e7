//! Replicas that begin with a snapshot, or need one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::sync::Arc;

use bytes::Bytes;
use exesdb_cluster::home::{FilesHome, MemoryHome};
use exesdb_cluster::log::{MemoryLog, Syncs};
use exesdb_cluster::{
    ChangeError, Group, Member, Options, Peer, ProposeError, Role, SendError, SnapshotBody, StartError,
    Transport, genesis, limits,
};
use exesdb_storage::Replica;
use futures_util::future::BoxFuture;
use nodes::{GROUP, Nodes, append, member, wait_for, within};

#[tokio::test(start_paused = true)]
async fn a_group_is_born_alone_and_others_join_by_snapshot() {
    let mut nodes = Nodes::born().await;
    let founder = nodes.ready().await;
    assert_eq!(nodes.metrics(founder).purged.map(|id| id.index), Some(1));
    nodes.append(founder, "a").await.unwrap();
    nodes.join(2).await;
    nodes.assert_equal().await;
    assert_eq!(nodes.metrics(2).role, Role::Learner);
    assert_eq!(nodes.appended(2), ["a"]);
    nodes.stop(2).await;
    nodes.append(founder, "b").await.unwrap();
    nodes.start(2).await;
    nodes.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_away_for_long_gets_a_snapshot() {
    let mut nodes = Nodes::born().await;
    nodes.log_bytes_kept = 0;
    nodes.ready().await;
    for id in [2, 3] {
        nodes.join(id).await;
    }
    within(nodes.group(1).set_voters([1, 2, 3].into())).await.unwrap();
    // The first node keeps its log, so that another one has to lead.
    within(nodes.group(1).transfer(2)).await.unwrap();
    let leader = nodes.ready().await;
    nodes.append(leader, "a").await.unwrap();
    nodes.stop(1).await;
    nodes.append(leader, "b").await.unwrap();
    let last = nodes.metrics(leader).last_log;
    let index = |id: Option<exesdb_storage::LogId>| id.map(|id| id.index);
    wait_for("a purge", || index(nodes.metrics(leader).purged) >= index(last)).await;
    assert!(nodes.metrics(leader).persisted >= last.unwrap().index);
    nodes.start(1).await;
    nodes.assert_equal().await;
    assert_eq!(nodes.appended(1), ["a", "b"]);
    assert!(
        nodes.metrics(1).purged.unwrap().index >= last.unwrap().index,
        "its log begins after the snapshot"
    );
    for id in [1, 2, 3] {
        nodes.crash(id).await;
    }
    for id in [1, 2, 3] {
        nodes.start(id).await;
    }
    nodes.ready().await;
    nodes.assert_equal().await;
    assert_eq!(nodes.appended(1), ["a", "b"]);
}

/// The engine never answers such a proposal: a snapshot takes the place of its entry.
#[tokio::test(start_paused = true)]
async fn a_proposal_that_a_snapshot_supersedes_is_unknown() {
    let mut nodes = Nodes::born().await;
    nodes.log_bytes_kept = 0;
    nodes.ready().await;
    for id in [2, 3] {
        nodes.join(id).await;
    }
    within(nodes.group(1).set_voters([1, 2, 3].into())).await.unwrap();
    nodes.net.isolate(1, &nodes.up());
    let group = nodes.group(1);
    let pending = tokio::spawn(async move { group.propose(append("lost"), None, vec![]).await });
    let leader = nodes.ready_among(&[2, 3]).await;
    for number in 0..10 {
        nodes.append(leader, &number.to_string()).await.unwrap();
    }
    let last = nodes.metrics(leader).last_log;
    let index = |id: Option<exesdb_storage::LogId>| id.map(|id| id.index);
    wait_for("a purge", || index(nodes.metrics(leader).purged) >= index(last)).await;
    nodes.net.heal();
    let outcome = within(pending).await.unwrap();
    assert!(matches!(outcome, Err(ProposeError::Unknown { .. })), "{outcome:?}");
    nodes.assert_equal().await;
    assert_eq!(nodes.appended(1).len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_log_knows_more_than_it_does_is_not_started() {
    let mut nodes = Nodes::born().await;
    nodes.log_bytes_kept = 0;
    nodes.ready().await;
    nodes.join(2).await;
    nodes.assert_equal().await;
    nodes.stop(2).await;
    nodes.nodes.get_mut(&2).unwrap().home = MemoryHome::new();
    let refused = nodes.try_start(2).await;
    assert!(matches!(refused, Err(StartError::BehindLog { applied: 0, .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn members_that_make_no_sense_are_refused() {
    let mut nodes = Nodes::born().await;
    let leader = nodes.ready().await;
    let group = nodes.group(leader);
    let refused = group.add_learner(1, member(1)).await;
    assert_eq!(refused, Err(ChangeError::Known { replica: 1 }));
    let refused = group.add_learner(0, member(1)).await;
    assert!(matches!(refused, Err(ChangeError::Members(_))), "{refused:?}");
    let nameless = Member { node: String::new(), incarnation: 1 };
    let refused = group.add_learner(2, nameless).await;
    assert!(matches!(refused, Err(ChangeError::Members(_))), "{refused:?}");
    nodes.join(2).await;
    assert_eq!(group.set_voters([1, 2].into()).await, Err(ChangeError::Even { voters: 2 }));
    assert!(group.set_voters([].into()).await.is_err());
    assert!(within(group.set_voters([1, 2, 77].into())).await.is_err(), "77 is no member");
    assert!(matches!(
        within(nodes.group(2).add_learner(3, member(3))).await,
        Err(ChangeError::Refused { .. })
    ));
    nodes.append(leader, "a").await.unwrap();
}

/// Two groups in files, whose transport is each other.
struct Direct(parking_lot::Mutex<Option<Arc<Group<FilesHome>>>>, u64);

impl Transport for Direct {
    fn send(&self, _: Peer, message: Bytes) -> BoxFuture<'static, Result<Bytes, SendError>> {
        let (group, from) = (self.0.lock().clone(), self.1);
        Box::pin(async move {
            let group = group.ok_or_else(|| SendError::Unreachable { reason: "down".into() })?;
            let from = Peer { replica: from, member: member(from) };
            let answer = group.receive(&from, &message).await;
            answer.map_err(|refused| SendError::Refused { reason: refused.to_string() })
        })
    }

    fn send_snapshot(
        &self,
        _: Peer,
        head: Bytes,
        body: SnapshotBody,
    ) -> BoxFuture<'static, Result<Bytes, SendError>> {
        let (group, from) = (self.0.lock().clone(), self.1);
        Box::pin(async move {
            let group = group.ok_or_else(|| SendError::Unreachable { reason: "down".into() })?;
            let from = Peer { replica: from, member: member(from) };
            let answer = group.receive_snapshot(&from, &head, body).await;
            answer.map_err(|refused| SendError::Refused { reason: refused.to_string() })
        })
    }
}

#[tokio::test]
async fn replicas_in_files_are_sent_as_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = |id: u64| dir.path().join(id.to_string());
    let options = exesdb_storage::Options { zeroes_ahead: false, ..exesdb_storage::Options::default() };
    drop(Replica::create(&store(1), options.clone(), &genesis(1, member(1))).unwrap());
    let wires = [1, 2].map(|id| Arc::new(Direct(parking_lot::Mutex::new(None), id)));
    let start = |id: u64| {
        let home = FilesHome::new(&store(id), options.clone());
        let log = Arc::new(MemoryLog::new(Syncs::AtOnce));
        let wire: Arc<dyn Transport> = Arc::clone(&wires[usize::try_from(id - 1).unwrap()]) as _;
        async move { Arc::new(Group::start(GROUP, id, home, log, wire, Options::default()).await.unwrap()) }
    };
    let first = start(1).await;
    within(first.ready().wait_for(Option::is_some)).await.unwrap();
    // More than the chunks that may wait.
    for _ in 0..6 {
        let accepted = first.propose(append(&"x".repeat(1_000_000)), None, vec![]).await.unwrap();
        assert!(accepted.outcomes[0].is_ok());
    }
    let second = start(2).await;
    *wires[0].0.lock() = Some(Arc::clone(&second));
    *wires[1].0.lock() = Some(Arc::clone(&first));
    first.add_learner(2, member(2)).await.unwrap();
    let is_there = || second.reader().is_some_and(|reader| reader.next_position() == 6);
    wait_for("the snapshot", is_there).await;
    let digest = |group: &Group<FilesHome>| group.reader().unwrap().snapshot().digest().unwrap();
    assert_eq!(digest(&first), digest(&second));
    first.propose(append("after"), None, vec![]).await.unwrap();
    wait_for("the entry after it", || second.reader().unwrap().next_position() == 7).await;
    for wire in &wires {
        *wire.0.lock() = None;
    }
    second.stop().await;
    first.stop().await;
}

/// Takes a snapshot to be sent, and nothing of it.
#[derive(Default)]
struct Slow(parking_lot::Mutex<Option<SnapshotBody>>);

impl Transport for Slow {
    fn send(&self, _: Peer, _: Bytes) -> BoxFuture<'static, Result<Bytes, SendError>> {
        // A replica that has nothing yet.
        Box::pin(async { Ok(Bytes::from_static(&[1, 3, 2, 0])) })
    }

    fn send_snapshot(
        &self,
        _: Peer,
        _: Bytes,
        body: SnapshotBody,
    ) -> BoxFuture<'static, Result<Bytes, SendError>> {
        *self.0.lock() = Some(body);
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_snapshot_that_is_taken_slowly_holds_little_memory_and_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let options = exesdb_storage::Options { zeroes_ahead: false, ..exesdb_storage::Options::default() };
    let store = dir.path().join("store");
    drop(Replica::create(&store, options.clone(), &genesis(1, member(1))).unwrap());
    let (home, log) = (FilesHome::new(&store, options), Arc::new(MemoryLog::new(Syncs::AtOnce)));
    let wire = Arc::new(Slow::default());
    let group = Group::start(GROUP, 1, home, log, Arc::clone(&wire) as _, Options::default()).await.unwrap();
    within(group.ready().wait_for(Option::is_some)).await.unwrap();
    // Values of more than a part of a snapshot.
    let value = "x".repeat(1_000_000);
    for _ in 0..10 {
        group.propose(append(&value), None, vec![]).await.unwrap();
    }
    group.add_learner(2, member(2)).await.unwrap();
    let parts = || wire.0.lock().as_ref().map_or(0, |body| body.len());
    wait_for("a full channel", || parts() == limits::SNAPSHOT_CHUNKS_WAITING_MAX).await;
    for _ in 0..20 {
        within(group.propose(append("meanwhile"), None, vec![])).await.unwrap();
    }
    let mut body = wire.0.lock().take().unwrap();
    let (mut bytes, mut largest) = (0, 0);
    while let Some(part) = within(body.recv()).await {
        assert!(body.len() <= limits::SNAPSHOT_CHUNKS_WAITING_MAX);
        bytes += part.len();
        largest = largest.max(part.len());
    }
    assert!(bytes > 10_000_000, "{bytes} bytes of a dump");
    assert_eq!(largest, limits::SNAPSHOT_CHUNK_BYTES);
    group.stop().await;
}
