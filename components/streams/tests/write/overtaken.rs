//! Appends whose streams another writer changes between decision and commit.

use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::types::{Deletion, ExpectedVersion};

use crate::driver::{Rival, TRIES_MAX, delete_stream};
use crate::{any, append, at, ids, request, taken, wrong};

#[test]
fn an_overtaken_append_is_decided_again() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["0"])]);
    let rival = Rival::new(&store, 1, |store| {
        append(store, 1, &[any("a", &["r"])]);
    });
    let results = append(
        &rival,
        1,
        &[
            request("a", ExpectedVersion::Exact(0), &["1"]),
            any("a", &["2"]),
            request("a", ExpectedVersion::Exact(2), &["3"]),
            any("b", &["1"]),
        ],
    );
    assert_eq!(results[0], Err(wrong("a", ExpectedVersion::Exact(0), Some(1))));
    assert_eq!(results[1], at(2, 2, 3));
    assert_eq!(results[2], at(3, 3, 4));
    assert_eq!(results[3], at(0, 0, 2));
    assert_eq!(ids(&store, "a"), ["0", "r", "2", "3"]);
}

/// A rival with the same time, as after the clock was set back, writes the head that the first batch would have written.
/// Decisions that depend on that head are void nevertheless.
#[test]
fn a_rival_that_writes_the_expected_head_is_detected() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["0"])]);
    let rival = Rival::new(&store, 1, |store| {
        append(store, 1, &[any("a", &["r"])]);
    });
    let results = append(&rival, 1, &[any("a", &["1"]), any("a", &["2"])]);
    assert_eq!(results, [at(2, 2, 2), at(3, 3, 3)]);
    assert_eq!(ids(&store, "a"), ["0", "r", "1", "2"]);
}

#[test]
fn a_rival_with_the_same_head_and_our_ids_adds_nothing_twice() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["0"])]);
    let rival = Rival::new(&store, 1, |store| {
        append(store, 1, &[any("a", &["x", "2"])]);
    });
    let results = append(&rival, 1, &[any("a", &["1", "2"]), any("a", &["x"])]);
    assert_eq!(results, [Err(taken("a", "2", 2)), at(1, 1, 1)]);
    assert_eq!(ids(&store, "a"), ["0", "x", "2"]);
}

#[test]
fn the_same_append_by_two_writers_is_applied_once() {
    let store = MemoryStore::new();
    let rival = Rival::new(&store, 1, |store| {
        append(store, 1, &[any("a", &["1", "2"])]);
    });
    assert_eq!(append(&rival, 9, &[request("a", ExpectedVersion::NoStream, &["1", "2"])]), [at(0, 1, 1)]);
    assert_eq!(ids(&store, "a"), ["1", "2"]);
}

#[test]
fn an_append_that_is_always_overtaken_is_decided_alone() {
    let store = MemoryStore::new();
    let mut list = 0;
    let rival = Rival::new(&store, u32::MAX, move |store| {
        list += 1;
        append(store, 1, &[any("a", &[&format!("r{list}")])]);
    });
    let tries = u64::from(TRIES_MAX);
    assert_eq!(append(&rival, 1, &[any("a", &["1"])]), [at(tries, tries, tries)]);
}

#[test]
fn a_stream_that_is_deleted_concurrently_is_begun_again() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1"])]);
    let rival = Rival::new(&store, 1, |store| {
        delete_stream(store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    });
    assert_eq!(append(&rival, 2, &[any("a", &["2"]), any("a", &["3"])]), [at(1, 1, 1), at(2, 2, 2)]);
    assert_eq!(ids(&store, "a"), ["2", "3"]);
}
