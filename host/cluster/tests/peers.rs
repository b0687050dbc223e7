//! What peers send is a claim, and what fails says so.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use bytes::Bytes;
use exesdb_cluster::limits::LEASE;
use exesdb_cluster::{Member, Peer, ProposeError, Refused};
use exesdb_storage::MemoryOperation;
use nodes::{GROUP, Nodes, member, wait_for, within};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// A request as `wire.rs` describes it.
fn message(kind: u8, group: u64, from: u64, to: u64, content: &[u8]) -> Bytes {
    let numbers = [group, from, to].map(u64::to_be_bytes).concat();
    [&[1, kind][..], &numbers, content].concat().into()
}

fn peer(replica: u64) -> Peer {
    Peer { replica, member: member(replica) }
}

const PRE_VOTE: u8 = 2;
const READ_INDEX: u8 = 5;
/// No last entry.
const NONE: &[u8] = &[0];

#[tokio::test(start_paused = true)]
async fn messages_for_others_or_of_others_are_refused() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    let from = if leader == 2 { 3 } else { 2 };
    let group = nodes.group(leader);
    let good = message(PRE_VOTE, GROUP, from, leader, NONE);
    assert!(group.receive(&peer(from), &good).await.is_ok());
    let elsewhere = Peer { replica: from, member: Member { node: "other".into(), ..member(from) } };
    let wiped = Peer { replica: from, member: Member { incarnation: 5, ..member(from) } };
    let table = [
        (
            message(PRE_VOTE, 8, from, leader, NONE),
            peer(from),
            Refused::OtherGroup { group: GROUP, named: 8 },
        ),
        (
            message(PRE_VOTE, GROUP, from, 9, NONE),
            peer(from),
            Refused::OtherReplica { replica: leader, named: 9 },
        ),
        (
            message(PRE_VOTE, GROUP, from, leader, NONE),
            peer(9),
            Refused::OtherSender { sender: 9, named: from },
        ),
        (
            message(PRE_VOTE, GROUP, leader, leader, NONE),
            peer(leader),
            Refused::OtherSender { sender: leader, named: leader },
        ),
        (
            good.clone(),
            elsewhere,
            Refused::OtherNode { replica: from, node: format!("node-{from}"), found: "other".into() },
        ),
        (good, wiped, Refused::OtherIncarnation { replica: from, incarnation: 1_000 + from, found: 5 }),
    ];
    for (message, peer, expected) in table {
        assert_eq!(group.receive(&peer, &message).await.err(), Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_messages_are_refused_and_the_group_goes_on() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    let from = if leader == 2 { 3 } else { 2 };
    let group = nodes.group(leader);
    let mut random = exesdb_test_support::random();
    for _ in 0..2_000 {
        let mut content = vec![0; random.usize(..80)];
        random.fill(&mut content);
        // Votes are left out: a peer may raise the term, and then another one leads.
        let kind = [0, PRE_VOTE, 3, 4, READ_INDEX, 6, 7, 255][random.usize(..8)];
        drop(group.receive(&peer(from), &message(kind, GROUP, from, leader, &content)).await);
    }
    let vote = [1 << 20, from].map(u64::to_be_bytes).concat();
    let head = message(4, GROUP, from, leader, &[&vote[..], &[1]].concat());
    let (tx, body) = mpsc::channel(1);
    tx.send("no dump".into()).await.unwrap();
    drop(tx);
    let refused = group.receive_snapshot(&peer(from), &head, body).await;
    assert!(matches!(refused, Err(Refused::Snapshot { .. })), "{refused:?}");
    let leader = nodes.ready().await;
    nodes.append(leader, "a").await.unwrap();
    nodes.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_the_engine_does_not_want_changes_nothing() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    nodes.append(leader, "a").await.unwrap();
    nodes.assert_equal().await;
    let to = if leader == 3 { 2 } else { 3 };
    let snapshot = nodes.group(leader).reader().unwrap().snapshot();
    let mut dump = Vec::new();
    snapshot.dump(&mut dump, &mut |_| {}).unwrap();
    nodes.append(leader, "b").await.unwrap();
    nodes.assert_equal().await;
    let term = nodes.term(leader);
    let vote = [&[term.term, leader].map(u64::to_be_bytes).concat()[..], &[1]].concat();
    let (tx, body) = mpsc::channel(1);
    tx.send(dump.into()).await.unwrap();
    drop(tx);
    let head = message(4, GROUP, leader, to, &vote);
    within(nodes.group(to).receive_snapshot(&peer(leader), &head, body)).await.unwrap();
    assert_eq!(nodes.appended(to), ["a", "b"]);
    nodes.append(leader, "c").await.unwrap();
    nodes.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_lost_synced_entries_is_found_and_does_not_count() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    for number in 0..10 {
        nodes.append(leader, &number.to_string()).await.unwrap();
    }
    nodes.assert_equal().await;
    let [liar, other] = nodes.up().into_iter().filter(|id| *id != leader).collect::<Vec<_>>()[..] else {
        panic!("three nodes")
    };
    nodes.stop(other).await;
    let last = nodes.metrics(leader).last_log.unwrap().index;
    nodes.crash(liar).await;
    nodes.nodes[&liar].log.lose(last - 3);
    nodes.start(liar).await;
    wait_for("the loss", || nodes.metrics(leader).lost_logs.contains(&liar)).await;
    let alone = within(nodes.append(leader, "with the liar")).await;
    assert!(alone.is_err(), "{alone:?}");
    wait_for("an unready leader", || nodes.metrics(leader).ready.is_none()).await;
    let refused =
        nodes.group(leader).receive(&peer(liar), &message(PRE_VOTE, GROUP, liar, leader, NONE)).await;
    assert_eq!(refused, Err(Refused::LostLog { replica: liar }));
    nodes.start(other).await;
    let new = nodes.ready_among(&[leader, other]).await;
    nodes.append(new, "with the other").await.unwrap();
    assert_eq!(nodes.appended(new)[..10], (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_log_is_full_takes_no_entries_and_goes_on_once_there_is_room() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    let full = nodes.up().into_iter().find(|id| *id != leader).unwrap();
    nodes.append(leader, "a").await.unwrap();
    nodes.assert_equal().await;
    let last = nodes.metrics(full).last_log;
    nodes.nodes[&full].log.fill(true);
    for number in 0..20 {
        nodes.append(leader, &number.to_string()).await.unwrap();
    }
    sleep(LEASE * 5).await;
    assert_eq!(nodes.metrics(full).last_log, last);
    assert_eq!(nodes.metrics(full).campaigns.begun, 0, "it hears its leader");
    assert!(nodes.group(full).stopped().borrow().is_none());
    nodes.nodes[&full].log.fill(false);
    nodes.assert_equal().await;
    nodes.nodes[&leader].log.fill(true);
    let refused = nodes.append(leader, "b").await;
    assert!(matches!(refused, Err(ProposeError::Overloaded { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_log_fails_stops_and_says_why() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    nodes.nodes[&leader].log.fail("the disk is gone");
    let outcome = within(nodes.append(leader, "a")).await;
    assert!(outcome.is_err(), "{outcome:?}");
    let mut stopped = nodes.group(leader).stopped();
    let reason = within(stopped.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(reason.contains("the disk is gone"), "{reason}");
    nodes.stop(leader).await;
    let new = nodes.ready().await;
    nodes.append(new, "b").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_replica_fails_stops_and_says_why() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    nodes.append(leader, "a").await.unwrap();
    let memory = nodes.nodes[&leader].home.memory().unwrap();
    memory.fail(MemoryOperation::Write, 0);
    let outcome = within(nodes.append(leader, "b")).await;
    assert!(outcome.is_err(), "{outcome:?}");
    let mut stopped = nodes.group(leader).stopped();
    let reason = within(stopped.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(reason.contains("the replica stopped"), "{reason}");
    nodes.stop(leader).await;
    let new = nodes.ready().await;
    memory.mend();
    nodes.start(leader).await;
    nodes.append(new, "c").await.unwrap();
    nodes.assert_equal().await;
    wait_for("all of it", || nodes.appended(leader) == ["a", "b", "c"]).await;
}
