//! Appends.

use exesdb_reference::{AppendRequest, Transaction};
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::types::{Deletion, Direction, Error, ExpectedVersion, Retention, VersionConflict, code};
use exesdb_sdk::view::View;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::layout::{
    Head, IDS, INDEX, LABELS, LabelKind, RETAINED, STREAMS, id_key, index_key, label_digest, label_in,
    label_key, number,
};

use crate::driver::{
    self, Rival, delete_stream, end, read_all, read_stream, scavenge, set_retention, stream_info, transact,
};
use crate::{KEEP_ALL, NOW, any, append, at, event, ids, message, request, tagged, taken, wrong};

#[test]
fn requests_are_applied_in_order() {
    let store = MemoryStore::new();
    let results = append(
        &store,
        7,
        &[
            request("a", ExpectedVersion::NoStream, &["1", "2"]),
            any("b", &["1"]),
            request("a", ExpectedVersion::Exact(1), &["3"]),
            request("a", ExpectedVersion::Exact(1), &["4"]),
            request("b", ExpectedVersion::StreamExists, &["2"]),
            request("c", ExpectedVersion::StreamExists, &["1"]),
        ],
    );
    assert_eq!(
        results,
        [
            at(0, 1, 1),
            at(0, 0, 2),
            at(2, 2, 3),
            Err(wrong("a", ExpectedVersion::Exact(1), Some(2))),
            at(1, 1, 4),
            Err(wrong("c", ExpectedVersion::StreamExists, None)),
        ]
    );
    assert_eq!(ids(&store, "a"), ["1", "2", "3"]);
    assert_eq!(ids(&store, "b"), ["1", "2"]);
    assert_eq!(stream_info(&store, NOW, "c"), Err(Error::NotFound));
}

#[test]
fn events_are_read_as_they_were_appended() {
    let store = MemoryStore::new();
    let mut appended = event("e-1");
    appended.data = (0..=255).collect();
    appended.metadata = Vec::new();
    appended.tags = vec!["course:c1".into(), "ü".into()];
    let request = AppendRequest {
        stream_id: "ü ✓".into(),
        expected: ExpectedVersion::Any,
        events: vec![event("e-0"), appended.clone()],
    };
    assert_eq!(append(&store, 1_700_000_000_000_000, &[request]), [at(0, 1, 1)]);
    let read = read_all(&store, NOW, Some(1), 10, Direction::Forward).unwrap().events.remove(0);
    assert_eq!((read.stream_id.as_str(), read.version, read.position), ("ü ✓", 1, 1));
    assert_eq!(read.created, 1_700_000_000_000_000);
    assert_eq!((read.id, read.event_type), (appended.id, appended.event_type));
    assert_eq!((read.content_type, read.data), (appended.content_type, appended.data));
    assert_eq!((read.metadata, read.tags), (Vec::<u8>::new(), appended.tags));
}

#[test]
fn a_repeated_append_gets_the_first_result_and_adds_nothing() {
    let store = MemoryStore::new();
    let first = [request("a", ExpectedVersion::NoStream, &["1", "2"]), any("b", &["1"]), any("a", &["3"])];
    let results = append(&store, 1, &first);
    assert_eq!(append(&store, 2, &first), results);
    // The expected version does not matter.
    for expected in [ExpectedVersion::Any, ExpectedVersion::StreamExists, ExpectedVersion::Exact(99)] {
        assert_eq!(append(&store, 3, &[request("a", expected, &["1", "2"])]), [at(0, 1, 1)]);
    }
    assert_eq!(ids(&store, "a"), ["1", "2", "3"]);
    assert_eq!(end(&store), 4);
}

#[test]
fn a_repetition_within_one_call_gets_the_first_result() {
    let store = MemoryStore::new();
    let results = append(
        &store,
        1,
        &[
            request("a", ExpectedVersion::NoStream, &["1", "2"]),
            request("a", ExpectedVersion::NoStream, &["1", "2"]),
            any("a", &["2", "3"]),
            any("a", &["3"]),
            any("a", &["3"]),
        ],
    );
    let conflict = Err(taken("a", "2", 1));
    assert_eq!(results, [at(0, 1, 1), at(0, 1, 1), conflict, at(2, 2, 2), at(2, 2, 2)]);
    assert_eq!(ids(&store, "a"), ["1", "2", "3"]);
}

#[test]
fn a_partial_or_reordered_repetition_is_a_conflict() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1", "2", "3"])]);
    let conflict = |id: &str| [Err(taken("a", id, 2))];
    assert_eq!(append(&store, 2, &[any("a", &["3", "4"])]), conflict("3"));
    assert_eq!(append(&store, 2, &[any("a", &["0", "2"])]), conflict("2"));
    assert_eq!(append(&store, 2, &[any("a", &["2", "1"])]), conflict("2"));
    assert_eq!(append(&store, 2, &[any("a", &["1", "3"])]), conflict("1"));
    assert_eq!(append(&store, 2, &[any("a", &["2", "3"])]), [at(1, 2, 2)]);
    // An id belongs to its stream.
    assert_eq!(append(&store, 2, &[any("b", &["1", "3"])]), [at(0, 1, 4)]);
    assert_eq!(ids(&store, "a"), ["1", "2", "3"]);
}

/// Two ids with the same digest, constructed by hand.
#[test]
fn an_id_with_the_digest_of_another_is_not_a_repetition() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1", "2", "3"])]);
    store.overwrite(IDS, &id_key(0, "x"), &1_u64.to_be_bytes());
    assert_eq!(append(&store, 2, &[any("a", &["x"])]), [Err(taken("a", "x", 2))]);
    store.overwrite(IDS, &id_key(0, "y"), &2_u64.to_be_bytes());
    assert_eq!(append(&store, 2, &[any("a", &["2", "y"])]), [Err(taken("a", "y", 2))]);
    assert_eq!(append(&store, 2, &[any("a", &["2", "3"])]), [at(1, 2, 2)]);
}

#[test]
fn a_repetition_larger_than_a_page_is_found() {
    let store = MemoryStore::new();
    let mut large = any("a", &["1", "2", "3", "4", "5"]);
    for event in &mut large.events {
        event.data = vec![0; 1_000_000];
    }
    let results = append(&store, 1, &[any("b", &["1"]), large.clone()]);
    assert_eq!(results[1], at(0, 4, 5));
    assert_eq!(append(&store, 2, &[large]), results[1..]);
}

/// An append to a stream that the same list begins must wait until the stream's origin is known.
#[test]
fn many_appends_begin_their_streams_in_two_lists() {
    let store = MemoryStore::new();
    let lists = std::cell::Cell::new(0);
    let counted = Rival::new(&store, u32::MAX, |_| lists.set(lists.get() + 1));
    let requests: Vec<_> = ["1", "2", "3"].iter().flat_map(|id| [any("a", &[id]), any("b", &[id])]).collect();
    assert!(append(&counted, 1, &requests).iter().all(Result::is_ok));
    assert_eq!(lists.get(), 2);
    assert_eq!(
        (ids(&store, "a"), ids(&store, "b")),
        (ids(&store, "b"), vec!["1".into(), "2".into(), "3".into()])
    );
    // The index has an entry for each append, under the position of the stream's first event.
    let keys: Vec<_> = store.entries(INDEX).into_iter().map(|(key, _)| key).collect();
    let expected: Vec<_> =
        [0, 1].into_iter().flat_map(|origin| (0..3).map(move |last| index_key(origin, last))).collect();
    assert_eq!(keys, expected);
}

#[test]
fn a_refused_request_affects_no_other() {
    let store = MemoryStore::new();
    let results =
        append(&store, 1, &[any("", &["1"]), any("a", &["1"]), any("a", &[]), any("a", &["2", "2"])]);
    assert!(
        matches!(&results[0], Err(Error::Invalid(invalid)) if invalid.argument == "appends[0].stream-id")
    );
    assert_eq!(results[1], at(0, 0, 0));
    assert!(matches!(&results[2], Err(Error::Invalid(invalid)) if invalid.argument == "appends[0].events"));
    assert!(
        matches!(&results[3], Err(Error::Invalid(invalid)) if invalid.argument == "appends[0].events[1].id")
    );
    assert_eq!(ids(&store, "a"), ["1"]);
}

#[test]
fn time_does_not_go_backward_in_a_stream() {
    let store = MemoryStore::new();
    for (now, id) in [(50, "1"), (20, "2"), (60, "3"), (0, "4")] {
        assert!(append(&store, now, &[any("a", &[id])])[0].is_ok());
    }
    let page = read_stream(&store, NOW, "a", None, 10, Direction::Forward).unwrap();
    assert_eq!(page.events.iter().map(|event| event.created).collect::<Vec<_>>(), [50, 50, 60, 60]);
    let info = stream_info(&store, NOW, "a").unwrap();
    assert_eq!((info.created, info.updated, info.last_version), (50, 60, 3));
}

#[test]
fn an_append_that_the_storage_finds_too_large_fails_alone() {
    let store = MemoryStore::new();
    let mut large = any("a", &["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    for event in &mut large.events {
        event.data = vec![0; 1 << 20];
        event.metadata.clear();
    }
    let requests =
        [any("a", &["0"]), large, request("a", ExpectedVersion::Exact(0), &["10"]), any("b", &["1"])];
    let results = append(&store, 1, &requests);
    assert_eq!(results[0], at(0, 0, 0));
    let text = message(code::TOO_LARGE, &results[1]);
    assert!(text.contains("8388608"), "{text}");
    assert!(results[2].is_ok() && results[3].is_ok(), "{results:?}");
    assert_eq!(ids(&store, "a"), ["0", "10"]);
}

#[test]
fn what_cannot_be_read_refuses_all_valid_requests() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1"])]);
    store.fail_reads(true);
    let results = append(&store, 2, &[any("a", &["1"]), any("", &["3"]), any("b", &["1"])]);
    assert_eq!(message(code::RESTARTING, &results[0]), "gone");
    assert!(matches!(&results[1], Err(Error::Invalid(_))), "{results:?}");
    assert_eq!(message(code::RESTARTING, &results[2]), "gone");
}

#[test]
fn damage_fails_only_requests_for_its_stream() {
    let damaged = |keyspace: &str, key: &[u8], value: &[u8], again: &AppendRequest| {
        let store = MemoryStore::new();
        append(&store, 1, &[any("a", &["1", "2"])]);
        store.overwrite(keyspace, key, value);
        let results = append(&store, 2, &[again.clone(), any("b", &["1"])]);
        assert_eq!(results[1], at(0, 0, 2));
        message(code::DAMAGED, &results[0])
    };
    let text = damaged(STREAMS, b"a", b"\x01\x02", &any("a", &["3"]));
    assert!(text.contains("`streams`") && text.contains("key `a`"), "{text}");
    let text = damaged(STREAMS, b"a", b"\x07", &any("a", &["3"]));
    assert!(text.contains("format is 7"), "{text}");
    let text = damaged(IDS, &id_key(0, "2"), b"xx", &any("a", &["1", "2"]));
    assert!(text.contains("`ids`") && text.contains("not a version"), "{text}");
    let text = damaged(INDEX, &index_key(0, 1), b"xx", &any("a", &["1", "2"]));
    assert!(text.contains("`index`"), "{text}");
}

#[test]
fn a_stream_at_the_highest_version_refuses_appends() {
    let store = MemoryStore::new();
    let head = Head::new(0, u64::MAX - 1, 0, u64::MAX);
    store.overwrite(STREAMS, b"a", &head.encode());
    message(code::TOO_LARGE, &append(&store, 0, &[any("a", &["1", "2"])])[0]);
    assert_eq!(append(&store, 0, &[any("a", &["1"])]), [at(u64::MAX, u64::MAX, 0)]);
    message(code::TOO_LARGE, &append(&store, 0, &[any("a", &["2"])])[0]);
}

/// The labels in the store, with the positions of the first and last event.
fn postings(store: &MemoryStore, kind: LabelKind, text: &str) -> Vec<(u64, u64)> {
    let digest = label_digest(kind, text);
    let entries = store.entries(LABELS).into_iter().filter_map(|(key, value)| {
        let (of, last) = label_in(&key).expect("the key is that of a label");
        (of == digest).then(|| (number(&value).expect("the value is a position"), last))
    });
    entries.collect()
}

#[test]
fn an_append_has_one_entry_per_label() {
    let store = MemoryStore::new();
    let correlated = |id: &str, metadata: &str| {
        let mut event = tagged(id, "t", &["g"]);
        event.metadata = metadata.into();
        event
    };
    let both = correlated("5", r#"{"$correlationId":"c","$causationId":"k"}"#);
    let requests = [
        any("a", &["0"]),
        AppendRequest {
            events: vec![
                event("1"),
                tagged("2", "t", &["g", "h"]),
                tagged("3", "t", &["g"]),
                event("4"),
                both,
            ],
            ..any("a", &["1"])
        },
    ];
    for (index, ids) in [(CorrelationIndex::Off, 0), (CorrelationIndex::On, 2)] {
        let store = MemoryStore::new();
        driver::append(&store, 1, index, &requests).into_iter().for_each(|result| {
            result.unwrap();
        });
        // The second append follows the first one: types `opened` and `t`, tags `g` and `h`.
        assert_eq!(store.entries(LABELS).len(), 1 + 4 + ids);
        assert_eq!(postings(&store, LabelKind::Type, "opened"), [(0, 0), (1, 4)]);
        assert_eq!(postings(&store, LabelKind::Type, "t"), [(2, 5)]);
        assert_eq!(postings(&store, LabelKind::Tag, "g"), [(2, 5)]);
        assert_eq!(postings(&store, LabelKind::Tag, "h"), [(2, 2)]);
        let correlations = postings(&store, LabelKind::Correlation, "c");
        assert_eq!(
            (correlations.len(), postings(&store, LabelKind::Causation, "k")),
            (ids / 2, correlations)
        );
    }
    append(&store, 1, &requests[..1]);
    assert_eq!(store.entries(LABELS)[0].0, label_key(label_digest(LabelKind::Type, "opened"), 0));
}

#[test]
fn an_append_with_the_maximum_of_labels_is_accepted() {
    let store = MemoryStore::new();
    let mut many = any("a", &[]);
    for id in 0..1_000 {
        let tags: Vec<String> = (0..32).map(|tag| format!("{id}-{tag}")).collect();
        many.events.push(tagged(&id.to_string(), "t", &tags.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    let results = append(&store, 1, &[many, any("a", &["1"]), any("b", &["1"])]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    // The tags of each event, and one type for each append that added events; the second append is a repetition.
    assert_eq!(store.entries(LABELS).len(), 1_000 * 32 + 2);
}

#[test]
fn a_deleted_stream_continues_its_versions() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1", "2"])]);
    delete_stream(&store, "a", ExpectedVersion::Exact(1), Deletion::Soft).unwrap();
    let refused = append(&store, 2, &[request("a", ExpectedVersion::StreamExists, &["3"])]);
    let conflict = VersionConflict {
        stream_id: "a".into(),
        expected: ExpectedVersion::StreamExists,
        last_version: Some(1),
        is_deleted: true,
    };
    assert_eq!(refused, [Err(Error::WrongExpectedVersion(conflict))]);
    assert_eq!(append(&store, 2, &[request("a", ExpectedVersion::NoStream, &["3"])]), [at(2, 2, 2)]);
    assert_eq!(ids(&store, "a"), ["3"]);
    assert_eq!(store.entries(RETAINED), [(b"a".to_vec(), Vec::new())]);
    assert_eq!(append(&store, 2, &[request("a", ExpectedVersion::Exact(2), &["4"])]), [at(3, 3, 3)]);
    assert_eq!(ids(&store, "a"), ["3", "4"]);
}

#[test]
fn a_stream_with_a_tombstone_refuses_appends() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1"])]);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    let results = append(&store, 2, &[any("a", &["2"]), any("a", &["1"]), any("b", &["1"])]);
    let gone = || Err(Error::StreamDeleted("a".into()));
    assert_eq!(results, [gone(), gone(), at(0, 0, 1)]);
}

/// Whatever hides the events of an append, and whether they are removed: its repetition is a new, visible append.
#[test]
fn a_repetition_of_hidden_events_is_a_new_append() {
    type Hide = fn(&MemoryStore) -> u64;
    const LATER: u64 = NOW + 60_000_000;
    let hides: [(&str, Hide); 4] = [
        ("deletion", |store| {
            delete_stream(store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
            NOW
        }),
        ("truncation", |store| {
            set_retention(store, NOW, "a", &Retention { truncate_before: Some(2), ..KEEP_ALL }).unwrap();
            NOW
        }),
        ("count", |store| {
            set_retention(store, NOW, "a", &Retention { max_count: Some(2), ..KEEP_ALL }).unwrap();
            append(store, NOW, &[any("a", &["3", "4"])]);
            NOW
        }),
        ("age", |store| {
            set_retention(store, NOW, "a", &Retention { max_age_seconds: Some(30), ..KEEP_ALL }).unwrap();
            LATER
        }),
    ];
    for (how, hide) in hides {
        for is_scavenged in [false, true] {
            let store = MemoryStore::new();
            append(&store, NOW, &[any("a", &["1", "2"])]);
            let now = hide(&store);
            if is_scavenged {
                scavenge(&store, now, None).unwrap();
            }
            let results = append(&store, now, &[any("a", &["1", "2"]), any("a", &["1", "2"])]);
            let first = results[0].as_ref().unwrap();
            assert!(first.first_version >= 2, "{how}, {is_scavenged}: {first:?}");
            assert_eq!(results[0], results[1], "{how}, {is_scavenged}");
            let page = read_stream(&store, now, "a", None, 10, Direction::Forward).unwrap();
            let versions: Vec<u64> = page.events.iter().map(|event| event.version).collect();
            assert_eq!(versions, [first.first_version, first.last_version], "{how}, {is_scavenged}");
            let transaction = Transaction {
                appends: vec![any("a", &["1", "2"])],
                checks: Vec::new(),
                conditions: Vec::new(),
            };
            let again = transact(&store, now, CorrelationIndex::Off, &[transaction]).remove(0).unwrap();
            assert_eq!(again, [*first], "{how}, {is_scavenged}");
        }
    }
}

/// If retention hides some events of an append, it cannot be repeated: the visible rest is another append.
#[test]
fn a_repetition_of_partly_hidden_events_is_a_conflict() {
    let store = MemoryStore::new();
    append(&store, NOW, &[any("a", &["1", "2"])]);
    set_retention(&store, NOW, "a", &Retention { max_count: Some(1), ..KEEP_ALL }).unwrap();
    assert_eq!(append(&store, NOW, &[any("a", &["1", "2"])]), [Err(taken("a", "2", 1))]);
    assert_eq!(append(&store, NOW, &[any("a", &["2"])]), [at(1, 1, 1)]);
    // Events that the preceding append pushes out count as hidden already.
    let results = append(&store, NOW, &[any("a", &["3"]), any("a", &["2"]), any("a", &["3"])]);
    assert_eq!(results, [at(2, 2, 2), at(3, 3, 3), at(4, 4, 4)]);
    assert_eq!(ids(&store, "a"), ["3"]);
}

/// A removed event is unknown, even before its entry in `ids` is deleted.
#[test]
fn the_id_of_a_removed_event_is_new() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1", "2"])]);
    let head = Head { truncate_before: 1, reclaimed_before: 1, ..Head::new(0, 1, 1, 1) };
    store.overwrite(STREAMS, b"a", &head.encode());
    assert_eq!(append(&store, 2, &[any("a", &["2"]), any("a", &["1"])]), [at(1, 1, 1), at(2, 2, 2)]);
    assert_eq!(store.view().get(IDS, &id_key(0, "1")).unwrap(), Some(2_u64.to_be_bytes().to_vec()));
}
