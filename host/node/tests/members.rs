//! Nodes that join become members of every group, and the cluster survives any one of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::collections::BTreeSet;

use exesdb_node::finding::Finding;
use exesdb_node::identity::{Opened, StartError};
use exesdb_node::join::{Begun, JoinError, Joining};
use exesdb_node::registry::{ChangeError, NodeState, Refused};
use nodes::{Cluster, addresses, log_options, wait_for};

const GROUPS: [u64; 3] = [1, 2, 3];

async fn three() -> Cluster {
    let mut cluster = Cluster::found().await;
    cluster.join(2).await;
    cluster.join(3).await;
    cluster.voters(&GROUPS, 3).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_vote_in_every_group_and_survive_the_loss_of_a_leader() {
    let mut cluster = Cluster::found().await;
    cluster.append(2, "alone").await;
    cluster.join(2).await;
    cluster.append(2, "two").await;
    // Two replicas, and one voter of each group: an even number is never asked for.
    let few = Finding::FewVoters { store: "x".into(), replicas: 2, voters: 1, wanted: 3 };
    wait_for("the finding", || cluster.up[&1].findings[&2].borrow().contains(&few)).await;
    assert_eq!(cluster.status().exit_code(), 1);
    cluster.join(3).await;
    cluster.voters(&GROUPS, 3).await;
    let is_up = |node: &nodes::Node| {
        let registry = node.view.registry();
        registry.is_some_and(|registry| registry.nodes.values().all(|node| node.state == NodeState::Up))
    };
    wait_for("nodes that are up", || cluster.up.values().all(is_up)).await;
    cluster.append(2, "three").await;
    cluster.append(3, "of y").await;
    let status = || {
        let status = cluster.status();
        (status.exit_code(), status.findings)
    };
    wait_for("a cluster as it should be", || status() == (0, vec![])).await;

    let leader = cluster.leader(2).await;
    cluster.stop(leader).await;
    cluster.append(2, "without a third").await;
    cluster.append(3, "of y, too").await;
    let status = cluster.status();
    assert_eq!(status.exit_code(), 1, "{status:?}");
    let down = status.nodes.iter().filter(|node| node.pid.is_none()).map(|node| node.id);
    assert_eq!(down.collect::<Vec<_>>(), [leader]);

    cluster.start(leader).await;
    cluster.append(2, "together again").await;
    assert_eq!(cluster.appended(2).await, ["alone", "two", "three", "without a third", "together again"]);
    assert_eq!(cluster.appended(3).await, ["of y", "of y, too"]);
    let leads: BTreeSet<_> = cluster.status().nodes.into_iter().flat_map(|node| node.leads).collect();
    assert_eq!(leads, ["x", "y"].map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_down_does_not_become_a_voter() {
    let mut cluster = Cluster::found().await;
    cluster.join(2).await;
    let has = |node: u64| {
        let metrics = cluster.up[&1].groups[&2].metrics();
        metrics.followers.values().any(|has| has.is_some()) && cluster.up[&node].groups[&2].reader().is_some()
    };
    wait_for("a second replica", || has(2)).await;
    cluster.stop(2).await;
    // It had everything, and cannot be counted on now.
    let silent = || {
        let answered = cluster.up[&1].groups[&2].metrics().answered;
        answered.values().all(|since| *since > exesdb_node::limits::ANSWERS_WITHIN)
    };
    wait_for("silence", silent).await;
    cluster.join(3).await;
    wait_for("a third replica", || cluster.up[&3].groups[&2].reader().is_some()).await;
    cluster.append(2, "more").await;
    assert_eq!(cluster.appended(2).await, ["more"]);
    assert_eq!(cluster.up[&1].groups[&2].metrics().members.all_voters().len(), 1);
    cluster.start(2).await;
    cluster.voters(&GROUPS, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_ask_at_once_all_join_with_ids_of_their_own() {
    let mut cluster = Cluster::found().await;
    cluster.leader(1).await;
    let ask = |node: u64| {
        let (cluster, name) = (&cluster, format!("n{node}"));
        async move { cluster.ask(node, &name).await.unwrap() }
    };
    let (b, c, d) = tokio::join!(ask(2), ask(3), ask(4));
    let ids: BTreeSet<_> = [&b, &c, &d].iter().map(|answer| answer.node).collect();
    assert_eq!(ids, [2, 3, 4].into());
    let replicas = [&b, &c, &d].into_iter().flat_map(|answer| answer.replicas.iter().map(|new| new.replica));
    assert_eq!(replicas.collect::<BTreeSet<_>>().len(), 9);
    for node in [2, 3, 4] {
        cluster.start(node).await;
    }
    cluster.voters(&GROUPS, 3).await;
    // A fourth copy learns.
    let learn = |group: &u64| {
        let metrics = cluster.up[&1].groups[group].metrics();
        metrics.members.members.len() == 4
    };
    wait_for("four members", || GROUPS.iter().all(learn)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_asks_again_gets_the_same_answer() {
    let cluster = Cluster::found().await;
    let id = cluster.registry_when_seen().await;
    let begin = |node: u64, name: &str| Joining::begin(&cluster.dir(node), id, name, log_options());
    let Ok(Begun::Joining(joining)) = begin(2, "n2") else { panic!("nothing was joined") };
    let request = joining.request(id, "n2".into(), addresses("n2"), None, "csr".into());
    let first = cluster.admit(&request).await.unwrap();
    // It was killed before it wrote that down.
    drop(joining);
    let Ok(Begun::Joining(joining)) = begin(2, "n2") else { panic!("nothing was joined") };
    let again = joining.request(id, "n2".into(), addresses("n2"), None, "csr".into());
    assert_eq!(again, request);
    assert_eq!(cluster.admit(&again).await.unwrap(), first);
    let identity = joining.accept(&again, &first).unwrap();
    assert!(matches!(begin(2, "n2"), Ok(Begun::Before(known)) if known == identity));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_log_is_refused_under_its_old_name_and_joins_under_a_new_one() {
    let mut cluster = three().await;
    cluster.stop(3).await;
    std::fs::remove_dir_all(cluster.dir(3).join("$log")).unwrap();
    let opened = Opened::open(&cluster.dir(3), log_options());
    assert!(matches!(opened.err(), Some(StartError::LogMissing { name, .. }) if name == "n3"));
    // Empty, and under its old name.
    std::fs::remove_dir_all(cluster.dir(3)).unwrap();
    let refused = cluster.ask(3, "n3").await.err().unwrap();
    let JoinError::Change(refused) = refused else { panic!("{refused}") };
    assert!(matches!(*refused, ChangeError::Refused(Refused::OtherLog { name, .. }) if name == "n3"));
    let answer = cluster.ask(3, "n4").await.unwrap();
    assert_eq!(answer.node, 4);
    assert!(answer.replicas.iter().all(|new| new.replica > 9), "{answer:?}");
    cluster.start(3).await;
    cluster.append(2, "more").await;
    let has = || cluster.up[&3].groups[&2].reader().is_some_and(|reader| reader.next_position() == 1);
    wait_for("the new replica", has).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_installed_must_be_there() {
    let mut cluster = Cluster::found().await;
    cluster.join(2).await;
    let admissions = std::sync::Arc::clone(&cluster.up[&2].admissions);
    wait_for("replicas", || cluster.up[&2].groups.values().all(|group| group.reader().is_some())).await;
    loop {
        if admissions.identity().await.replicas.iter().all(|place| place.is_admitted) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    drop(admissions);
    cluster.stop(2).await;
    let dir = cluster.dir(2);
    std::fs::rename(dir.join("x"), dir.join("away")).unwrap();
    let opened = Opened::open(&dir, log_options()).unwrap();
    let of_x = opened.identity.place(2).unwrap();
    let refused = opened.replica(of_x).err().unwrap();
    assert!(matches!(&refused, StartError::ReplicaMissing { store, .. } if store == "x"), "{refused}");
    assert!(opened.replica(opened.identity.place(3).unwrap()).is_ok(), "the other store starts");
    drop(opened);
    std::fs::rename(dir.join("away"), dir.join("x")).unwrap();
    std::fs::remove_dir_all(dir.join("$cluster/replica")).unwrap();
    let opened = Opened::open(&dir, log_options());
    assert!(matches!(opened.err(), Some(StartError::ReplicaMissing { store, .. }) if store == "$cluster"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_voters_follows_what_was_asked_for() {
    let cluster = three().await;
    let even = cluster.change(|registry| registry.set_voters("x", 2)).await;
    assert!(matches!(even, Err(ChangeError::Refused(Refused::EvenVoters { wanted: 2 }))));
    let unknown = cluster.change(|registry| registry.set_voters("z", 1)).await;
    assert!(matches!(unknown, Err(ChangeError::Refused(Refused::UnknownStore { .. }))));
    cluster.change(|registry| registry.set_voters("x", 1)).await.unwrap();
    cluster.append(2, "a").await;
    cluster.voters(&[2], 1).await;
    cluster.append(2, "b").await;
    // Those that do not vote any more learn.
    assert_eq!(cluster.appended(2).await, ["a", "b"]);
    cluster.change(|registry| registry.set_voters("x", 3)).await.unwrap();
    cluster.voters(&[2], 3).await;
    cluster.append(2, "c").await;
    assert_eq!(cluster.appended(2).await, ["a", "b", "c"]);
}
