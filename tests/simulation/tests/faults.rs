//! The suite is tested: each fault that breaks a promise is found by a property, within so many seeds.
//!
//! Not here, because nothing can come of them: a vote behind entries (the engine waits until its vote is synced before it goes
//! on, so a log has nothing to reorder); readiness before the barrier (reads and fences do not rely on it, only what components
//! remember of their own appends); skipped pre-votes (they cost elections and no data). Faults of applying a batch, such as an
//! `applied` in a record of its own, are found by the tests of `host/storage`.

use std::time::Instant;

use exesdb_simulation::faults::ClusterFault;
use exesdb_simulation::{Fault, run};

/// Seeds within which each fault is to be found, unless `EXESDB_SIMULATION_SEEDS` says otherwise.
const SEEDS: u64 = 3_000;

/// Plays seeds until a property with one of these words does not hold, or any one if there are none.
fn is_found(fault: Fault, words: &[&str]) {
    let first = exesdb_test_support::seed();
    let seeds = exesdb_test_support::number("EXESDB_SIMULATION_SEEDS", SEEDS);
    let begin = Instant::now();
    let is_meant = |text: &str| words.is_empty() || words.iter().any(|word| text.contains(word));
    for seed in first..first + seeds {
        let violations = run(seed, Some(fault)).violations;
        if let Some(violation) = violations.iter().find(|violation| is_meant(&violation.to_string())) {
            let violation: String = violation.to_string().chars().take(300).collect();
            let (seeds, seconds) = (seed - first + 1, begin.elapsed().as_secs_f64());
            println!("{fault:?}: found in {seeds} seeds, {seconds:.1} s: {violation}");
            return;
        }
    }
    panic!("{fault:?} was not found in {seeds} seeds from {first}");
}

#[test]
fn a_vote_that_is_not_synced_is_found() {
    is_found(Fault::VoteNotSynced, &[]);
}

#[test]
fn entries_that_are_not_synced_are_found() {
    is_found(Fault::EntriesNotSynced, &[]);
}

#[test]
fn a_snapshot_that_lacks_a_keyspace_is_found() {
    is_found(Fault::SnapshotWithoutKeyspace, &[]);
}

#[test]
fn a_replica_id_that_is_used_twice_is_found() {
    is_found(Fault::ReplicaIdTwice, &[]);
}

#[test]
fn guards_that_the_leader_decides_are_found() {
    is_found(Fault::Cluster(ClusterFault::GuardsByLeader), &["what is expected holds"]);
}

#[test]
fn entries_that_are_applied_before_they_are_committed_are_found() {
    is_found(Fault::Cluster(ClusterFault::ApplyUncommitted), &[]);
}

#[test]
fn a_leader_that_goes_on_after_a_restart_is_found() {
    is_found(Fault::Cluster(ClusterFault::LeaderGoesOn), &["a read sees"]);
}

#[test]
fn a_linearizable_read_that_asks_nobody_is_found() {
    is_found(Fault::Cluster(ClusterFault::ReadWithoutIndex), &["a read sees"]);
}

#[test]
fn a_leader_that_answers_for_reads_alone_is_found() {
    is_found(Fault::Cluster(ClusterFault::ReadWithoutMajority), &["a read sees"]);
}

#[test]
fn a_log_that_is_purged_too_early_is_found() {
    is_found(Fault::Cluster(ClusterFault::PurgeBeforePersist), &["no group stops"]);
}

#[test]
fn a_fence_that_is_ignored_is_found() {
    is_found(Fault::Cluster(ClusterFault::FencesIgnored), &["a fenced commit"]);
}

#[test]
fn a_replica_that_goes_by_its_own_clock_is_found() {
    is_found(Fault::Cluster(ClusterFault::OwnClock), &["applied the same", "time does not go back"]);
}

#[test]
fn an_unknown_outcome_that_is_said_to_be_a_refusal_is_found() {
    is_found(Fault::Cluster(ClusterFault::UnknownAsRefused), &["what is acknowledged"]);
}
