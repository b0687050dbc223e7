//! Puts events where they were in another store: all that are not there yet, in one batch.
//!
//! An event is there if its stream has its version. Where that can still be seen it has to be the same event; where
//! retention, deletion or a tombstone hides it, nobody can tell, and it stays hidden. An event after its stream's last one
//! is added, whatever is hidden before it. Times are taken as they are given.
//!
//! If positions are given, the batch is decided for the end of the log as it was read, and its guards say that nobody
//! has added anything behind it. Positions that it leaves empty are taken like those of events, so that nobody else gets
//! them, and named in keyspace `gaps`. A gap before the first event that is larger than one batch may take is taken by
//! batches of its own before; if the import fails for another reason behind them, it stays empty all the same.

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

use decide::{Fate, Placed, place, settle};
use marks::{Rise, rises};
use present::{Heads, candidates};

pub use decide::{BATCH_POSITIONS_MAX, GAP_MAX};
pub use marks::{MARKS_MAX, SOURCE_BYTES_MAX, STATES_MAX, import_states};

/// Imports events, and notes how many rows of their sources their streams have had. `now` is the time of day in
/// microseconds, which tells what retention hides.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::TooLarge`] for the arguments; [`Error::WrongExpectedVersion`] for an event that is
/// neither in its stream nor the next one, and for one that a mark counts as new and that is hidden; [`Error::IdConflict`] for one whose id a visible event elsewhere in its stream
/// has; [`Error::StreamDeleted`] for one after the end of a stream with a tombstone; those of the storage.
pub fn import_events(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    events: &[ImportedEvent],
    marks: &[ImportMark],
) -> Result<ImportResult, Error> {
    check(events)?;
    marks::check(marks)?;
    let fates = change(store, || {
        let end = store.durable_position()?;
        let streams = events.iter().map(|event| event.stream_id.as_str());
        let heads = read_heads(store, streams.chain(marks.iter().map(|mark| mark.stream_id.as_str())))?;
        let heads = heads.into_iter().map(|(stream_id, head)| Ok((stream_id, head?)));
        let heads: Heads<'_> = heads.collect::<Result<_, Error>>()?;
        let fates = settle(&heads, &candidates(store, now, events, &heads)?)?;
        let added: Vec<&ImportedEvent> = events
            .iter()
            .zip(&fates)
            .filter(|(_, fate)| **fate == Fate::Add)
            .map(|(event, _)| event)
            .collect();
        let positions: Vec<_> =
            events.iter().zip(&fates).map(|(event, fate)| (event.position, *fate)).collect();
        let placed = place(end, &positions)?;
        let keys = marks.iter().map(|mark| import_key(&mark.stream_id, &mark.source)).collect();
        let rises = rises(marks, &marks::read(store, keys)?, &heads, events, &fates)?;
        Ok((batches(&added, &rises, &placed, &heads, end, index), fates))
    })?;
    let count = |wanted: Fate| {
        let events = fates.iter().filter(|fate| **fate == wanted).count();
        u32::try_from(events).expect("the number of events is limited")
    };
    Ok(ImportResult {
        added: count(Fate::Add),
        repeated: count(Fate::Repeat),
        hidden: count(Fate::Hidden),
        durable_position: store.durable_position()?,
    })
}

/// Checks what needs no look into the store.
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

/// The batches of an import: those that take the gap before it, then its own.
fn batches(
    added: &[&ImportedEvent],
    rises: &[Rise<'_>],
    placed: &Placed,
    heads: &HashMap<&str, Option<Head>>,
    end: Position,
    index: CorrelationIndex,
) -> Vec<Batch> {
    if added.is_empty() && rises.is_empty() {
        return Vec::new();
    }
    let mut batches: Vec<Batch> = Vec::with_capacity(placed.reserved.len() + 1);
    let mut next = end;
    let mut reserved = None;
    for count in &placed.reserved {
        let mut entries = Entries::new(index);
        require_end(&mut entries, next, reserved);
        entries.put_gap(next, *count);
        batches.push(entries.build());
        reserved = Some(next);
        next = next.saturating_add((*count).into());
    }
    let mut entries = Entries::new(index);
    if placed.is_fixed {
        require_end(&mut entries, next, reserved);
    }
    let mut streams: Vec<(&&str, &Option<Head>)> = heads.iter().collect();
    streams.sort_unstable_by_key(|(stream_id, _)| **stream_id);
    for (stream_id, head) in streams {
        entries.require_head(stream_id, head.as_ref());
    }
    // Streams as the events so far leave them: before, now, and by which origin.
    let mut reached: HashMap<&str, (Head, Origin)> = HashMap::new();
    let mut order: Vec<&str> = Vec::new();
    let mut rest = added.iter().zip(&placed.gaps).peekable();
    while let Some((first, gap)) = rest.next() {
        if *gap > 0 {
            entries.put_gap(next, *gap);
        }
        next = next.saturating_add(u64::from(*gap));
        let stream_id = first.stream_id.as_str();
        let mut run = vec![addition(first)];
        // Events of one stream without any other between them are found as one append.
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

/// Guard: the log ends here, that is: nothing lies at `end` or behind, and, if this is behind what was read, there is
/// the gap from `reserved` to here. Every position is that of an event or of a gap.
fn require_end(entries: &mut Entries, end: Position, reserved: Option<Position>) {
    if let Some(reserved) = reserved {
        entries.require_gap(reserved, end);
    }
    entries.require_empty(event_range(end));
    entries.require_empty(Range { keyspace: GAPS.to_owned(), ..event_range(end) });
}
