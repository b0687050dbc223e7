//! Scavenging takes away what is hidden and nothing else; verifying finds every kind of damage, names it, and puts right
//! what follows from the events.

mod rival;

use exesdb_sdk::keyspaces::{Keyspaces, MemoryKeyspaces};
use exesdb_sdk::maintenance::{Finding, ScavengeStep};
use exesdb_sdk::streams::{
    AppendRequest, Deletion, EventFilter, EventPage, ImportMark, ImportedEvent, QueryItem, Retention,
    StreamInfo,
};
use exesdb_sdk::types::{Direction, Error, EventData, ExpectedVersion, RecordedEvent};
use exesdb_streams::append::append;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::delete::delete_stream;
use exesdb_streams::import::import_events;
use exesdb_streams::layout::{
    EVENTS, Envelope, GAPS, Head, IDS, IMPORTS, INDEX, ImportedRows, LABELS, LabelKind, RETAINED, STREAMS,
    id_key, import_key, index_key, label_digest, label_key,
};
use exesdb_streams::maintenance::{scavenge, verify};
use exesdb_streams::read::{list_streams, read_all, read_filtered, read_stream, stream_info};
use exesdb_streams::retention::set_retention;
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use rival::{Rival, Storage};

/// The time of day in the tests, in microseconds.
const NOW: u64 = 1_000_000_000;

const KEYSPACES: [&str; 8] = [STREAMS, RETAINED, EVENTS, GAPS, INDEX, IDS, LABELS, IMPORTS];

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

fn put_at(store: &impl Keyspaces, now: u64, stream_id: &str, ids: &[&str]) {
    let events = ids.iter().map(|id| event(id, &["all", stream_id])).collect();
    let request = AppendRequest { stream_id: stream_id.into(), expected: ExpectedVersion::Any, events };
    append(store, now, CorrelationIndex::On, &[request])[0].as_ref().expect("it is valid");
}

fn put(store: &impl Keyspaces, stream_id: &str, ids: &[&str]) {
    put_at(store, NOW, stream_id, ids);
}

fn retain(store: &impl Keyspaces, stream_id: &str, retention: Retention) {
    set_retention(store, NOW, stream_id, &retention).expect("it is valid");
}

fn none() -> Retention {
    Retention { max_count: None, max_age_seconds: None, truncate_before: None }
}

/// What a whole walk of scavenging did, and the streams that it passed over.
fn scavenge_all(store: &impl Keyspaces, now: u64) -> (ScavengeStep, Vec<String>) {
    let mut sum = ScavengeStep { next: None, examined: 0, removed: 0, bytes: 0 };
    let mut passed_over = Vec::new();
    for _ in 0..1_000 {
        let done = scavenge(store, now, sum.next.as_ref()).expect("the storage works");
        assert!(done.step.next.as_ref().is_none_or(|next| next.len() <= 4_096));
        assert!(done.step.next.is_none() || done.step.next != sum.next, "each step has another cursor");
        sum.examined += done.step.examined;
        sum.removed += done.step.removed;
        sum.bytes += done.step.bytes;
        passed_over.extend(done.passed_over);
        sum.next = done.step.next;
        if sum.next.is_none() {
            return (sum, passed_over);
        }
    }
    panic!("the walk does not end");
}

/// All that a whole walk of verifying finds.
fn walk(store: &MemoryKeyspaces, repair: bool) -> Vec<Finding> {
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

fn is_clean(store: &MemoryKeyspaces) {
    assert_eq!(walk(store, false), []);
}

type Everything = Vec<Vec<(Vec<u8>, Vec<u8>)>>;

fn everything(store: &MemoryKeyspaces) -> Everything {
    KEYSPACES.map(|keyspace| store.entries(keyspace)).into()
}

/// Bytes of all keys and values.
fn bytes(store: &MemoryKeyspaces) -> usize {
    everything(store).iter().flatten().map(|(key, value)| key.len() + value.len()).sum()
}

/// All events that a series of pages gives.
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

/// What is read of a store in every way.
#[derive(Debug, PartialEq)]
struct Reads {
    whole: Vec<Result<Vec<RecordedEvent>, Error>>,
    streams: Vec<Result<Vec<RecordedEvent>, Error>>,
    infos: Vec<Result<StreamInfo, Error>>,
    listed: Vec<String>,
}

fn reads(store: &impl Keyspaces, now: u64) -> Reads {
    let filter = |types: &[&str], tags: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        EventFilter {
            query: vec![QueryItem { types: texts(types), tags: texts(tags) }],
            stream_prefixes: Vec::new(),
            correlation_id: None,
            causation_id: None,
            stream_pattern: None,
            type_pattern: None,
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

/// Two streams of some appends, one of which hides events, behind a gap.
fn store() -> MemoryKeyspaces {
    let store = MemoryKeyspaces::new();
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

fn head(store: &MemoryKeyspaces, stream_id: &str) -> Head {
    let value = store.get(STREAMS, stream_id.as_bytes()).expect("it works").expect("it is there");
    Head::decode(&value).expect("it is a head")
}

fn key(position: u64) -> [u8; 8] {
    position.to_be_bytes()
}

/// The findings of this damage; nothing changes without `repair`.
fn findings(damage: impl Fn(&MemoryKeyspaces)) -> (MemoryKeyspaces, Vec<Finding>) {
    let store = store();
    damage(&store);
    let damaged = everything(&store);
    let findings = walk(&store, false);
    assert!(findings.iter().all(|finding| !finding.repaired), "{findings:?}");
    assert_eq!(everything(&store), damaged);
    (store, findings)
}

/// The damage is found in these words, put right, and then everything is as it was read before.
fn is_repaired(damage: impl Fn(&MemoryKeyspaces), place: &str, words: &str) -> MemoryKeyspaces {
    let whole = reads(&store(), NOW);
    let (store, found) = findings(damage);
    assert!(
        found.iter().any(|finding| finding.place.contains(place) && finding.problem.contains(words)),
        "{place}, {words}: {found:?}"
    );
    let repaired = walk(&store, true);
    assert!(repaired.iter().any(|finding| finding.repaired), "{place}, {words}: {repaired:?}");
    assert_eq!(walk(&store, true), [], "{place}, {words}");
    assert_eq!(reads(&store, NOW), whole, "{place}, {words}");
    store
}

/// The damage is put right to the byte.
fn is_restored(damage: impl Fn(&MemoryKeyspaces), place: &str, words: &str) {
    let repaired = is_repaired(damage, place, words);
    assert_eq!(everything(&repaired), everything(&store()), "{place}, {words}");
}

/// The damage is found in these words, and neither put right nor made worse.
fn is_reported(damage: impl Fn(&MemoryKeyspaces), place: &str, words: &str) {
    let (store, found) = findings(damage);
    let is_named = |found: &[Finding]| {
        found.iter().any(|finding| {
            finding.place.contains(place) && finding.problem.contains(words) && !finding.repaired
        })
    };
    assert!(is_named(&found), "{place}, {words}: {found:?}");
    let events = store.entries(EVENTS);
    assert!(is_named(&walk(&store, true)), "{place}, {words}");
    let again = walk(&store, true);
    assert!(is_named(&again) && again.iter().all(|finding| !finding.repaired), "{place}, {words}: {again:?}");
    assert_eq!(store.entries(EVENTS), events);
}

#[test]
fn a_whole_store_is_clean() {
    let empty = MemoryKeyspaces::new();
    assert_eq!(walk(&empty, true), []);
    let store = store();
    let whole = everything(&store);
    assert_eq!(walk(&store, true), []);
    assert_eq!(everything(&store), whole);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    delete_stream(&store, "i", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    is_clean(&store);
    put(&store, "a", &["again"]);
    is_clean(&store);
    assert_eq!(scavenge_all(&store, NOW).1, Vec::<String>::new());
    is_clean(&store);
}

#[test]
fn entries_of_the_index_are_written_anew() {
    let origin = head(&store(), "a").origin;
    let (middle, last) = (index_key(origin, 2), index_key(origin, 4));
    is_restored(|store| store.remove(INDEX, &middle), "stream `a`, versions 0 to 2", "`index`");
    is_restored(|store| store.remove(INDEX, &last), "stream `a`, versions 3 to 4", "`index`");
    is_restored(|store| store.overwrite(INDEX, &last, &key(2)), "versions 3 to 4", "`index`");
    is_restored(|store| store.overwrite(INDEX, &middle, b"odd"), "versions 0 to 2", "`index`");
    let other = index_key(origin, 9);
    is_restored(|store| store.overwrite(INDEX, &other, &key(0)), "`index`", "another stream or version");
    is_restored(
        |store| store.overwrite(INDEX, b"odd", &key(0)),
        "`index`, key `odd`",
        "no origin and version",
    );
    let inside = index_key(origin, 1);
    is_repaired(|store| store.overwrite(INDEX, &inside, &key(12)), "versions 0 to 1", "`index`");
}

#[test]
fn entries_of_ids_are_written_anew() {
    let origin = head(&store(), "a").origin;
    let id = id_key(origin, "22");
    is_restored(|store| store.remove(IDS, &id), "stream `a`, version 1", "`ids`");
    is_restored(|store| store.overwrite(IDS, &id, &key(2)), "stream `a`, version 1", "`ids`");
    is_restored(|store| store.overwrite(IDS, &id, b""), "stream `a`, version 1", "`ids`");
    let other = id_key(origin, "other");
    is_restored(|store| store.overwrite(IDS, &other, &key(1)), "`ids`", "another id");
    is_restored(|store| store.overwrite(IDS, &other, &key(99)), "`ids`", "no version 99");
    let nowhere = id_key(77, "other");
    is_restored(|store| store.overwrite(IDS, &nowhere, &key(0)), "`ids`", "no version 0");
    is_restored(|store| store.overwrite(IDS, b"odd", &key(0)), "`ids`, key `odd`", "no origin and digest");
}

/// The id of a hidden event may be appended again: the entry is then the later event's, and stays it.
#[test]
fn the_entry_of_an_id_is_that_of_its_last_event() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", &["1", "22"]);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    put(&store, "a", &["22", "3"]);
    is_clean(&store);
    let whole = everything(&store);
    let id = id_key(head(&store, "a").origin, "22");
    let damages: [fn(&MemoryKeyspaces, &[u8]); 4] = [
        |store, id| store.remove(IDS, id),
        |store, id| store.overwrite(IDS, id, &key(1)),
        |store, id| store.overwrite(IDS, id, &key(3)),
        |store, id| store.overwrite(IDS, id, &key(9)),
    ];
    for damage in damages {
        damage(&store, &id);
        let found = walk(&store, true);
        assert!(
            found.iter().any(|finding| finding.place.contains("version 2") && finding.repaired),
            "{found:?}"
        );
        assert_eq!(walk(&store, true), []);
        assert_eq!(everything(&store), whole);
    }
    let (done, passed_over) = scavenge_all(&store, NOW);
    assert_eq!((done.removed, passed_over), (2, Vec::new()));
    assert_eq!(store.get(IDS, &id).unwrap(), Some(key(2).to_vec()));
    is_clean(&store);
}

#[test]
fn entries_of_labels_are_written_anew() {
    let all = label_digest(LabelKind::Tag, "all");
    // The first append of `a` has the positions 0 to 2.
    let posting = label_key(all, 2);
    is_repaired(|store| store.remove(LABELS, &posting), "stream `a`, version 0", "`labels`");
    is_repaired(|store| store.overwrite(LABELS, &posting, &key(1)), "stream `a`, version 0", "`labels`");
    is_repaired(|store| store.overwrite(LABELS, &posting, &key(3)), "stream `a`, version 0", "`labels`");
    is_repaired(|store| store.overwrite(LABELS, &posting, b"odd"), "stream `a`, version 0", "`labels`");
    let type_0 = label_digest(LabelKind::Type, "type-0");
    // Of position 1 only.
    let single = label_key(type_0, 1);
    is_restored(|store| store.remove(LABELS, &single), "stream `a`, version 1", "`labels`");
    is_restored(|store| store.overwrite(LABELS, &single, &key(0)), "`labels`", "first event does not have");
    let other = label_key(label_digest(LabelKind::Tag, "other"), 2);
    is_restored(|store| store.overwrite(LABELS, &other, &key(2)), "`labels`", "last event");
    let inside = label_key(type_0, 2);
    is_restored(|store| store.overwrite(LABELS, &inside, &key(2)), "`labels`", "last event");
    is_restored(|store| store.overwrite(LABELS, b"odd", b""), "`labels`, key `odd`", "no label");
}

#[test]
fn entries_of_retained_and_gaps() {
    is_restored(|store| store.remove(RETAINED, b"b"), "stream `b`", "no entry in `retained`");
    is_restored(|store| store.overwrite(RETAINED, b"b", b"x"), "`retained`, key `b`", "a value");
    is_restored(|store| store.overwrite(RETAINED, b"a", b""), "`retained`, key `a`", "hides nothing");
    is_reported(|store| store.overwrite(RETAINED, b"none", b""), "`retained`, key `none`", "no such stream");
    is_reported(|store| store.remove(GAPS, &key(4)), "positions 4 to 8", "no import");
    is_reported(|store| store.overwrite(GAPS, &key(4), &key(8)), "positions 8 to 8", "no import");
    is_reported(|store| store.overwrite(GAPS, &key(4), &key(11)), "`gaps`", "among the positions");
    is_restored(|store| store.overwrite(GAPS, &key(0), &key(2)), "`gaps`", "no import left these empty");
    is_restored(|store| store.overwrite(GAPS, b"odd", &key(2)), "`gaps`, key `odd`", "no range");
}

#[test]
fn numbers_of_imported_rows() {
    let mark = import_key("i", "f");
    let odd = "no stream and source with a number";
    let rows = |rows| ImportedRows { rows, leading_rows: rows }.encode();
    is_restored(|store| store.overwrite(IMPORTS, b"odd", &rows(1)), "`imports`, key `odd`", odd);
    is_restored(|store| store.overwrite(IMPORTS, &import_key("i", "g"), b"many"), "`imports`", odd);
    is_restored(|store| store.overwrite(IMPORTS, &import_key("i", "g"), &rows(0)), "`imports`", odd);
    is_repaired(|store| store.overwrite(IMPORTS, &mark, &rows(9)), "`imports`, key `i", "9 rows");
    is_reported(
        |store| store.overwrite(IMPORTS, &import_key("none", "f"), &rows(1)),
        "`imports`, key `none",
        "no such stream",
    );
}

#[test]
fn a_head_that_can_be_told_is_written_anew() {
    is_restored(|store| store.remove(STREAMS, b"a"), "stream `a`", "no head");
    is_restored(|store| store.overwrite(STREAMS, b"a", b"\x09"), "stream `a`", "cannot be read");
    let of_a = head(&store(), "a").encode();
    let mut odd = of_a.clone();
    odd[0] = 2;
    odd.extend([0; 33]);
    is_restored(|store| store.overwrite(STREAMS, b"a", &odd), "stream `a`", "another form");
}

#[test]
fn a_head_that_cannot_be_told_is_reported() {
    // What was hidden is nowhere else.
    is_reported(|store| store.remove(STREAMS, b"b"), "stream `b`", "no head");
    is_reported(|store| store.overwrite(STREAMS, b"b", b"\x09"), "stream `b`", "cannot be read");
    // It does not begin with version 0.
    is_reported(|store| store.remove(STREAMS, b"i"), "stream `i`", "no head");
    // Its last events may be gone, too.
    let lost = |store: &MemoryKeyspaces| {
        let origin = head(store, "a").origin;
        store.remove(STREAMS, b"a");
        store.remove(INDEX, &index_key(origin, 4));
    };
    is_reported(lost, "stream `a`", "no head");
    let lost_and_led_astray = |store: &MemoryKeyspaces| {
        let origin = head(store, "a").origin;
        store.remove(STREAMS, b"a");
        store.overwrite(INDEX, &index_key(origin, 4), &key(12));
    };
    is_reported(lost_and_led_astray, "stream `a`", "no head");
    let mut low = head(&store(), "a");
    low.last_version = 2;
    is_reported(|store| store.overwrite(STREAMS, b"a", &low.encode()), "version 3", "2 is its last version");
    let high = Head { last_version: 5, ..low };
    is_reported(|store| store.overwrite(STREAMS, b"a", &high.encode()), "version 5", "no entry");
    is_reported(|store| store.overwrite(STREAMS, b"\xff", &low.encode()), "`streams`", "no stream id");
    let late = Head { origin: 1, ..head(&store(), "a") };
    is_reported(|store| store.overwrite(STREAMS, b"a", &late.encode()), "version 0", "begins at position 1");
    let strange = Head { origin: head(&store(), "a").origin, ..head(&store(), "b") };
    let sound = store();
    let spoiled = |store: &MemoryKeyspaces| store.overwrite(STREAMS, b"b", &strange.encode());
    is_reported(spoiled, "stream `b`", "nothing there is of this stream");
    let (spoiled, _) = findings(spoiled);
    walk(&spoiled, true);
    for keyspace in [INDEX, IDS, LABELS] {
        assert_eq!(spoiled.entries(keyspace), sound.entries(keyspace));
    }
    let far = Head { reclaimed_before: 2, ..head(&store(), "a") };
    is_reported(|store| store.overwrite(STREAMS, b"a", &far.encode()), "version 1", "still here");
}

#[test]
fn events_that_are_lost_or_changed_are_reported() {
    for position in [0, 1, 3, 9, 10, 13] {
        is_reported(
            |store| store.remove(EVENTS, &key(position)),
            &format!("positions {position} to"),
            "lost",
        );
        is_reported(
            |store| store.overwrite(EVENTS, &key(position), b"\x09"),
            &format!("position {position}"),
            "format",
        );
        let whole = store().get(EVENTS, &key(position)).unwrap().unwrap();
        let mut flipped = whole.clone();
        *flipped.iter_mut().rfind(|byte| **byte == b'l').unwrap() ^= 1;
        let place = format!("position {position},");
        is_reported(|store| store.overwrite(EVENTS, &key(position), &flipped), &place, "hash chain");
        let mut unlinked = whole.clone();
        unlinked[1] ^= 1;
        is_reported(|store| store.overwrite(EVENTS, &key(position), &unlinked), &place, "hash chain");
    }
    is_reported(|store| store.remove(EVENTS, &key(13)), "position 12", "does not end with");
    is_reported(|store| store.overwrite(EVENTS, b"odd", b""), "`events`, key `odd`", "no position");
    let last = store().get(EVENTS, &key(13)).unwrap().unwrap();
    is_reported(|store| store.overwrite(EVENTS, &key(14), &last), "`events`", "behind the end");
    is_reported(|store| store.overwrite(EVENTS, &key(3), &last), "position 3,", "hash chain");
    // Where the chain cannot tell because the event before cannot be read.
    let twice = |store: &MemoryKeyspaces| {
        store.overwrite(EVENTS, &key(2), b"odd");
        store.overwrite(EVENTS, &key(3), &last);
    };
    is_reported(twice, "stream `b`, version 2 (position 3)", "13 has an event");
}

#[test]
fn an_event_that_was_removed_although_nothing_hides_it_is_reported() {
    for (position, version) in [(0, 0), (2, 2), (10, 3), (11, 4)] {
        let removed = |store: &MemoryKeyspaces| {
            let value = store.get(EVENTS, &key(position)).unwrap().unwrap();
            let link = Envelope::decode(position, &value).unwrap().link();
            store.overwrite(EVENTS, &key(position), &Envelope::encode_removed(link));
        };
        // Its content is not chained any more, but what led to it is still there.
        is_reported(removed, &format!("stream `a`, version {version}"), "removed");
    }
}

#[test]
fn many_damages_at_once_are_counted_and_put_right() {
    let store = MemoryKeyspaces::new();
    let ids: Vec<String> = (0..900).map(|number| format!("event-{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    for stream_id in ["a", "ab", "b", "c"] {
        put(&store, stream_id, &ids);
    }
    let whole = reads(&store, NOW);
    for keyspace in [INDEX, IDS, LABELS, STREAMS] {
        for (key, _) in
            store.entries(keyspace).into_iter().filter(|(key, _)| keyspace != STREAMS || key != b"c")
        {
            if keyspace != STREAMS {
                store.remove(keyspace, &key);
            }
        }
    }
    let step = verify(&store, None, true).unwrap();
    assert_eq!(step.findings.len(), 100);
    assert!(step.found > 2_000, "{}", step.found);
    walk(&store, true);
    is_clean(&store);
    // Without an entry nobody knows what was indexed of the metadata.
    let restored = reads(&store, NOW);
    assert_eq!((&restored.streams, &restored.infos), (&whole.streams, &whole.infos));
    assert_eq!(restored.whole[..4], whole.whole[..4]);
}

#[test]
fn what_is_hidden_is_removed_with_all_that_finds_it() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", &["1", "22", "3"]);
    put(&store, "a", &["44", "5"]);
    put(&store, "b", &["1"]);
    let before = everything(&store);
    assert_eq!(scavenge_all(&store, NOW).0, ScavengeStep { next: None, examined: 0, removed: 0, bytes: 0 });
    retain(&store, "a", Retention { truncate_before: Some(2), ..none() });
    let (shown, size) = (reads(&store, NOW), bytes(&store));
    let (done, passed_over) = scavenge_all(&store, NOW);
    assert_eq!((done.examined, done.removed, passed_over.len()), (1, 2, 0));
    assert_eq!(done.bytes as usize, size - bytes(&store));
    assert_eq!(reads(&store, NOW), shown);
    assert_eq!(head(&store, "a").reclaimed_before, 2);
    // The append still has an event, so what leads to it is there; its other label is not.
    assert_eq!((store.entries(INDEX).len(), store.entries(IDS).len()), (3, 4));
    assert_eq!(store.get(LABELS, &label_key(label_digest(LabelKind::Type, "type-0"), 1)).unwrap(), None);
    assert!(store.get(LABELS, &label_key(label_digest(LabelKind::Tag, "all"), 2)).unwrap().is_some());
    for position in [0, 1] {
        let value = store.get(EVENTS, &key(position)).unwrap().unwrap();
        let link = Envelope::decode(position, &before[2][position as usize].1).unwrap().link();
        assert_eq!(Envelope::decode(position, &value), Ok(Envelope::Removed { link }));
    }
    is_clean(&store);
    assert_eq!(scavenge_all(&store, NOW).0.removed, 0);

    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    assert_eq!(scavenge_all(&store, NOW).0.removed, 3);
    is_clean(&store);
    assert_eq!(head(&store, "a").reclaimed_before, 5);
    assert_eq!((store.entries(INDEX).len(), store.entries(IDS).len()), (1, 1));
    // Of `b`: its type, its tags `all` and `b`, its correlation.
    assert_eq!(store.entries(LABELS).len(), 4);
    assert_eq!(store.entries(EVENTS).len(), 6);
    assert_eq!(scavenge_all(&store, NOW).0.removed, 0);
}

#[test]
fn a_deleted_stream_goes_on_where_it_was_after_scavenging() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", &["1", "22"]);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    assert_eq!(scavenge_all(&store, NOW).0.removed, 2);
    // The ids are free again.
    put(&store, "a", &["1", "3"]);
    is_clean(&store);
    let events = all(|from| read_stream(&store, NOW, "a", from, 9, Direction::Forward)).unwrap();
    assert_eq!(events.iter().map(|event| event.version).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(scavenge_all(&store, NOW).0.removed, 0);
    retain(&store, "a", Retention { max_count: Some(1), ..none() });
    assert_eq!(scavenge_all(&store, NOW).0.removed, 1);
    is_clean(&store);
}

#[test]
fn age_takes_events_one_after_the_other() {
    const SECOND: u64 = 1_000_000;
    let store = MemoryKeyspaces::new();
    for (second, id) in [(0, "1"), (1, "22"), (2, "3"), (10, "44")] {
        put_at(&store, NOW + second * SECOND, "a", &[id, &format!("{id}-")]);
    }
    retain(&store, "a", Retention { max_age_seconds: Some(5), ..none() });
    for (second, removed) in [(5, 0), (6, 2), (6, 0), (7, 2), (9, 2), (15, 0), (16, 2), (99, 0)] {
        let now = NOW + second * SECOND;
        let shown = reads(&store, now);
        assert_eq!(scavenge_all(&store, now).0.removed, removed, "{second}");
        assert_eq!(reads(&store, now), shown);
        is_clean(&store);
    }
}

#[test]
fn many_events_and_streams_are_removed_in_many_steps() {
    let store = MemoryKeyspaces::new();
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
    // What was interrupted begins again.
    let shown = reads(&store, NOW);
    assert_eq!(scavenge_all(&store, NOW).0.removed + first.removed, 2_700);
    assert_eq!(reads(&store, NOW), shown);
    is_clean(&store);
}

/// Each of a step's limits ends steps inside the stream, at both sides of every boundary.
#[test]
fn a_stream_of_any_length_is_removed_step_by_step() {
    let many_tags: Vec<String> = (0..32).map(|tag| format!("tag-{tag}")).collect();
    let many_tags: Vec<&str> = many_tags.iter().map(String::as_str).collect();
    let by_count = [999, 1_000, 1_001, 1_999, 2_000, 2_001, 3_001].map(|events| (events, 1, &[][..]));
    let by_bytes = [12, 13, 14, 26, 27, 40].map(|events| (events, 320_000, &[][..]));
    let by_labels = [275, 276, 550, 1_250].map(|events| (events, 1, &many_tags[..]));
    for (events, bytes, tags) in by_count.into_iter().chain(by_bytes).chain(by_labels) {
        let store = MemoryKeyspaces::new();
        let all: Vec<EventData> = (0..events)
            .map(|number| EventData { data: vec![b'x'; bytes], ..event(&format!("event-{number}"), tags) })
            .collect();
        // Few enough for the limits of one append.
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
        let (done, passed_over) = scavenge_all(&store, NOW);
        assert_eq!((done.removed, passed_over), (events as u64 + 1, Vec::new()), "{events} of {bytes} bytes");
        assert_eq!((store.entries(INDEX), store.entries(IDS), store.entries(LABELS)), <_>::default());
        is_clean(&store);
    }
}

#[test]
fn an_append_in_between_is_kept_and_the_stream_scavenged_all_the_same() {
    let store = MemoryKeyspaces::new();
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
    let (done, passed_over) = scavenge_all(&rival, NOW);
    assert_eq!(passed_over, Vec::<String>::new());
    // Those of the rival but the last are hidden by then.
    assert_eq!(done.removed, 3 + 2 + 1);
    is_clean(&store);
    let events = all(|from| read_stream(&store, NOW, "a", from, 9, Direction::Forward)).unwrap();
    assert_eq!(events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["rival-3"]);
}

#[test]
fn a_stream_that_is_overtaken_again_and_again_is_passed_over_and_said() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", &["1", "22"]);
    put(&store, "b", &["1", "22"]);
    for stream_id in ["a", "b"] {
        retain(&store, stream_id, Retention { max_count: Some(1), ..none() });
    }
    let mut number = 0;
    let rival = Rival::new(&store, u32::MAX, |store| {
        number += 1;
        put(store, "a", &[&format!("rival-{number}")]);
    });
    let (done, passed_over) = scavenge_all(&rival, NOW);
    assert_eq!((done.removed, passed_over.len()), (1, 1));
    assert!(passed_over[0].contains("stream `a`"), "{passed_over:?}");
    is_clean(&store);
}

#[test]
fn damage_stops_the_scavenging_of_its_stream_alone() {
    let damages: [fn(&MemoryKeyspaces); 5] = [
        |store| store.overwrite(EVENTS, &key(1), &Envelope::encode_removed(7)),
        |store| store.overwrite(EVENTS, &key(1), b"\x09"),
        |store| store.remove(INDEX, &index_key(0, 2)),
        |store| store.overwrite(STREAMS, b"a", b"\x09"),
        |store| store.remove(STREAMS, b"a"),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let store = MemoryKeyspaces::new();
        put(&store, "a", &["1", "22", "3"]);
        put(&store, "b", &["1", "22"]);
        retain(&store, "a", Retention { max_count: Some(1), ..none() });
        retain(&store, "b", Retention { max_count: Some(1), ..none() });
        damage(&store);
        let (done, passed_over) = scavenge_all(&store, NOW);
        assert_eq!(done.examined, 2);
        assert_eq!(done.removed, if number < 2 { 2 } else { 1 });
        assert!(passed_over.len() == 1 && passed_over[0].contains("stream `a`"), "{passed_over:?}");
        assert_eq!(head(&store, "b").reclaimed_before, 1);
    }
}

#[test]
fn hostile_cursors_are_refused() {
    let store = store();
    let refused = |outcome: Result<(), Error>| {
        assert!(
            matches!(&outcome, Err(Error::Invalid(invalid)) if invalid.argument == "from"),
            "{outcome:?}"
        );
    };
    for cursor in
        [vec![], vec![0], vec![0xff; 9], vec![2; 5_000], vec![1; 3], [&[1, 9][..], &[0; 16]].concat()]
    {
        refused(verify(&store, Some(&cursor), true).map(drop));
        refused(scavenge(&store, NOW, Some(&cursor)).map(drop));
    }
    refused(verify(&store, Some(&vec![64]), true).map(drop));
    refused(scavenge(&store, NOW, Some(&vec![65])).map(drop));
    refused(scavenge(&store, NOW, Some(&vec![65; 8])).map(drop));
    // One that could be right is taken for what it says, and does no harm.
    let whole = everything(&store);
    for tag in 2..=7 {
        verify(&store, Some(&vec![tag, 0xff, 0xff]), true).unwrap();
    }
    scavenge(&store, NOW, Some(&vec![64, 0xff])).unwrap();
    scavenge(&store, NOW, Some(&[&[65][..], &[0xff; 9]].concat())).unwrap();
    assert_eq!(everything(&store), whole);
}

#[test]
fn failures_of_the_storage_are_passed_on() {
    let store = store();
    store.remove(INDEX, &index_key(head(&store, "a").origin, 2));
    put(&store, "b", &["44"]);
    let whole = everything(&store);
    for failing in [Storage::failing_reads(&store), Storage::failing_commits(&store)] {
        assert!(matches!(verify(&failing, None, true), Err(Error::Restarting(_))));
        assert!(matches!(scavenge(&failing, NOW, None), Err(Error::Restarting(_))));
    }
    let short = Storage::short_answers(&store);
    assert!(matches!(scavenge(&short, NOW, None), Err(Error::Other(_))));
    assert!(matches!(verify(&short, None, true), Err(Error::Other(_))));
    assert_eq!(everything(&store), whole);
}

/// Something that happens to one of a few streams.
#[derive(Clone, Debug)]
enum Act {
    Append {
        at: usize,
        count: u8,
    },
    /// Of an id that may have been there: taken if its event is hidden.
    AppendAgain {
        at: usize,
        id: u8,
    },
    Retain {
        at: usize,
        retention: Retention,
    },
    Delete {
        at: usize,
    },
    Pass {
        seconds: u64,
    },
    Scavenge,
}

fn acts() -> impl Strategy<Value = Act> {
    let some = |range: std::ops::Range<u64>| prop_oneof![Just(None), range.prop_map(Some)];
    let retention =
        (some(1..6), some(1..6), some(0..20)).prop_map(|(max_count, max_age_seconds, truncate_before)| {
            Retention { max_count, max_age_seconds, truncate_before }
        });
    prop_oneof![
        6 => (0..3_usize, 1..5_u8).prop_map(|(at, count)| Act::Append { at, count }),
        2 => (0..3_usize, 0..20_u8).prop_map(|(at, id)| Act::AppendAgain { at, id }),
        2 => (0..3_usize, retention).prop_map(|(at, retention)| Act::Retain { at, retention }),
        1 => (0..3_usize).prop_map(|at| Act::Delete { at }),
        2 => (0..4_u64).prop_map(|seconds| Act::Pass { seconds }),
        2 => Just(Act::Scavenge),
    ]
}

/// A store after these acts, and the time of day then.
fn built(acts: &[Act]) -> (MemoryKeyspaces, u64) {
    let store = MemoryKeyspaces::new();
    let mut now = NOW;
    let mut number = 0;
    for act in acts {
        apply(&store, &mut now, &mut number, act);
    }
    (store, now)
}

fn apply(store: &MemoryKeyspaces, now: &mut u64, number: &mut u64, act: &Act) {
    match act {
        Act::Append { at, count } => {
            let ids: Vec<String> = (0..*count).map(|more| (*number + u64::from(more)).to_string()).collect();
            *number += u64::from(*count);
            put_at(store, *now, STREAM_IDS[*at], &ids.iter().map(String::as_str).collect::<Vec<_>>());
        }
        Act::AppendAgain { at, id } => {
            let Some(id) = u64::from(*id).checked_rem(*number) else { return };
            let events = vec![event(&id.to_string(), &["all", STREAM_IDS[*at]])];
            let expected = ExpectedVersion::Any;
            let request = AppendRequest { stream_id: STREAM_IDS[*at].into(), expected, events };
            append(store, *now, CorrelationIndex::On, &[request])[0].as_ref().expect("it is valid");
        }
        // Of a stream that is not there.
        Act::Retain { at, retention } => {
            let _outcome = set_retention(store, *now, STREAM_IDS[*at], retention);
        }
        Act::Delete { at } => {
            let _outcome = delete_stream(store, STREAM_IDS[*at], ExpectedVersion::Any, Deletion::Soft);
        }
        Act::Pass { seconds } => *now += seconds * 1_000_000,
        Act::Scavenge => {
            scavenge_all(store, *now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn scavenging_changes_nothing_that_is_read(acts in vec(acts(), 1..40), repair in any::<bool>()) {
        let store = MemoryKeyspaces::new();
        let mut now = NOW;
        let mut number = 0;
        for act in &acts {
            match act {
                Act::Scavenge => {
                    let (before, size) = (reads(&store, now), bytes(&store));
                    let (done, passed_over) = scavenge_all(&store, now);
                    prop_assert_eq!(passed_over, Vec::<String>::new());
                    prop_assert_eq!(reads(&store, now), before);
                    prop_assert_eq!(done.bytes as usize, size - bytes(&store));
                    prop_assert_eq!(scavenge_all(&store, now).0.removed, 0);
                    let visible = read_all(&store, now, None, 1_000, Direction::Forward).unwrap().events.len();
                    let kept = store.entries(EVENTS).iter().filter(|(_, value)| value.len() > 9).count();
                    prop_assert_eq!(visible, kept);
                }
                other => apply(&store, &mut now, &mut number, other),
            }
        }
        let whole = everything(&store);
        prop_assert_eq!(walk(&store, repair), vec![]);
        prop_assert!(everything(&store) == whole);
    }

    #[test]
    fn what_follows_from_events_is_written_anew_whatever_became_of_it(
        acts in vec(acts(), 1..25),
        damages in vec((0..4_usize, any::<u16>(), 0..3_u8, any::<u16>()), 1..12),
    ) {
        let (store, now) = built(&acts);
        let whole = reads(&store, now);
        let heads = store.entries(STREAMS);
        for (at, chosen, how, other) in damages {
            // An entry of `retained` that is lost is one of a head that can be read.
            let keyspace = [INDEX, IDS, LABELS, RETAINED][at];
            let entries = store.entries(keyspace);
            let Some((key, _)) = entries.get(usize::from(chosen) % entries.len().max(1)) else { continue };
            let (_, stranger) = &entries[usize::from(other) % entries.len()];
            match how {
                0 => store.remove(keyspace, key),
                1 => store.overwrite(keyspace, key, stranger),
                _ => store.overwrite(keyspace, key, &u64::from(other % 50).to_be_bytes()),
            }
        }
        walk(&store, true);
        prop_assert_eq!(walk(&store, false), vec![]);
        prop_assert_eq!(store.entries(STREAMS), heads);
        let repaired = reads(&store, now);
        prop_assert_eq!(&repaired.streams, &whole.streams);
        prop_assert_eq!(&repaired.infos, &whole.infos);
        prop_assert_eq!(&repaired.listed, &whole.listed);
        // What was indexed of the metadata is told by the entries alone.
        for (read, (after, before)) in repaired.whole.iter().zip(&whole.whole).enumerate() {
            prop_assert!(read % 5 == 4 || after == before, "read {read}: {after:?} {before:?}");
        }
    }

    #[test]
    fn no_damage_makes_verifying_or_scavenging_panic_or_touch_events(
        acts in vec(acts(), 1..25),
        damages in vec((0..7_usize, any::<u16>(), 0..4_u8, vec(any::<u8>(), 0..80)), 1..8),
    ) {
        let (store, now) = built(&acts);
        for (at, chosen, how, bytes) in damages {
            let entries = store.entries(KEYSPACES[at]);
            let Some((key, value)) = entries.get(usize::from(chosen) % entries.len().max(1)) else { continue };
            match how {
                0 => store.remove(KEYSPACES[at], key),
                1 => store.overwrite(KEYSPACES[at], key, &bytes),
                2 => store.overwrite(KEYSPACES[at], &bytes, value),
                _ => {
                    let mut flipped = value.clone();
                    let length = flipped.len().max(1);
                    if let Some(byte) = flipped.get_mut(usize::from(chosen) % length) {
                        *byte ^= 1 << (chosen % 8);
                    }
                    store.overwrite(KEYSPACES[at], key, &flipped);
                }
            }
        }
        let events = store.entries(EVENTS);
        walk(&store, false);
        walk(&store, true);
        prop_assert!(store.entries(EVENTS) == events);
        // What a repair can do is done after the few that one may make possible.
        for _ in 0..3 {
            walk(&store, true);
        }
        let left = walk(&store, true);
        prop_assert!(left.iter().all(|finding| !finding.repaired), "{left:?}");
        scavenge_all(&store, now);
    }
}
