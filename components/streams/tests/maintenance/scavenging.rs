//! Scavenging removes the hidden events, and nothing else.

use exesdb_reference::AppendRequest;
use exesdb_sdk::events::EventData;
use exesdb_sdk::maintenance::ScavengeStep;
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::types::{Deletion, Direction, ExpectedVersion, Retention};
use exesdb_sdk::view::View;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::layout::{IDS, INDEX, LABELS, LabelKind, STREAMS, index_key, label_digest, label_key};

use crate::driver::{Rival, append, delete_stream, read_stream, scavenge};
use crate::{
    NOW, all, assert_clean, bytes, event, event_bytes, head, none, put, put_at, reads, retain, scavenge_all,
};

#[test]
fn hidden_events_are_removed_with_their_entries() {
    let store = MemoryStore::new();
    put(&store, "a", &["1", "22", "3"]);
    put(&store, "a", &["44", "5"]);
    put(&store, "b", &["1"]);
    assert_eq!(
        scavenge_all(&store, NOW).0,
        ScavengeStep { batches: Vec::new(), next: None, examined: 0, removed: 0, bytes: 0 }
    );
    retain(&store, "a", Retention { truncate_before: Some(2), ..none() });
    let (shown, size) = (reads(&store, NOW), bytes(&store));
    let (done, skipped) = scavenge_all(&store, NOW);
    assert_eq!((done.examined, done.removed, skipped.len()), (1, 2, 0));
    assert_eq!(done.bytes as usize, size - bytes(&store));
    assert_eq!(reads(&store, NOW), shown);
    assert_eq!(head(&store, "a").reclaimed_before, 2);
    // The append still has an event, so the entries that lead to it remain; the entry of its other label does not.
    assert_eq!((store.entries(INDEX).len(), store.entries(IDS).len()), (3, 4));
    assert_eq!(
        store.view().get(LABELS, &label_key(label_digest(LabelKind::Type, "type-0"), 1)).unwrap(),
        None
    );
    assert!(store.view().get(LABELS, &label_key(label_digest(LabelKind::Tag, "all"), 2)).unwrap().is_some());
    assert_eq!(event_bytes(&store).len(), 4);
    assert_clean(&store);
    assert_eq!(scavenge_all(&store, NOW).0.removed, 0);

    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    assert_eq!(scavenge_all(&store, NOW).0.removed, 3);
    assert_clean(&store);
    assert_eq!(head(&store, "a").reclaimed_before, 5);
    assert_eq!((store.entries(INDEX).len(), store.entries(IDS).len()), (1, 1));
    // The entries of `b`: its type, its tags `all` and `b`, its correlation id.
    assert_eq!(store.entries(LABELS).len(), 4);
    assert_eq!(event_bytes(&store).len(), 1);
    assert_eq!(scavenge_all(&store, NOW).0.removed, 0);
}

#[test]
fn a_scavenged_stream_continues_its_versions() {
    let store = MemoryStore::new();
    put(&store, "a", &["1", "22"]);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    assert_eq!(scavenge_all(&store, NOW).0.removed, 2);
    // The ids are new again.
    put(&store, "a", &["1", "3"]);
    assert_clean(&store);
    let events = all(|from| read_stream(&store, NOW, "a", from, 9, Direction::Forward)).unwrap();
    assert_eq!(events.iter().map(|event| event.version).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(scavenge_all(&store, NOW).0.removed, 0);
    retain(&store, "a", Retention { max_count: Some(1), ..none() });
    assert_eq!(scavenge_all(&store, NOW).0.removed, 1);
    assert_clean(&store);
}

#[test]
fn events_are_removed_as_they_age() {
    const SECOND: u64 = 1_000_000;
    let store = MemoryStore::new();
    for (second, id) in [(0, "1"), (1, "22"), (2, "3"), (10, "44")] {
        put_at(&store, NOW + second * SECOND, "a", &[id, &format!("{id}-")]);
    }
    retain(&store, "a", Retention { max_age_seconds: Some(5), ..none() });
    for (second, removed) in [(5, 0), (6, 2), (6, 0), (7, 2), (9, 2), (15, 0), (16, 2), (99, 0)] {
        let now = NOW + second * SECOND;
        let shown = reads(&store, now);
        assert_eq!(scavenge_all(&store, now).0.removed, removed, "{second}");
        assert_eq!(reads(&store, now), shown);
        assert_clean(&store);
    }
}

#[test]
fn many_events_and_streams_take_many_steps() {
    let store = MemoryStore::new();
    let ids: Vec<String> = (0..1_000).map(|number| format!("event-{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    put(&store, "a", &ids);
    put(&store, "b", &ids);
    put(&store, "a", &["last"]);
    let many: Vec<String> = (0..700).map(|number| format!("s-{number:03}")).collect();
    for stream_id in &many {
        put(&store, stream_id, &["1", "2"]);
        retain(&store, stream_id, Retention { max_count: Some(1), ..none() });
    }
    retain(&store, "a", Retention { max_count: Some(1), ..none() });
    delete_stream(&store, "b", ExpectedVersion::Any, Deletion::Soft).unwrap();
    let first = scavenge(&store, NOW, None).unwrap().step;
    assert!(first.next.is_some() && first.removed <= 1_000, "{first:?}");
    // An interrupted run begins again.
    let shown = reads(&store, NOW);
    assert_eq!(scavenge_all(&store, NOW).0.removed + first.removed, 2_700);
    assert_eq!(reads(&store, NOW), shown);
    assert_clean(&store);
}

/// Every limit of a step ends steps inside the stream, on both sides of every boundary.
#[test]
fn a_step_may_end_anywhere_in_a_stream() {
    let many_tags: Vec<String> = (0..32).map(|tag| format!("tag-{tag}")).collect();
    let many_tags: Vec<&str> = many_tags.iter().map(String::as_str).collect();
    let by_count = [999, 1_000, 1_001, 1_999, 2_000, 2_001, 3_001].map(|events| (events, 1, &[][..]));
    let by_bytes = [12, 13, 14, 26, 27, 40].map(|events| (events, 320_000, &[][..]));
    let by_labels = [275, 276, 550, 1_250].map(|events| (events, 1, &many_tags[..]));
    for (events, bytes, tags) in by_count.into_iter().chain(by_bytes).chain(by_labels) {
        let store = MemoryStore::new();
        let all: Vec<EventData> = (0..events)
            .map(|number| EventData { data: vec![b'x'; bytes], ..event(&format!("event-{number}"), tags) })
            .collect();
        // Few enough events for one append.
        for part in all.chunks(20) {
            let request = AppendRequest {
                stream_id: "a".into(),
                expected: ExpectedVersion::Any,
                events: part.to_vec(),
            };
            append(&store, NOW, CorrelationIndex::Off, &[request])[0].as_ref().expect("it is valid");
        }
        put(&store, "b", &["1"]);
        for stream_id in ["a", "b"] {
            delete_stream(&store, stream_id, ExpectedVersion::Any, Deletion::Soft).unwrap();
        }
        let (done, skipped) = scavenge_all(&store, NOW);
        assert_eq!((done.removed, skipped), (events as u64 + 1, Vec::new()), "{events} of {bytes} bytes");
        assert_eq!((store.entries(INDEX), store.entries(IDS), store.entries(LABELS)), <_>::default());
        assert_clean(&store);
    }
}

#[test]
fn a_concurrent_append_does_not_stop_scavenging() {
    let store = MemoryStore::new();
    put(&store, "a", &["1", "22", "3"]);
    put(&store, "b", &["1", "22"]);
    for stream_id in ["a", "b"] {
        retain(&store, stream_id, Retention { max_count: Some(1), ..none() });
    }
    let mut number = 0;
    let rival = Rival::new(&store, 3, |store| {
        number += 1;
        put(store, "a", &[&format!("rival-{number}")]);
    });
    let (done, skipped) = scavenge_all(&rival, NOW);
    assert_eq!(skipped, Vec::<String>::new());
    // The last try removes all events of `a` but the rival's last one. That of `b` was removed by the first.
    assert_eq!((done.removed, head(&store, "b").reclaimed_before), (3 + 2, 1));
    assert_clean(&store);
    let events = all(|from| read_stream(&store, NOW, "a", from, 9, Direction::Forward)).unwrap();
    assert_eq!(events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["rival-3"]);
}

#[test]
fn damage_stops_scavenging_of_its_stream_only() {
    let damages: [fn(&MemoryStore); 5] = [
        |store| store.lose_event(1),
        |store| store.damage(1),
        |store| store.remove(INDEX, &index_key(0, 2)),
        |store| store.overwrite(STREAMS, b"a", b"\x09"),
        |store| store.remove(STREAMS, b"a"),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let store = MemoryStore::new();
        put(&store, "a", &["1", "22", "3"]);
        put(&store, "b", &["1", "22"]);
        retain(&store, "a", Retention { max_count: Some(1), ..none() });
        retain(&store, "b", Retention { max_count: Some(1), ..none() });
        damage(&store);
        let (done, skipped) = scavenge_all(&store, NOW);
        assert_eq!(done.examined, 2);
        assert_eq!(done.removed, if number < 2 { 2 } else { 1 });
        assert!(skipped.len() == 1 && skipped[0].contains("stream `a`"), "{skipped:?}");
        assert_eq!(head(&store, "b").reclaimed_before, 1);
    }
}
