//! Reads against keyspaces in memory: pages, their bounds and continuations, and damage.

#[path = "../driver/mod.rs"]
mod driver;
mod hidden;
mod listing;

use driver::{EventPage, append, end, list_streams, read_all, read_stream, selection, stream_info};
use exesdb_reference::AppendRequest;
use exesdb_sdk::events::EventData;
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::packed::Frames;
use exesdb_sdk::types::Direction::{Backward, Forward};
use exesdb_sdk::types::{
    AllSelection, Error, ExpectedVersion, Field, Retention, Selection, Source, StreamState, code,
};
use exesdb_sdk::view::View;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::layout::{Head, INDEX, RETAINED, STREAMS, index_key};
use exesdb_streams::read::{PAGE_BYTES_MAX, read};

/// The default time of day of appends and reads in microseconds.
const NOW: u64 = 1;

fn put(store: &MemoryStore, stream_id: &str, count: usize, bytes: usize) {
    put_at(store, NOW, stream_id, count, bytes);
}

fn put_at(store: &MemoryStore, now: u64, stream_id: &str, count: usize, bytes: usize) {
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
fn change(store: &MemoryStore, stream_id: &str, change: impl Fn(&mut Head)) {
    let value = store.view().get(STREAMS, stream_id.as_bytes()).expect("it is in memory");
    let mut head = Head::decode(&value.expect("the stream has events")).expect("it was encoded");
    change(&mut head);
    store.overwrite(STREAMS, stream_id.as_bytes(), &head.encode());
    if head.is_extended() {
        store.overwrite(RETAINED, stream_id.as_bytes(), b"");
    }
}

/// Removes the event at a position directly, as scavenging does.
fn remove(store: &MemoryStore, position: u64) {
    store.lose_event(position);
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
        Err(Error::Problem(problem)) if problem.code == code::DAMAGED => problem.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_is_read_forward_and_backward() {
    let store = MemoryStore::new();
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
    let store = MemoryStore::new();
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
        let store = MemoryStore::new();
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
    let store = MemoryStore::new();
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
}

#[test]
fn a_page_is_bounded_in_bytes_but_has_at_least_one_event() {
    let store = MemoryStore::new();
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
    let store = MemoryStore::new();
    put(&store, "a", 1, 1);
    for count in [0, 1_001, u32::MAX] {
        assert_eq!(invalid(list_streams(&store, "", None, count, false)), "count");
    }
    assert_eq!(invalid(read_stream(&store, NOW, "a", None, 0, Forward)), "selection.count");
    assert_eq!(invalid(read_all(&store, NOW, None, 0, Backward)), "selection.count");
    let all = Source::All(AllSelection { from: None, until: None });
    let options = vec![Field { name: "!x".into(), value: String::new() }];
    let refused = read(&store.view(), &Selection { options, ..selection(all, 1, Forward) });
    assert!(
        matches!(refused, Err(Error::Problem(it)) if it.code == code::UNSUPPORTED && it.message.contains("`!x`"))
    );
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
    let with = |change: fn(&MemoryStore)| {
        let store = MemoryStore::new();
        put(&store, "a", 3, 1);
        put(&store, "b", 1, 1);
        change(&store);
        store
    };
    let store = with(|store| store.overwrite(STREAMS, b"a", b""));
    assert!(damage(read_stream(&store, NOW, "a", None, 9, Forward)).contains("`streams`"));
    assert!(damage(stream_info(&store, NOW, "a")).contains("`streams`"));

    // Events before the damage can be read. At the beginning of a page, the damage is an error.
    let ends_before_version_1 = |store: &MemoryStore| {
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
    let store = with(|store| store.damage(1));
    assert!(ends_before_version_1(&store).contains("position 1"));
    assert!(damage(read_all(&store, NOW, None, 9, Forward)).contains("position 1"));
    let store = with(|store| {
        let frame = store.view().log_get(&[3], 1).unwrap();
        let other = match Frames::new(&frame).next().unwrap().unwrap().record {
            exesdb_sdk::packed::Record::Event(envelope) => envelope.to_owned(),
            other => panic!("{other:?}"),
        };
        store.overwrite_event(1, other);
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
        let store = with(|store| {
            let other = store.view().get(STREAMS, b"b").unwrap().unwrap();
            store.overwrite(STREAMS, b"a", &other);
        });
        assert!(damage(read_stream(&store, NOW, "a", None, 9, direction)).contains("not version 0 of `a`"));
    }

    let store = with(|store| remove(store, 1));
    assert!(ends_before_version_1(&store).contains("was removed, but `a` has its version 1"));
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

    let store = with(|store| store.overwrite(STREAMS, b"\xff\xfe", b""));
    assert!(damage(list_streams(&store, "", None, 9, false)).contains("not UTF-8"));
}

#[test]
fn a_stream_is_described() {
    let store = MemoryStore::new();
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
fn a_read_of_the_store_ends_where_another_one_goes_on() {
    let store = MemoryStore::new();
    put(&store, "a", 6, 1);
    let read = |from, until, direction| {
        let source = Source::All(AllSelection { from, until });
        let page = read(&store.view(), &selection(source, 9, direction)).unwrap();
        let events = exesdb_sdk::events::unpack(&page.events).unwrap();
        (events.iter().map(|event| event.position).collect::<Vec<_>>(), page.next, page.end)
    };
    assert_eq!(end(&store), 6);
    assert_eq!(read(Some(1), Some(4), Forward), (vec![1, 2, 3], Some(4), true));
    assert_eq!(read(Some(4), Some(4), Forward), (vec![], Some(4), true));
    assert_eq!(read(Some(4), Some(99), Forward), (vec![4, 5], Some(6), true));
    assert_eq!(read(Some(4), Some(1), Backward), (vec![4, 3, 2], Some(1), true));
    assert_eq!(read(None, Some(4), Backward), (vec![5], Some(4), true));
    assert_eq!(read(Some(1), Some(1), Backward), (vec![], Some(1), true));
    assert_eq!(read(Some(1), Some(u64::MAX), Backward), (vec![], Some(u64::MAX), true));
}
