//! Who leads, and when nobody does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::time::Duration;

use exesdb_cluster::{Health, ProposeError, TransferError};
use nodes::{Nodes, append, wait_for, within};
use tokio::time::sleep;

fn others(nodes: &Nodes, than: u64) -> Vec<u64> {
    nodes.up().into_iter().filter(|id| *id != than).collect()
}

#[tokio::test(start_paused = true)]
async fn another_replica_leads_after_the_leader_is_gone() {
    let nodes = Nodes::three().await;
    let old = nodes.ready().await;
    nodes.append(old, "a").await.unwrap();
    nodes.stop(old).await;
    let new = nodes.ready().await;
    nodes.append(new, "b").await.unwrap();
    nodes.start(old).await;
    nodes.assert_equal().await;
    assert_eq!(nodes.appended(old), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_term_has_one_ready_leader() {
    let mut nodes = Nodes::three().await;
    let mut terms = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let leader = nodes.ready().await;
        let term = nodes.term(leader);
        assert_eq!(term.replica, leader);
        assert!(terms.insert((term.term, term.replica)), "{term:?} twice");
        nodes.append(leader, &format!("{term:?}")).await.unwrap();
        nodes.crash(leader).await;
        nodes.ready().await;
        nodes.start(leader).await;
        nodes.assert_equal().await;
    }
    assert_eq!(nodes.appended(1).len(), 20);
}

/// Each sync takes longer than the pause between two campaigns, so each campaign could end the one before.
#[tokio::test(start_paused = true)]
async fn a_replica_on_a_slow_disk_is_elected() {
    let nodes = Nodes::born_on(Duration::from_millis(600)).await;
    let leader = nodes.ready().await;
    nodes.append(leader, "a").await.unwrap();
    assert_eq!(nodes.metrics(leader).campaigns.begun, 1);
}

/// What was acknowledged last is in the logs of a majority, and the note that it was committed is nowhere.
#[tokio::test(start_paused = true)]
async fn a_leader_that_starts_again_leads_another_term_and_reads_what_it_had_acknowledged() {
    let mut nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    let term = nodes.term(leader);
    nodes.append(leader, "a").await.unwrap();
    for id in nodes.up() {
        nodes.crash(id).await;
    }
    nodes.start(leader).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(nodes.metrics(leader).ready, None, "nobody has elected it");
    for id in [1, 2, 3].into_iter().filter(|id| *id != leader) {
        nodes.start(id).await;
    }
    for id in nodes.up() {
        assert_eq!(nodes.group(id).linearizable().await.unwrap().next_position(), 1, "on {id}");
    }
    let new = nodes.ready().await;
    assert!(nodes.term(new).term > term.term);
}

#[tokio::test(start_paused = true)]
async fn a_leader_knows_for_how_long_a_member_has_been_silent() {
    const SILENCE: Duration = Duration::from_secs(5);
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    let [away, other] = others(&nodes, leader)[..] else { panic!("there are three") };
    nodes.net.isolate(away, &nodes.up());
    sleep(SILENCE).await;
    let answered = nodes.metrics(leader).answered;
    assert_eq!(answered.keys().copied().collect::<Vec<_>>(), others(&nodes, leader));
    assert!(answered[&away] >= SILENCE && answered[&other] < SILENCE / 2, "{answered:?}");
    assert!(nodes.metrics(other).answered.is_empty(), "it does not lead");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_cut_off_does_not_disturb_the_leader_when_it_is_back() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    let term = nodes.term(leader);
    let away = others(&nodes, leader)[0];
    nodes.net.isolate(away, &nodes.up());
    sleep(Duration::from_secs(20)).await;
    assert!(nodes.metrics(away).campaigns.pre_votes_lost > 5, "it wanted to lead");
    assert_eq!(nodes.metrics(away).campaigns.begun, 0);
    nodes.net.heal();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(nodes.term(leader), term);
    nodes.append(leader, "a").await.unwrap();
    nodes.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_majority_nobody_leads_and_with_it_again_someone_does() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    for id in others(&nodes, leader) {
        nodes.stop(id).await;
    }
    wait_for("an unready leader", || nodes.metrics(leader).ready.is_none()).await;
    let refused = nodes.append(leader, "a").await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
    sleep(Duration::from_secs(10)).await;
    assert!(nodes.metrics(leader).ready.is_none());
    for id in [1, 2, 3].into_iter().filter(|id| *id != leader) {
        nodes.start(id).await;
    }
    let new = nodes.ready().await;
    nodes.append(new, "b").await.unwrap();
    nodes.assert_equal().await;
}

/// The followers hear it, so they elect nobody, and it hears nothing, so it commits nothing.
#[tokio::test(start_paused = true)]
async fn a_leader_that_hears_no_answers_falls_silent_so_that_another_is_elected() {
    let nodes = Nodes::three().await;
    let old = nodes.ready().await;
    let others = others(&nodes, old);
    for id in &others {
        nodes.net.cut(*id, old);
    }
    let new = nodes.ready_among(&others).await;
    nodes.append(new, "a").await.unwrap();
    nodes.net.heal();
    nodes.assert_equal().await;
}

/// Its only follower lacks an entry, so nobody but the leader can be elected, and its engine cannot campaign while it leads.
#[tokio::test(start_paused = true)]
async fn a_silent_leader_whom_nobody_can_replace_finds_its_follower_again() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    let [gone, follower] = others(&nodes, leader)[..] else { panic!("three nodes") };
    nodes.stop(gone).await;
    nodes.append(leader, "a").await.unwrap();
    nodes.net.isolate(follower, &nodes.up());
    let group = nodes.group(leader);
    let pending = tokio::spawn(async move { group.propose(append("b"), None, vec![]).await });
    wait_for("a silent leader", || nodes.metrics(leader).is_muted).await;
    nodes.net.heal();
    nodes.ready_among(&[leader]).await;
    // It was committed after all, whether somebody still waited for it or not.
    drop(pending.await.unwrap());
    nodes.append(leader, "c").await.unwrap();
    nodes.assert_equal().await;
    assert_eq!(nodes.appended(follower), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn the_leadership_is_given_to_the_replica_that_is_asked_for() {
    let nodes = Nodes::three().await;
    for round in 0..6 {
        let leader = nodes.ready().await;
        nodes.append(leader, "a").await.unwrap();
        let to = others(&nodes, leader)[round % 2];
        within(nodes.group(leader).transfer(to)).await.unwrap();
        assert_eq!(nodes.ready().await, to);
    }
    let leader = nodes.ready().await;
    let follower = others(&nodes, leader)[0];
    let refused = nodes.group(leader).transfer(9).await;
    assert_eq!(refused, Err(TransferError::NoVoter { replica: 9 }));
    assert_eq!(nodes.group(follower).transfer(leader).await, Err(TransferError::NotLeader));
    assert_eq!(nodes.group(leader).transfer(leader).await, Err(TransferError::NotLeader));
    nodes.stop(follower).await;
    let refused = within(nodes.group(leader).transfer(follower)).await;
    assert!(matches!(refused, Err(TransferError::NotTaken { .. })), "{refused:?}");
    let leader = nodes.ready().await;
    nodes.append(leader, "b").await.unwrap();
    assert_eq!(nodes.appended(leader).len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_not_fit_does_not_lead() {
    let nodes = Nodes::three().await;
    let old = nodes.ready().await;
    let [unfit, fit] = others(&nodes, old)[..] else { panic!("three nodes") };
    let reasons = [
        Health { is_log_stuck: true, ..Health::default() },
        Health { is_disk_full: true, ..Health::default() },
        Health { is_draining: true, ..Health::default() },
    ];
    for health in reasons {
        *nodes.nodes[&unfit].health.lock() = health;
        nodes.stop(old).await;
        assert_eq!(nodes.ready().await, fit, "{health:?}");
        assert!(nodes.metrics(unfit).campaigns.begun == 0);
        nodes.start(old).await;
        nodes.assert_equal().await;
        within(nodes.group(fit).transfer(old)).await.unwrap();
    }
}
