//! Replicas that differ are found, and stop.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::time::Duration;

use exesdb_cluster::home::HomeError;
use exesdb_cluster::{Refused, StartError};
use exesdb_storage::{Commit, Engine, EngineRecord, Guard, ReplicaOpenError};
use nodes::{Nodes, append, wait_for, within};
use tokio::time::sleep;

/// An append that depends on a key of which nothing is ever written.
fn guarded(value: &str) -> Commit {
    let mut commit = append(value);
    commit.batches[0].guards.push(Guard::Absent { keyspace: "all".into(), key: vec![9; 9] });
    commit
}

/// Writes that key behind the replica's back.
fn tamper(nodes: &Nodes, id: u64) {
    let memory = nodes.nodes[&id].home.memory().unwrap();
    let keyspace = memory.keyspace("test.all").unwrap();
    let mut record = memory.record(1);
    record.insert(&keyspace, vec![9; 9], b"tampered".to_vec());
    memory.commit(record).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_decided_otherwise_stops_and_is_not_started_again() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    nodes.append(leader, "a").await.unwrap();
    nodes.assert_equal().await;
    let victim = nodes.up().into_iter().find(|id| *id != leader).unwrap();
    tamper(&nodes, victim);
    let accepted = nodes.group(leader).propose(guarded("b"), None, vec![]).await.unwrap();
    assert!(accepted.outcomes[0].is_ok(), "the key is absent where nothing was changed");
    wait_for("the divergence", || nodes.metrics(victim).diverged.is_some()).await;
    let group = nodes.group(victim);
    let reason = group.stopped().borrow().clone().unwrap();
    assert!(reason.contains("diverged at index"), "{reason}");
    assert!(group.reader().is_none(), "it serves nothing");
    assert!(within(group.linearizable()).await.is_err());
    let asks = nodes::peer(leader);
    let refused = group.receive(&asks, &nodes::pre_vote(leader, victim)).await;
    assert!(matches!(refused, Err(Refused::Stopped { .. })), "{refused:?}");
    drop(group);
    nodes.append(leader, "c").await.unwrap();
    nodes.stop(victim).await;
    nodes.assert_equal().await;
    let refused = nodes.try_start(victim).await;
    let Err(StartError::Home(HomeError::Open(ReplicaOpenError::Diverged { .. }))) = refused else {
        panic!("{refused:?}");
    };
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_note_was_lost_is_found_again() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    nodes.append(leader, "a").await.unwrap();
    nodes.assert_equal().await;
    let victim = nodes.up().into_iter().find(|id| *id != leader).unwrap();
    tamper(&nodes, victim);
    nodes.group(leader).propose(guarded("b"), None, vec![]).await.unwrap();
    nodes.assert_equal_applied().await;
    // Between the divergence and the check.
    nodes.stop(victim).await;
    nodes.start(victim).await;
    wait_for("the divergence", || nodes.metrics(victim).diverged.is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn replicas_are_compared_only_after_changes() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    nodes.append(leader, "a").await.unwrap();
    sleep(Duration::from_secs(25)).await;
    let last = nodes.metrics(leader).last_log;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(nodes.metrics(leader).last_log, last);
    nodes.append(leader, "b").await.unwrap();
    sleep(Duration::from_secs(25)).await;
    let after = nodes.metrics(leader).last_log.unwrap().index;
    assert_eq!(after, last.unwrap().index + 2, "an append and a check");
    nodes.assert_equal().await;
    assert!(nodes.up().iter().all(|id| nodes.metrics(*id).diverged.is_none()));
}
