//! Walks the heads of streams, and reconstructs lost ones.

use exesdb_sdk::keyspaces::{BatchBuilder, Direction, Entry, Keyspaces, prefix_range};
use exesdb_sdk::types::{Error, Position, RecordedEvent, Version};

use super::super::cursor;
use super::super::located::last_append;
use super::{At, STEP_BYTES, STEP_ENTRIES, Step};
use crate::layout::{EVENTS, Envelope, Head, IDS, INDEX, RETAINED, STREAMS, index_key, number};

/// Maximum number of events of a stream whose head is rebuilt. Counting more would take too long for one step.
const REBUILT_EVENTS_MAX: u32 = 10_000;

/// Runs one step of `streams`.
pub(super) fn walk<S: Keyspaces>(step: &mut Step<'_, S>, start: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(STREAMS, start, STEP_ENTRIES)?;
    let keys: Vec<Vec<u8>> = page.entries.iter().map(|entry| entry.key.clone()).collect();
    let retained = step.store.get_all(RETAINED, &keys)?;
    let heads: Vec<Option<Head>> = page.entries.iter().map(|entry| Head::decode(&entry.value).ok()).collect();
    // One position for each head, so that indices correspond; a malformed head has a position that does not exist.
    let last_keys: Vec<Vec<u8>> = heads
        .iter()
        .map(|head| head.map_or_else(|| vec![0], |head| index_key(head.origin, head.last_version)))
        .collect();
    let positions: Vec<Option<Position>> =
        step.store.get_all(INDEX, &last_keys)?.iter().map(|value| number(value.as_deref()?)).collect();
    let wanted: Vec<Position> = positions.iter().flatten().copied().collect();
    let mut events = step.events(&wanted)?.into_iter();
    let mut last = None;
    for ((entry, head), (retained, position)) in
        page.entries.iter().zip(&heads).zip(retained.iter().zip(&positions))
    {
        let event = match position {
            None => None,
            Some(_) => match events.next() {
                // The next step reads the events of the other heads.
                None => return Ok(last.and_then(|last: &Vec<u8>| cursor::following(last))),
                event => event,
            },
        };
        last = Some(&entry.key);
        step.examined += 1;
        head_of(step, entry, *head, retained.is_some(), event);
    }
    Ok(last.filter(|_| page.more).and_then(|last| cursor::following(last)))
}

fn head_of<S: Keyspaces>(
    step: &mut Step<'_, S>,
    entry: &Entry,
    head: Option<Head>,
    is_retained: bool,
    last: Option<At>,
) {
    let Ok(stream_id) = str::from_utf8(&entry.key) else {
        step.entry(STREAMS, &entry.key, "the key is no stream id; lists of streams fail", None);
        return;
    };
    let Some(head) = head else {
        let problem = "its head cannot be read, so neither can the stream; restore the store from a backup";
        step.add(format!("stream `{stream_id}`"), problem, None);
        return;
    };
    if head.encode() != entry.value {
        let mut batch = BatchBuilder::new();
        batch.require(STREAMS, &entry.key, Some(&entry.value));
        batch.put(STREAMS, stream_id, head.encode());
        let problem = "its head has another form than it should: appends would fail";
        step.add(format!("stream `{stream_id}`"), problem, Some(batch));
    }
    if head.is_extended() && !is_retained {
        let mut batch = BatchBuilder::new();
        batch.require(STREAMS, &entry.key, Some(&entry.value));
        batch.require(RETAINED, &entry.key, None);
        batch.put(RETAINED, stream_id, []);
        let problem = "it hides events, but has no entry in `retained`: reads of the whole store may show them, and \
                       scavenging leaves them";
        step.add(format!("stream `{stream_id}`"), problem, Some(batch));
    }
    if head.reclaimed_before > head.last_version {
        return;
    }
    let problem = match last {
        None => "keyspace `index` has no entry for it",
        Some(At::Envelope(Envelope::Event { event, .. })) => {
            if event.stream_id == stream_id && event.version == head.last_version {
                return;
            }
            "another event is where keyspace `index` says that it is"
        }
        Some(At::Envelope(Envelope::Removed { .. })) => "it was removed, though the head does not say so",
        Some(At::Missing | At::Malformed) => "it is missing, or cannot be read",
    };
    let place = format!("stream `{stream_id}`, version {}", head.last_version);
    step.add(place, format!("the head says that this is the last version, but {problem}"), None);
}

/// Reconstructs the head of a stream whose head cannot be read, from its first event; none if it is not certain.
///
/// It is certain if nothing of the stream was ever hidden (it is not in `retained`), `index` and `ids` agree on the number
/// of events, and the last event is at its position.
pub(super) fn rebuilt(store: &impl Keyspaces, first: &RecordedEvent) -> Result<Option<Head>, Error> {
    let origin = first.position;
    if store.get(RETAINED, first.stream_id.as_bytes())?.is_some() {
        return Ok(None);
    }
    let Some(last) = last_append(store, origin)? else { return Ok(None) };
    if last.last >= Version::from(REBUILT_EVENTS_MAX) {
        return Ok(None);
    }
    let ids = prefix_range(IDS, &origin.to_be_bytes());
    // One more than expected, to see that there is none.
    let page = store.scan(&ids, Direction::Forward, REBUILT_EVENTS_MAX + 1, STEP_BYTES)?;
    let mut versions: Vec<Option<Version>> = page.entries.iter().map(|entry| number(&entry.value)).collect();
    versions.sort_unstable();
    if page.more || versions != (0..=last.last).map(Some).collect::<Vec<_>>() {
        return Ok(None);
    }
    let value = store.get(EVENTS, &last.position.to_be_bytes())?;
    match At::of(last.position, value.as_deref()) {
        At::Envelope(Envelope::Event { event, .. })
            if event.stream_id == first.stream_id && event.version == last.last =>
        {
            Ok(Some(Head::new(origin, last.last, first.created, event.created)))
        }
        At::Envelope(_) | At::Malformed | At::Missing => Ok(None),
    }
}
