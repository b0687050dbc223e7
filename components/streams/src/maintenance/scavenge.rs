//! Removes the events that retention and deletion hide.
//!
//! The streams of keyspace `retained` are processed in order. For each, the hidden events from the first one that is not
//! removed yet are removed in one batch: their content goes from the log; their entries in `ids`, the entries in `labels`
//! that end with one, and the entries in `index` of appends without remaining events are deleted; and the head records up to
//! which version the stream is removed. The batch requires the head as it was read, so nothing is removed twice, and a
//! concurrent append only causes the step to be asked for again.
//!
//! A step that ends inside a stream returns the stream and the version that it reached. The next step uses the version in
//! the head; the one in the cursor makes each cursor differ from the one before, so that the caller sees progress.

use std::collections::HashSet;

use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::maintenance::{Cursor, ScavengeStep};
use exesdb_sdk::types::{Batch, Direction, Error, Position, Range, Version};
use exesdb_sdk::view::View;

use super::labelled::digests;
use super::located::{Append, appends_from};
use super::log::read_records;
use crate::correlation::CorrelationIndex;
use crate::events::{Event, Logged, logged};
use crate::layout::{
    Head, IDS, INDEX, LABELS, LabelDigest, RETAINED, STREAMS, id_key, index_key, label_key, number,
};
use crate::visible::{first_kept, is_too_old};
use exesdb_sdk::maintenance::cursor;

/// Maximum number of streams per step.
pub const STEP_STREAMS: u32 = 500;
/// Maximum number of events that one step removes.
pub const STEP_EVENTS: u64 = 1_000;
/// Approximate maximum bytes of events that one step reads into memory.
pub const STEP_BYTES: u64 = 4 << 20;

/// Maximum bytes of one read of events.
const READ_BYTES: u32 = 2 << 20;
/// Maximum bytes of a page of stream ids.
const KEYS_BYTES_MAX: u32 = 1 << 20;
/// Number of operations from which a stream's batch takes no further event: the host's limit, less what one event needs.
const BATCH_OPERATIONS: usize = 9_900;
/// The tag of a cursor that is the first stream of the next step.
const AT_STREAM: u8 = 64;
/// The tag of a cursor inside a stream: the version below which its events are removed, then the stream.
const INSIDE_STREAM: u8 = 65;

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scavenged {
    /// The result for the operator.
    pub step: ScavengeStep,
    /// The reasons why streams were skipped, or scavenged only in part. The run continues after them.
    pub skipped: Vec<String>,
}

/// Runs one step.
///
/// # Errors
///
/// [`Error::Invalid`] for a cursor that this function did not return; those of the storage.
pub fn scavenge(view: &impl View, from: Option<&Cursor>) -> Result<Scavenged, Error> {
    let start = from.map_or(Ok(Vec::new()), first_stream)?;
    let range = Range { keyspace: RETAINED.to_owned(), start, end: None };
    let page = view.scan(&range, Direction::Forward, STEP_STREAMS, KEYS_BYTES_MAX)?;
    let mut step = Step { view, batches: Vec::new(), removed: 0, bytes: 0, skipped: Vec::new() };
    let mut room = Room { events: STEP_EVENTS, bytes: STEP_BYTES };
    let mut examined = 0;
    let mut last = None;
    let mut unfinished = None;
    for entry in page.entries() {
        examined += 1;
        last = Some(entry.key);
        unfinished = step.stream(entry.key, &mut room)?;
        if unfinished.is_some() || room.events == 0 || room.bytes == 0 {
            break;
        }
    }
    let next = match (unfinished, last) {
        (Some(unfinished), _) => Some(unfinished.cursor()),
        (None, Some(last)) if page.more || examined < page.len() => {
            cursor::following(last).map(|key| cursor::of_key(AT_STREAM, &key))
        }
        (None, _) => None,
    };
    let Step { batches, removed, bytes, skipped, .. } = step;
    let step = ScavengeStep { batches, next, examined: examined as u64, removed, bytes };
    Ok(Scavenged { step, skipped })
}

struct Step<'a, V> {
    view: &'a V,
    batches: Vec<Batch>,
    removed: u64,
    bytes: u64,
    skipped: Vec<String>,
}

/// A stream with more to remove than fits into the step.
struct Unfinished {
    key: Vec<u8>,
    /// The version below which its events are removed.
    below: Version,
}

impl Unfinished {
    fn cursor(&self) -> Cursor {
        [&[INSIDE_STREAM][..], &self.below.to_be_bytes(), &self.key].concat()
    }
}

/// The first key of `retained` for a step.
fn first_stream(from: &Cursor) -> Result<Vec<u8>, Error> {
    match cursor::parts(from)? {
        (AT_STREAM, key) => Ok(key.to_owned()),
        (INSIDE_STREAM, rest) => {
            let (_, key) = rest.split_first_chunk::<8>().ok_or_else(cursor::unknown)?;
            Ok(key.to_owned())
        }
        _ => Err(cursor::unknown()),
    }
}

/// The remaining capacity of a step.
struct Room {
    events: u64,
    bytes: u64,
}

impl<V: View> Step<'_, V> {
    /// Plans the removal of one stream's hidden events, as many as fit. Returns the stream if it has more.
    fn stream(&mut self, key: &[u8], room: &mut Room) -> Result<Option<Unfinished>, Error> {
        let Some(value) = self.view.get(STREAMS, key)? else {
            self.damaged(key, "it has no head");
            return Ok(None);
        };
        let (Ok(stream_id), Ok(head)) = (str::from_utf8(key), Head::decode(&value)) else {
            self.damaged(key, "its head cannot be read");
            return Ok(None);
        };
        let hidden = self.hidden(stream_id, &head, room)?;
        if hidden.below <= head.reclaimed_before {
            return Ok(None);
        }
        let next = Head { reclaimed_before: hidden.below, ..head };
        let mut batch = BatchBuilder::new();
        batch.require(STREAMS, key, Some(&value));
        self.put_removals(&mut batch, head.origin, &hidden)?;
        batch.put(STREAMS, key, &next.encode());
        self.batches.push(batch.build());
        Ok(hidden.has_more.then(|| Unfinished { key: key.to_owned(), below: hidden.below }))
    }

    /// The hidden events from the first one that is not removed yet, as many as fit.
    fn hidden(&mut self, stream_id: &str, head: &Head, room: &mut Room) -> Result<Hidden, Error> {
        let mut hidden =
            Hidden { below: head.reclaimed_before, events: Vec::new(), appends: Vec::new(), has_more: false };
        // All lower versions are hidden whatever their age.
        let sure = first_kept(head).unwrap_or_else(|| head.last_version.saturating_add(1));
        let ages = head.max_age_seconds != 0 && first_kept(head).is_some();
        let mut operations = 0;
        while hidden.below <= head.last_version && (hidden.below < sure || ages) {
            if room.events == 0 || room.bytes == 0 || operations > BATCH_OPERATIONS {
                hidden.has_more = true;
                break;
            }
            // The first event shows whether any is too old.
            let count = if hidden.below < sure {
                room.events.min(sure - hidden.below)
            } else if hidden.events.is_empty() {
                1
            } else {
                room.events
            };
            let (positions, appends) = self.positions(head.origin, hidden.below, count)?;
            let frames = read_records(self.view, &positions, READ_BYTES)?;
            if frames.is_empty() {
                let reason = format!("the index does not lead to version {}", hidden.below);
                self.damaged(stream_id.as_bytes(), &reason);
                break;
            }
            hidden.appends.extend(appends);
            for (position, record) in positions.into_iter().zip(logged(&frames)) {
                if operations > BATCH_OPERATIONS {
                    break;
                }
                let version = hidden.below;
                let (_, Logged::Event(event)) = record? else {
                    self.astray(stream_id, version, position);
                    return Ok(hidden);
                };
                if !event.is(stream_id, version) {
                    self.astray(stream_id, version, position);
                    return Ok(hidden);
                }
                let is_visible =
                    version >= sure && !is_too_old(head, event.envelope.created, self.view.now());
                let Some(below) = version.checked_add(1).filter(|_| !is_visible) else { return Ok(hidden) };
                room.events = room.events.saturating_sub(1);
                room.bytes = room.bytes.saturating_sub(event.bytes.len() as u64);
                let removed = Removed::new(&event);
                // The event, its id, an index entry, and its labels.
                operations += 3 + removed.labels.len();
                hidden.events.push(removed);
                hidden.below = below;
            }
        }
        Ok(hidden)
    }

    /// The positions of a stream's versions and their appends, as many as one read of the index returns.
    fn positions(
        &self,
        origin: Position,
        first: Version,
        count: u64,
    ) -> Result<(Vec<Position>, Vec<Append>), Error> {
        let limit = u32::try_from(count.min(STEP_EVENTS)).expect("the events of a step are few");
        let appends = appends_from(self.view, origin, first, limit)?;
        let mut positions = Vec::new();
        let mut next = first;
        for append in &appends {
            let room = usize::try_from(count).unwrap_or(usize::MAX) - positions.len();
            positions.extend((next..=append.last).take(room).map_while(|version| append.locate(version)));
            next = append.last.saturating_add(1);
        }
        Ok((positions, appends))
    }

    fn put_removals(
        &mut self,
        batch: &mut BatchBuilder,
        origin: Position,
        hidden: &Hidden,
    ) -> Result<(), Error> {
        let mut delete = |bytes: &mut u64, keyspace, key: &[u8], value_bytes: usize| {
            *bytes += (key.len() + value_bytes) as u64;
            batch.delete(keyspace, key);
        };
        let id_keys: Vec<Vec<u8>> =
            hidden.events.iter().map(|removed| id_key(origin, &removed.event_id)).collect();
        let versions = self.view.get_all(IDS, &id_keys)?;
        for ((removed, id_key), version) in hidden.events.iter().zip(id_keys).zip(versions) {
            self.removed += 1;
            self.bytes += removed.bytes;
            // If the id was appended again after this event became hidden, the entry belongs to the later event.
            if version.as_deref().and_then(number) == Some(removed.version) {
                delete(&mut self.bytes, IDS, &id_key, 8);
            }
        }
        let label_keys: Vec<Vec<u8>> = hidden
            .events
            .iter()
            .flat_map(|removed| removed.labels.iter().map(|digest| label_key(*digest, removed.position)))
            .collect();
        let values = self.view.get_all(LABELS, &label_keys)?;
        // Events are removed in the order of versions, so with the last one, all events of the entry are removed.
        for (key, value) in label_keys.iter().zip(values) {
            if let Some(value) = value {
                delete(&mut self.bytes, LABELS, key, value.len());
            }
        }
        let mut deleted = HashSet::new();
        for append in hidden.appends.iter().filter(|append| append.last < hidden.below) {
            if deleted.insert(append.last) {
                delete(&mut self.bytes, INDEX, &index_key(origin, append.last), 8);
            }
        }
        for removed in &hidden.events {
            batch.remove_event(removed.position);
        }
        Ok(())
    }

    fn astray(&mut self, stream_id: &str, version: Version, position: Position) {
        let reason = format!("version {version} is not at position {position}, or cannot be read");
        self.damaged(stream_id.as_bytes(), &reason);
    }

    fn damaged(&mut self, key: &[u8], reason: &str) {
        self.skip(key, &format!("{reason}; verify the store"));
    }

    fn skip(&mut self, key: &[u8], reason: &str) {
        let reason = format!("stream `{}`: {reason}", key.escape_ascii());
        if !self.skipped.contains(&reason) {
            self.skipped.push(reason);
        }
    }
}

/// The events of a stream to remove.
struct Hidden {
    /// The version below which all events are removed afterwards.
    below: Version,
    events: Vec<Removed>,
    /// The index entries of these events and later ones.
    appends: Vec<Append>,
    /// Whether more events may be hidden than fit.
    has_more: bool,
}

/// The parts of an event that its removal needs. Its content is not kept in memory.
struct Removed {
    position: Position,
    version: Version,
    event_id: String,
    labels: Vec<LabelDigest>,
    /// Bytes of its envelope.
    bytes: u64,
}

impl Removed {
    fn new(event: &Event<'_>) -> Self {
        let Event { position, bytes, envelope } = event;
        let labels = digests(envelope, CorrelationIndex::On);
        Self {
            position: *position,
            version: envelope.version,
            event_id: envelope.id.to_owned(),
            labels,
            bytes: bytes.len() as u64,
        }
    }
}
