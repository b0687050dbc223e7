//! The random calls. Streams, ids and versions are few, so that calls often affect each other.

use exesdb_reference::{AppendRequest, Transaction};
use exesdb_sdk::events::EventData;
use exesdb_sdk::types::{AppendCondition, Deletion, ExpectedVersion, QueryItem, Retention, StreamCheck};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// The ids of the streams.
pub(crate) const STREAMS_USED: [&str; 3] = ["a", "ab", "b"];

/// An event to import: its stream, the distance from the right version, its id, the number of positions to leave empty
/// before it, and the distance of its time from now in seconds.
pub(crate) type Wanted = (String, i64, u8, u64, i64);

/// A call, in the parts that do not depend on the store.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Write(Vec<Transaction>),
    Delete(String, ExpectedVersion, Deletion),
    Retain(String, Retention),
    Scavenge,
    /// Imports these events, at positions or not, and raises the mark of each of their streams by this many rows.
    Import(Vec<Wanted>, bool, u64),
}

/// The event with an id, from which its type and tags follow.
pub(crate) fn event(id: u8) -> EventData {
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

/// A plain append.
fn plain() -> impl Strategy<Value = Transaction> {
    request().prop_map(|append| Transaction {
        appends: vec![append],
        checks: Vec::new(),
        conditions: Vec::new(),
    })
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

pub(crate) fn call() -> impl Strategy<Value = Call> {
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
    let imported = (stream_id(), distance, 0..40_u8, 0..4_u64, seconds);
    prop_oneof![
        6 => vec(plain(), 1..6).prop_map(Call::Write),
        6 => vec(prop_oneof![transaction(), plain()], 1..5).prop_map(Call::Write),
        1 => (stream_id(), expected(), deletion).prop_map(|(id, expected, deletion)| Call::Delete(id, expected, deletion)),
        1 => (stream_id(), retention).prop_map(|(id, retention)| Call::Retain(id, retention)),
        1 => Just(Call::Scavenge),
        2 => (vec(imported, 1..5), any::<bool>(), 0..4_u64)
            .prop_map(|(events, at_positions, rows)| Call::Import(events, at_positions, rows)),
    ]
}
