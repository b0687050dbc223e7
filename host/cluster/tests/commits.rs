//! What is acknowledged stays, on all replicas alike.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::sync::Arc;
use std::time::Duration;

use exesdb_cluster::ProposeError;
use exesdb_storage::{BatchError, Commit, Guard};
use nodes::{Nodes, append, wait_for, within};

#[tokio::test(start_paused = true)]
async fn three_replicas_apply_what_their_leader_takes() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    for (position, value) in ["a", "b", "c"].into_iter().enumerate() {
        let accepted = nodes.append(leader, value).await.unwrap();
        assert_eq!(accepted.outcomes[0].as_ref().unwrap().first_position, position as u64);
    }
    nodes.assert_equal().await;
    assert_eq!(nodes.appended(3), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn commits_that_wait_share_an_entry_and_each_has_its_own_outcomes() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    let group = nodes.group(leader);
    let appends: Vec<_> = (0..100)
        .map(|number| {
            let group = Arc::clone(&group);
            tokio::spawn(async move { group.propose(append(&number.to_string()), None, vec![]).await })
        })
        .collect();
    let mut entries = std::collections::BTreeSet::new();
    let mut positions = Vec::new();
    for (number, append) in appends.into_iter().enumerate() {
        let accepted = append.await.unwrap().unwrap();
        entries.insert(accepted.entry.unwrap().index);
        let position = accepted.outcomes[0].as_ref().unwrap().first_position;
        assert_eq!(nodes.appended(leader)[usize::try_from(position).unwrap()], number.to_string());
        positions.push(position);
    }
    positions.sort_unstable();
    assert_eq!(positions, (0..100).collect::<Vec<_>>());
    assert!(entries.len() < 20, "{} entries", entries.len());
    nodes.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn guards_are_decided_alike_and_refused_batches_keep_their_place() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    nodes.append(leader, "a").await.unwrap();
    let good = append("b").batches.remove(0);
    let mut failing = good.clone();
    failing.guards.push(Guard::LogEndsAt { position: 9 });
    let mut malformed = good.clone();
    malformed.guards.push(Guard::Absent { keyspace: String::new(), key: vec![1] });
    let commit = Commit { batches: vec![malformed.clone(), good, failing], ..append("") };
    let outcomes = nodes.group(leader).propose(commit, None, vec![]).await.unwrap().outcomes;
    assert!(matches!(outcomes[0], Err(BatchError::Invalid(_))), "{outcomes:?}");
    assert_eq!(outcomes[1].as_ref().unwrap().first_position, 1);
    assert_eq!(outcomes[2], Err(BatchError::GuardFailed { index: 0 }));
    let nothing = Commit { batches: vec![malformed], ..append("") };
    let accepted = nodes.group(leader).propose(nothing, None, vec![]).await.unwrap();
    assert_eq!(accepted.entry, None, "there was nothing to propose");
    nodes.assert_equal().await;
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_takes_commits() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    let follower = nodes.up().into_iter().find(|id| *id != leader).unwrap();
    let refused = nodes.append(follower, "a").await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(leader) }));
    assert!(nodes.appended(leader).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_too_large_or_malformed_is_refused_before_it_is_proposed() {
    let nodes = Nodes::born().await;
    let leader = nodes.ready().await;
    let before = nodes.metrics(leader).last_log;
    let no_owner = Commit { owner: String::new(), ..append("a") };
    let refused = nodes.group(leader).propose(no_owner, None, vec![]).await;
    assert!(matches!(refused, Err(ProposeError::Invalid(_))), "{refused:?}");
    // An entry that no log takes would stop the group.
    let topics = vec!["x".repeat(40_000_000)];
    let refused = nodes.group(leader).propose(append("a"), None, topics).await;
    assert!(matches!(refused, Err(ProposeError::Invalid(_))), "{refused:?}");
    nodes.nodes[&leader].health.lock().is_disk_full = true;
    assert_eq!(nodes.append(leader, "a").await, Err(ProposeError::ReadOnly));
    assert_eq!(nodes.metrics(leader).last_log, before);
    let frees = Commit { makes_room: true, ..append("a") };
    nodes.group(leader).propose(frees, None, vec![]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_minority_took_is_unknown_and_what_the_majority_took_stays() {
    let nodes = Nodes::three().await;
    let old = nodes.ready().await;
    nodes.append(old, "before").await.unwrap();
    nodes.net.isolate(old, &nodes.up());
    let lost = {
        let group = nodes.group(old);
        tokio::spawn(async move { group.propose(append("lost"), None, vec![]).await })
    };
    let others: Vec<_> = nodes.up().into_iter().filter(|id| *id != old).collect();
    let new = nodes.ready_among(&others).await;
    nodes.append(new, "after").await.unwrap();
    wait_for("an unready leader", || nodes.metrics(old).ready.is_none()).await;
    assert!(matches!(nodes.append(old, "never").await, Err(ProposeError::NotLeader { .. })));
    let lost = lost.await.unwrap();
    assert!(matches!(lost, Err(ProposeError::Unknown { .. })), "{lost:?}");
    nodes.net.heal();
    nodes.assert_equal().await;
    assert_eq!(nodes.appended(old), ["before", "after"]);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_commit_is_applied_only_under_its_term() {
    let nodes = Nodes::three().await;
    let old = nodes.ready().await;
    let term = nodes.term(old);
    let propose = |id: u64, value: &'static str| {
        let group = nodes.group(id);
        async move { group.propose(append(value), Some(term), vec![]).await.unwrap().outcomes }
    };
    assert!(propose(old, "mine").await[0].is_ok());
    nodes.stop(old).await;
    let new = nodes.ready().await;
    assert_eq!(propose(new, "late").await, [Err(BatchError::Fenced)]);
    // The same replica leads again, under another term.
    nodes.start(old).await;
    nodes.assert_equal().await;
    nodes.group(new).transfer(old).await.unwrap();
    nodes.ready_among(&[old]).await;
    assert_ne!(nodes.term(old), term);
    assert_eq!(propose(old, "later").await, [Err(BatchError::Fenced)]);
    nodes.assert_equal().await;
    assert_eq!(nodes.appended(new), ["mine"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_survives_the_loss_of_power_of_all_nodes() {
    let mut nodes = Nodes::three().await;
    for round in 0..5 {
        let leader = nodes.ready().await;
        for number in 0..10 {
            nodes.append(leader, &format!("{round}-{number}")).await.unwrap();
        }
        for id in nodes.up() {
            nodes.crash(id).await;
        }
        for id in [1, 2, 3] {
            nodes.start(id).await;
        }
    }
    nodes.ready().await;
    nodes.assert_equal().await;
    let expected: Vec<_> =
        (0..5).flat_map(|round| (0..10).map(move |number| format!("{round}-{number}"))).collect();
    assert_eq!(nodes.appended(2), expected);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_away_gets_what_it_missed() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    let away = nodes.up().into_iter().find(|id| *id != leader).unwrap();
    nodes.append(leader, "a").await.unwrap();
    nodes.stop(away).await;
    for number in 0..50 {
        nodes.append(leader, &number.to_string()).await.unwrap();
    }
    nodes.start(away).await;
    nodes.assert_equal().await;
    assert_eq!(nodes.appended(away).len(), 51);
}

#[tokio::test(start_paused = true)]
async fn topics_are_told_on_every_replica_after_what_they_are_of_can_be_read() {
    let mut nodes = Nodes::three().await;
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    for id in [1, 2, 3] {
        nodes.stop(id).await;
        let told = Arc::clone(&told);
        let node = nodes.nodes.get_mut(&id).unwrap();
        node.options.on_applied = Some(Arc::new(move |topics| told.lock().push((id, topics))));
        nodes.start(id).await;
    }
    let leader = nodes.ready().await;
    let topics = vec!["orders-1".to_owned()];
    nodes.group(leader).propose(append("a"), None, topics.clone()).await.unwrap();
    nodes.append(leader, "without topics").await.unwrap();
    nodes.assert_equal().await;
    let mut told = told.lock().clone();
    told.sort();
    assert_eq!(told, [1, 2, 3].map(|id| (id, topics.clone())));
}

#[tokio::test(start_paused = true)]
async fn a_read_of_any_replica_sees_what_was_acknowledged_before() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    for number in 0..20 {
        nodes.append(leader, &number.to_string()).await.unwrap();
        for id in nodes.up() {
            let reader = nodes.group(id).linearizable().await.unwrap();
            assert_eq!(reader.next_position(), number + 1, "on {id}");
        }
    }
    let sequence = nodes.group(leader).reader().unwrap().head().sequence;
    for id in nodes.up() {
        assert!(nodes.group(id).at_least(sequence).await.is_ok());
        assert!(nodes.group(id).at_least(sequence + 1).await.is_err(), "nobody has that");
    }
    let follower = nodes.up().into_iter().find(|id| *id != leader).unwrap();
    nodes.net.isolate(follower, &nodes.up());
    nodes.append(leader, "more").await.unwrap();
    assert!(nodes.group(follower).linearizable().await.is_err(), "it cannot know");
}

#[tokio::test(start_paused = true)]
async fn a_callback_is_called_once_whatever_becomes_of_the_commit() {
    let nodes = Nodes::three().await;
    let leader = nodes.ready().await;
    let follower = nodes.up().into_iter().find(|id| *id != leader).unwrap();
    let (told, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let propose = |id: u64, commit: Commit| {
        let told = told.clone();
        nodes.group(id).propose_with(commit, None, vec![], move |result| drop(told.send(result)));
    };
    propose(leader, append("a"));
    let accepted = within(answers.recv()).await.unwrap().unwrap();
    assert!(accepted.outcomes[0].is_ok());
    propose(follower, append("b"));
    propose(leader, Commit { owner: String::new(), ..append("c") });
    assert!(matches!(answers.try_recv().unwrap(), Err(ProposeError::NotLeader { .. })), "at once");
    assert!(matches!(answers.try_recv().unwrap(), Err(ProposeError::Invalid(_))), "at once");
    // Some are on their way, some wait, and some do not fit.
    nodes.net.isolate(leader, &nodes.up());
    for number in 0..1_100 {
        propose(leader, append(&number.to_string()));
        if number < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    nodes.drop_group(leader);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..1_100 {
        let kind = match within(answers.recv()).await.unwrap() {
            Err(ProposeError::Unknown { .. }) => "unknown",
            Err(ProposeError::Stopped { .. }) => "stopped",
            Err(ProposeError::Overloaded { .. }) => "overloaded",
            other => panic!("{other:?}"),
        };
        *counts.entry(kind).or_insert(0) += 1;
    }
    assert_eq!(counts["unknown"], 4, "{counts:?}");
    assert_eq!(counts["overloaded"], 1_096 - 1_024, "{counts:?}");
    drop(told);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(answers.try_recv().is_err(), "nobody is answered twice");
}
