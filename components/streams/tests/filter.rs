//! Filtered reads against keyspaces in memory. Whatever the pages, the events agree with a plain filter over a list, and
//! one call does not exceed its scan budget.

#[path = "driver/mod.rs"]
mod driver;

use driver::{EventPage, append, end, import_events, read_filtered};
use exesdb_reference::{AppendRequest, ImportedEvent};
use exesdb_sdk::events::{EventData, RecordedEvent};
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::packed::{Envelope, Frames, Record};
use exesdb_sdk::types::Direction::{Backward, Forward};
use exesdb_sdk::types::{Direction, Error, EventFilter, ExpectedVersion, QueryItem, StreamState, code};
use exesdb_sdk::view::View;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::layout::{Head, LABELS, LabelKind, RETAINED, STREAMS, label_digest, label_key};
use exesdb_streams::read::{PAGE_BYTES_MAX, SCAN_BUDGET_BYTES, SCAN_BUDGET_EVENTS};
use exesdb_streams::visible::hides;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::sample::{Index, select, subsequence};
use proptest::{prop_assert, prop_assert_eq, proptest};

const TYPES: [&str; 3] = ["s", "t", "tt"];
const TAGS: [&str; 4] = ["a:1", "a:2", "b", "s"];
const STREAMS_OF_TEST: [&str; 3] = ["x-1", "x-2", "y"];
const IDS: [&str; 3] = ["s", "t", "u"];

fn every() -> EventFilter {
    EventFilter {
        query: Vec::new(),
        stream_prefixes: Vec::new(),
        correlation_id: None,
        causation_id: None,
        stream_pattern: None,
        type_pattern: None,
        options: Vec::new(),
    }
}

fn of_type(event_type: &str) -> EventFilter {
    EventFilter { query: vec![QueryItem { types: vec![event_type.into()], tags: Vec::new() }], ..every() }
}

fn event(id: u64, event_type: &str, bytes: usize) -> EventData {
    EventData {
        id: id.to_string(),
        event_type: event_type.into(),
        content_type: "c".into(),
        data: vec![0; bytes],
        metadata: Vec::new(),
        tags: Vec::new(),
    }
}

fn put(store: &MemoryStore, now: u64, stream_id: &str, events: Vec<EventData>) {
    let request = AppendRequest { stream_id: stream_id.into(), expected: ExpectedVersion::Any, events };
    append(store, now, CorrelationIndex::On, &[request])[0].as_ref().expect("it is appended");
}

/// Appends of 1,000 events, whose types alternate.
fn put_thousands(store: &MemoryStore, thousands: u64, types: &[&str]) {
    for thousand in 0..thousands {
        let ids = thousand * 1_000..(thousand + 1) * 1_000;
        put(store, 0, "a", ids.map(|id| event(id, types[id as usize % types.len()], 1)).collect());
    }
}

fn read(
    store: &MemoryStore,
    filter: &EventFilter,
    from: Option<u64>,
    count: u32,
    direction: Direction,
) -> EventPage {
    read_filtered(store, 0, CorrelationIndex::On, filter.clone(), from, count, direction)
        .expect("it can be read")
}

/// Positions, `next` and `end` of a page.
fn positions(page: &EventPage) -> (Vec<u64>, Option<u64>, bool) {
    (page.events.iter().map(|event| event.position).collect(), page.next, page.end)
}

fn head(store: &MemoryStore, stream_id: &str) -> Option<Head> {
    let value = store.view().get(STREAMS, stream_id.as_bytes()).expect("it is in memory")?;
    Some(Head::decode(&value).expect("it was encoded"))
}

/// All events that are visible at this time, in order.
fn visible(store: &MemoryStore, now: u64) -> Vec<RecordedEvent> {
    let frames = store.view().log_read(None, Forward, u32::MAX, u32::MAX).expect("it is in memory").frames;
    let event = |frame: exesdb_sdk::packed::Frame<'_>| match frame.record {
        Record::Event(bytes) => {
            Some(RecordedEvent::of(frame.position, &Envelope::read(bytes).expect("it is whole")))
        }
        Record::Removed { .. } | Record::Gap { .. } => None,
    };
    let is_visible = |event: &RecordedEvent| {
        let head = head(store, &event.stream_id).expect("the stream has events");
        !hides(&head, event.version, event.created, now)
    };
    Frames::new(&frames).filter_map(|frame| event(frame.expect("it is whole"))).filter(is_visible).collect()
}

/// The definition of a filter in its simplest form.
fn lets_through(filter: &EventFilter, event: &RecordedEvent) -> bool {
    let of_item = |item: &QueryItem| {
        (item.types.is_empty() || item.types.contains(&event.event_type))
            && item.tags.iter().all(|tag| event.tags.contains(tag))
    };
    let has = |member: &str, id: &Option<String>| match id {
        Some(id) => String::from_utf8_lossy(&event.metadata).contains(&format!("\"{member}\":\"{id}\"")),
        None => true,
    };
    // The patterns of this test have only anchors.
    let is_match = |pattern: &Option<String>, text: &str| {
        let Some(pattern) = pattern else { return true };
        let inner = pattern.trim_start_matches('^').trim_end_matches('$');
        match (pattern.starts_with('^'), pattern.ends_with('$')) {
            (true, true) => text == inner,
            (true, false) => text.starts_with(inner),
            (false, true) => text.ends_with(inner),
            (false, false) => text.contains(inner),
        }
    };
    (filter.query.is_empty() || filter.query.iter().any(of_item))
        && (filter.stream_prefixes.is_empty()
            || filter.stream_prefixes.iter().any(|prefix| event.stream_id.starts_with(prefix)))
        && has("$correlationId", &filter.correlation_id)
        && has("$causationId", &filter.causation_id)
        && is_match(&filter.stream_pattern, &event.stream_id)
        && is_match(&filter.type_pattern, &event.event_type)
}

fn texts(
    of: &'static [&'static str],
    size: impl Into<proptest::sample::SizeRange>,
) -> impl Strategy<Value = Vec<String>> {
    subsequence(of, size).prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}

fn filter() -> impl Strategy<Value = EventFilter> {
    let item = (texts(&TYPES, 0..3), texts(&TAGS, 0..3)).prop_map(|(types, tags)| QueryItem { types, tags });
    let id = || option::weighted(0.2, select(&IDS[..]).prop_map(str::to_owned));
    let pattern = |of: &'static [&'static str]| option::weighted(0.2, select(of).prop_map(str::to_owned));
    (
        vec(item, 0..3),
        prop_oneof![3 => Just(Vec::new()), 1 => texts(&["x", "x-2", "y", "z"], 1..3)],
        id(),
        id(),
        pattern(&["^x", "-", "^y$", "1$"]),
        pattern(&["^t", "t$", "^t$", "s"]),
    )
        .prop_map(
            |(query, stream_prefixes, correlation_id, causation_id, stream_pattern, type_pattern)| {
                EventFilter {
                    query,
                    stream_prefixes,
                    correlation_id,
                    causation_id,
                    stream_pattern,
                    type_pattern,
                    options: Vec::new(),
                }
            },
        )
}

type Draft = (&'static str, Vec<String>, Option<&'static str>, Option<&'static str>);

fn draft() -> impl Strategy<Value = Draft> {
    let id = || option::weighted(0.3, select(&IDS[..]));
    (select(&TYPES[..]), texts(&TAGS, 0..3), id(), id())
}

fn write(store: &MemoryStore, appends: &[(&str, Vec<Draft>)]) {
    let mut id = 0;
    for (now, (stream_id, drafts)) in appends.iter().enumerate() {
        let events = drafts.iter().map(|(event_type, tags, correlation, causation)| {
            id += 1;
            let member = |name, id: &Option<&str>| id.map(|id| format!("\"{name}\":\"{id}\""));
            let members = [member("$correlationId", correlation), member("$causationId", causation)];
            let members: Vec<String> = members.into_iter().flatten().collect();
            let metadata = format!("{{{}}}", members.join(",")).into_bytes();
            EventData { metadata, tags: tags.clone(), ..event(id, event_type, 1) }
        });
        put(store, now as u64 * 1_000_000, stream_id, events.collect());
    }
}

/// Applies retention, deletion and scavenging to a stream, as chosen by these numbers.
fn hide(store: &MemoryStore, stream_id: &str, kind: u8, limit: u64) {
    let Some(mut head) = head(store, stream_id) else { return };
    match kind {
        0 => return,
        1 => head.truncate_before = limit,
        2 => head.max_count = limit + 1,
        3 => head.max_age_seconds = limit + 1,
        4 => head.state = StreamState::Deleted,
        _ => head.state = StreamState::Tombstoned,
    }
    store.overwrite(STREAMS, stream_id.as_bytes(), &head.encode());
    if head.is_extended() {
        store.overwrite(RETAINED, stream_id.as_bytes(), b"");
    }
}

/// Whether `next` is after a position in this direction.
fn is_beyond(next: Option<u64>, position: u64, direction: Direction) -> bool {
    match direction {
        Forward => next > Some(position),
        Backward => next < Some(position),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn pages_agree_with_a_plain_filter(
        appends in vec((select(&STREAMS_OF_TEST[..]), vec(draft(), 1..7)), 0..25),
        removed in vec(any::<Index>(), 0..8),
        hidden in vec((0..6_u8, 0..12_u64), 3),
        filter in filter(),
        from in option::of(0..60_u64),
        count in 1..8_u32,
    ) {
        let store = MemoryStore::new();
        write(&store, &appends);
        let last = end(&store);
        for index in removed.iter().filter(|_| last > 0) {
            store.lose_event(index.index(last as usize) as u64);
        }
        for (stream_id, (kind, limit)) in STREAMS_OF_TEST.iter().zip(&hidden) {
            hide(&store, stream_id, *kind, *limit);
        }
        let now = appends.len() as u64 * 1_000_000;
        let matching: Vec<RecordedEvent> =
            visible(&store, now).into_iter().filter(|event| lets_through(&filter, event)).collect();

        for direction in [Forward, Backward] {
            let mut expected: Vec<&RecordedEvent> = matching.iter().filter(|event| match direction {
                Forward => from.is_none_or(|from| event.position >= from),
                Backward => from.is_none_or(|from| event.position <= from),
            }).collect();
            if direction == Backward {
                expected.reverse();
            }
            let mut got = Vec::new();
            let mut at = from;
            loop {
                let page = read_filtered(
                    &store, now, CorrelationIndex::On, filter.clone(), at, count, direction,
                ).unwrap();
                prop_assert!(page.events.len() <= count as usize);
                let next = page.next;
                if let Some(event) = page.events.last() {
                    prop_assert!(is_beyond(next, event.position, direction));
                }
                got.extend(page.events);
                if page.end {
                    // Waiting from there neither misses nor repeats an event.
                    prop_assert_eq!(next, match direction {
                        Forward => Some(next.unwrap().max(last)),
                        Backward => None,
                    });
                    break;
                }
                prop_assert!(next.is_some() && at.is_none_or(|at| is_beyond(next, at, direction)));
                at = next;
            }
            prop_assert_eq!(got.iter().collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn one_call_scans_a_bounded_number_of_events() {
    let store = MemoryStore::new();
    put_thousands(&store, 12, &["t", "u"]);
    let nothing = EventFilter { stream_prefixes: vec!["b".into()], ..every() };
    // Every other event of an append has the label.
    let through_labels = EventFilter { stream_prefixes: vec!["b".into()], ..of_type("t") };
    for filter in [nothing, through_labels] {
        for (from, count) in [(0, 1_000), (1, 1), (2, 999)] {
            let (_, next, end) = positions(&read(&store, &filter, Some(from), count, Forward));
            let looked_at = next.unwrap() - from;
            assert!(
                !end && (SCAN_BUDGET_EVENTS..SCAN_BUDGET_EVENTS + 20).contains(&looked_at),
                "{looked_at}"
            );
        }
        let rest = positions(&read(&store, &filter, Some(10_000), 1_000, Forward));
        assert_eq!(rest, (vec![], Some(12_000), true));
        let beyond = positions(&read(&store, &filter, Some(99_999), 1, Forward));
        assert_eq!(beyond, (vec![], Some(99_999), true));
        let (_, next, end) = positions(&read(&store, &filter, None, 1_000, Backward));
        let looked_at = 11_999 - next.unwrap();
        assert!(!end && (SCAN_BUDGET_EVENTS..SCAN_BUDGET_EVENTS + 20).contains(&looked_at), "{looked_at}");
        assert_eq!(positions(&read(&store, &filter, next, 1_000, Backward)), (vec![], None, true));
    }
}

#[test]
fn one_call_scans_a_bounded_number_of_bytes() {
    let store = MemoryStore::new();
    let large = (1 << 20) - 100;
    for id in 0..20 {
        put(&store, 0, "a", vec![event(id, "t", large)]);
    }
    let nothing = EventFilter { stream_prefixes: vec!["b".into()], ..every() };
    let through_labels = EventFilter { stream_prefixes: vec!["b".into()], ..of_type("t") };
    for filter in [nothing, through_labels] {
        let page = read(&store, &filter, None, 1_000, Forward);
        let looked_at = page.next.unwrap() as usize;
        assert!((looked_at - 1) * large < SCAN_BUDGET_BYTES && looked_at >= 8, "{looked_at}");
        let page = read(&store, &filter, None, 1_000, Backward);
        assert_eq!(page.next.unwrap() as usize, 19 - looked_at);
    }
    // The matching events fill a page, which is smaller.
    for filter in [every(), of_type("t")] {
        let page = read(&store, &filter, None, 1_000, Forward);
        assert_eq!(positions(&page), (vec![0, 1], Some(2), false));
        assert!(page.events.iter().map(|event| event.data.len()).sum::<usize>() <= PAGE_BYTES_MAX as usize);
        assert_eq!(positions(&read(&store, &filter, None, 9, Backward)), (vec![19, 18], Some(17), false));
    }
}

/// Matching an expression against long texts is charged for.
#[test]
fn patterns_use_up_the_scan_budget() {
    let store = MemoryStore::new();
    let long = "a".repeat(255);
    for thousand in 0..3 {
        let ids = thousand * 1_000..(thousand + 1) * 1_000;
        put(&store, 0, &long, ids.map(|id| event(id, "t", 1)).collect());
    }
    let slow = EventFilter { stream_pattern: Some("(?:a?){80}b".into()), ..every() };
    for filter in [slow.clone(), EventFilter { query: of_type("t").query, ..slow }] {
        let (events, next, end) = positions(&read(&store, &filter, None, 1, Forward));
        assert!(events.is_empty() && !end && (200..400).contains(&next.expect("it goes on")), "{next:?}");
    }
}

#[test]
fn labels_find_few_events_among_many() {
    let store = MemoryStore::new();
    put_thousands(&store, 15, &["t"]);
    put(&store, 0, "b", vec![event(0, "rare", 1)]);
    put_thousands(&store, 15, &["t"]);
    put(&store, 0, "b", vec![event(1, "t", 1), event(2, "rare", 1)]);
    let filter = of_type("rare");
    let store_end = end(&store);
    assert_eq!(
        positions(&read(&store, &filter, None, 9, Forward)),
        (vec![15_000, 15_002], Some(store_end), true)
    );
    assert_eq!(positions(&read(&store, &filter, None, 9, Backward)), (vec![15_002, 15_000], None, true));
    assert_eq!(positions(&read(&store, &filter, None, 1, Forward)).0, [15_000]);
    assert_eq!(positions(&read(&store, &of_type("none"), None, 1, Forward)), (vec![], Some(store_end), true));
    assert_eq!(positions(&read(&store, &of_type("none"), Some(7), 1, Backward)), (vec![], None, true));
}

/// The rarest label of an item is followed, wherever it is in the list.
#[test]
fn the_rarest_label_of_an_item_is_followed() {
    let store = MemoryStore::new();
    let tagged = |id: u64, tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        EventData { tags, ..event(id, "t", 1) }
    };
    let mut rare = Vec::new();
    for id in 0..12_000 {
        let is_rare = id % 3_000 == 1_500;
        let tags: &[&str] = if is_rare { &["common", "rare"] } else { &["common"] };
        put(&store, 0, "a", vec![tagged(id, tags)]);
        rare.extend(is_rare.then_some(id));
    }
    for tags in [["common", "rare"], ["rare", "common"]] {
        let tags = tags.map(str::to_owned).to_vec();
        let filter = EventFilter { query: vec![QueryItem { types: vec!["t".into()], tags }], ..every() };
        assert_eq!(positions(&read(&store, &filter, None, 9, Forward)), (rare.clone(), Some(12_000), true));
        let downward: Vec<u64> = rare.iter().rev().copied().collect();
        assert_eq!(positions(&read(&store, &filter, None, 9, Backward)), (downward, None, true));
    }
}

/// The events of an append may be far apart, as after an import. The empty positions between them cost nothing.
#[test]
fn a_label_may_span_any_number_of_empty_positions() {
    let store = MemoryStore::new();
    put(&store, 0, "a", (0..3).map(|id| event(id, "t", 1)).collect());
    let digest = label_digest(LabelKind::Type, "t");
    let far = 40_000_000;
    let (stream_id, event) = ("a".to_owned(), event(3, "t", 1));
    let last = ImportedEvent { stream_id, version: 3, position: Some(far), created: 0, event };
    import_events(&store, 0, CorrelationIndex::On, &[last], &[]).unwrap();
    store.remove(LABELS, &label_key(digest, 2));
    store.overwrite(LABELS, &label_key(digest, far), &0_u64.to_be_bytes());
    let filter = of_type("t");
    assert_eq!(
        positions(&read(&store, &filter, None, 9, Forward)),
        (vec![0, 1, 2, far], Some(far + 1), true)
    );
    assert_eq!(positions(&read(&store, &filter, None, 2, Forward)), (vec![0, 1], Some(2), false));
    assert_eq!(positions(&read(&store, &filter, Some(3), 9, Forward)), (vec![far], Some(far + 1), true));
    assert_eq!(positions(&read(&store, &filter, None, 2, Backward)), (vec![far, 2], Some(1), false));
    assert_eq!(positions(&read(&store, &filter, Some(far - 1), 9, Backward)), (vec![2, 1, 0], None, true));
    assert_eq!(positions(&read(&store, &filter, Some(u64::MAX), 1, Backward)).0, [far]);
}

/// Two labels with one digest are distinguished by the events.
#[test]
fn labels_with_the_same_digest_are_distinguished() {
    let store = MemoryStore::new();
    put(&store, 0, "a", vec![event(0, "t", 1), event(1, "u", 1)]);
    let digest = label_digest(LabelKind::Type, "t");
    store.overwrite(LABELS, &label_key(digest, 1), &1_u64.to_be_bytes());
    assert_eq!(positions(&read(&store, &of_type("t"), None, 9, Forward)), (vec![0], Some(2), true));
}

#[test]
fn damage_is_an_error() {
    let digest = label_digest(LabelKind::Type, "t");
    let with =
        |change: fn(&MemoryStore, [u8; 12])| {
            let store = MemoryStore::new();
            put(&store, 0, "a", vec![event(0, "t", 1), event(1, "t", 1)]);
            change(&store, digest);
            // Backward from the middle, the first entry is read separately.
            [(None, Forward), (None, Backward), (Some(0), Backward)].map(|(from, direction)| {
                match read_filtered(&store, 0, CorrelationIndex::On, of_type("t"), from, 9, direction) {
                    Err(Error::Problem(problem)) if problem.code == code::DAMAGED => problem.message,
                    other => panic!("{other:?}"),
                }
            })
        };
    let assert_named = |texts: [String; 3], keyspace: &str| {
        for text in texts {
            assert!(text.contains(keyspace), "{text}");
        }
    };
    assert_named(with(|store, digest| store.overwrite(LABELS, &label_key(digest, 1), b"")), "`labels`");
    assert_named(
        with(|store, digest| store.overwrite(LABELS, &label_key(digest, 1), &2_u64.to_be_bytes())),
        "`labels`",
    );
    assert_named(
        with(|store, digest| {
            store.remove(LABELS, &label_key(digest, 1));
            store.overwrite(LABELS, &[&digest[..], &[0; 9]].concat(), &[0; 8]);
        }),
        "`labels`",
    );
    assert_named(with(|store, _| store.damage(0)), "position 0");
}

#[test]
fn invalid_arguments_are_named() {
    let store = MemoryStore::new();
    let named = |filter: EventFilter, index, count| match read_filtered(
        &store, 0, index, filter, None, count, Forward,
    ) {
        Err(Error::Invalid(invalid)) => invalid.argument,
        other => panic!("{other:?}"),
    };
    assert_eq!(named(every(), CorrelationIndex::On, 0), "selection.count");
    assert_eq!(named(of_type("\n"), CorrelationIndex::On, 1), "filter.query[0].types[0]");
    let pattern = EventFilter { stream_pattern: Some("(".into()), ..every() };
    assert_eq!(named(pattern, CorrelationIndex::On, 1), "filter.stream-pattern");
    let correlated = EventFilter { correlation_id: Some("c".into()), ..every() };
    assert_eq!(named(correlated, CorrelationIndex::Off, 1), "filter.correlation-id");
}
