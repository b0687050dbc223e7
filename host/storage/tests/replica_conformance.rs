//! Both engines pass one suite: on generated entries, a replica decides the same and has the same as one that never fails,
//! whenever it is made durable, closed, or loses power; and a replica decides as a store does that nothing is replicated to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod generated;
mod replicas;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use exesdb_storage::{
    Batch, Commit, Entry, EntryContent, FailPoint, Histories, LogHead, Options, Outcomes, ReplicaError, Store,
};
use exesdb_test_support::{Rng, number, random};
use replicas::{GENESIS, InFiles, InMemory, Node, assert_equal, contents};

const ENTRIES: u64 = 60;

/// Entries to apply, and a replica that applied them without anything happening to it.
struct Reference {
    histories: Histories,
    entries: Vec<Entry>,
    outcomes: Vec<Option<Vec<Outcomes>>>,
    node: InMemory,
}

impl Reference {
    fn new(random: &mut Rng) -> Self {
        let histories = Histories::begin();
        let entries = generated::entries(random, GENESIS.index + 1, ENTRIES);
        let mut node = InMemory::create(&histories);
        let outcomes = entries.iter().map(|entry| node.apply(entry)).collect();
        Self { histories, entries, outcomes, node }
    }

    /// The entry after those that a node has applied, and its outcomes.
    fn next(&self, node: &mut impl Node) -> Option<(&Entry, &Option<Vec<Outcomes>>)> {
        let at = usize::try_from(node.applied() - GENESIS.index).unwrap();
        self.entries.get(at).map(|entry| (entry, &self.outcomes[at]))
    }

    /// Has a node apply what it has not applied yet.
    fn catch_up(&self, node: &mut impl Node) {
        while let Some((entry, expected)) = self.next(node) {
            let is_resumed = node.replica().state().applied.batches > 0;
            let outcomes = node.apply(entry);
            assert_eq!(outcomes, if is_resumed { None } else { expected.clone() });
        }
    }
}

fn applies_the_same_whatever_happens_to_it<N: Node>(cases: u64) {
    let mut random = random();
    for _ in 0..cases {
        let mut reference = Reference::new(&mut random);
        let mut node = N::create(&reference.histories);
        let mut persisted = node.replica().persisted().applied;
        let events = 5 + random.u8(..20);
        while let Some((entry, expected)) = reference.next(&mut node) {
            match random.u8(..100) {
                0..10 => {
                    persisted = node.persist().unwrap().applied;
                    assert_eq!(persisted, node.replica().state().applied.id);
                }
                event if event < 10 + events => {
                    if random.bool() {
                        node.lose_power(&mut random);
                    } else {
                        node.reopen(Options::default());
                    }
                    assert!(node.applied() >= persisted.index, "what is durable is there");
                    persisted = node.replica().persisted().applied;
                }
                _ => {
                    let is_resumed = node.replica().state().applied.batches > 0;
                    let outcomes = node.apply(entry);
                    assert_eq!(outcomes, if is_resumed { None } else { expected.clone() });
                }
            }
        }
        assert_equal(&mut node, &mut reference.node);
        node.reopen(Options::default());
        reference.catch_up(&mut node);
        assert_equal(&mut node, &mut reference.node);
    }
}

#[test]
fn a_replica_in_memory_applies_the_same_whatever_happens_to_it() {
    applies_the_same_whatever_happens_to_it::<InMemory>(number("EXESDB_REPLICA_CASES", 100));
}

#[test]
fn a_replica_in_files_applies_the_same_whatever_happens_to_it() {
    applies_the_same_whatever_happens_to_it::<InFiles>(number("EXESDB_REPLICA_CASES", 100) / 20);
}

/// The hook fails at each pass of each point in turn, so the replica stops at every place where it can, among them between
/// any two batches of an entry. Returns how many times a replica was opened in the middle of an entry.
fn goes_on_after_a_stop_anywhere<N: Node>(step: usize) -> u64 {
    let mut random = random();
    let mut reference = Reference::new(&mut random);
    let mut in_the_middle = 0;
    for point in [
        FailPoint::BeforeWrite,
        FailPoint::AfterWrite,
        FailPoint::BeforePublish,
        FailPoint::AfterPublish,
        FailPoint::BeforeSync,
        FailPoint::AfterSync,
    ] {
        for nth in (1..).step_by(step) {
            let mut node = N::create(&reference.histories);
            let passed = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&passed);
            let hook = move |at| {
                if at == point && counter.fetch_add(1, Ordering::Relaxed) + 1 == nth {
                    return Err(std::io::Error::other("told to fail"));
                }
                Ok(())
            };
            node.reopen(Options { fail_points: Some(Arc::new(hook)), ..Options::default() });
            let mut stopped = None;
            while let (None, Some((entry, _))) = (&stopped, reference.next(&mut node)) {
                stopped = node.replica().apply(entry.clone()).err();
                if stopped.is_none() && entry.id.index % 7 == 0 {
                    stopped = node.persist().err();
                }
            }
            let Some(ReplicaError::Stopped { reason, .. }) = stopped else {
                assert_eq!(stopped, None);
                assert!(nth > 1, "{point:?} was passed");
                break;
            };
            assert!(reason.contains("told to fail"), "{reason}");
            let (entry, _) = reference.next(&mut node).unwrap_or((&reference.entries[0], &None));
            let again = node.replica().apply(entry.clone());
            assert!(matches!(again, Err(ReplicaError::Stopped { .. })), "it has stopped for good");
            if random.bool() {
                node.lose_power(&mut random)
            } else {
                node.reopen(Options::default())
            }
            in_the_middle += u64::from(node.replica().state().applied.batches > 0);
            reference.catch_up(&mut node);
            assert_equal(&mut node, &mut reference.node);
        }
    }
    in_the_middle
}

#[test]
fn a_replica_in_memory_goes_on_after_a_stop_anywhere() {
    let in_the_middle = goes_on_after_a_stop_anywhere::<InMemory>(1);
    assert!(in_the_middle > 0, "no replica was opened in the middle of an entry");
}

#[test]
fn a_replica_in_files_goes_on_after_a_stop_anywhere() {
    goes_on_after_a_stop_anywhere::<InFiles>(83);
}

/// Every part of what is not durable may be left, so also the batches of an entry up to any of them.
#[test]
fn a_loss_of_power_anywhere_changes_nothing_in_the_end() {
    let mut random = random();
    let mut reference = Reference::new(&mut random);
    for kept in 0.. {
        let mut node = InMemory::create(&reference.histories);
        reference.catch_up(&mut node);
        if kept > node.memory.unsynced() {
            assert!(kept > 10, "there was something to lose");
            break;
        }
        node.lose_all_but(kept);
        reference.catch_up(&mut node);
        assert_equal(&mut node, &mut reference.node);
    }
}

#[test]
fn a_replica_decides_as_a_store_that_nothing_is_replicated_to() {
    let mut random = random();
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let mut node = InMemory::create(&Histories::begin());
        for mut entry in generated::entries(&mut random, GENESIS.index + 1, ENTRIES) {
            let EntryContent::Commits(commits) = &mut entry.content else {
                node.apply(&entry);
                continue;
            };
            for commit in &mut *commits {
                commit.fence = None;
                // A store without a log takes these positions, and a replica has a log from the beginning.
                commit.batches.retain(|Batch { events, .. }| *events == 0);
            }
            let in_store: Vec<Outcomes> = commits
                .iter()
                .map(|commit| Commit {
                    owner: commit.owner.clone(),
                    batches: commit.batches.clone(),
                    time: entry.time,
                    makes_room: false,
                })
                .map(|commit| store.commit_blocking(commit).unwrap())
                .collect();
            assert_eq!(node.apply(&entry).unwrap(), in_store);
            let (replica, single) = (node.replica().head(), store.reader().head());
            assert_eq!(LogHead { time: 0, ..replica }, LogHead { time: 0, ..single });
        }
        assert_eq!(contents(&node.snapshot()), contents(&store.snapshot()));
    }
}
