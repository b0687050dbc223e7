//! Imports events with the versions, and optionally the positions, that they had in another store. All events that are
//! not present yet are added in one batch.
//!
//! An event is present if its stream has its version. A visible event with that version must be the same event; if
//! retention, deletion or a tombstone hides it, it cannot be compared and stays hidden. An event after its stream's last
//! one is added, whatever is hidden before it. Times are stored as given.
//!
//! The batch is decided for the end of the log as it was read, and guards that nothing was added since. If positions are
//! given, what lies between them becomes gaps of the log.

mod decide;
mod marks;
mod present;

use std::collections::HashMap;

use exesdb_sdk::arguments::check_stream_id;
use exesdb_sdk::types::{
    Batch, ChangeResult, Decision, Error, ImportRequest, Planned, PlannedPlace, Position, check_options,
    invalid,
};
use exesdb_sdk::view::View;

use crate::check::{EVENTS_MAX, IMPORTED_VERSION_MAX, check_at_most, check_bytes, check_event, within};
use crate::correlation::CorrelationIndex;
use crate::decide::advance_head;
use crate::entries::{Addition, Entries, Origin};
use crate::events::{NewEvent, read_new};
use crate::known::read_heads;
use crate::layout::{Head, import_key};

use self::decide::{EventDecision, begun, decide_events, place};
use self::marks::{Rise, rises};
use self::present::{Heads, candidates};

pub use self::decide::GAP_MAX;
pub use self::marks::{MARKS_MAX, SOURCE_BYTES_MAX, STATES_MAX, import_states};

/// The distance in a result's `count` between events that were there and events that are hidden.
const HIDDEN: u64 = 1 << 32;

/// Decides an import of events, which also records how many rows of their sources the streams have imported.
pub fn decide(view: &impl View, index: CorrelationIndex, request: &ImportRequest) -> Decision {
    decide_import(view, index, request).unwrap_or_else(|error| Decision::Done(Err(error)))
}

fn decide_import(
    view: &impl View,
    index: CorrelationIndex,
    request: &ImportRequest,
) -> Result<Decision, Error> {
    check_options(&request.options)?;
    let events = read_new("events", &request.events)?;
    check(&events, request.at_positions)?;
    marks::check(&request.marks)?;
    let streams = events.iter().map(|event| event.envelope.stream_id);
    let heads = read_heads(view, streams.chain(request.marks.iter().map(|mark| mark.stream_id.as_str())))?;
    let heads = heads.into_iter().map(|(stream_id, head)| Ok((stream_id, head?)));
    let heads: Heads<'_> = heads.collect::<Result<_, Error>>()?;
    let decisions = decide_events(&heads, &candidates(view, &events, &heads)?)?;
    let position = |event: &NewEvent<'_>| request.at_positions.then_some(event.position);
    let positions: Vec<_> = events.iter().map(position).zip(decisions.iter().copied()).collect();
    let end = view.end().next_position;
    let gaps = place(end, &positions)?;
    let keys = request.marks.iter().map(|mark| import_key(&mark.stream_id, &mark.source)).collect();
    let rises = rises(&request.marks, &marks::read(view, keys)?, &heads, &events, &decisions)?;
    let count = |wanted| decisions.iter().filter(|decision| **decision == wanted).count() as u64;
    let count = count(EventDecision::Repeat) + HIDDEN * count(EventDecision::Hidden);
    let added = events.iter().zip(&decisions).filter(|(_, decision)| **decision == EventDecision::Add);
    let added: Vec<&NewEvent<'_>> = added.map(|(event, _)| event).collect();
    if added.is_empty() && rises.is_empty() {
        return Ok(Decision::Done(Ok(ChangeResult { placed: Vec::new(), count })));
    }
    let (batch, placed) = plan(&added, &gaps, &rises, &heads, end, index)?;
    Ok(Decision::Commit(Planned { batch, placed, count }))
}

/// Checks everything that needs no read.
fn check(events: &[NewEvent<'_>], at_positions: bool) -> Result<(), Error> {
    check_at_most("events", events.len(), EVENTS_MAX)?;
    let mut least = Some(0);
    for (index, NewEvent { position, envelope, .. }) in events.iter().enumerate() {
        let argument = || format!("events[{index}]");
        check_stream_id("stream-id", envelope.stream_id).map_err(|error| within(error, argument))?;
        check_event(envelope).map_err(|error| within(error, argument))?;
        if envelope.version > IMPORTED_VERSION_MAX {
            let message = format!(
                "is {}; an event is imported at version {IMPORTED_VERSION_MAX} at most, so that its stream can go on",
                envelope.version
            );
            return Err(within(invalid("version", message), argument));
        }
        if !at_positions {
            continue;
        }
        if least.is_none_or(|least| *position < least) {
            let message =
                format!("is {position}, as that of an event before it, or less; positions have to rise");
            return Err(within(invalid("position", message), argument));
        }
        least = position.checked_add(1);
    }
    check_bytes("events", events.iter().map(|event| event.bytes.len()))
}

/// The batch of an import, and where it places its events.
fn plan(
    added: &[&NewEvent<'_>],
    gaps: &[u64],
    rises: &[Rise<'_>],
    heads: &Heads<'_>,
    end: Position,
    index: CorrelationIndex,
) -> Result<(Batch, Vec<PlannedPlace>), Error> {
    let mut entries = Entries::new(index);
    entries.require_end(end);
    let mut streams: Vec<(&&str, &Option<Head>)> = heads.iter().collect();
    streams.sort_unstable_by_key(|(stream_id, _)| **stream_id);
    for (stream_id, head) in streams {
        entries.require_head(stream_id, head.as_ref());
    }
    // The heads and origins of the streams after the events so far.
    let mut reached: HashMap<&str, (Head, Origin)> = HashMap::new();
    let mut placed: Vec<PlannedPlace> = Vec::new();
    let mut rest = added.iter().zip(gaps).peekable();
    while let Some((first, gap)) = rest.next() {
        if *gap > 0 {
            entries.put_gap(*gap);
        }
        let stream_id = first.envelope.stream_id;
        let mut run = vec![addition(first)];
        // Consecutive events of one stream are indexed as one append.
        while let Some((event, _)) =
            rest.next_if(|(event, gap)| **gap == 0 && event.envelope.stream_id == stream_id)
        {
            run.push(addition(event));
        }
        let (head, origin) = reached.entry(stream_id).or_insert_with(|| {
            placed.push(PlannedPlace {
                stream_id: stream_id.to_owned(),
                first_version: first.envelope.version,
                last_version: 0,
                offset: 0,
            });
            match heads[stream_id] {
                Some(head) => (head, Origin::Known(head.origin)),
                None => {
                    let head = begun(first.envelope.version, first.envelope.created);
                    (head, Origin::Event(entries.next_event()))
                }
            }
        });
        for Addition { version, created, .. } in &run {
            *head = advance_head(Some(head), *version, head.created, *created);
        }
        entries.put_events(*origin, run.iter().copied());
        let place = placed.iter_mut().find(|place| place.stream_id == stream_id);
        let place = place.expect("the stream was placed with its first event");
        (place.last_version, place.offset) = (head.last_version, entries.next_event() - 1);
    }
    for PlannedPlace { stream_id, .. } in &placed {
        let (head, origin) = &reached[stream_id.as_str()];
        entries.put_head(stream_id, heads[stream_id.as_str()].as_ref(), head, *origin);
    }
    for Rise { stream_id, source, before, after } in rises {
        entries.put_imported(stream_id, source, *before, *after);
    }
    Ok((entries.build()?, placed))
}

fn addition<'a>(event: &NewEvent<'a>) -> Addition<'a> {
    let NewEvent { bytes, envelope, .. } = *event;
    Addition { version: envelope.version, created: envelope.created, bytes, envelope }
}
