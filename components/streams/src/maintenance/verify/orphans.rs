//! Walks the derived keyspaces for orphans: entries that belong to nothing.

use std::collections::HashMap;

use exesdb_sdk::keyspaces::{BatchBuilder, Direction, Entry, Keyspaces, Page, Range};
use exesdb_sdk::types::{Error, Position, RecordedEvent, Version};

use super::super::cursor;
use super::super::located::{appends_from, last_append};
use super::{At, STEP_ENTRIES, Step};
use crate::layout::{
    DIGEST_BYTES, EVENTS, Envelope, GAPS, Head, IDS, INDEX, RETAINED, STREAMS, id_key, number,
};

/// Where the walk continues after the first `seen` entries of a page.
pub(super) fn continue_after(page: &Page, seen: usize) -> Option<Vec<u8>> {
    let last = page.entries[..seen].last()?;
    if page.more || seen < page.entries.len() { cursor::following(&last.key) } else { None }
}

/// Runs one step of `index`.
pub(super) fn walk_index<S: Keyspaces>(
    step: &mut Step<'_, S>,
    start: Vec<u8>,
) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(INDEX, start, STEP_ENTRIES)?;
    let parsed: Vec<Option<(Position, Version, Position)>> = page.entries.iter().map(indexed).collect();
    let positions: Vec<Position> = parsed.iter().flatten().map(|(_, _, position)| *position).collect();
    let events = step.events(&positions)?;
    let heads = heads_of(step, &events)?;
    let mut events = events.into_iter();
    for (seen, (entry, parsed)) in page.entries.iter().zip(parsed).enumerate() {
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
            At::Envelope(Envelope::Event { event, .. }) => {
                let Some(head) = heads.get(&event.stream_id) else { continue };
                if head.origin == origin && event.version == version {
                    continue;
                }
                let problem =
                    "it leads to an event of another stream or version; reads of a stream may fail at it";
                // If the stream is known, the walk of the log has rewritten what is needed.
                match owner(step, origin)? {
                    Owner::Stream(..) | Owner::Nobody => step.orphan(INDEX, entry, problem),
                    Owner::Unknown => step.entry(INDEX, &entry.key, problem, None),
                }
            }
            At::Envelope(Envelope::Removed { .. }) => removed(step, INDEX, entry, origin, version)?,
            At::Missing | At::Malformed => {
                let problem = "it leads to an event that is missing or cannot be read";
                step.entry(INDEX, &entry.key, problem, None);
            }
        }
    }
    Ok(continue_after(&page, page.entries.len()))
}

fn indexed(entry: &Entry) -> Option<(Position, Version, Position)> {
    let (origin, version) = entry.key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*origin), number(version)?, number(&entry.value)?))
}

/// Runs one step of `ids`.
pub(super) fn walk_ids<S: Keyspaces>(
    step: &mut Step<'_, S>,
    start: Vec<u8>,
) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(IDS, start, STEP_ENTRIES)?;
    let mut located = Vec::with_capacity(page.entries.len());
    for entry in &page.entries {
        located.push(locate_id(step, entry)?);
    }
    let positions: Vec<Position> = located.iter().filter_map(|id| id.as_ref()?.position).collect();
    let mut events = step.events(&positions)?.into_iter();
    for (seen, (entry, id)) in page.entries.iter().zip(located).enumerate() {
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
            Some(At::Envelope(Envelope::Event { event, .. })) => {
                if id_key(origin, &event.id) == entry.key && event.version == version {
                    continue;
                }
                let problem = "the event of this version has another id; an append of this one is refused";
                match owner(step, origin)? {
                    Owner::Stream(stream_id, _)
                        if stream_id == event.stream_id && event.version == version =>
                    {
                        step.orphan(IDS, entry, problem);
                    }
                    _ => no_version(step, entry, origin, version)?,
                }
            }
            Some(At::Envelope(Envelope::Removed { .. })) => removed(step, IDS, entry, origin, version)?,
            // An unreadable event may have this id.
            Some(At::Missing | At::Malformed) => {
                step.entry(IDS, &entry.key, "it leads to an event that is missing or cannot be read", None);
            }
            None => no_version(step, entry, origin, version)?,
        }
    }
    Ok(continue_after(&page, page.entries.len()))
}

/// Checks an entry of `ids` for a version to which the index does not lead.
fn no_version<S: Keyspaces>(
    step: &mut Step<'_, S>,
    entry: &Entry,
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
            step.entry(IDS, &entry.key, format!("the index does not lead to its version {version}"), None);
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

fn locate_id<S: Keyspaces>(step: &Step<'_, S>, entry: &Entry) -> Result<Option<Id>, Error> {
    let Some((origin, digest)) = entry.key.split_first_chunk::<8>() else { return Ok(None) };
    let (DIGEST_BYTES, Some(version)) = (digest.len(), number(&entry.value)) else { return Ok(None) };
    let origin = u64::from_be_bytes(*origin);
    let appends = appends_from(step.store, origin, version, 1)?;
    let position = appends.first().and_then(|append| append.locate(version));
    Ok(Some(Id { origin, version, position }))
}

/// Checks an entry that leads to a removed event. If the stream says that the event was removed, the entry is an orphan; if
/// not, the event is lost, and the entry is the evidence.
fn removed<S: Keyspaces>(
    step: &mut Step<'_, S>,
    keyspace: &str,
    entry: &Entry,
    origin: Position,
    version: Version,
) -> Result<(), Error> {
    match owner(step, origin)? {
        Owner::Stream(stream_id, head) if version >= head.reclaimed_before => {
            let place = format!("stream `{stream_id}`, version {version}");
            let problem = "the event was removed, though the head does not say so: it is lost; restore the store from a \
                           backup";
            step.add(place, problem, None);
        }
        Owner::Stream(..) | Owner::Nobody => {
            step.orphan(keyspace, entry, "it leads to an event that was removed")
        }
        Owner::Unknown => step.entry(keyspace, &entry.key, "it leads to an event that was removed", None),
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
pub(super) fn owner<S: Keyspaces>(step: &Step<'_, S>, origin: Position) -> Result<Owner, Error> {
    let last = last_append(step.store, origin)?.map(|append| append.position);
    for position in last.into_iter().chain([origin]) {
        let at = step.events(&[position])?.pop();
        let Some(At::Envelope(Envelope::Event { event, .. })) = at else { continue };
        let value = step.store.get(STREAMS, event.stream_id.as_bytes())?;
        match value.and_then(|value| Head::decode(&value).ok()) {
            Some(head) if head.origin == origin => return Ok(Owner::Stream(event.stream_id, head)),
            // The event's stream certainly begins elsewhere, so no stream begins here.
            Some(head) if position == origin && begins_before(step, &head, &event)? => {
                return Ok(Owner::Nobody);
            }
            Some(_) | None => {}
        }
    }
    let is_behind = origin >= step.store.log_end()?.next_position;
    Ok(if is_behind { Owner::Nobody } else { Owner::Unknown })
}

/// Whether the origin in the head leads to an earlier event of the same stream.
fn begins_before<S: Keyspaces>(
    step: &Step<'_, S>,
    head: &Head,
    event: &RecordedEvent,
) -> Result<bool, Error> {
    let first = step.events(&[head.origin])?.pop();
    Ok(matches!(
        first,
        Some(At::Envelope(Envelope::Event { event: first, .. }))
            if first.stream_id == event.stream_id && first.version < event.version
    ))
}

/// The readable heads of these events' streams.
fn heads_of<S: Keyspaces>(step: &Step<'_, S>, events: &[At]) -> Result<HashMap<String, Head>, Error> {
    let mut ids: Vec<String> = events
        .iter()
        .filter_map(|at| match at {
            At::Envelope(Envelope::Event { event, .. }) => Some(event.stream_id.clone()),
            At::Envelope(Envelope::Removed { .. }) | At::Malformed | At::Missing => None,
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let keys: Vec<Vec<u8>> = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
    let values = step.store.get_all(STREAMS, &keys)?;
    let heads = ids.into_iter().zip(values);
    Ok(heads.filter_map(|(id, value)| Some((id, Head::decode(&value?).ok()?))).collect())
}

/// Runs one step of `retained`.
pub(super) fn walk_retained<S: Keyspaces>(
    step: &mut Step<'_, S>,
    start: Vec<u8>,
) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(RETAINED, start, STEP_ENTRIES)?;
    step.examined += page.entries.len() as u64;
    let keys: Vec<Vec<u8>> = page.entries.iter().map(|entry| entry.key.clone()).collect();
    let values = step.store.get_all(STREAMS, &keys)?;
    for (entry, value) in page.entries.iter().zip(values) {
        let mut batch = BatchBuilder::new();
        batch.require(STREAMS, &entry.key, value.as_deref());
        batch.require(RETAINED, &entry.key, Some(&entry.value));
        let problem = match value.as_deref().map(Head::decode) {
            // The walk of the heads reports it, and this entry is evidence of what it was.
            Some(Err(_)) => continue,
            Some(Ok(head)) if head.is_extended() => {
                if entry.value.is_empty() {
                    continue;
                }
                batch.put(RETAINED, entry.key.clone(), []);
                "it has a value; it should have none"
            }
            Some(Ok(_)) => {
                batch.delete(RETAINED, &entry.key);
                "the stream hides nothing; the entry only costs time"
            }
            None => {
                // If a head is lost, this entry shows that it must not be reconstructed from the events.
                let problem = "there is no such stream; if there was one that hid events, its head is lost";
                step.entry(RETAINED, &entry.key, problem, None);
                continue;
            }
        };
        step.entry(RETAINED, &entry.key, problem, Some(batch));
    }
    Ok(continue_after(&page, page.entries.len()))
}

/// Runs one step of `gaps`.
pub(super) fn walk_gaps<S: Keyspaces>(
    step: &mut Step<'_, S>,
    start: Vec<u8>,
) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(GAPS, start, STEP_ENTRIES)?;
    for entry in &page.entries {
        step.examined += 1;
        let gap = number(&entry.key).zip(number(&entry.value)).filter(|(first, end)| first < end);
        let Some((first, end)) = gap else {
            step.orphan(GAPS, entry, "it is no range of positions");
            continue;
        };
        let bytes = |position: Position| position.to_be_bytes().to_vec();
        let inside = Range { keyspace: EVENTS.to_owned(), start: bytes(first), end: Some(bytes(end)) };
        let inside = step.store.scan(&inside, Direction::Forward, 1, 1)?;
        let Some(event) = inside.entries.first() else { continue };
        if event.key == entry.key {
            step.orphan(
                GAPS,
                entry,
                "there are events from its first position on; no import left these empty",
            );
        } else {
            step.entry(
                GAPS,
                &entry.key,
                "there are events among the positions that it says were left empty",
                None,
            );
        }
    }
    Ok(continue_after(&page, page.entries.len()))
}
