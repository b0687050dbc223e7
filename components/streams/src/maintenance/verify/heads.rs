//! Walks the heads of streams, and reconstructs lost ones.

use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::types::{Direction, Error, Position, Version};
use exesdb_sdk::view::{Entry, View, prefix_range};

use super::super::located::last_append;
use super::super::log::{At, Records};
use super::{STEP_BYTES, STEP_ENTRIES, STEP_EVENT_BYTES, Step};
use crate::events::Event;
use crate::layout::{Head, IDS, INDEX, RETAINED, STREAMS, index_key, number};
use exesdb_sdk::maintenance::cursor;

/// Maximum number of events of a stream whose head is rebuilt. Counting more would take too long for one step.
const REBUILT_EVENTS_MAX: u32 = 10_000;

/// Runs one step of `streams`.
pub(super) fn walk<V: View>(step: &mut Step<'_, V>, start: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(STREAMS, start, STEP_ENTRIES)?;
    let keys: Vec<Vec<u8>> = page.entries().map(|entry| entry.key.to_vec()).collect();
    let retained = step.view.get_all(RETAINED, &keys)?;
    let heads: Vec<Option<Head>> = page.entries().map(|entry| Head::decode(entry.value).ok()).collect();
    // One position for each head, so that indices correspond; a malformed head has a position that does not exist.
    let last_keys: Vec<Vec<u8>> = heads
        .iter()
        .map(|head| head.map_or_else(|| vec![0], |head| index_key(head.origin, head.last_version)))
        .collect();
    let positions: Vec<Option<Position>> =
        step.view.get_all(INDEX, &last_keys)?.iter().map(|value| number(value.as_deref()?)).collect();
    let wanted: Vec<Position> = positions.iter().flatten().copied().collect();
    let records = step.records(&wanted)?;
    let mut events = records.iter();
    let mut last = None;
    for ((entry, head), (retained, position)) in
        page.entries().zip(&heads).zip(retained.iter().zip(&positions))
    {
        let event = match position {
            None => None,
            Some(_) => match events.next() {
                // The next step reads the events of the other heads.
                None => return Ok(last.and_then(cursor::following)),
                event => event,
            },
        };
        last = Some(entry.key);
        step.examined += 1;
        head_of(step, entry, *head, retained.is_some(), event);
    }
    Ok(last.filter(|_| page.more).and_then(cursor::following))
}

fn head_of<V: View>(
    step: &mut Step<'_, V>,
    entry: Entry<'_>,
    head: Option<Head>,
    is_retained: bool,
    last: Option<At<'_>>,
) {
    let Ok(stream_id) = str::from_utf8(entry.key) else {
        step.entry(STREAMS, entry.key, "the key is no stream id; lists of streams fail", None);
        return;
    };
    let Some(head) = head else {
        let problem = "its head cannot be read, so neither can the stream; restore the store from a backup";
        step.findings.add(format!("stream `{stream_id}`"), problem, None);
        return;
    };
    if head.encode() != entry.value {
        let mut batch = BatchBuilder::new();
        batch.require(STREAMS, entry.key, Some(entry.value));
        batch.put(STREAMS, entry.key, &head.encode());
        let problem = "its head has another form than it should: appends would fail";
        step.findings.add(format!("stream `{stream_id}`"), problem, Some(batch));
    }
    if head.is_extended() && !is_retained {
        let mut batch = BatchBuilder::new();
        batch.require(STREAMS, entry.key, Some(entry.value));
        batch.require(RETAINED, entry.key, None);
        batch.put(RETAINED, entry.key, &[]);
        let problem = "it hides events, but has no entry in `retained`: reads of the whole store may show them, and \
                       scavenging leaves them";
        step.findings.add(format!("stream `{stream_id}`"), problem, Some(batch));
    }
    if head.reclaimed_before > head.last_version {
        return;
    }
    let problem = match last {
        None => "keyspace `index` has no entry for it",
        Some(At::Event(event)) => {
            if event.is(stream_id, head.last_version) {
                return;
            }
            "another event is where keyspace `index` says that it is"
        }
        Some(At::Removed) => "it was removed, though the head does not say so",
        Some(At::Nothing) => "it is missing, or cannot be read",
    };
    let place = format!("stream `{stream_id}`, version {}", head.last_version);
    step.findings.add(place, format!("the head says that this is the last version, but {problem}"), None);
}

/// Reconstructs the head of a stream whose head cannot be read, from its first event; none if it is not certain.
///
/// It is certain if nothing of the stream was ever hidden (it is not in `retained`), `index` and `ids` agree on the number
/// of events, and the last event is at its position.
pub(super) fn rebuilt(view: &impl View, first: &Event<'_>) -> Result<Option<Head>, Error> {
    let origin = first.position;
    if view.get(RETAINED, first.envelope.stream_id.as_bytes())?.is_some() {
        return Ok(None);
    }
    let Some(last) = last_append(view, origin)? else { return Ok(None) };
    if last.last >= Version::from(REBUILT_EVENTS_MAX) {
        return Ok(None);
    }
    let ids = prefix_range(IDS, &origin.to_be_bytes());
    // One more than expected, to see that there is none.
    let page = view.scan(&ids, Direction::Forward, REBUILT_EVENTS_MAX + 1, STEP_BYTES)?;
    let mut versions: Vec<Option<Version>> = page.entries().map(|entry| number(entry.value)).collect();
    versions.sort_unstable();
    if page.more || versions != (0..=last.last).map(Some).collect::<Vec<_>>() {
        return Ok(None);
    }
    let records = Records::read(view, &[last.position], STEP_EVENT_BYTES)?;
    Ok(match records.first() {
        At::Event(event) if event.is(first.envelope.stream_id, last.last) => {
            Some(Head::new(origin, last.last, first.envelope.created, event.envelope.created))
        }
        At::Event(_) | At::Removed | At::Nothing => None,
    })
}
