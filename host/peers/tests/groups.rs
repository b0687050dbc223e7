//! Groups whose replicas speak over real connections.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use exesdb_cluster::home::MemoryHome;
use exesdb_cluster::log::{MemoryLog, Syncs};
use exesdb_cluster::{Group, Member, Options, SendError, genesis};
use exesdb_peers::{Attached, Endpoint};
use exesdb_storage::{Batch, Commit, Histories, Operation, Stamp};
use nodes::proxy::Proxy;
use nodes::{Cluster, Node, name, wait_for, within};
use tokio::time::sleep;

const GROUP: u64 = 7;

/// A node with a replica of the group, behind a proxy.
struct Running {
    node: Node,
    proxy: Proxy,
    group: Arc<Group<MemoryHome>>,
    _attached: Attached,
}

fn member(number: u64) -> Member {
    Member { node: name(number), incarnation: 1_000 + number }
}

async fn start(cluster: &Cluster, number: u64, home: MemoryHome) -> Running {
    let node = cluster.start(number).await;
    let proxy = Proxy::start(&node.address).await;
    let log = Arc::new(MemoryLog::new(Syncs::AtOnce));
    let transport = node.peers.transport(GROUP);
    let group = Group::start(GROUP, number, home, log, transport, Options::default()).await.unwrap();
    let group = Arc::new(group);
    let endpoint: Arc<dyn Endpoint> = group.clone();
    let attached = node.peers.attach(GROUP, endpoint);
    Running { node, proxy, group, _attached: attached }
}

fn connect_all(members: &BTreeMap<u64, Running>) {
    for member in members.values() {
        let all =
            members.values().map(|other| (other.node.identity.name.as_str(), other.proxy.address.as_str()));
        member.node.connect(&all.collect::<Vec<_>>());
    }
}

async fn leader(members: &BTreeMap<u64, Running>) -> u64 {
    let ready = || members.iter().find(|(_, one)| one.group.metrics().ready.is_some()).map(|(id, _)| *id);
    wait_for("a ready leader", || ready().is_some()).await;
    ready().unwrap()
}

/// Appends, at whoever leads. Returns when it is done.
async fn append(members: &BTreeMap<u64, Running>, value: &str) {
    within(async {
        loop {
            let leader = leader(members).await;
            // One whose outcome is unknown may be appended twice, which does not matter here.
            if members[&leader].group.propose(commit(value), None, vec![]).await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

fn commit(value: &str) -> Commit {
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

async fn assert_equal(members: &BTreeMap<u64, Running>) {
    let digests = || {
        let digest = |one: &Running| {
            let reader = one.group.reader()?;
            Some((reader.head(), reader.snapshot().digest().unwrap()))
        };
        members.values().map(digest).collect::<Vec<_>>()
    };
    wait_for("equal replicas", || {
        let digests = digests();
        digests[0].is_some() && digests.windows(2).all(|pair| pair[0] == pair[1])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_elects_appends_survives_lost_connections_and_takes_in_a_member_by_snapshot() {
    let cluster = Cluster::new();
    let born = MemoryHome::create(&genesis(1, member(1)), &Histories::begin()).unwrap();
    let mut members = BTreeMap::from([(1, start(&cluster, 1, born).await)]);
    append(&members, "alone").await;
    for number in [2, 3] {
        members.insert(number, start(&cluster, number, MemoryHome::new()).await);
    }
    connect_all(&members);
    for number in [2, 3] {
        members[&1].node.connected(&name(number)).await;
        within(members[&1].group.add_learner(number, member(number))).await.unwrap();
    }
    within(members[&1].group.set_voters([1, 2, 3].into())).await.unwrap();
    append(&members, "three").await;

    let killed: usize = members.values().map(|member| member.proxy.kill()).sum();
    assert!(killed >= 6, "{killed} connections");
    append(&members, "after the connections were lost").await;

    members.insert(4, start(&cluster, 4, MemoryHome::new()).await);
    connect_all(&members);
    let leader = leader(&members).await;
    members[&leader].node.connected(&name(4)).await;
    within(members[&leader].group.add_learner(4, member(4))).await.unwrap();
    append(&members, "four").await;
    assert_equal(&members).await;

    // The leader goes: another one is elected, and the group goes on.
    let gone = members.remove(&leader).unwrap();
    gone.node.peers.stop().await;
    gone.group.stop().await;
    append(&members, "without the leader").await;
    assert_equal(&members).await;
    for member in members.values() {
        member.group.stop().await;
        member.node.peers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_go_to_the_log_that_the_member_has_and_to_groups_that_are_attached() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1).await, cluster.start(2).await);
    one.connect(&[("node-2", &two.address)]);
    one.connected("node-2").await;
    let transport = one.peers.transport(GROUP);
    let message = || nodes::raw::message(GROUP, 1, 2).into();
    let peer = |member| exesdb_cluster::Peer { replica: 2, member };
    let answer = within(transport.send(peer(member(2)), message())).await;
    let reason = "node node-2 has no replica of group 7".to_owned();
    assert_eq!(answer, Err(SendError::Refused { reason }));
    let wiped = Member { incarnation: 1, ..member(2) };
    let answer = within(transport.send(peer(wiped.clone()), message())).await;
    let is_other_log =
        |answer: &_| matches!(answer, Err(SendError::Refused { reason }) if reason.contains("is of log"));
    assert!(is_other_log(&answer), "{answer:?}");
    let (_, body) = tokio::sync::mpsc::channel(1);
    let answer = within(transport.send_snapshot(peer(wiped), message(), body)).await;
    assert!(is_other_log(&answer), "{answer:?}");
    let answer = within(transport.send(peer(member(9)), message())).await;
    assert!(matches!(answer, Err(SendError::Unreachable { .. })), "{answer:?}");
}
