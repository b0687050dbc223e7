//! A batch is applied only if its guards hold when its turn comes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use exesdb_storage::{BatchError, Guard};
use scratch::{Scratch, absent, batch, delete, equals, put, range_empty};

const FAILED: Result<u64, BatchError> = Err(BatchError::GuardFailed { index: 0 });

#[test]
fn absent_holds_until_the_key_is_written() {
    let store = Scratch::new();
    let create = || batch(vec![absent(b"k")], vec![put(b"k", b"v")], 0);
    assert_eq!(store.apply(create()), Ok(0));
    assert_eq!(store.apply(create()), FAILED);
    store.apply(batch(vec![], vec![delete(b"k")], 0)).unwrap();
    assert_eq!(store.apply(create()), Ok(0));
}

#[test]
fn equals_holds_only_for_the_same_value() {
    let store = Scratch::new();
    let swap = |from: &[u8], to: &[u8]| batch(vec![equals(b"k", from)], vec![put(b"k", to)], 0);
    assert_eq!(
        store.apply(swap(b"", b"1")),
        FAILED,
        "a missing key equals nothing, not even the empty value"
    );
    store.apply(batch(vec![], vec![put(b"k", b"1")], 0)).unwrap();
    assert_eq!(store.apply(swap(b"1", b"2")), Ok(0));
    assert_eq!(store.apply(swap(b"1", b"3")), FAILED);
    assert_eq!(store.get(b"k").as_deref(), Some(&b"2"[..]));
}

#[test]
fn range_empty_includes_its_start_and_excludes_its_end() {
    let store = Scratch::new();
    store.apply(batch(vec![], vec![put(b"b", b""), put(b"d", b"")], 0)).unwrap();
    let check =
        |start: &[u8], end: Option<&[u8]>| store.apply(batch(vec![range_empty(start, end)], vec![], 0));
    assert_eq!(check(b"", Some(b"b")), Ok(0));
    assert_eq!(check(b"b", Some(b"c")), FAILED);
    assert_eq!(check(b"ba", Some(b"d")), Ok(0));
    assert_eq!(check(b"ba", Some(b"da")), FAILED);
    assert_eq!(check(b"da", None), Ok(0));
    assert_eq!(check(b"", None), FAILED);
    assert_eq!(check(b"d", Some(b"b")), Ok(0), "a range that ends before it begins is empty");
    assert_eq!(check(b"d", Some(b"")), Ok(0));
    store.apply(batch(vec![], vec![delete(b"b"), delete(b"d")], 0)).unwrap();
    assert_eq!(check(b"", None), Ok(0));
}

#[test]
fn a_keyspace_that_does_not_exist_is_empty() {
    let store = Scratch::new();
    let keyspace = || String::from("nowhere");
    let with = |guard| store.apply(batch(vec![guard], vec![], 0));
    assert_eq!(with(Guard::Absent { keyspace: keyspace(), key: b"k".to_vec() }), Ok(0));
    assert_eq!(with(Guard::RangeEmpty { keyspace: keyspace(), start: vec![], end: None }), Ok(0));
    assert_eq!(with(Guard::Equals { keyspace: keyspace(), key: b"k".to_vec(), value: vec![] }), FAILED);
}

#[test]
fn a_guard_sees_earlier_batches_of_the_same_commit() {
    let store = Scratch::new();
    let outcomes = store.commit(vec![
        batch(vec![absent(b"k")], vec![put(b"k", b"1")], 1),
        batch(vec![equals(b"k", b"1")], vec![put(b"k", b"2")], 1),
        batch(vec![absent(b"k")], vec![put(b"k", b"wrong")], 1),
        batch(vec![range_empty(b"k", Some(b"l"))], vec![put(b"k", b"wrong")], 1),
        batch(vec![equals(b"k", b"2")], vec![put(b"k", b"3")], 1),
    ]);
    let positions: Vec<_> =
        outcomes.into_iter().map(|outcome| outcome.ok().map(|c| c.first_position)).collect();
    assert_eq!(positions, [Some(0), Some(1), None, None, Some(2)]);
    assert_eq!(store.get(b"k").as_deref(), Some(&b"3"[..]));
}

#[test]
fn the_first_guard_that_fails_is_named_and_nothing_is_written() {
    let store = Scratch::new();
    let guards = vec![absent(b"a"), equals(b"b", b"1"), equals(b"c", b"1")];
    let outcome = store.apply(batch(guards, vec![put(b"k", b"v")], 1));
    assert_eq!(outcome, Err(BatchError::GuardFailed { index: 1 }));
    assert_eq!(store.get(b"k"), None);
    assert_eq!(store.store().snapshot().next_position(), 0);
}

#[test]
fn concurrent_increments_of_a_counter_are_all_kept() {
    const THREADS: u64 = 8;
    const INCREMENTS: u64 = 25;
    let store = Scratch::new();
    store.apply(batch(vec![], vec![put(b"counter", &0u64.to_be_bytes())], 0)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut done = 0;
                while done < INCREMENTS {
                    let seen = store.get(b"counter").unwrap();
                    let next = u64::from_be_bytes(seen.as_slice().try_into().unwrap()) + 1;
                    let swap =
                        batch(vec![equals(b"counter", &seen)], vec![put(b"counter", &next.to_be_bytes())], 1);
                    match store.apply(swap) {
                        Ok(position) => {
                            assert_eq!(position + 1, next, "positions and increments are in the same order");
                            done += 1;
                        }
                        Err(error) => assert_eq!(error, BatchError::GuardFailed { index: 0 }),
                    }
                }
            });
        }
    });
    assert_eq!(store.get(b"counter").unwrap(), (THREADS * INCREMENTS).to_be_bytes());
    assert_eq!(store.store().snapshot().next_position(), THREADS * INCREMENTS);
}

#[test]
fn log_ends_at_holds_for_the_next_position_alone_also_within_a_commit() {
    let store = Scratch::new();
    let at = |position| batch(vec![Guard::LogEndsAt { position }], vec![put(b"k", b"v")], 2);
    assert_eq!(store.apply(at(1)), FAILED);
    assert_eq!(store.apply(at(u64::MAX)), FAILED);
    let outcomes = store.commit(vec![at(0), at(0), at(2), at(3)]);
    let outcomes: Vec<_> =
        outcomes.into_iter().map(|outcome| outcome.map(|done| done.first_position)).collect();
    assert_eq!(outcomes, [Ok(0), FAILED, Ok(2), FAILED]);
}
