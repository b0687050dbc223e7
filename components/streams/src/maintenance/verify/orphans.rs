//! Walks the derived keyspaces for orphans: entries that belong to nothing.

use std::collections::HashMap;

use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::types::{Error, Position, Version};
use exesdb_sdk::view::{Entry, Page, View};

use super::super::located::{appends_from, last_append};
use super::super::log::{At, Records};
use super::{STEP_ENTRIES, Step};
use crate::events::Event;
use crate::layout::{DIGEST_BYTES, Head, IDS, INDEX, RETAINED, STREAMS, id_key, number};
use exesdb_sdk::maintenance::cursor;

/// Where the walk continues after the first `seen` entries of a page.
pub(super) fn continue_after(page: &Page, seen: usize) -> Option<Vec<u8>> {
    let last = page.entries().take(seen).last()?;
    if page.more || seen < page.len() { cursor::following(last.key) } else { None }
}

/// Runs one step of `index`.
pub(super) fn walk_index<V: View>(step: &mut Step<'_, V>, start: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(INDEX, start, STEP_ENTRIES)?;
    let parsed: Vec<Option<(Position, Version, Position)>> = page.entries().map(indexed).collect();
    let positions: Vec<Position> = parsed.iter().flatten().map(|(_, _, position)| *position).collect();
    let records = step.records(&positions)?;
    let heads = heads_of(step, &records)?;
    let mut events = records.iter();
    for (seen, (entry, parsed)) in page.entries().zip(parsed).enumerate() {
        let Some((origin, version, _)) = parsed else {
            step.examined += 1;
            step.orphan(
                INDEX,
                entry,
                "it is no origin and version with a position; reads of a stream may fail at it",
            );
            continue;
        };
        let Some(at) = events.next() else { return Ok(continue_after(&page, seen)) };
        step.examined += 1;
        match at {
            At::Event(Event { envelope, .. }) => {
                let Some(head) = heads.get(envelope.stream_id) else { continue };
                if head.origin == origin && envelope.version == version {
                    continue;
                }
                let problem =
                    "it leads to an event of another stream or version; reads of a stream may fail at it";
                // If the stream is known, the walk of the log has rewritten what is needed.
                match owner(step, origin)? {
                    Owner::Stream(..) | Owner::Nobody => step.orphan(INDEX, entry, problem),
                    Owner::Unknown => step.entry(INDEX, entry.key, problem, None),
                }
            }
            At::Removed => removed(step, INDEX, entry, origin, version)?,
            At::Nothing => {
                let problem = "it leads to an event that is missing or cannot be read";
                step.entry(INDEX, entry.key, problem, None);
            }
        }
    }
    Ok(continue_after(&page, page.len()))
}

fn indexed(entry: Entry<'_>) -> Option<(Position, Version, Position)> {
    let (origin, version) = entry.key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*origin), number(version)?, number(entry.value)?))
}

/// Runs one step of `ids`.
pub(super) fn walk_ids<V: View>(step: &mut Step<'_, V>, start: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(IDS, start, STEP_ENTRIES)?;
    let mut located = Vec::with_capacity(page.len());
    for entry in page.entries() {
        located.push(locate_id(step, entry)?);
    }
    let positions: Vec<Position> = located.iter().filter_map(|id| id.as_ref()?.position).collect();
    let records = step.records(&positions)?;
    let mut events = records.iter();
    for (seen, (entry, id)) in page.entries().zip(located).enumerate() {
        let Some(Id { origin, version, position }) = id else {
            step.examined += 1;
            step.orphan(
                IDS,
                entry,
                "it is no origin and digest with a version; an append of such an id fails",
            );
            continue;
        };
        let at = match position {
            None => None,
            Some(_) => match events.next() {
                None => return Ok(continue_after(&page, seen)),
                at => at,
            },
        };
        step.examined += 1;
        match at {
            Some(At::Event(event)) => {
                let is_version = event.envelope.version == version;
                if is_version && id_key(origin, event.envelope.id) == entry.key {
                    continue;
                }
                let problem = "the event of this version has another id; an append of this one is refused";
                match owner(step, origin)? {
                    Owner::Stream(stream_id, _) if is_version && stream_id == event.envelope.stream_id => {
                        step.orphan(IDS, entry, problem);
                    }
                    _ => no_version(step, entry, origin, version)?,
                }
            }
            Some(At::Removed) => removed(step, IDS, entry, origin, version)?,
            // An unreadable event may have this id.
            Some(At::Nothing) => {
                step.entry(IDS, entry.key, "it leads to an event that is missing or cannot be read", None);
            }
            None => no_version(step, entry, origin, version)?,
        }
    }
    Ok(continue_after(&page, page.len()))
}

/// Checks an entry of `ids` for a version to which the index does not lead.
fn no_version<V: View>(
    step: &mut Step<'_, V>,
    entry: Entry<'_>,
    origin: Position,
    version: Version,
) -> Result<(), Error> {
    let problem = format!("the stream has no version {version}; an append of this id is refused");
    match owner(step, origin)? {
        Owner::Nobody => step.orphan(IDS, entry, problem),
        Owner::Stream(_, head) if version > head.last_version || version < head.reclaimed_before => {
            step.orphan(IDS, entry, problem);
        }
        // It may be a remnant of a lost event or index entry.
        Owner::Stream(..) | Owner::Unknown => {
            step.entry(IDS, entry.key, format!("the index does not lead to its version {version}"), None);
        }
    }
    Ok(())
}

/// A well-formed entry of `ids`.
struct Id {
    origin: Position,
    version: Version,
    /// The version's position according to the index.
    position: Option<Position>,
}

fn locate_id<V: View>(step: &Step<'_, V>, entry: Entry<'_>) -> Result<Option<Id>, Error> {
    let Some((origin, digest)) = entry.key.split_first_chunk::<8>() else { return Ok(None) };
    let (DIGEST_BYTES, Some(version)) = (digest.len(), number(entry.value)) else { return Ok(None) };
    let origin = u64::from_be_bytes(*origin);
    let appends = appends_from(step.view, origin, version, 1)?;
    let position = appends.first().and_then(|append| append.locate(version));
    Ok(Some(Id { origin, version, position }))
}

/// Checks an entry that leads to a removed event. If the stream says that the event was removed, the entry is an orphan; if
/// not, the event is lost, and the entry is the evidence.
fn removed<V: View>(
    step: &mut Step<'_, V>,
    keyspace: &str,
    entry: Entry<'_>,
    origin: Position,
    version: Version,
) -> Result<(), Error> {
    match owner(step, origin)? {
        Owner::Stream(stream_id, head) if version >= head.reclaimed_before => {
            let place = format!("stream `{stream_id}`, version {version}");
            let problem = "the event was removed, though the head does not say so: it is lost; restore the store from a \
                           backup";
            step.findings.add(place, problem, None);
        }
        Owner::Stream(..) | Owner::Nobody => {
            step.orphan(keyspace, entry, "it leads to an event that was removed")
        }
        Owner::Unknown => step.entry(keyspace, entry.key, "it leads to an event that was removed", None),
    }
    Ok(())
}

/// The owner of an origin.
pub(super) enum Owner {
    /// This stream.
    Stream(String, Head),
    /// No stream.
    Nobody,
    /// Unknown, because the events that would show it are removed or lost.
    Unknown,
}

/// Finds the owner of an origin by the event at the origin, or by the last event in the origin's index.
pub(super) fn owner<V: View>(step: &Step<'_, V>, origin: Position) -> Result<Owner, Error> {
    let last = last_append(step.view, origin)?.map(|append| append.position);
    for position in last.into_iter().chain([origin]) {
        let records = step.records(&[position])?;
        let At::Event(event) = records.first() else { continue };
        let value = step.view.get(STREAMS, event.envelope.stream_id.as_bytes())?;
        match value.and_then(|value| Head::decode(&value).ok()) {
            Some(head) if head.origin == origin => {
                return Ok(Owner::Stream(event.envelope.stream_id.to_owned(), head));
            }
            // The event's stream certainly begins elsewhere, so no stream begins here.
            Some(head) if position == origin && begins_before(step, &head, &event)? => {
                return Ok(Owner::Nobody);
            }
            Some(_) | None => {}
        }
    }
    let is_behind = origin >= step.view.end().next_position;
    Ok(if is_behind { Owner::Nobody } else { Owner::Unknown })
}

/// Whether the origin in the head leads to an earlier event of the same stream.
fn begins_before<V: View>(step: &Step<'_, V>, head: &Head, event: &Event<'_>) -> Result<bool, Error> {
    let records = step.records(&[head.origin])?;
    Ok(matches!(
        records.first(),
        At::Event(Event { envelope: first, .. })
            if first.stream_id == event.envelope.stream_id && first.version < event.envelope.version
    ))
}

/// The readable heads of these events' streams.
fn heads_of<V: View>(step: &Step<'_, V>, records: &Records) -> Result<HashMap<String, Head>, Error> {
    let mut ids: Vec<String> = records
        .iter()
        .filter_map(|at| match at {
            At::Event(event) => Some(event.envelope.stream_id.to_owned()),
            At::Removed | At::Nothing => None,
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let keys: Vec<Vec<u8>> = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
    let values = step.view.get_all(STREAMS, &keys)?;
    let heads = ids.into_iter().zip(values);
    Ok(heads.filter_map(|(id, value)| Some((id, Head::decode(&value?).ok()?))).collect())
}

/// Runs one step of `retained`.
pub(super) fn walk_retained<V: View>(
    step: &mut Step<'_, V>,
    start: Vec<u8>,
) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(RETAINED, start, STEP_ENTRIES)?;
    step.examined += page.len() as u64;
    let keys: Vec<Vec<u8>> = page.entries().map(|entry| entry.key.to_vec()).collect();
    let values = step.view.get_all(STREAMS, &keys)?;
    for (entry, value) in page.entries().zip(values) {
        let mut batch = BatchBuilder::new();
        batch.require(STREAMS, entry.key, value.as_deref());
        batch.require(RETAINED, entry.key, Some(entry.value));
        let problem = match value.as_deref().map(Head::decode) {
            // The walk of the heads reports it, and this entry is evidence of what it was.
            Some(Err(_)) => continue,
            Some(Ok(head)) if head.is_extended() => {
                if entry.value.is_empty() {
                    continue;
                }
                batch.put(RETAINED, entry.key, &[]);
                "it has a value; it should have none"
            }
            Some(Ok(_)) => {
                batch.delete(RETAINED, entry.key);
                "the stream hides nothing; the entry only costs time"
            }
            None => {
                // If a head is lost, this entry shows that it must not be reconstructed from the events.
                let problem = "there is no such stream; if there was one that hid events, its head is lost";
                step.entry(RETAINED, entry.key, problem, None);
                continue;
            }
        };
        step.entry(RETAINED, entry.key, problem, Some(batch));
    }
    Ok(continue_after(&page, page.len()))
}
