//! Scavenging and verification against keyspaces in memory.

#[path = "../driver/mod.rs"]
mod driver;
mod failures;
mod properties;
mod scavenging;
mod verification;

use exesdb_reference::{AppendRequest, ImportedEvent};
use exesdb_sdk::events::{EventData, RecordedEvent};
use exesdb_sdk::maintenance::{Finding, ScavengeStep};
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::packed::{Frames, Record};
use exesdb_sdk::types::{
    Direction, Error, EventFilter, ExpectedVersion, ImportMark, QueryItem, Retention, StreamInfo,
};
use exesdb_sdk::view::View;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::layout::{Head, IDS, IMPORTS, INDEX, LABELS, RETAINED, STREAMS};

use driver::{
    EventPage, Target, append, import_events, list_streams, read_all, read_filtered, read_stream, scavenge,
    set_retention, stream_info, verify,
};

/// The time of day in the tests, in microseconds.
const NOW: u64 = 1_000_000_000;

const KEYSPACES: [&str; 6] = [STREAMS, RETAINED, INDEX, IDS, LABELS, IMPORTS];

fn event(id: &str, tags: &[&str]) -> EventData {
    EventData {
        id: id.into(),
        event_type: format!("type-{}", id.len() % 2),
        content_type: "c".into(),
        data: id.as_bytes().to_vec(),
        metadata: br#"{"$correlationId":"c1"}"#.to_vec(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    }
}

fn put_at(store: &impl Target, now: u64, stream_id: &str, ids: &[&str]) {
    let events = ids.iter().map(|id| event(id, &["all", stream_id])).collect();
    let request = AppendRequest { stream_id: stream_id.into(), expected: ExpectedVersion::Any, events };
    append(store, now, CorrelationIndex::On, &[request])[0].as_ref().expect("it is valid");
}

fn put(store: &impl Target, stream_id: &str, ids: &[&str]) {
    put_at(store, NOW, stream_id, ids);
}

fn retain(store: &impl Target, stream_id: &str, retention: Retention) {
    set_retention(store, NOW, stream_id, &retention).expect("it is valid");
}

fn none() -> Retention {
    Retention { max_count: None, max_age_seconds: None, truncate_before: None }
}

/// Runs all steps of scavenging. Returns their sum and the streams that were skipped.
fn scavenge_all(store: &impl Target, now: u64) -> (ScavengeStep, Vec<String>) {
    let mut sum = ScavengeStep { batches: Vec::new(), next: None, examined: 0, removed: 0, bytes: 0 };
    let mut skipped = Vec::new();
    for _ in 0..1_000 {
        let done = scavenge(store, now, sum.next.as_ref()).expect("the storage works");
        assert!(done.step.next.as_ref().is_none_or(|next| next.len() <= 4_096));
        assert!(done.step.next.is_none() || done.step.next != sum.next, "each step has another cursor");
        sum.examined += done.step.examined;
        sum.removed += done.step.removed;
        sum.bytes += done.step.bytes;
        skipped.extend(done.skipped);
        sum.next = done.step.next;
        if sum.next.is_none() {
            return (sum, skipped);
        }
    }
    panic!("the walk does not end");
}

/// Runs all steps of verification. Returns their findings.
fn walk(store: &MemoryStore, repair: bool) -> Vec<Finding> {
    let (mut findings, mut found) = (Vec::new(), 0);
    let mut from = None;
    for _ in 0..1_000 {
        let step = verify(store, from.as_ref(), repair).expect("the storage works");
        findings.extend(step.findings);
        found += step.found;
        match step.next {
            Some(next) => {
                assert!(next.len() <= 4_096 && from.as_ref() != Some(&next), "{next:?}");
                from = Some(next);
            }
            None => {
                assert!(findings.len() as u64 == found || findings.len() >= 100);
                return findings;
            }
        }
    }
    panic!("the walk does not end");
}

fn assert_clean(store: &MemoryStore) {
    assert_eq!(walk(store, false), []);
}

type Everything = (Vec<Vec<(Vec<u8>, Vec<u8>)>>, Vec<u8>);

/// All entries, and the log.
fn everything(store: &MemoryStore) -> Everything {
    (KEYSPACES.map(|keyspace| store.entries(keyspace)).into(), log(store))
}

/// The frames of the log up to the first that is damaged.
fn log(store: &MemoryStore) -> Vec<u8> {
    let view = store.view();
    let frame = |position| view.log_get(&[position], 1);
    (0..view.end().next_position).map_while(|position| frame(position).ok()).flatten().collect()
}

/// The lengths of the events in the log.
fn event_bytes(store: &MemoryStore) -> Vec<usize> {
    let log = log(store);
    let bytes = Frames::new(&log).filter_map(|frame| match frame.expect("it is whole").record {
        Record::Event(envelope) => Some(envelope.len()),
        Record::Removed { .. } | Record::Gap { .. } => None,
    });
    bytes.collect()
}

/// Bytes of all keys, values and events.
fn bytes(store: &MemoryStore) -> usize {
    let entries = everything(store).0;
    let entries = entries.iter().flatten().map(|(key, value)| key.len() + value.len());
    entries.sum::<usize>() + event_bytes(store).iter().sum::<usize>()
}

/// All events of a sequence of pages.
fn all(mut read: impl FnMut(Option<u64>) -> Result<EventPage, Error>) -> Result<Vec<RecordedEvent>, Error> {
    let mut events = Vec::new();
    let mut from = None;
    loop {
        let page = read(from)?;
        events.extend(page.events);
        if page.end {
            return Ok(events);
        }
        from = page.next;
    }
}

/// The results of all kinds of reads of a store.
#[derive(Debug, PartialEq)]
struct Reads {
    whole: Vec<Result<Vec<RecordedEvent>, Error>>,
    streams: Vec<Result<Vec<RecordedEvent>, Error>>,
    infos: Vec<Result<StreamInfo, Error>>,
    listed: Vec<String>,
}

fn reads(store: &MemoryStore, now: u64) -> Reads {
    let filter = |types: &[&str], tags: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        EventFilter {
            query: vec![QueryItem { types: texts(types), tags: texts(tags) }],
            stream_prefixes: Vec::new(),
            correlation_id: None,
            causation_id: None,
            stream_pattern: None,
            type_pattern: None,
            options: Vec::new(),
        }
    };
    let correlated = EventFilter { query: Vec::new(), correlation_id: Some("c1".into()), ..filter(&[], &[]) };
    let filters = [filter(&["type-1"], &[]), filter(&[], &["a"]), filter(&["type-0"], &["all"]), correlated];
    let directions = [Direction::Forward, Direction::Backward];
    let mut whole = Vec::new();
    let mut streams = Vec::new();
    for direction in directions {
        whole.push(all(|from| read_all(store, now, from, 7, direction)));
        for filter in &filters {
            whole.push(all(|from| {
                read_filtered(store, now, CorrelationIndex::On, filter.clone(), from, 7, direction)
            }));
        }
        for stream_id in STREAM_IDS {
            streams.push(all(|from| read_stream(store, now, stream_id, from, 3, direction)));
        }
    }
    Reads {
        whole,
        streams,
        infos: STREAM_IDS.map(|stream_id| stream_info(store, now, stream_id)).into(),
        listed: list_streams(store, "", None, 1_000, false).expect("it is valid").streams,
    }
}

const STREAM_IDS: [&str; 3] = ["a", "ab", "b"];

/// Two streams of several appends after a gap; one stream has hidden events.
fn store() -> MemoryStore {
    let store = MemoryStore::new();
    put(&store, "a", &["1", "22", "3"]);
    put(&store, "b", &["1"]);
    let imported = ImportedEvent {
        stream_id: "i".into(),
        version: 7,
        position: Some(9),
        created: 3,
        event: event("x", &["all"]),
    };
    let mark = ImportMark { stream_id: "i".into(), source: "f".into(), rows: 1, leading_rows: 1 };
    import_events(&store, NOW, CorrelationIndex::On, &[imported], &[mark]).expect("it is valid");
    put(&store, "a", &["44", "5"]);
    put(&store, "b", &["22", "3"]);
    retain(&store, "b", Retention { max_count: Some(2), ..none() });
    store
}

fn head(store: &MemoryStore, stream_id: &str) -> Head {
    let value = store.view().get(STREAMS, stream_id.as_bytes()).expect("it works").expect("it is there");
    Head::decode(&value).expect("it is a head")
}

fn key(position: u64) -> [u8; 8] {
    position.to_be_bytes()
}

/// The findings about this damage. Checks that verification without `repair` changes nothing.
fn findings(damage: impl Fn(&MemoryStore)) -> (MemoryStore, Vec<Finding>) {
    let store = store();
    damage(&store);
    let damaged = everything(&store);
    let findings = walk(&store, false);
    assert!(findings.iter().all(|finding| !finding.is_repaired), "{findings:?}");
    assert_eq!(everything(&store), damaged);
    (store, findings)
}

/// Checks that the damage is reported with these words and repaired, so that all reads give what they gave before.
fn assert_repaired(damage: impl Fn(&MemoryStore), place: &str, words: &str) -> MemoryStore {
    let whole = reads(&store(), NOW);
    let (store, found) = findings(damage);
    assert!(
        found.iter().any(|finding| finding.place.contains(place) && finding.problem.contains(words)),
        "{place}, {words}: {found:?}"
    );
    let repaired = walk(&store, true);
    assert!(repaired.iter().any(|finding| finding.is_repaired), "{place}, {words}: {repaired:?}");
    assert_eq!(walk(&store, true), [], "{place}, {words}");
    assert_eq!(reads(&store, NOW), whole, "{place}, {words}");
    store
}

/// Checks that the damage is repaired byte for byte.
fn assert_restored(damage: impl Fn(&MemoryStore), place: &str, words: &str) {
    let repaired = assert_repaired(damage, place, words);
    assert_eq!(everything(&repaired), everything(&store()), "{place}, {words}");
}

/// Checks that the damage is reported with these words, and that nothing is changed.
fn assert_reported(damage: impl Fn(&MemoryStore), place: &str, words: &str) {
    let (store, found) = findings(damage);
    let is_named = |found: &[Finding]| {
        found.iter().any(|finding| {
            finding.place.contains(place) && finding.problem.contains(words) && !finding.is_repaired
        })
    };
    assert!(is_named(&found), "{place}, {words}: {found:?}");
    let events = log(&store);
    assert!(is_named(&walk(&store, true)), "{place}, {words}");
    let again = walk(&store, true);
    assert!(
        is_named(&again) && again.iter().all(|finding| !finding.is_repaired),
        "{place}, {words}: {again:?}"
    );
    assert_eq!(log(&store), events);
}
