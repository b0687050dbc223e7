//! Imports events with the versions, and optionally the positions, that they had in another store. All events that are
//! not present yet are added in one batch.
//!
//! An event is present if its stream has its version. A visible event with that version must be the same event; if
//! retention, deletion or a tombstone hides it, it cannot be compared and stays hidden. An event after its stream's last
//! one is added, whatever is hidden before it. Times are stored as given.
//!
//! If positions are given, the batch is decided for the end of the log as it was read, and its guards ensure that nothing
//! was added since. The batch also takes the positions that it leaves empty, so that no other writer in_stream them, and
//! records them in keyspace `gaps`. A gap before the first event that is too large for one batch is taken by separate
//! batches before it; if the import then fails for another reason, the gap stays.

mod decide;
mod marks;
mod present;

use std::collections::HashMap;

use exesdb_sdk::arguments::{check_stream_id, invalid};
use exesdb_sdk::keyspaces::{Batch, Keyspaces, Range};
use exesdb_sdk::streams::{ImportMark, ImportResult, ImportedEvent};
use exesdb_sdk::types::{Error, Position};

use crate::check::{EVENTS_MAX, IMPORTED_VERSION_MAX, check_at_most, check_bytes, check_event, within};
use crate::correlation::CorrelationIndex;
use crate::entries::{Addition, Entries, Origin};
use crate::known::read_heads;
use crate::layout::{Envelope, GAPS, Head, event_range, import_key};
use crate::rounds::change;

use decide::{EventDecision, Placement, decide_events, place};
use marks::{Rise, rises};
use present::{Heads, candidates};

pub use decide::{BATCH_POSITIONS_MAX, GAP_MAX};
pub use marks::{MARKS_MAX, SOURCE_BYTES_MAX, STATES_MAX, import_states};

/// Imports events, and records how many rows of their sources the streams have imported. `now` is the time of day in
/// microseconds, for retention.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::TooLarge`] for the arguments; [`Error::WrongExpectedVersion`] for an event that is
/// neither in its stream nor the next one, and for a hidden one that a mark counts as new; [`Error::IdConflict`] for an
/// event whose id another visible event of its stream has; [`Error::StreamDeleted`] for an event after the end of a stream
/// with a tombstone; those of the storage.
pub fn import_events(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    events: &[ImportedEvent],
    marks: &[ImportMark],
) -> Result<ImportResult, Error> {
    check(events)?;
    marks::check(marks)?;
    let decisions = change(store, || {
        let end = store.durable_position()?;
        let streams = events.iter().map(|event| event.stream_id.as_str());
        let heads = read_heads(store, streams.chain(marks.iter().map(|mark| mark.stream_id.as_str())))?;
        let heads = heads.into_iter().map(|(stream_id, head)| Ok((stream_id, head?)));
        let heads: Heads<'_> = heads.collect::<Result<_, Error>>()?;
        let decisions = decide_events(&heads, &candidates(store, now, events, &heads)?)?;
        let added: Vec<&ImportedEvent> = events
            .iter()
            .zip(&decisions)
            .filter(|(_, decision)| **decision == EventDecision::Add)
            .map(|(event, _)| event)
            .collect();
        let positions: Vec<_> =
            events.iter().zip(&decisions).map(|(event, decision)| (event.position, *decision)).collect();
        let placement = place(end, &positions)?;
        let keys = marks.iter().map(|mark| import_key(&mark.stream_id, &mark.source)).collect();
        let rises = rises(marks, &marks::read(store, keys)?, &heads, events, &decisions)?;
        Ok((batches(&added, &rises, &placement, &heads, end, index), decisions))
    })?;
    let count = |wanted: EventDecision| {
        let events = decisions.iter().filter(|decision| **decision == wanted).count();
        u32::try_from(events).expect("the number of events is limited")
    };
    Ok(ImportResult {
        added: count(EventDecision::Add),
        repeated: count(EventDecision::Repeat),
        hidden: count(EventDecision::Hidden),
        durable_position: store.durable_position()?,
    })
}

/// Checks everything that needs no read.
fn check(events: &[ImportedEvent]) -> Result<(), Error> {
    check_at_most("events", events.len(), EVENTS_MAX)?;
    let mut least = Some(0);
    for (index, event) in events.iter().enumerate() {
        let argument = || format!("events[{index}]");
        check_stream_id("stream-id", &event.stream_id).map_err(|error| within(error, argument))?;
        check_event(&event.event).map_err(|error| within(error, || format!("events[{index}].event")))?;
        if event.version > IMPORTED_VERSION_MAX {
            let message = format!(
                "is {}; an event is imported at version {IMPORTED_VERSION_MAX} at most, so that its stream can go on",
                event.version
            );
            return Err(within(invalid("version", message), argument));
        }
        let Some(position) = event.position else { continue };
        if least.is_none_or(|least| position < least) {
            let message =
                format!("is {position}, as that of an event before it, or less; positions have to rise");
            return Err(within(invalid("position", message), argument));
        }
        least = position.checked_add(1);
    }
    check_bytes("events", events.iter().map(|event| Envelope::bytes(&event.stream_id, &event.event)))
}

/// The batches of an import: those that take the gap before it, then the import itself.
fn batches(
    added: &[&ImportedEvent],
    rises: &[Rise<'_>],
    placement: &Placement,
    heads: &HashMap<&str, Option<Head>>,
    end: Position,
    index: CorrelationIndex,
) -> Vec<Batch> {
    if added.is_empty() && rises.is_empty() {
        return Vec::new();
    }
    let mut batches: Vec<Batch> = Vec::with_capacity(placement.reserved.len() + 1);
    let mut next = end;
    let mut reserved = None;
    for count in &placement.reserved {
        let mut entries = Entries::new(index);
        require_end(&mut entries, next, reserved);
        entries.put_gap(next, *count);
        batches.push(entries.build());
        reserved = Some(next);
        next = next.saturating_add((*count).into());
    }
    let mut entries = Entries::new(index);
    if placement.is_fixed {
        require_end(&mut entries, next, reserved);
    }
    let mut streams: Vec<(&&str, &Option<Head>)> = heads.iter().collect();
    streams.sort_unstable_by_key(|(stream_id, _)| **stream_id);
    for (stream_id, head) in streams {
        entries.require_head(stream_id, head.as_ref());
    }
    // The heads and origins of the streams after the events so far.
    let mut reached: HashMap<&str, (Head, Origin)> = HashMap::new();
    let mut order: Vec<&str> = Vec::new();
    let mut rest = added.iter().zip(&placement.gaps).peekable();
    while let Some((first, gap)) = rest.next() {
        if *gap > 0 {
            entries.put_gap(next, *gap);
        }
        next = next.saturating_add(u64::from(*gap));
        let stream_id = first.stream_id.as_str();
        let mut run = vec![addition(first)];
        // Consecutive events of one stream are indexed as one append.
        while let Some((event, _)) = rest.next_if(|(event, gap)| **gap == 0 && event.stream_id == stream_id) {
            run.push(addition(event));
        }
        let before = heads[stream_id].as_ref();
        let (head, origin) = reached.entry(stream_id).or_insert_with(|| {
            order.push(stream_id);
            match before {
                Some(head) => (*head, Origin::Known(head.origin)),
                None => (decide::begun(first.version, first.created), Origin::Event(entries.next_event())),
            }
        });
        for Addition { version, created, .. } in &run {
            *head = crate::decide::advance_head(Some(head), *version, head.created, *created);
        }
        entries.put_events(stream_id, *origin, run.iter().copied());
        next = next.saturating_add(run.len() as Position);
    }
    for stream_id in order {
        let (head, origin) = &reached[stream_id];
        entries.put_head(stream_id, heads[stream_id].as_ref(), head, *origin);
    }
    for Rise { stream_id, source, before, after } in rises {
        entries.put_imported(stream_id, source, *before, *after);
    }
    batches.push(entries.build());
    batches
}

fn addition(event: &ImportedEvent) -> Addition<'_> {
    Addition { version: event.version, created: event.created, event: &event.event }
}

/// Guard: the log ends at `end`. No event or gap is at or after it; and if earlier batches of the import have taken the
/// positions from `reserved` to `end`, they are still a gap.
fn require_end(entries: &mut Entries, end: Position, reserved: Option<Position>) {
    if let Some(reserved) = reserved {
        entries.require_gap(reserved, end);
    }
    entries.require_empty(event_range(end));
    entries.require_empty(Range { keyspace: GAPS.to_owned(), ..event_range(end) });
}
