//! Batches are not trusted: each malformed batch is refused by itself, and nothing of it is written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use exesdb_storage::{Batch, BatchError, Commit, CommitError, Operation, Stamp, limits};
use scratch::{KEYSPACE, OWNER, Scratch, absent, batch, put, put_in, range_empty};

fn stamped(key_stamps: Vec<Stamp>, value_stamps: Vec<Stamp>) -> Batch {
    let operation = Operation::Put {
        keyspace: KEYSPACE.into(),
        key: b"12345678".to_vec(),
        value: b"12345678".to_vec(),
        key_stamps,
        value_stamps,
        chain: None,
    };
    batch(vec![], vec![operation], 1)
}

fn chained(key: u8, at: u32, event: u32, value_stamps: Vec<Stamp>) -> Operation {
    Operation::Put {
        keyspace: KEYSPACE.into(),
        key: vec![key],
        value: vec![0; 24],
        key_stamps: vec![],
        value_stamps,
        chain: Some(Stamp { at, event }),
    }
}

#[track_caller]
fn refused(store: &Scratch, hostile: Batch) -> BatchError {
    let good = batch(vec![], vec![put(b"good", b"")], 0);
    let mut outcomes = store.commit(vec![hostile, good]);
    assert!(outcomes[1].is_ok(), "the batch beside a malformed one is applied");
    assert_eq!(store.store().snapshot().next_position(), 0);
    outcomes.remove(0).unwrap_err()
}

#[track_caller]
fn invalid(store: &Scratch, hostile: Batch) {
    let error = refused(store, hostile);
    assert!(matches!(error, BatchError::Invalid(_)), "{error:?}");
}

#[track_caller]
fn too_large(store: &Scratch, hostile: Batch) {
    let error = refused(store, hostile);
    assert!(matches!(error, BatchError::TooLarge { .. }), "{error:?}");
}

#[test]
fn stamps_outside_of_their_bytes_or_events_are_refused() {
    let store = Scratch::new();
    for at in [1, 8, u32::MAX] {
        invalid(&store, stamped(vec![Stamp { at, event: 0 }], vec![]));
        invalid(&store, stamped(vec![], vec![Stamp { at, event: 0 }]));
    }
    for event in [1, u32::MAX] {
        invalid(&store, stamped(vec![Stamp { at: 0, event }], vec![]));
        invalid(&store, stamped(vec![], vec![Stamp { at: 0, event }]));
    }
}

#[test]
fn chains_outside_of_the_value_on_a_stamp_or_out_of_order_are_refused() {
    let store = Scratch::new();
    let one = |at, event, stamps| batch(vec![], vec![chained(b'k', at, event, stamps)], 2);
    for at in [17, 24, u32::MAX] {
        invalid(&store, one(at, 0, vec![]));
    }
    for event in [2, u32::MAX] {
        invalid(&store, one(0, event, vec![]));
    }
    for at in [1, 8, 15] {
        invalid(&store, one(8, 0, vec![Stamp { at, event: 0 }]));
    }
    for (first, second) in [(0, 0), (1, 1), (1, 0)] {
        let both = vec![chained(b'a', 0, first, vec![]), chained(b'b', 0, second, vec![])];
        invalid(&store, batch(vec![], both, 2));
    }
    assert_eq!(store.store().snapshot().head().chain, 0);
    let stamps = vec![Stamp { at: 0, event: 0 }, Stamp { at: 16, event: 1 }];
    let both = vec![chained(b'a', 8, 0, stamps.clone()), put(b"c", b""), chained(b'b', 8, 1, stamps)];
    assert_eq!(store.apply(batch(vec![], both, 2)), Ok(0));
}

#[test]
fn empty_and_overlong_keys_are_refused() {
    let store = Scratch::new();
    let longest = vec![b'k'; limits::KEY_BYTES_MAX];
    let longer = vec![b'k'; limits::KEY_BYTES_MAX + 1];
    invalid(&store, batch(vec![], vec![put(b"", b"")], 1));
    invalid(&store, batch(vec![], vec![scratch::delete(b"")], 1));
    invalid(&store, batch(vec![absent(b"")], vec![], 1));
    too_large(&store, batch(vec![], vec![put(&longer, b"")], 1));
    too_large(&store, batch(vec![], vec![scratch::delete(&longer)], 1));
    too_large(&store, batch(vec![absent(&longer)], vec![], 1));
    too_large(&store, batch(vec![range_empty(&longer, None)], vec![], 1));
    too_large(&store, batch(vec![range_empty(b"", Some(&longer))], vec![], 1));
    assert_eq!(store.apply(batch(vec![], vec![put(&longest, b"v")], 0)), Ok(0));
    assert_eq!(store.get(&longest).as_deref(), Some(&b"v"[..]));
}

#[test]
fn batches_over_a_limit_are_refused() {
    let store = Scratch::new();
    let largest = vec![7; limits::VALUE_BYTES_MAX];
    let larger = vec![7; limits::VALUE_BYTES_MAX + 1];
    let keys = |n: usize| (0..n).map(|n| n.to_be_bytes());
    too_large(&store, batch(vec![], vec![put(b"k", &larger)], 1));
    too_large(&store, batch(vec![scratch::equals(b"k", &larger)], vec![], 1));
    too_large(&store, batch(vec![], keys(4).map(|key| put(&key, &largest)).collect(), 1));
    too_large(
        &store,
        batch(vec![], keys(limits::BATCH_OPERATIONS_MAX + 1).map(|key| put(&key, b"")).collect(), 1),
    );
    too_large(&store, batch(keys(limits::BATCH_GUARDS_MAX + 1).map(|key| absent(&key)).collect(), vec![], 1));
    too_large(&store, batch(vec![], vec![put(b"k", b"")], limits::BATCH_EVENTS_MAX + 1));
    too_large(&store, batch(vec![], vec![put(b"k", b"")], u32::MAX));
    assert_eq!(store.apply(batch(vec![], vec![put(b"k", &largest)], 0)), Ok(0));
    assert_eq!(store.get(b"k"), Some(largest));
    let most = keys(limits::BATCH_OPERATIONS_MAX).map(|key| put(&key, b"")).collect();
    assert_eq!(store.apply(batch(vec![], most, 0)), Ok(0));
}

#[test]
fn malformed_names_are_refused() {
    let store = Scratch::new();
    let long = "k".repeat(limits::NAME_BYTES_MAX + 1);
    for name in ["", ".", "..", "a.b", "a/b", "../../etc", "All", "a b", "a\0", "a_b", "é", &long] {
        invalid(&store, batch(vec![], vec![put_in(name, b"k", b"")], 1));
        let commit = Commit { owner: name.into(), batches: vec![], ..Commit::default() };
        let refused = store.store().commit_blocking(commit);
        assert!(matches!(refused, Err(CommitError::Invalid(_))), "{name:?}");
    }
    let longest = "k".repeat(limits::NAME_BYTES_MAX);
    assert_eq!(store.apply(batch(vec![], vec![put_in(&longest, b"k", b"v")], 0)), Ok(0));
}

#[test]
fn a_keyspace_beyond_the_owners_limit_is_refused() {
    let mut store = Scratch::new();
    let name = |n: usize| format!("keyspace-{n}");
    let create = |range: std::ops::Range<usize>| {
        batch(vec![], range.map(|n| put_in(&name(n), b"k", b"v")).collect(), 0)
    };
    too_large(&store, create(0..limits::OWNER_KEYSPACES_MAX + 1));
    // The good batch beside it has created one keyspace, the refused batch none.
    assert_eq!(store.apply(create(0..limits::OWNER_KEYSPACES_MAX - 1)), Ok(0));
    for _ in 0..2 {
        too_large(&store, create(99..100));
        assert_eq!(store.apply(create(0..1)), Ok(0), "existing keyspaces go on working");
        store.reopen();
    }
    let other = Commit { owner: "other".into(), batches: vec![create(99..100)], ..Commit::default() };
    assert!(store.store().commit_blocking(other).unwrap()[0].is_ok(), "the limit is each owner's own");
    let snapshot = store.store().snapshot();
    assert_eq!(snapshot.get(OWNER, &name(99), b"k"), Ok(None));
    assert_eq!(snapshot.get("other", &name(99), b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn commits_over_a_limit_are_refused() {
    let store = Scratch::new();
    let commit =
        |batches| store.store().commit_blocking(Commit { owner: OWNER.into(), batches, ..Commit::default() });
    let many = commit(vec![Batch::default(); limits::COMMIT_BATCHES_MAX + 1]);
    assert!(matches!(many, Err(CommitError::Invalid(_))));
    let megabytes = batch(vec![], (0..7).map(|n| put(&[n], &vec![0; 1 << 20])).collect(), 0);
    let large = commit(vec![megabytes; 3]);
    assert!(matches!(large, Err(CommitError::Invalid(_))));
    assert_eq!(commit(vec![]), Ok(vec![]));
}
