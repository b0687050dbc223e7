//! Reads against keyspaces in memory: pages, their bounds and continuations, and damage.

mod listing;

use exesdb_sdk::keyspaces::{Keyspaces, MemoryKeyspaces};
use exesdb_sdk::streams::{AppendRequest, EventPage, Retention, StreamState};
use exesdb_sdk::types::Direction::{Backward, Forward};
use exesdb_sdk::types::{Error, EventData, ExpectedVersion};
use exesdb_streams::append::append;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::layout::{EVENTS, Envelope, Head, INDEX, RETAINED, STREAMS, index_key, number};
use exesdb_streams::read::{PAGE_BYTES_MAX, list_streams, read_all, read_stream, stream_info};

/// The default time of day of appends and reads in microseconds.
const NOW: u64 = 1;

fn put(store: &MemoryKeyspaces, stream_id: &str, count: usize, bytes: usize) {
    put_at(store, NOW, stream_id, count, bytes);
}

fn put_at(store: &MemoryKeyspaces, now: u64, stream_id: &str, count: usize, bytes: usize) {
    if count == 0 {
        return;
    }
    let there = stream_info(store, now, stream_id).map_or(0, |info| info.last_version + 1);
    let event = |index: u64| EventData {
        id: (there + index).to_string(),
        event_type: "t".into(),
        content_type: "application/octet-stream".into(),
        data: vec![0; bytes],
        metadata: Vec::new(),
        tags: Vec::new(),
    };
    let request = AppendRequest {
        stream_id: stream_id.into(),
        expected: ExpectedVersion::Any,
        events: (0..count as u64).map(event).collect(),
    };
    assert!(append(store, now, CorrelationIndex::Off, &[request])[0].is_ok());
}

/// Changes the head of a stream directly, as retention and deletion do.
fn change(store: &MemoryKeyspaces, stream_id: &str, change: impl Fn(&mut Head)) {
    let value = store.get(STREAMS, stream_id.as_bytes()).expect("it is in memory");
    let mut head = Head::decode(&value.expect("the stream has events")).expect("it was encoded");
    change(&mut head);
    store.overwrite(STREAMS, stream_id.as_bytes(), &head.encode());
    if head.is_extended() {
        store.overwrite(RETAINED, stream_id.as_bytes(), b"");
    }
}

/// Removes the event at a position directly, as scavenging does.
fn remove(store: &MemoryKeyspaces, position: u64) {
    store.overwrite(EVENTS, &position.to_be_bytes(), &Envelope::encode_removed(position));
}

/// Versions, `next` and `end` of a page.
fn versions(page: &EventPage) -> (Vec<u64>, Option<u64>, bool) {
    (page.events.iter().map(|event| event.version).collect(), page.next, page.end)
}

fn positions(page: &EventPage) -> (Vec<u64>, Option<u64>, bool) {
    (page.events.iter().map(|event| event.position).collect(), page.next, page.end)
}

fn invalid<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Invalid(invalid)) => invalid.argument,
        other => panic!("{other:?}"),
    }
}

fn damage<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Damaged(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_is_read_forward_and_backward() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 3, 1);
    put(&store, "ab", 2, 1);
    put(&store, "a", 2, 1);
    let read =
        |from, count, direction| versions(&read_stream(&store, NOW, "a", from, count, direction).unwrap());
    assert_eq!(read(None, 1_000, Forward), (vec![0, 1, 2, 3, 4], Some(5), true));
    assert_eq!(read(None, 2, Forward), (vec![0, 1], Some(2), false));
    assert_eq!(read(Some(2), 2, Forward), (vec![2, 3], Some(4), false));
    assert_eq!(read(Some(3), 2, Forward), (vec![3, 4], Some(5), true));
    assert_eq!(read(Some(5), 2, Forward), (vec![], Some(5), true));
    assert_eq!(read(Some(u64::MAX), 2, Forward), (vec![], Some(u64::MAX), true));
    assert_eq!(read(None, 1_000, Backward), (vec![4, 3, 2, 1, 0], None, true));
    assert_eq!(read(None, 2, Backward), (vec![4, 3], Some(2), false));
    assert_eq!(read(Some(2), 3, Backward), (vec![2, 1, 0], None, true));
    assert_eq!(read(Some(2), 2, Backward), (vec![2, 1], Some(0), false));
    assert_eq!(read(Some(0), 2, Backward), (vec![0], None, true));
    assert_eq!(read(Some(99), 1, Backward), (vec![4], Some(3), false));
    assert_eq!(read(Some(u64::MAX), 1, Backward), (vec![4], Some(3), false));
}

/// Appends of many lengths, some of them apart from each other in the log.
#[test]
fn pages_may_begin_and_end_within_appends() {
    let store = MemoryKeyspaces::new();
    for (index, count) in [1, 1, 7, 2, 1, 5, 3].into_iter().enumerate() {
        put(&store, "a", count, 1);
        put(&store, "b", index * index, 1);
    }
    for from in 0..20 {
        for count in 1..=21 {
            let upward: Vec<u64> = (from..20).take(count).collect();
            let page = read_stream(&store, NOW, "a", Some(from), count.try_into().unwrap(), Forward).unwrap();
            let next = from + upward.len() as u64;
            assert_eq!(versions(&page), (upward, Some(next), next == 20), "{from} {count}");
            let downward: Vec<u64> = (0..=from).rev().take(count).collect();
            let page =
                read_stream(&store, NOW, "a", Some(from), count.try_into().unwrap(), Backward).unwrap();
            let next = downward.last().and_then(|last| last.checked_sub(1));
            assert_eq!(versions(&page), (downward, next, next.is_none()), "{from} {count}");
        }
    }
}

/// Long and short appends, far apart, so that a page takes range scans and point lookups.
#[test]
fn a_page_of_scans_and_lookups_is_full() {
    for bytes in [1, 20_000] {
        let store = MemoryKeyspaces::new();
        for count in [100, 3, 70, 1, 1, 90] {
            put(&store, "a", count, bytes);
            put(&store, "b", 400, 1);
        }
        for direction in [Forward, Backward] {
            let (mut read, mut pages, mut from) = (Vec::new(), 0, None);
            loop {
                let page = read_stream(&store, NOW, "a", from, 1_000, direction).unwrap();
                let size: usize = page.events.iter().map(|event| event.data.len()).sum();
                assert!(size <= PAGE_BYTES_MAX as usize, "{size}");
                read.extend(page.events.iter().map(|event| event.version));
                pages += 1;
                from = page.next;
                if page.end {
                    break;
                }
            }
            let all: Vec<u64> =
                if direction == Forward { (0..265).collect() } else { (0..265).rev().collect() };
            assert_eq!(read, all, "{bytes} {direction:?}");
            assert_eq!(pages, (265 * bytes).div_ceil(PAGE_BYTES_MAX as usize), "{bytes} {direction:?}");
        }
    }
}

#[test]
fn the_store_is_read_forward_and_backward() {
    let store = MemoryKeyspaces::new();
    let read = |from, count, direction| positions(&read_all(&store, NOW, from, count, direction).unwrap());
    assert_eq!(read(None, 10, Forward), (vec![], Some(0), true));
    assert_eq!(read(None, 10, Backward), (vec![], None, true));
    put(&store, "a", 2, 1);
    put(&store, "b", 2, 1);
    put(&store, "a", 1, 1);
    assert_eq!(read(None, 10, Forward), (vec![0, 1, 2, 3, 4], Some(5), true));
    assert_eq!(read(Some(1), 2, Forward), (vec![1, 2], Some(3), false));
    assert_eq!(read(Some(3), 2, Forward), (vec![3, 4], Some(5), true));
    assert_eq!(read(Some(5), 2, Forward), (vec![], Some(5), true));
    assert_eq!(read(Some(u64::MAX), 2, Forward), (vec![], Some(u64::MAX), true));
    assert_eq!(read(None, 2, Backward), (vec![4, 3], Some(2), false));
    assert_eq!(read(Some(2), 10, Backward), (vec![2, 1, 0], None, true));
    assert_eq!(read(Some(2), 3, Backward), (vec![2, 1, 0], None, true));
    assert_eq!(read(Some(99), 1, Backward), (vec![4], Some(3), false));
    assert_eq!(read(Some(u64::MAX), 1, Backward), (vec![4], Some(3), false));
    let page = read_all(&store, NOW, Some(2), 2, Forward).unwrap();
    let origins: Vec<_> = page.events.iter().map(|event| (event.stream_id.as_str(), event.version)).collect();
    assert_eq!(origins, [("b", 0), ("b", 1)]);
    assert_eq!(page.durable_position, 5);
}

#[test]
fn a_page_is_bounded_in_bytes_but_has_at_least_one_event() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 5, 1 << 20);
    for direction in [Forward, Backward] {
        let mut from = None;
        let mut pages = 0;
        let mut seen = Vec::new();
        loop {
            let page = read_stream(&store, NOW, "a", from, 100, direction).unwrap();
            let bytes: usize = page.events.iter().map(|event| event.data.len()).sum();
            assert!(!page.events.is_empty() && bytes <= PAGE_BYTES_MAX as usize);
            let all = read_all(&store, NOW, from, 100, direction).unwrap();
            assert_eq!(versions(&page), versions(&all));
            seen.extend(page.events.iter().map(|event| event.version));
            pages += 1;
            from = page.next;
            if page.end {
                break;
            }
        }
        assert_eq!(pages, 5, "two of 1 MiB and their envelopes are over the limit");
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }
}

#[test]
fn invalid_arguments_are_named() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 1, 1);
    for count in [0, 1_001, u32::MAX] {
        assert_eq!(invalid(read_stream(&store, NOW, "a", None, count, Forward)), "count");
        assert_eq!(invalid(read_all(&store, NOW, None, count, Backward)), "count");
        assert_eq!(invalid(list_streams(&store, "", None, count, false)), "count");
    }
    let long = "x".repeat(257);
    for id in ["", "a\0", "\u{7f}", long.as_str()] {
        assert_eq!(invalid(read_stream(&store, NOW, id, None, 1, Forward)), "stream-id");
        assert_eq!(invalid(stream_info(&store, NOW, id)), "stream-id");
    }
    assert_eq!(invalid(list_streams(&store, "\0", None, 1, false)), "prefix");
    assert_eq!(invalid(list_streams(&store, &long, None, 1, false)), "prefix");
    assert_eq!(invalid(list_streams(&store, "", Some("\0"), 1, false)), "after");
    assert_eq!(read_stream(&store, NOW, "b", None, 1, Forward), Err(Error::NotFound));
    assert_eq!(stream_info(&store, NOW, "b"), Err(Error::NotFound));
}

#[test]
fn damage_is_an_error() {
    let with = |change: fn(&MemoryKeyspaces)| {
        let store = MemoryKeyspaces::new();
        put(&store, "a", 3, 1);
        put(&store, "b", 1, 1);
        change(&store);
        store
    };
    let position = |position: u64| position.to_be_bytes();

    let store = with(|store| store.overwrite(STREAMS, b"a", b""));
    assert!(damage(read_stream(&store, NOW, "a", None, 9, Forward)).contains("`streams`"));
    assert!(damage(stream_info(&store, NOW, "a")).contains("`streams`"));

    // Events before the damage can be read. At the beginning of a page, the damage is an error.
    let ends_before_version_1 = |store: &MemoryKeyspaces| {
        assert_eq!(
            versions(&read_stream(store, NOW, "a", None, 9, Forward).unwrap()),
            (vec![0], Some(1), false)
        );
        assert_eq!(
            versions(&read_stream(store, NOW, "a", None, 9, Backward).unwrap()),
            (vec![2], Some(1), false)
        );
        let both =
            [Forward, Backward].map(|direction| damage(read_stream(store, NOW, "a", Some(1), 9, direction)));
        assert_eq!(both[0], both[1]);
        both[0].clone()
    };
    let store = with(|store| store.overwrite(EVENTS, &1_u64.to_be_bytes(), b"\x01\xff"));
    assert!(ends_before_version_1(&store).contains("`events`"));
    assert!(damage(read_all(&store, NOW, None, 9, Forward)).contains("\\x01`"));
    let store = with(|store| store.remove(EVENTS, &1_u64.to_be_bytes()));
    assert!(ends_before_version_1(&store).contains("`a` refers to it"));
    let store = with(|store| {
        let other = store.get(EVENTS, &3_u64.to_be_bytes()).unwrap().unwrap();
        store.overwrite(EVENTS, &1_u64.to_be_bytes(), &other);
    });
    assert!(ends_before_version_1(&store).contains("not version 1 of `a`"));

    for direction in [Forward, Backward] {
        let store = with(|store| store.overwrite(INDEX, &index_key(0, 2), b"short"));
        assert!(damage(read_stream(&store, NOW, "a", None, 9, direction)).contains("`index`"));
        let store = with(|store| {
            store.overwrite(INDEX, &[&index_key(0, 2)[..], b"long"].concat(), &2_u64.to_be_bytes())
        });
        assert!(damage(read_stream(&store, NOW, "a", Some(0), 9, Forward)).contains("`index`"));
        let store = with(|store| store.remove(INDEX, &index_key(0, 2)));
        assert!(damage(read_stream(&store, NOW, "a", None, 9, direction)).contains("goes beyond it"));
        let store = with(|store| store.overwrite(INDEX, &index_key(0, 2), &3_u64.to_be_bytes()));
        assert!(
            damage(read_stream(&store, NOW, "a", Some(2), 9, direction)).contains("not version 2 of `a`")
        );
        let store = with(|store| store.overwrite(INDEX, &index_key(0, 2), &1_u64.to_be_bytes()));
        assert!(
            damage(read_stream(&store, NOW, "a", Some(1), 9, direction)).contains("not version 1 of `a`")
        );
        let store = with(|store| store.overwrite(STREAMS, b"a", &store.get(STREAMS, b"b").unwrap().unwrap()));
        assert!(damage(read_stream(&store, NOW, "a", None, 9, direction)).contains("not version 0 of `a`"));
    }

    let store = with(|store| remove(store, 1));
    assert!(ends_before_version_1(&store).contains("it was removed, but `a` has its version 1"));
    let store = with(|store| store.overwrite(EVENTS, &1_u64.to_be_bytes(), b"\x03short"));
    assert!(damage(read_all(&store, NOW, None, 9, Forward)).contains("\\x01`"));
    let store = with(|store| {
        store.remove(STREAMS, b"a");
        store.overwrite(RETAINED, b"b", b"");
    });
    assert!(damage(read_all(&store, NOW, None, 9, Forward)).contains("key `a`: it is missing"));
    let store = with(|store| {
        store.overwrite(STREAMS, b"a", b"\x02");
        store.overwrite(RETAINED, b"a", b"");
    });
    assert!(damage(read_all(&store, NOW, None, 9, Backward)).contains("`streams`, key `a`"));
    assert!(damage(list_streams(&store, "", None, 9, false)).contains("`streams`, key `a`"));

    let store = with(|store| store.overwrite(EVENTS, b"odd", b""));
    assert!(damage(read_all(&store, NOW, Some(0), 9, Forward)).contains("key `odd`"));
    let store = with(|store| store.overwrite(STREAMS, b"\xff\xfe", b""));
    assert!(damage(list_streams(&store, "", None, 9, false)).contains("not UTF-8"));
    assert_eq!(store.get(EVENTS, &position(9)).unwrap(), None);
}

/// Compares every page of both directions with the expected versions.
fn assert_versions(store: &MemoryKeyspaces, now: u64, stream_id: &str, last: u64, expected: &[u64]) {
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
        let store = MemoryKeyspaces::new();
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
        for (key, value) in store.entries(EVENTS) {
            let position = number(&key).unwrap();
            let event = Envelope::decode(position, &value).unwrap().into_event().unwrap();
            if event.stream_id == "a" && event.version < first {
                remove(&store, position);
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
    let store = MemoryKeyspaces::new();
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
    let store = MemoryKeyspaces::new();
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
fn a_stream_is_described() {
    let store = MemoryKeyspaces::new();
    put_at(&store, 5, "a", 3, 1);
    put_at(&store, 7, "a", 1, 1);
    let info = stream_info(&store, 8, "a").unwrap();
    assert_eq!((info.stream_id.as_str(), info.state), ("a", StreamState::Live));
    assert_eq!((info.first_version, info.last_version, info.created, info.updated), (Some(0), 3, 5, 7));
    let none = Retention { max_count: None, max_age_seconds: None, truncate_before: None };
    assert_eq!(info.retention, none);
    change(&store, "a", |head| (head.max_count, head.max_age_seconds, head.truncate_before) = (2, 3, 1));
    let info = stream_info(&store, 8, "a").unwrap();
    let all = Retention { max_count: Some(2), max_age_seconds: Some(3), truncate_before: Some(1) };
    assert_eq!((info.retention, info.first_version, info.first_position), (all, Some(2), 0));
}

#[test]
fn empty_pages_of_the_store_say_where_to_continue() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 5, 1);
    put(&store, "b", 1, 1);
    put(&store, "a", 5, 1);
    change(&store, "a", |head| head.truncate_before = 99);
    remove(&store, 2);
    store.remove(EVENTS, &3_u64.to_be_bytes());
    let read = |from, count, direction| positions(&read_all(&store, NOW, from, count, direction).unwrap());
    assert_eq!(read(None, 9, Forward), (vec![5], Some(10), false));
    assert_eq!(read(Some(10), 9, Forward), (vec![], Some(11), true));
    assert_eq!(read(None, 1, Forward), (vec![5], Some(6), false));
    assert_eq!(read(Some(6), 1, Forward), (vec![], Some(11), true));
    assert_eq!(read(None, 9, Backward), (vec![5], Some(0), false));
    assert_eq!(read(Some(1), 9, Backward), (vec![], None, true));
    assert_eq!(read(None, 1, Backward), (vec![5], Some(4), false));
    assert_eq!(read(Some(4), 1, Backward), (vec![], None, true));
    assert_eq!(read(Some(3), 2, Forward), (vec![5], Some(6), false));
}

#[test]
fn a_read_of_the_store_scans_a_bounded_number_of_hidden_events() {
    let store = MemoryKeyspaces::new();
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
