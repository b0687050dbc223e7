//! Random sequences of writes, with repetitions and wrong expectations, against a model that is a plain list of events.
//! Results and reads must agree with the model.

use std::collections::{BTreeMap, BTreeSet};

use exesdb_sdk::keyspaces::{Keyspaces, MemoryKeyspaces, chain_link};
use exesdb_sdk::streams::{
    AppendCondition, AppendRequest, AppendResult, Deletion, EventFilter, EventPage, ImportMark,
    ImportedEvent, QueryItem, Retention, StreamCheck, StreamState, Transaction,
};
use exesdb_sdk::types::{Direction, Error, EventData, ExpectedVersion, InvalidArgument, VersionConflict};
use exesdb_streams::append::append;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::delete::delete_stream;
use exesdb_streams::import::{import_events, import_states};
use exesdb_streams::layout::{EVENTS, Envelope, Head, RETAINED, STREAMS};
use exesdb_streams::maintenance::{scavenge, verify};
use exesdb_streams::read::{list_streams, read_all, read_filtered, read_stream, stream_info};
use exesdb_streams::retention::set_retention;
use exesdb_streams::transact::transact;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

/// Microseconds between two calls.
const SECOND: u64 = 1_000_000;

const STREAMS_USED: [&str; 3] = ["a", "ab", "b"];

type Checked = Result<(), proptest::test_runner::TestCaseError>;

/// An event of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    stream_id: String,
    id: String,
    event_type: String,
    tags: Vec<String>,
    version: u64,
    created: u64,
    position: u64,
}

/// A stream of the model.
#[derive(Clone, Debug)]
struct Stream {
    state: StreamState,
    last: u64,
    updated: u64,
    truncate_before: u64,
    max_count: Option<u64>,
    max_age_seconds: Option<u64>,
}

/// The whole store.
#[derive(Clone, Default)]
struct Model {
    events: Vec<Event>,
    streams: BTreeMap<String, Stream>,
    /// How many rows of the only source each stream has imported.
    rows: BTreeMap<String, u64>,
}

/// The versions of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    first: u64,
    last: u64,
}

impl Model {
    fn is_visible(&self, event: &Event, now: u64) -> bool {
        let stream = &self.streams[&event.stream_id];
        stream.state == StreamState::Live
            && event.version >= stream.truncate_before
            && stream.max_count.is_none_or(|count| event.version + count > stream.last)
            && stream.max_age_seconds.is_none_or(|age| now <= event.created + age * SECOND)
    }

    fn visible(&self, now: u64) -> Vec<Event> {
        let mut events: Vec<_> =
            self.events.iter().filter(|event| self.is_visible(event, now)).cloned().collect();
        events.sort_by_key(|event| event.position);
        events
    }

    /// The version of the visible event with this id. Hidden events are unknown, removed or not.
    fn version_of(&self, now: u64, stream_id: &str, id: &str) -> Option<u64> {
        let is_it =
            |event: &&Event| event.stream_id == stream_id && event.id == id && self.is_visible(event, now);
        self.events.iter().find(is_it).map(|event| event.version)
    }

    fn holds(&self, stream_id: &str, expected: ExpectedVersion) -> Result<(), Error> {
        let stream = self.streams.get(stream_id);
        let is_live = stream.is_some_and(|stream| stream.state == StreamState::Live);
        let last_version = stream.map(|stream| stream.last);
        let holds = match expected {
            ExpectedVersion::Any => true,
            ExpectedVersion::NoStream => !is_live,
            ExpectedVersion::StreamExists => is_live,
            ExpectedVersion::Exact(version) => last_version == Some(version),
        };
        if holds { Ok(()) } else { Err(self.conflict(stream_id, expected)) }
    }

    fn conflict(&self, stream_id: &str, expected: ExpectedVersion) -> Error {
        let stream = self.streams.get(stream_id);
        Error::WrongExpectedVersion(VersionConflict {
            stream_id: stream_id.to_owned(),
            expected,
            last_version: stream.map(|stream| stream.last),
            is_deleted: stream.is_some_and(|stream| stream.state != StreamState::Live),
        })
    }

    /// Whether all of an append's events are present in order, or none; an error otherwise.
    fn repeated(&self, now: u64, request: &AppendRequest) -> Result<Option<Place>, Error> {
        let known: Vec<_> =
            request.events.iter().map(|event| self.version_of(now, &request.stream_id, &event.id)).collect();
        let Some(there) = known.iter().position(Option::is_some) else { return Ok(None) };
        let first = known[there].expect("it is there");
        let wanted: Vec<_> = (first..).take(known.len()).map(Some).collect();
        if known == wanted {
            return Ok(Some(Place { first, last: first + known.len() as u64 - 1 }));
        }
        Err(Error::IdConflict(request.events[there].id.clone()))
    }

    fn is_tombstoned(&self, stream_id: &str) -> bool {
        self.streams.get(stream_id).is_some_and(|stream| stream.state == StreamState::Tombstoned)
    }

    /// An append is a transaction of one append.
    fn append(&mut self, now: u64, request: &AppendRequest) -> Result<Place, Error> {
        let appends = vec![request.clone()];
        let transaction = Transaction { appends, checks: Vec::new(), conditions: Vec::new() };
        self.transact(now, &transaction).map(|places| places[0])
    }

    /// The model does not know the positions of new events.
    fn transact(&mut self, now: u64, transaction: &Transaction) -> Result<Vec<Place>, Error> {
        let Transaction { appends, checks, conditions } = transaction;
        if let Some(append) = appends.iter().find(|append| self.is_tombstoned(&append.stream_id)) {
            return Err(Error::StreamDeleted(append.stream_id.clone()));
        }
        let repeated: Vec<_> = appends.iter().map(|append| self.repeated(now, append)).collect();
        if repeated.iter().all(|place| matches!(place, Ok(Some(_)))) {
            return Ok(repeated.into_iter().map(|place| place.expect("it is").expect("it is")).collect());
        }
        for (append, place) in appends.iter().zip(repeated) {
            if place?.is_some() {
                return Err(Error::IdConflict(append.events[0].id.clone()));
            }
        }
        for append in appends {
            self.holds(&append.stream_id, append.expected)?;
        }
        for check in checks {
            self.holds(&check.stream_id, check.expected)?;
        }
        for (condition, number) in conditions.iter().zip(0..) {
            let forbidden = self.forbidden(now, condition);
            if let Some(position) = forbidden.first() {
                let failure = exesdb_sdk::types::ConditionFailure { condition: number, position: *position };
                return Err(Error::ConditionFailed(failure));
            }
        }
        let places = appends.iter().map(|append| {
            let first = self.streams.get(&append.stream_id).map_or(0, |stream| stream.last + 1);
            for (event, version) in append.events.iter().zip(first..) {
                let created = self.streams.get(&append.stream_id).map_or(now, |stream| {
                    let is_set_back_a_little = stream.updated.saturating_sub(now) <= 60 * SECOND;
                    if is_set_back_a_little { now.max(stream.updated) } else { now }
                });
                self.add(&append.stream_id, event, version, created, u64::MAX);
            }
            Place { first, last: first + append.events.len() as u64 - 1 }
        });
        Ok(places.collect())
    }

    /// The positions of the events that violate a condition.
    fn forbidden(&self, now: u64, condition: &AppendCondition) -> Vec<u64> {
        let matches = |event: &Event| {
            condition.after.is_none_or(|after| event.position > after)
                && condition.query.iter().any(|item| {
                    (item.types.is_empty() || item.types.contains(&event.event_type))
                        && item.tags.iter().all(|tag| event.tags.contains(tag))
                })
        };
        self.visible(now).iter().filter(|event| matches(event)).map(|event| event.position).collect()
    }

    fn add(&mut self, stream_id: &str, event: &EventData, version: u64, created: u64, position: u64) {
        let stream = self.streams.entry(stream_id.to_owned()).or_insert(Stream {
            state: StreamState::Live,
            last: version,
            updated: created,
            truncate_before: version,
            max_count: None,
            max_age_seconds: None,
        });
        (stream.state, stream.last, stream.updated) = (StreamState::Live, version, created);
        self.events.push(Event {
            stream_id: stream_id.to_owned(),
            id: event.id.clone(),
            event_type: event.event_type.clone(),
            tags: event.tags.clone(),
            version,
            created,
            position,
        });
    }

    /// Gives new events the positions that the store returned. Existing events must have the same.
    fn put(&mut self, stream_id: &str, result: &AppendResult) -> Checked {
        for event in self.events.iter_mut().filter(|event| event.stream_id == stream_id) {
            if (result.first_version..=result.last_version).contains(&event.version)
                && event.position == u64::MAX
            {
                event.position = result.position - (result.last_version - event.version);
            }
            if event.version == result.last_version {
                prop_assert_eq!(event.position, result.position);
            }
        }
        Ok(())
    }

    fn delete(
        &mut self,
        stream_id: &str,
        expected: ExpectedVersion,
        deletion: Deletion,
    ) -> Result<(), Error> {
        let state = self.streams.get(stream_id).ok_or(Error::NotFound)?.state;
        if state != StreamState::Live && deletion == Deletion::Soft {
            return Err(Error::NotFound);
        }
        self.holds(stream_id, expected)?;
        let stream = self.streams.get_mut(stream_id).expect("it is there");
        stream.state =
            if deletion == Deletion::Soft { StreamState::Deleted } else { StreamState::Tombstoned };
        stream.truncate_before = stream.last + 1;
        Ok(())
    }

    fn retain(&mut self, now: u64, stream_id: &str, retention: &Retention) -> Result<(), Error> {
        let first = self
            .visible(now)
            .iter()
            .filter(|event| event.stream_id == stream_id)
            .map(|event| event.version)
            .min();
        if self.is_tombstoned(stream_id) {
            return Err(Error::StreamDeleted(stream_id.to_owned()));
        }
        let stream = self.streams.get_mut(stream_id).ok_or(Error::NotFound)?;
        let hidden = first.unwrap_or(stream.last + 1);
        let wanted = retention.truncate_before.unwrap_or(0).min(stream.last + 1);
        stream.truncate_before = stream.truncate_before.max(hidden).max(wanted);
        stream.max_count = retention.max_count;
        stream.max_age_seconds = retention.max_age_seconds;
        Ok(())
    }

    /// The visible event with a version.
    fn visible_at(&self, stream_id: &str, version: u64, now: u64) -> Option<&Event> {
        let is_it = |event: &&Event| event.stream_id == stream_id && event.version == version;
        self.events.iter().find(is_it).filter(|event| self.is_visible(event, now))
    }

    /// The numbers of events added, repeated and hidden. `end` is where the log ends.
    fn import(
        &mut self,
        now: u64,
        mut end: u64,
        events: &[ImportedEvent],
        marks: &[ImportMark],
    ) -> Result<(u32, u32, u32), Error> {
        let before = self.clone();
        let mut model = self.clone();
        let (mut added, mut repeated, mut hidden) = (0, 0, 0);
        // For each stream the number of added or present events, and the first hidden version.
        let mut backing: BTreeMap<&str, (u64, Option<u64>)> = BTreeMap::new();
        for imported in events {
            let ImportedEvent { stream_id, version, event, created, position } = imported;
            let (backing, first_hidden) = backing.entry(stream_id).or_default();
            if before.streams.get(stream_id).is_some_and(|stream| *version <= stream.last) {
                match before.visible_at(stream_id, *version, now) {
                    None => {
                        hidden += 1;
                        *first_hidden = first_hidden.or(Some(*version));
                        continue;
                    }
                    Some(there) if there.id == event.id => {
                        repeated += 1;
                        *backing += 1;
                        continue;
                    }
                    Some(_) => {}
                }
            }
            if model.is_tombstoned(stream_id) {
                return Err(Error::StreamDeleted(stream_id.clone()));
            }
            let is_taken = |there: &Event| {
                there.stream_id == *stream_id
                    && there.id == event.id
                    && match before.streams.get(stream_id) {
                        Some(stream) if there.version <= stream.last => before.is_visible(there, now),
                        _ => true,
                    }
            };
            if model.events.iter().any(is_taken) {
                return Err(Error::IdConflict(event.id.clone()));
            }
            if let Some(stream) = model.streams.get(stream_id)
                && *version != stream.last + 1
            {
                let expected =
                    version.checked_sub(1).map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact);
                return Err(model.conflict(stream_id, expected));
            }
            let position = position.unwrap_or(end);
            end = position + 1;
            model.add(stream_id, event, *version, *created, position);
            added += 1;
            *backing += 1;
        }
        for (index, ImportMark { stream_id, rows, .. }) in marks.iter().enumerate() {
            let stored = model.rows.entry(stream_id.clone()).or_default();
            let by = rows.saturating_sub(*stored);
            *stored = (*stored).max(*rows);
            let (backing, first_hidden) = backing.get(stream_id.as_str()).copied().unwrap_or_default();
            let refused = Err(Error::Invalid(InvalidArgument {
                argument: format!("marks[{index}].rows"),
                message: String::new(),
            }));
            match first_hidden {
                _ if by == 0 => {}
                Some(version) if by > backing => {
                    let expected =
                        version.checked_sub(1).map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact);
                    return Err(before.conflict(stream_id, expected));
                }
                None if by > backing => return refused,
                _ if *rows > model.streams[stream_id].last + 1 => return refused,
                _ => {}
            }
        }
        *self = model;
        Ok((added, repeated, hidden))
    }
}

/// An event to import: its stream, the distance from the right version, its id, the number of positions to leave empty
/// before it, and the distance of its time from now in seconds.
type Wanted = (String, i64, u8, Option<u64>, i64);

/// A call, in the parts that do not depend on the store.
#[derive(Clone, Debug)]
enum Call {
    Append(Vec<AppendRequest>),
    Transact(Transaction),
    Delete(String, ExpectedVersion, Deletion),
    Retain(String, Retention),
    Scavenge,
    /// Imports these events, and raises the mark of each of their streams by this many rows.
    Import(Vec<Wanted>, u64),
}

fn event(id: u8) -> EventData {
    let tags = ["g", "h", "i"].iter().zip([2, 3, 5]).filter(|(_, every)| id.is_multiple_of(*every));
    EventData {
        id: id.to_string(),
        event_type: if id.is_multiple_of(4) { "t" } else { "u" }.into(),
        content_type: "c".into(),
        data: vec![id],
        metadata: Vec::new(),
        tags: tags.map(|(tag, _)| (*tag).to_owned()).collect(),
    }
}

fn stream_id() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("ab"), Just("b")].prop_map(str::to_owned)
}

fn expected() -> impl Strategy<Value = ExpectedVersion> {
    prop_oneof![
        4 => Just(ExpectedVersion::Any),
        1 => Just(ExpectedVersion::NoStream),
        1 => Just(ExpectedVersion::StreamExists),
        2 => (0..6_u64).prop_map(ExpectedVersion::Exact),
    ]
}

/// Runs of a few ids in a few streams, so that repetitions and conflicts are frequent.
fn request() -> impl Strategy<Value = AppendRequest> {
    (stream_id(), expected(), 0..20_u8, 1..4_u8, any::<bool>()).prop_map(
        |(stream_id, expected, first, count, reversed)| {
            let mut events: Vec<_> = (first..first + count).map(event).collect();
            if reversed {
                events.reverse();
            }
            AppendRequest { stream_id, expected, events }
        },
    )
}

fn texts(from: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    vec(proptest::sample::select(from), 0..3).prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}

fn condition() -> impl Strategy<Value = AppendCondition> {
    let item = (texts(&["t", "u", "none"]), texts(&["g", "h", "i"]))
        .prop_map(|(types, tags)| QueryItem { types, tags });
    (vec(item, 1..3), option::of(0..30_u64)).prop_map(|(query, after)| AppendCondition { query, after })
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let checks = vec((stream_id(), expected()), 0..2);
    (vec(request(), 1..3), checks, vec(condition(), 0..2)).prop_map(|(mut appends, checks, conditions)| {
        if appends.len() == 2 && appends[0].stream_id == appends[1].stream_id {
            appends.pop();
        }
        let is_appended = |id: &String| appends.iter().any(|append| append.stream_id == *id);
        let checks = checks.into_iter().filter(|(stream_id, _)| !is_appended(stream_id));
        let checks = checks.map(|(stream_id, expected)| StreamCheck { stream_id, expected }).collect();
        Transaction { appends, checks, conditions }
    })
}

fn call() -> impl Strategy<Value = Call> {
    let deletion = prop_oneof![5 => Just(Deletion::Soft), 1 => Just(Deletion::Tombstone)];
    let retention = (option::of(1..4_u64), option::of(1..4_u64), option::of(0..12_u64)).prop_map(
        |(max_count, max_age_seconds, truncate_before)| Retention {
            max_count,
            max_age_seconds,
            truncate_before,
        },
    );
    let distance = prop_oneof![6 => Just(0), 1 => -3..0_i64, 1 => Just(1)];
    let seconds = prop_oneof![2 => Just(0), 2 => -5..5_i64, 1 => Just(100), 1 => Just(i64::from(i16::MAX))];
    let imported = (stream_id(), distance, 0..40_u8, option::of(0..4_u64), seconds);
    prop_oneof![
        6 => vec(request(), 1..6).prop_map(Call::Append),
        6 => transaction().prop_map(Call::Transact),
        1 => (stream_id(), expected(), deletion).prop_map(|(id, expected, deletion)| Call::Delete(id, expected, deletion)),
        1 => (stream_id(), retention).prop_map(|(id, retention)| Call::Retain(id, retention)),
        1 => Just(Call::Scavenge),
        2 => (vec(imported, 1..5), 0..4_u64).prop_map(|(events, rows)| Call::Import(events, rows)),
    ]
}

/// The events of an import into the store in its current state.
fn imported(model: &Model, now: u64, mut end: u64, events: &[Wanted]) -> Vec<ImportedEvent> {
    let mut next: BTreeMap<&str, u64> = BTreeMap::new();
    let there = events.iter().map(|(stream_id, distance, id, gap, seconds)| {
        let first = model.streams.get(stream_id).map_or(u64::from(*id) % 3, |stream| stream.last + 1);
        let next = next.entry(stream_id).or_insert(first);
        let known = model.version_of(now, stream_id, &id.to_string());
        let version = known.unwrap_or(*next).saturating_add_signed(*distance);
        *next += u64::from(known.is_none());
        let position = gap.map(|gap| end + gap);
        end = position.unwrap_or(end) + 1;
        let created = now.saturating_add_signed(*seconds * SECOND as i64);
        ImportedEvent { stream_id: stream_id.clone(), version, position, created, event: event(*id) }
    });
    there.collect()
}

/// A mark for each stream of an import, with this many more rows than before.
fn marks(model: &Model, events: &[ImportedEvent], more: u64) -> Vec<ImportMark> {
    let streams: BTreeSet<&String> = events.iter().map(|event| &event.stream_id).collect();
    let marks = streams.into_iter().map(|stream_id| ImportMark {
        stream_id: stream_id.clone(),
        source: "f".into(),
        rows: model.rows.get(stream_id).copied().unwrap_or(0) + more,
        leading_rows: 0,
    });
    marks.filter(|mark| mark.rows > 0).collect()
}

/// Removes the position of a forbidden event, because any of several may be reported.
fn comparable<A>(result: Result<A, Error>) -> Result<A, Error> {
    result.map_err(|error| match error {
        Error::ConditionFailed(mut failure) => {
            failure.position = 0;
            Error::ConditionFailed(failure)
        }
        other => other,
    })
}

/// All events of a sequence of pages.
fn all(mut read: impl FnMut(Option<u64>) -> EventPage) -> Vec<Event> {
    let mut events = Vec::new();
    let mut from = None;
    loop {
        let page = read(from);
        events.extend(page.events.into_iter().map(|event| Event {
            stream_id: event.stream_id,
            id: event.id,
            event_type: event.event_type,
            tags: event.tags,
            version: event.version,
            created: event.created,
            position: event.position,
        }));
        if page.end {
            return events;
        }
        from = page.next;
    }
}

fn by_label(types: &[&str], tags: &[&str]) -> EventFilter {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    EventFilter {
        query: vec![QueryItem { types: texts(types), tags: texts(tags) }],
        stream_prefixes: Vec::new(),
        correlation_id: None,
        causation_id: None,
        stream_pattern: None,
        type_pattern: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn results_and_reads_agree_with_a_list(calls in vec(call(), 1..16), count in 1..5_u32) {
        let store = MemoryKeyspaces::new();
        let mut model = Model::default();
        let mut now = 0;
        for call in &calls {
            now += SECOND;
            run(&store, &mut model, now, call)?;
        }
        let visible = model.visible(now);
        let whole = all(|from| read_all(&store, now, from, count, Direction::Forward).unwrap());
        prop_assert_eq!(&whole, &visible);
        let mut backward = all(|from| read_all(&store, now, from, count, Direction::Backward).unwrap());
        backward.reverse();
        prop_assert_eq!(&backward, &whole);

        let labels: [(&[&str], &[&str]); 5] =
            [(&["t"], &[]), (&["u"], &[]), (&[], &["g"]), (&[], &["h"]), (&["t"], &["i"])];
        for (types, tags) in labels {
            let found = all(|from| {
                let filter = by_label(types, tags);
                read_filtered(&store, now, CorrelationIndex::Off, filter, from, count, Direction::Forward).unwrap()
            });
            let has = |event: &&Event| {
                types.iter().all(|text| *text == event.event_type)
                    && tags.iter().all(|tag| event.tags.iter().any(|there| there == tag))
            };
            prop_assert_eq!(found, visible.iter().filter(has).cloned().collect::<Vec<_>>());
        }

        for stream_id in STREAMS_USED {
            let Some(stream) = model.streams.get(stream_id) else {
                prop_assert_eq!(stream_info(&store, now, stream_id), Err(Error::NotFound));
                continue;
            };
            let modelled: Vec<_> = visible.iter().filter(|event| event.stream_id == stream_id).cloned().collect();
            let info = stream_info(&store, now, stream_id).unwrap();
            prop_assert_eq!((info.state, info.last_version, info.updated), (stream.state, stream.last, stream.updated));
            prop_assert_eq!(info.first_version, modelled.first().map(|event| event.version));
            if stream.state != StreamState::Live {
                prop_assert!(read_stream(&store, now, stream_id, None, 1, Direction::Forward).is_err());
                continue;
            }
            let forward = all(|from| read_stream(&store, now, stream_id, from, count, Direction::Forward).unwrap());
            prop_assert_eq!(&forward, &modelled);
            let mut backward =
                all(|from| read_stream(&store, now, stream_id, from, count, Direction::Backward).unwrap());
            backward.reverse();
            prop_assert_eq!(&backward, &forward);
        }
        let live = model.streams.iter().filter(|(_, stream)| stream.state == StreamState::Live);
        let live: Vec<_> = live.map(|(stream_id, _)| stream_id.clone()).collect();
        prop_assert_eq!(list_streams(&store, "", None, 1_000, false).unwrap().streams, live);
        let known: Vec<_> = model.streams.keys().cloned().collect();
        prop_assert_eq!(list_streams(&store, "", None, 1_000, true).unwrap().streams, known);
        invariants(&store)?;

        // Scavenging removes no visible events, and verification has no findings before and after.
        verified(&store)?;
        scavenge_all(&store, now)?;
        prop_assert_eq!(all(|from| read_all(&store, now, from, count, Direction::Forward).unwrap()), visible);
        verified(&store)?;
    }
}

/// Applies a call to the store and to the model, and compares the results.
fn run(store: &MemoryKeyspaces, model: &mut Model, now: u64, call: &Call) -> Checked {
    let index = CorrelationIndex::Off;
    match call {
        Call::Append(requests) => {
            let results = append(store, now, index, requests);
            for (request, result) in requests.iter().zip(&results) {
                compare(model.append(now, request), result.clone())?;
            }
            for (request, result) in requests.iter().zip(&results) {
                if let Ok(result) = result {
                    model.put(&request.stream_id, result)?;
                }
            }
            // A repetition of the whole call gets the same results for events that are present.
            let again = append(store, now, index, requests);
            for ((request, first), second) in requests.iter().zip(&results).zip(&again) {
                let repeated = model.repeated(now, request);
                if let (Ok(result), Ok(Some(place))) = (first, repeated)
                    && result.first_version == place.first
                {
                    prop_assert_eq!(first, second);
                }
                // A refused or hidden append may succeed now; that is another call.
                let modelled = model.append(now, request);
                compare(modelled, second.clone())?;
            }
            for (request, result) in requests.iter().zip(&again) {
                if let Ok(result) = result {
                    model.put(&request.stream_id, result)?;
                }
            }
        }
        Call::Transact(transaction) => {
            let result = transact(store, now, index, std::slice::from_ref(transaction)).remove(0);
            if let Err(Error::ConditionFailed(failure)) = &result {
                let condition = &transaction.conditions[failure.condition as usize];
                prop_assert!(model.forbidden(now, condition).contains(&failure.position));
            }
            let modelled = comparable(model.transact(now, transaction));
            let versions = |result: &AppendResult| (result.first_version, result.last_version);
            let outcome =
                comparable(result.clone()).map(|results| results.iter().map(versions).collect::<Vec<_>>());
            let modelled = modelled
                .map(|places| places.iter().map(|place| (place.first, place.last)).collect::<Vec<_>>());
            prop_assert_eq!(outcome, modelled);
            if let Ok(results) = &result {
                for (append, result) in transaction.appends.iter().zip(results) {
                    model.put(&append.stream_id, result)?;
                }
                if transaction.appends.iter().all(|append| matches!(model.repeated(now, append), Ok(Some(_))))
                {
                    let again = transact(store, now, index, std::slice::from_ref(transaction)).remove(0);
                    prop_assert_eq!(&again, &result);
                }
            }
        }
        Call::Delete(stream_id, expected, deletion) => {
            let result = delete_stream(store, stream_id, *expected, *deletion);
            prop_assert_eq!(result, model.delete(stream_id, *expected, *deletion));
        }
        Call::Retain(stream_id, retention) => {
            let result = set_retention(store, now, stream_id, retention);
            prop_assert_eq!(result, model.retain(now, stream_id, retention));
        }
        Call::Scavenge => {
            scavenge_all(store, now)?;
        }
        Call::Import(events, more) => {
            let end = store.durable_position().expect("the store is in memory");
            let events = imported(model, now, end, events);
            let marks = marks(model, &events, *more);
            let result = import_events(store, now, index, &events, &marks).map_err(|error| match error {
                Error::Invalid(invalid) => {
                    Error::Invalid(InvalidArgument { message: String::new(), ..invalid })
                }
                other => other,
            });
            prop_assert_eq!(
                result.clone().map(|result| (result.added, result.repeated, result.hidden)),
                model.import(now, end, &events, &marks)
            );
            let streams: Vec<String> = events.iter().map(|event| event.stream_id.clone()).collect();
            let states = import_states(store, now, "f", &streams).expect("the names are right");
            for (stream_id, state) in streams.iter().zip(states) {
                prop_assert_eq!(state.rows, model.rows.get(stream_id).copied().unwrap_or(0));
                prop_assert_eq!(state.info, stream_info(store, now, stream_id).ok());
            }
            if let Ok(result) = result {
                let again =
                    import_events(store, now, index, &events, &marks).expect("it was imported before");
                // An added event may be hidden by its age at once.
                prop_assert_eq!(again.added, 0);
                prop_assert!(again.hidden >= result.hidden);
                prop_assert_eq!(again.repeated + again.hidden, events.len() as u32);
                prop_assert_eq!(again.durable_position, result.durable_position);
            }
        }
    }
    Ok(())
}

/// Compares versions only: positions depend on the order in which the streams of a call are committed.
fn compare(modelled: Result<Place, Error>, result: Result<AppendResult, Error>) -> Checked {
    let outcome = result.map(|result| (result.first_version, result.last_version));
    prop_assert_eq!(outcome, modelled.map(|place| (place.first, place.last)));
    Ok(())
}

/// Checks the invariants of any store.
fn invariants(store: &MemoryKeyspaces) -> Checked {
    let mut link = 0;
    for (key, value) in store.entries(EVENTS) {
        let envelope = Envelope::decode(0, &value).expect("it is an envelope");
        if let Envelope::Event { .. } = envelope {
            let computed = chain_link(link, &key, &value, Envelope::LINK_AT as usize);
            prop_assert_eq!(computed, Some(envelope.link()));
        }
        link = envelope.link();
    }
    prop_assert_eq!(store.log_end().map(|end| end.chain), Ok(link));
    let extended = store
        .entries(STREAMS)
        .into_iter()
        .filter(|(_, head)| Head::decode(head).is_ok_and(|head| head.is_extended()));
    let extended: Vec<_> = extended.map(|(stream_id, _)| (stream_id, Vec::new())).collect();
    prop_assert_eq!(store.entries(RETAINED), extended);
    Ok(())
}

/// Runs all steps of verification, which must find nothing.
fn verified(store: &MemoryKeyspaces) -> Checked {
    let mut cursor = None;
    loop {
        let step = verify(store, cursor.as_ref(), false);
        prop_assert!(step.as_ref().is_ok_and(|step| step.found == 0), "{:?}", step);
        cursor = step.ok().and_then(|step| step.next);
        if cursor.is_none() {
            return Ok(());
        }
    }
}

/// Runs all steps of scavenging, which must skip nothing.
fn scavenge_all(store: &MemoryKeyspaces, now: u64) -> Checked {
    let mut cursor = None;
    loop {
        let scavenged = scavenge(store, now, cursor.as_ref()).expect("the store is in memory");
        prop_assert!(scavenged.skipped.is_empty(), "{:?}", scavenged.skipped);
        cursor = scavenged.step.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}
