//! Decides writes: appends to one stream or several, under checks of others and conditions on the whole store.
//!
//! A list of requests is decided with few reads, in one state of the store. Each request that appends gets one batch, whose
//! guards say what it was decided on: the heads of all its streams are as they were read, and no event that could match a
//! condition was added since. A request may build on earlier ones of the list as far as guards can say so; see `write/list.rs`.

mod check;
mod condition;
mod list;

use std::collections::HashMap;

use exesdb_sdk::types::{ChangeResult, Decision, Error, Placed, Planned, PlannedPlace, WriteRequest};
use exesdb_sdk::view::View;

use crate::correlation::CorrelationIndex;
use crate::decide::{Attempt, Verdict, Versions, advance_head, decide as verdict, time_of_append};
use crate::entries::{Addition, Entries, Origin};
use crate::known::{KnownIds, Wanted, read_heads, read_ids, repeated_position};
use crate::layout::Head;

pub use check::{APPENDS_MAX, CHECKS_MAX, CONDITIONS_MAX};
use check::{NewAppend, Write};
use list::List;

/// Decides about requests. Returns one decision for each, in their order.
pub fn decide(view: &impl View, index: CorrelationIndex, requests: &[WriteRequest]) -> Vec<Decision> {
    let writes: Vec<Result<Write<'_>, Error>> = requests.iter().map(Write::read).collect();
    match decide_valid(view, index, &writes) {
        Ok(decisions) => decisions,
        // What the arguments alone refuse does not need what cannot be read.
        Err(error) => {
            let refused = |write: Result<_, Error>| Decision::Done(Err(write.err().unwrap_or(error.clone())));
            writes.into_iter().map(refused).collect()
        }
    }
}

fn decide_valid<'a>(
    view: &impl View,
    index: CorrelationIndex,
    writes: &'a [Result<Write<'a>, Error>],
) -> Result<Vec<Decision>, Error> {
    let valid = || writes.iter().flatten();
    let heads: HashMap<_, _> = read_heads(view, valid().flat_map(Write::streams))?.into_iter().collect();
    let wanted: Vec<Wanted<'_>> = valid()
        .flat_map(|write| &write.appends)
        .map(|NewAppend { stream_id, events, .. }| {
            let head = heads[stream_id].as_ref().ok().copied().flatten();
            Wanted { stream_id, head, events }
        })
        .collect();
    let mut known = read_ids(view, &wanted)?.into_iter();
    let mut list = List::new(heads, view.now());
    let decisions = writes.iter().map(|write| {
        let write = match write {
            Ok(write) => write,
            Err(error) => return Decision::Done(Err(error.clone())),
        };
        // An error of one request does not affect the others.
        let known: Vec<_> = known.by_ref().take(write.appends.len()).collect();
        let decision = decide_one(view, index, write, known, &mut list);
        decision.unwrap_or_else(|error| Decision::Done(Err(error)))
    });
    Ok(decisions.collect())
}

/// Decides one request after those that the list has.
fn decide_one<'a>(
    view: &impl View,
    index: CorrelationIndex,
    write: &'a Write<'a>,
    known: Vec<Result<KnownIds, Error>>,
    list: &mut List<'a>,
) -> Result<Decision, Error> {
    if list.must_wait_for(write) {
        list.defer(write);
        return Ok(Decision::Later);
    }
    let known = known.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut heads = HashMap::new();
    for stream_id in write.streams() {
        heads.insert(stream_id, list.head(stream_id)?);
    }
    let decided = verdict_on(write, &known, &heads);
    let is_unsure = list.is_built_on_by(write);
    match decided {
        // What an earlier request of the list leads to is certain only once that is applied.
        Verdict::Refuse(_) | Verdict::Repeat(_) if is_unsure => {
            list.defer(write);
            Ok(Decision::Later)
        }
        Verdict::Refuse(error) => Err(error),
        Verdict::Repeat(versions) => {
            let placed = write.appends.iter().zip(versions).map(|(append, Versions { first, last })| {
                let NewAppend { stream_id, events, .. } = append;
                let head = heads[stream_id].as_ref().expect("a stream that has the events has a head");
                let position = repeated_position(view, stream_id, head, events, first)?;
                let stream_id = (*stream_id).to_owned();
                Ok(Placed { stream_id, first_version: first, last_version: last, position })
            });
            let placed = placed.collect::<Result<Vec<_>, Error>>()?;
            Ok(Decision::Done(Ok(ChangeResult { placed, count: 0 })))
        }
        Verdict::Append(versions) => {
            if list.may_match(write.conditions) {
                list.defer(write);
                return Ok(Decision::Later);
            }
            match condition::check_all(view, write.conditions) {
                Err(_) if is_unsure => {
                    list.defer(write);
                    return Ok(Decision::Later);
                }
                checked => checked?,
            }
            plan(view, index, write, &known, &heads, &versions, list).map(Decision::Commit)
        }
    }
}

fn verdict_on(write: &Write<'_>, known: &[KnownIds], heads: &HashMap<&str, Option<Head>>) -> Verdict {
    let head = |stream_id: &str| heads[stream_id].as_ref();
    // A head includes the earlier appends of the list, so events that they push over `max_count` are hidden.
    let ids: Vec<Vec<_>> = write
        .appends
        .iter()
        .zip(known)
        .map(|(append, known)| append.ids().zip(known.visible(head(append.stream_id))).collect())
        .collect();
    let attempts = write.appends.iter().zip(&ids).map(|(append, ids)| {
        let NewAppend { stream_id, expected, .. } = *append;
        Attempt { stream_id, head: head(stream_id), expected, ids }
    });
    let checks = write.checks.iter().map(|check| {
        let stream_id = check.stream_id.as_str();
        (stream_id, head(stream_id), check.expected)
    });
    verdict(&attempts.collect::<Vec<_>>(), &checks.collect::<Vec<_>>())
}

/// Plans the batch of a request, with guards on everything that it was decided on, and adds the request to the list.
fn plan<'a>(
    view: &impl View,
    index: CorrelationIndex,
    write: &'a Write<'a>,
    known: &[KnownIds],
    heads: &HashMap<&str, Option<Head>>,
    versions: &[Versions],
    list: &mut List<'a>,
) -> Result<Planned, Error> {
    let mut entries = Entries::new(index);
    for stream_id in write.streams() {
        list.guard(stream_id, &mut entries);
    }
    if !write.conditions.is_empty() {
        condition::guard(view.end().next_position, write.conditions, &mut entries);
    }
    let mut placed = Vec::with_capacity(write.appends.len());
    let mut next_heads = Vec::with_capacity(write.appends.len());
    let mut labels = Vec::new();
    for ((append, known), Versions { first, last }) in write.appends.iter().zip(known).zip(versions) {
        let head = heads[append.stream_id].as_ref();
        if let Some(head) = head.filter(|_| list.has_pending(append.stream_id)) {
            // As they were read: new, or those of hidden events.
            for (id, stored) in append.ids().zip(known.stored()) {
                entries.require_id(head.origin, id, *stored);
            }
        }
        let created = time_of_append(list.now(), head);
        let next = advance_head(head, *last, created, created);
        let origin = head.map_or(Origin::Event(entries.next_event()), |head| Origin::Known(head.origin));
        let additions = (*first..=*last).zip(&append.events).map(|(version, event)| Addition {
            version,
            created,
            bytes: event.bytes,
            envelope: event.envelope,
        });
        labels.extend(entries.put_events(origin, additions));
        entries.put_head(append.stream_id, head, &next, origin);
        placed.push(PlannedPlace {
            stream_id: append.stream_id.to_owned(),
            first_version: *first,
            last_version: *last,
            offset: entries.next_event() - 1,
        });
        next_heads.push(next);
    }
    let batch = entries.build()?;
    list.add(write, next_heads, labels);
    Ok(Planned { batch, placed, count: 0 })
}
