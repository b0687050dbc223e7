//! Reads against a store in memory: pages, their bounds, where they go on, and what damage comes to.

use exesdb_sdk::keyspaces::{Keyspaces, MemoryKeyspaces};
use exesdb_sdk::streams::{AppendRequest, EventPage};
use exesdb_sdk::types::Direction::{Backward, Forward};
use exesdb_sdk::types::{Error, EventData, ExpectedVersion};
use exesdb_streams::append::append;
use exesdb_streams::layout::{EVENTS, INDEX, STREAMS, index_key};
use exesdb_streams::read::{PAGE_BYTES_MAX, list_streams, read_all, read_stream, stream_info};

fn put(store: &MemoryKeyspaces, stream_id: &str, count: usize, bytes: usize) {
    if count == 0 {
        return;
    }
    let there = stream_info(store, stream_id).map_or(0, |info| info.last_version + 1);
    let event = |index: u64| EventData {
        id: (there + index).to_string(),
        event_type: "t".into(),
        content_type: "application/octet-stream".into(),
        data: vec![0; bytes],
        metadata: Vec::new(),
    };
    let request = AppendRequest {
        stream_id: stream_id.into(),
        expected: ExpectedVersion::Any,
        events: (0..count as u64).map(event).collect(),
    };
    assert!(append(store, 1, &[request])[0].is_ok());
}

/// Versions, next, end.
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
        Err(Error::Other(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_forward_and_backward() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 3, 1);
    put(&store, "ab", 2, 1);
    put(&store, "a", 2, 1);
    let read = |from, count, direction| versions(&read_stream(&store, "a", from, count, direction).unwrap());
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

/// Appends of every length, some of them apart from each other in the log, so that pages begin and end within them.
#[test]
fn every_page_of_a_stream_of_many_appends() {
    let store = MemoryKeyspaces::new();
    for (index, count) in [1, 1, 7, 2, 1, 5, 3].into_iter().enumerate() {
        put(&store, "a", count, 1);
        put(&store, "b", index * index, 1);
    }
    for from in 0..20 {
        for count in 1..=21 {
            let upward: Vec<u64> = (from..20).take(count).collect();
            let page = read_stream(&store, "a", Some(from), count.try_into().unwrap(), Forward).unwrap();
            let next = from + upward.len() as u64;
            assert_eq!(versions(&page), (upward, Some(next), next == 20), "{from} {count}");
            let downward: Vec<u64> = (0..=from).rev().take(count).collect();
            let page = read_stream(&store, "a", Some(from), count.try_into().unwrap(), Backward).unwrap();
            let next = downward.last().and_then(|last| last.checked_sub(1));
            assert_eq!(versions(&page), (downward, next, next.is_none()), "{from} {count}");
        }
    }
}

#[test]
fn the_whole_store_forward_and_backward() {
    let store = MemoryKeyspaces::new();
    let read = |from, count, direction| positions(&read_all(&store, from, count, direction).unwrap());
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
    let page = read_all(&store, Some(2), 2, Forward).unwrap();
    let origins: Vec<_> = page.events.iter().map(|event| (event.stream_id.as_str(), event.version)).collect();
    assert_eq!(origins, [("b", 0), ("b", 1)]);
    assert_eq!(page.durable_position, 5);
}

#[test]
fn a_page_is_bounded_in_bytes_and_has_one_event_at_least() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 5, 1 << 20);
    for direction in [Forward, Backward] {
        let mut from = None;
        let mut pages = 0;
        let mut seen = Vec::new();
        loop {
            let page = read_stream(&store, "a", from, 100, direction).unwrap();
            let bytes: usize = page.events.iter().map(|event| event.data.len()).sum();
            assert!(!page.events.is_empty() && bytes <= PAGE_BYTES_MAX as usize);
            let all = read_all(&store, from, 100, direction).unwrap();
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
fn streams_are_listed_by_prefix_in_byte_order() {
    let store = MemoryKeyspaces::new();
    for id in ["order-1", "order-10", "order-2", "a", "ordel", "Überweisung", "\u{10ffff}x"] {
        put(&store, id, 1, 1);
    }
    let list = |prefix, after, count| {
        let page = list_streams(&store, prefix, after, count).unwrap();
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
fn hostile_arguments_are_named() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 1, 1);
    for count in [0, 1_001, u32::MAX] {
        assert_eq!(invalid(read_stream(&store, "a", None, count, Forward)), "count");
        assert_eq!(invalid(read_all(&store, None, count, Backward)), "count");
        assert_eq!(invalid(list_streams(&store, "", None, count)), "count");
    }
    let long = "x".repeat(257);
    for id in ["", "a\0", "\u{7f}", long.as_str()] {
        assert_eq!(invalid(read_stream(&store, id, None, 1, Forward)), "stream-id");
        assert_eq!(invalid(stream_info(&store, id)), "stream-id");
    }
    assert_eq!(invalid(list_streams(&store, "\0", None, 1)), "prefix");
    assert_eq!(invalid(list_streams(&store, &long, None, 1)), "prefix");
    assert_eq!(invalid(list_streams(&store, "", Some("\0"), 1)), "after");
    assert_eq!(read_stream(&store, "b", None, 1, Forward), Err(Error::NotFound));
    assert_eq!(stream_info(&store, "b"), Err(Error::NotFound));
}

#[test]
fn damage_is_named_never_a_panic() {
    let with = |change: fn(&MemoryKeyspaces)| {
        let store = MemoryKeyspaces::new();
        put(&store, "a", 3, 1);
        put(&store, "b", 1, 1);
        change(&store);
        store
    };
    let position = |position: u64| position.to_be_bytes();

    let store = with(|store| store.overwrite(STREAMS, b"a", b""));
    assert!(damage(read_stream(&store, "a", None, 9, Forward)).contains("`streams`"));
    assert!(damage(stream_info(&store, "a")).contains("`streams`"));

    // What lies before the damage can be read, and the damage is named at a page's beginning.
    let ends_before_version_1 = |store: &MemoryKeyspaces| {
        assert_eq!(versions(&read_stream(store, "a", None, 9, Forward).unwrap()), (vec![0], Some(1), false));
        assert_eq!(versions(&read_stream(store, "a", None, 9, Backward).unwrap()), (vec![2], Some(1), false));
        let both =
            [Forward, Backward].map(|direction| damage(read_stream(store, "a", Some(1), 9, direction)));
        assert_eq!(both[0], both[1]);
        both[0].clone()
    };
    let store = with(|store| store.overwrite(EVENTS, &1_u64.to_be_bytes(), b"\x01\xff"));
    assert!(ends_before_version_1(&store).contains("`events`"));
    assert!(damage(read_all(&store, None, 9, Forward)).contains("\\x01`"));
    let store = with(|store| store.remove(EVENTS, &1_u64.to_be_bytes()));
    assert!(ends_before_version_1(&store).contains("`a` refers to it"));
    let store = with(|store| {
        let other = store.get(EVENTS, &3_u64.to_be_bytes()).unwrap().unwrap();
        store.overwrite(EVENTS, &1_u64.to_be_bytes(), &other);
    });
    assert!(ends_before_version_1(&store).contains("not version 1 of `a`"));

    for direction in [Forward, Backward] {
        let store = with(|store| store.overwrite(INDEX, &index_key(0, 2), b"short"));
        assert!(damage(read_stream(&store, "a", None, 9, direction)).contains("`index`"));
        let store = with(|store| {
            store.overwrite(INDEX, &[&index_key(0, 2)[..], b"long"].concat(), &2_u64.to_be_bytes())
        });
        assert!(damage(read_stream(&store, "a", Some(0), 9, Forward)).contains("`index`"));
        let store = with(|store| store.remove(INDEX, &index_key(0, 2)));
        assert!(damage(read_stream(&store, "a", None, 9, direction)).contains("goes beyond it"));
        let store = with(|store| store.overwrite(INDEX, &index_key(0, 2), &3_u64.to_be_bytes()));
        assert!(damage(read_stream(&store, "a", Some(2), 9, direction)).contains("not version 2 of `a`"));
        let store = with(|store| store.overwrite(INDEX, &index_key(0, 2), &1_u64.to_be_bytes()));
        assert!(damage(read_stream(&store, "a", Some(1), 9, direction)).contains("not version 1 of `a`"));
        let store = with(|store| store.overwrite(STREAMS, b"a", &store.get(STREAMS, b"b").unwrap().unwrap()));
        assert!(damage(read_stream(&store, "a", None, 9, direction)).contains("not version 0 of `a`"));
    }

    let store = with(|store| store.overwrite(EVENTS, b"odd", b""));
    assert!(damage(read_all(&store, Some(0), 9, Forward)).contains("key `odd`"));
    let store = with(|store| store.overwrite(STREAMS, b"\xff\xfe", b""));
    assert!(damage(list_streams(&store, "", None, 9)).contains("not UTF-8"));
    assert_eq!(store.get(EVENTS, &position(9)).unwrap(), None);
}
