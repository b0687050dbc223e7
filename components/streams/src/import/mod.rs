//! Puts events where they were in another store: all that are not there yet, in one batch.
//!
//! If positions are given, the batch is decided for the end of the log as it was read, and its guards say that nobody
//! has added anything behind it. Positions that it leaves empty are taken like those of events, so that nobody else gets
//! them, and named in keyspace `gaps`. A gap before the first event that is larger than one batch may take is taken by
//! batches of its own before; if the import fails for another reason behind them, it stays empty all the same.

mod decide;

use std::collections::HashMap;

use exesdb_sdk::arguments::{check_stream_id, invalid};
use exesdb_sdk::keyspaces::{Batch, Keyspaces, Range};
use exesdb_sdk::streams::{ImportResult, ImportedEvent};
use exesdb_sdk::types::{Direction, Error, EventData, Position};

use crate::check::{EVENTS_MAX, check_at_most, check_bytes, check_event, within};
use crate::correlation::CorrelationIndex;
use crate::entries::{Addition, Entries, Origin};
use crate::known::{read_heads, read_ids};
use crate::layout::{Envelope, GAPS, Head, event_range};
use crate::read::read_versions;
use crate::rounds::change;

use decide::{Candidate, Fate, Placed, place, settle};

pub use decide::{BATCH_POSITIONS_MAX, GAP_MAX};

/// Imports events. `now` is the time of day in microseconds.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::TooLarge`] for the arguments; [`Error::WrongExpectedVersion`] for an event that is not
/// the next one of its stream, [`Error::IdConflict`] for one whose id stands elsewhere in its stream, or whose place
/// has another event; [`Error::StreamDeleted`]; those of the storage.
pub fn import_events(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    events: &[ImportedEvent],
) -> Result<ImportResult, Error> {
    check(now, events)?;
    let (added, repeated) = change(store, || {
        let end = store.durable_position()?;
        let heads = read_heads(store, events.iter().map(|event| event.stream_id.as_str()))?;
        let heads = heads.into_iter().map(|(stream_id, head)| Ok((stream_id, head?)));
        let heads: HashMap<&str, Option<Head>> = heads.collect::<Result<_, Error>>()?;
        let fates = settle(&heads, &candidates(store, events, &heads)?)?;
        find_repeated(store, events, &heads, &fates)?;
        let added: Vec<&ImportedEvent> = events
            .iter()
            .zip(&fates)
            .filter(|(_, fate)| **fate == Fate::Add)
            .map(|(event, _)| event)
            .collect();
        let counts = (count(added.len()), count(events.len() - added.len()));
        let positions: Vec<_> =
            events.iter().zip(&fates).map(|(event, fate)| (event.position, *fate)).collect();
        let placed = place(end, &positions)?;
        Ok((batches(&added, &placed, &heads, end, index), counts))
    })?;
    Ok(ImportResult { added, repeated, durable_position: store.durable_position()? })
}

/// Checks what needs no look into the store.
fn check(now: u64, events: &[ImportedEvent]) -> Result<(), Error> {
    check_at_most("events", events.len(), EVENTS_MAX)?;
    let mut least = Some(0);
    for (index, event) in events.iter().enumerate() {
        let argument = || format!("events[{index}]");
        check_stream_id("stream-id", &event.stream_id).map_err(|error| within(error, argument))?;
        check_event(&event.event).map_err(|error| within(error, || format!("events[{index}].event")))?;
        if event.created > now {
            let message =
                format!("is {}, but it is {now} now; no event can be from the future", event.created);
            return Err(within(invalid("created", message), argument));
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

/// The events as the rules see them, with the versions of those ids that are in their streams already.
fn candidates<'a>(
    store: &impl Keyspaces,
    events: &'a [ImportedEvent],
    heads: &HashMap<&str, Option<Head>>,
) -> Result<Vec<Candidate<'a>>, Error> {
    let wanted: Vec<(Option<Head>, &[EventData])> = events
        .iter()
        .map(|event| (heads[event.stream_id.as_str()], std::slice::from_ref(&event.event)))
        .collect();
    let known = read_ids(store, &wanted)?;
    events
        .iter()
        .zip(known)
        .map(|(event, known)| {
            Ok(Candidate {
                stream_id: &event.stream_id,
                version: event.version,
                id: &event.event.id,
                created: event.created,
                known: known?.first().copied().flatten(),
            })
        })
        .collect()
}

/// Looks at the events that are there already: they tell whether they are those that are imported, or others whose ids
/// have the same digest.
fn find_repeated(
    store: &impl Keyspaces,
    events: &[ImportedEvent],
    heads: &HashMap<&str, Option<Head>>,
    fates: &[Fate],
) -> Result<(), Error> {
    let repeated =
        || events.iter().zip(fates).filter(|(_, fate)| **fate == Fate::Repeat).map(|(event, _)| event);
    // How many of each stream are still to be looked at.
    let mut left: HashMap<&str, u32> = HashMap::new();
    for event in repeated() {
        *left.entry(&event.stream_id).or_default() += 1;
    }
    let mut found: HashMap<(&str, u64), String> = HashMap::new();
    for event in repeated() {
        let stream_id = event.stream_id.as_str();
        let place = (stream_id, event.version);
        let left = left.get_mut(stream_id).expect("it was counted");
        if !found.contains_key(&place) {
            // With those behind it, which are likely to be repeated as well.
            let head = heads[stream_id].as_ref().expect("a stream that has the event has a head");
            let there =
                read_versions(store, stream_id, head.origin, event.version, *left, Direction::Forward)?;
            found.extend(there.into_iter().map(|there| ((stream_id, there.version), there.id)));
        }
        *left -= 1;
        if found.remove(&place).as_ref() != Some(&event.event.id) {
            return Err(Error::IdConflict(event.event.id.clone()));
        }
    }
    Ok(())
}

/// The batches of an import: those that take the gap before it, then its own.
fn batches(
    added: &[&ImportedEvent],
    placed: &Placed,
    heads: &HashMap<&str, Option<Head>>,
    end: Position,
    index: CorrelationIndex,
) -> Vec<Batch> {
    if added.is_empty() {
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
        let last = run[run.len() - 1];
        *head = crate::decide::moved_on(Some(head), last.version, head.created, last.created);
        entries.put_events(stream_id, *origin, run.iter().copied());
        next = next.saturating_add(run.len() as Position);
    }
    for stream_id in order {
        let (head, origin) = &reached[stream_id];
        entries.put_head(stream_id, heads[stream_id].as_ref(), head, *origin);
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

fn count(events: usize) -> u32 {
    u32::try_from(events).expect("the number of events is limited")
}
