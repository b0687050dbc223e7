//! Events that retention and deletion hide.

use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::types::Direction::{Backward, Forward};
use exesdb_sdk::types::{Error, StreamState};
use exesdb_sdk::view::View;
use exesdb_streams::layout::{Head, INDEX, index_key};
use exesdb_streams::read::PAGE_BYTES_MAX;

use crate::driver::{list_streams, read_all, read_stream, stream_info};
use crate::{NOW, change, positions, put, put_at, remove, versions};

/// Compares every page of both directions with the expected versions.
fn assert_versions(store: &MemoryStore, now: u64, stream_id: &str, last: u64, expected: &[u64]) {
    for from in (0..=last + 2).chain([u64::MAX]) {
        for count in 1..=u32::try_from(last).expect("the streams of these tests are short") + 2 {
            let at = format!("from {from}, {count} of {expected:?} at {now}");
            let read = |direction| {
                read_stream(store, now, stream_id, Some(from), count, direction).expect("it can be read")
            };
            let wanted = expected.iter().copied().filter(|version| *version >= from);
            let wanted: Vec<u64> = wanted.take(count as usize).collect();
            let next = wanted.last().map_or(from.max(last + 1), |reached| reached + 1);
            assert_eq!(versions(&read(Forward)), (wanted, Some(next), next > last), "forward {at}");

            let wanted = expected.iter().rev().copied().filter(|version| *version <= from);
            let wanted: Vec<u64> = wanted.take(count as usize).collect();
            let (got, next, end) = versions(&read(Backward));
            assert_eq!(got, wanted, "backward {at}");
            let is_last = wanted.last() == expected.first() || wanted.is_empty();
            // Only the next page may show that older events are hidden by their age.
            assert!(!end || is_last, "backward {at}");
            assert_eq!(next, wanted.last().filter(|_| !end).map(|reached| reached - 1), "backward {at}");
        }
    }
}

#[test]
fn events_are_hidden_by_version() {
    type Limit = fn(&mut Head);
    let table: [(Limit, u64); 7] = [
        (|head| head.truncate_before = 4, 4),
        (|head| head.truncate_before = 9, 9),
        (|head| head.truncate_before = 10, 10),
        (|head| head.truncate_before = 99, 10),
        (|head| head.max_count = 3, 7),
        (|head| (head.max_count, head.truncate_before) = (3, 8), 8),
        (|head| (head.max_count, head.reclaimed_before) = (99, 5), 5),
    ];
    for (limit, first) in table {
        let store = MemoryStore::new();
        for count in [3, 1, 4, 2] {
            put(&store, "a", count, 1);
            put(&store, "b", 1, 1);
        }
        change(&store, "a", limit);
        let expected: Vec<u64> = (first..10).collect();
        assert_versions(&store, NOW, "a", 9, &expected);
        assert_eq!(stream_info(&store, NOW, "a").unwrap().first_version, expected.first().copied());

        let whole: Vec<_> = positions(&read_all(&store, NOW, None, 99, Forward).unwrap()).0;
        assert_eq!(whole.len(), expected.len() + 4);
        // Scavenging removes no visible events.
        let mut hidden = 0..first;
        let frames = store.view().log_read(None, Forward, 99, PAGE_BYTES_MAX).unwrap().frames;
        for event in exesdb_sdk::events::unpack(&frames).unwrap() {
            if event.stream_id == "a" && hidden.contains(&event.version) {
                remove(&store, event.position);
                hidden.start = event.version + 1;
            }
        }
        for (key, _) in store.entries(INDEX) {
            if key < index_key(0, first) {
                store.remove(INDEX, &key);
            }
        }
        change(&store, "a", |head| head.reclaimed_before = first.min(10));
        assert_versions(&store, NOW, "a", 9, &expected);
        assert_eq!(positions(&read_all(&store, NOW, None, 99, Forward).unwrap()).0, whole);
    }
}

#[test]
fn events_are_hidden_by_age() {
    let store = MemoryStore::new();
    let second = 1_000_000;
    for version in 0..12 {
        // Some events have the same time.
        put_at(&store, version / 3 * second, "a", 1, 1);
        put(&store, "b", 1, 1);
    }
    change(&store, "a", |head| head.max_age_seconds = 1);
    for (now, first) in [(0, 0), (1, 0), (2, 3), (3, 6), (4, 9), (5, 12)] {
        let now = now * second;
        let expected: Vec<u64> = (first..12).collect();
        assert_versions(&store, now, "a", 11, &expected);
        assert_eq!(stream_info(&store, now, "a").unwrap().first_version, expected.first().copied());
        let whole = read_all(&store, now, None, 99, Forward).unwrap();
        let of_a = whole.events.iter().filter(|event| event.stream_id == "a");
        assert_eq!(of_a.map(|event| event.version).collect::<Vec<_>>(), expected);
    }
    change(&store, "a", |head| head.truncate_before = 8);
    assert_versions(&store, 2 * second, "a", 11, &[8, 9, 10, 11]);
    assert_versions(&store, 4 * second, "a", 11, &[9, 10, 11]);
    // Removed events were too old, whatever the clock says now.
    change(&store, "a", |head| head.truncate_before = 0);
    (0..6).for_each(|version| remove(&store, version * 2));
    assert_eq!(stream_info(&store, 2 * second, "a").unwrap().first_version, Some(6));
}

#[test]
fn deleted_streams_are_not_read() {
    let store = MemoryStore::new();
    for id in ["a", "b", "c"] {
        put(&store, id, 3, 1);
    }
    change(&store, "a", |head| (head.state, head.truncate_before) = (StreamState::Deleted, 3));
    change(&store, "b", |head| (head.state, head.truncate_before) = (StreamState::Tombstoned, 3));
    for direction in [Forward, Backward] {
        for from in [None, Some(0), Some(9)] {
            assert_eq!(read_stream(&store, NOW, "a", from, 9, direction), Err(Error::NotFound));
            let refusal = Err(Error::StreamDeleted("b".into()));
            assert_eq!(read_stream(&store, NOW, "b", from, 9, direction), refusal);
        }
    }
    assert_eq!(positions(&read_all(&store, NOW, None, 9, Forward).unwrap()), (vec![6, 7, 8], Some(9), true));
    for (id, state) in [("a", StreamState::Deleted), ("b", StreamState::Tombstoned)] {
        let info = stream_info(&store, NOW, id).unwrap();
        assert_eq!((info.state, info.first_version, info.last_version), (state, None, 2));
        assert_eq!(info.first_position, if id == "a" { 0 } else { 3 });
    }
    assert_eq!(list_streams(&store, "", None, 9, false).unwrap().streams, ["c"]);
    assert_eq!(list_streams(&store, "", None, 9, true).unwrap().streams, ["a", "b", "c"]);

    // The stream begins again.
    put(&store, "a", 2, 1);
    change(&store, "a", |head| head.state = StreamState::Live);
    assert_versions(&store, NOW, "a", 4, &[3, 4]);
    assert_eq!(stream_info(&store, NOW, "a").unwrap().first_version, Some(3));
    assert_eq!(list_streams(&store, "", None, 9, false).unwrap().streams, ["a", "c"]);
}

#[test]
fn empty_pages_of_the_store_say_where_to_continue() {
    let store = MemoryStore::new();
    put(&store, "a", 5, 1);
    put(&store, "b", 1, 1);
    put(&store, "a", 5, 1);
    change(&store, "a", |head| head.truncate_before = 99);
    remove(&store, 2);
    remove(&store, 3);
    let read = |from, count, direction| positions(&read_all(&store, NOW, from, count, direction).unwrap());
    assert_eq!(read(None, 9, Forward), (vec![5], Some(9), false));
    assert_eq!(read(Some(10), 9, Forward), (vec![], Some(11), true));
    assert_eq!(read(None, 1, Forward), (vec![5], Some(6), false));
    assert_eq!(read(Some(6), 1, Forward), (vec![], Some(11), true));
    assert_eq!(read(None, 9, Backward), (vec![5], Some(1), false));
    assert_eq!(read(Some(1), 9, Backward), (vec![], None, true));
    assert_eq!(read(None, 1, Backward), (vec![5], Some(4), false));
    assert_eq!(read(Some(4), 1, Backward), (vec![], None, true));
    assert_eq!(read(Some(3), 2, Forward), (vec![5], Some(7), false));
}

#[test]
fn a_read_of_the_store_scans_a_bounded_number_of_hidden_events() {
    let store = MemoryStore::new();
    for _ in 0..11 {
        put(&store, "a", 1_000, 1);
    }
    put(&store, "b", 1, 1);
    change(&store, "a", |head| head.truncate_before = 99_999);
    let read = |from, direction| positions(&read_all(&store, NOW, from, 1_000, direction).unwrap());
    assert_eq!(read(None, Forward), (vec![], Some(10_000), false));
    assert_eq!(read(Some(10_001), Forward), (vec![11_000], Some(11_001), true));
    assert_eq!(read(Some(10_999), Backward), (vec![], Some(999), false));
    assert_eq!(read(Some(999), Backward), (vec![], None, true));
}
