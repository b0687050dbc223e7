//! Lists of streams.

use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::types::{Error, StreamState, code};
use exesdb_streams::layout::{Head, STREAMS};
use exesdb_streams::read::LISTED_HEADS_MAX;

use crate::driver::list_streams;
use crate::put;

#[test]
fn streams_are_listed_by_prefix_in_byte_order() {
    let store = MemoryStore::new();
    for id in ["order-1", "order-10", "order-2", "a", "ordel", "Überweisung", "\u{10ffff}x"] {
        put(&store, id, 1, 1);
    }
    let list = |prefix, after, count| {
        let page = list_streams(&store, prefix, after, count, false).unwrap();
        (page.streams.join(" "), page.more)
    };
    assert_eq!(list("", None, 2), ("a ordel".into(), true));
    assert_eq!(list("", Some("order-2"), 9), ("Überweisung \u{10ffff}x".into(), false));
    assert_eq!(list("order-", None, 9), ("order-1 order-10 order-2".into(), false));
    assert_eq!(list("order-", Some("order-1"), 1), ("order-10".into(), true));
    assert_eq!(list("order-", Some("order-10"), 9), ("order-2".into(), false));
    assert_eq!(list("order-", Some("a"), 1), ("order-1".into(), true));
    assert_eq!(list("order-", Some("zebra"), 9), (String::new(), false));
    assert_eq!(list("\u{10ffff}", None, 9), ("\u{10ffff}x".into(), false));
    assert_eq!(list("nothing", None, 9), (String::new(), false));
}

#[test]
fn lists_skip_deleted_streams() {
    let store = MemoryStore::new();
    let head = |state| Head { state, ..Head::new(0, 0, 0, 0) }.encode();
    let write = |id: &str, state| store.overwrite(STREAMS, id.as_bytes(), &head(state));
    write("a", StreamState::Live);
    for index in 0..500 {
        write(&format!("b{index:03}"), if index == 250 { StreamState::Live } else { StreamState::Deleted });
    }
    let list = |prefix, after, count| {
        let page = list_streams(&store, prefix, after, count, false).unwrap();
        (page.streams.join(" "), page.more)
    };
    assert_eq!(list("", None, 1), ("a".into(), true));
    assert_eq!(list("", None, 2), ("a b250".into(), false));
    assert_eq!(list("", Some("a"), 1), ("b250".into(), false));
    assert_eq!(list("b", None, 9), ("b250".into(), false));
    assert_eq!(list("", Some("b250"), 9), (String::new(), false));
    write("c", StreamState::Tombstoned);
    assert_eq!(list("", None, 2), ("a b250".into(), false));
    write("d", StreamState::Live);
    assert_eq!(list("", None, 2), ("a b250".into(), true));
    assert_eq!(list("", None, 3), ("a b250 d".into(), false));
    let all = |prefix, after, count| {
        let page = list_streams(&store, prefix, after, count, true).unwrap();
        (page.streams.join(" "), page.more)
    };
    assert_eq!(all("", None, 3), ("a b000 b001".into(), true));
    assert_eq!(all("", Some("b498"), 9), ("b499 c d".into(), false));
    assert_eq!(all("b49", Some("b497"), 2), ("b498 b499".into(), false));
}

#[test]
fn a_list_scans_a_bounded_number_of_deleted_streams() {
    let store = MemoryStore::new();
    let deleted = Head { state: StreamState::Deleted, ..Head::new(0, 0, 0, 0) }.encode();
    for index in 0..LISTED_HEADS_MAX + 10_000 {
        store.overwrite(STREAMS, format!("a{index:06}").as_bytes(), &deleted);
    }
    store.overwrite(STREAMS, b"b", &Head::new(0, 0, 0, 0).encode());
    let Err(Error::Problem(problem)) = list_streams(&store, "", None, 1_000, false) else { panic!() };
    assert_eq!(problem.code, code::TOO_LARGE);
    let message = problem.message;
    let last = message.rsplit('`').nth(1).unwrap().to_owned();
    assert!(message.contains("100000") && last.as_str() >= "a099999", "{message}");
    let page = list_streams(&store, "", None, 1_000, true).unwrap();
    assert_eq!((page.streams.len(), page.more), (1_000, true));
    let page = list_streams(&store, "", Some(&last), 1_000, false).unwrap();
    assert_eq!((page.streams, page.more), (vec!["b".to_owned()], false));
    store.overwrite(STREAMS, b"a", &Head::new(0, 0, 0, 0).encode());
    let page = list_streams(&store, "", None, 1_000, false).unwrap();
    assert_eq!((page.streams, page.more), (vec!["a".to_owned()], true));
}
