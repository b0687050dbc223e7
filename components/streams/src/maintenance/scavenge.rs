//! Removes the events that retention and deletion hide.
//!
//! The streams of keyspace `retained` are processed in order. For each, the hidden events from the first one that is not
//! removed yet are removed in one batch: each event is replaced by its link of the store's hash chain; its entry in `ids`,
//! the entries in `labels` that end with it, and the entries in `index` of appends without remaining events are deleted; and
//! the head records up to which version the stream is removed. The batch requires the head as it was read, so nothing is
//! removed twice, and a concurrent append only causes the batch to be planned again.
//!
//! A step that ends inside a stream returns the stream and the version that it reached. The next step uses the version in
//! the head; the one in the cursor makes each cursor differ from the one before, so that the caller sees progress.

use std::collections::HashSet;

use exesdb_sdk::keyspaces::{BatchBuilder, BatchError, Direction, Keyspaces, Range};
use exesdb_sdk::maintenance::{Cursor, ScavengeStep};
use exesdb_sdk::types::{Error, Position, RecordedEvent, Version};

use super::cursor;
use super::labelled::digests;
use super::located::{Append, appends_from};
use crate::correlation::CorrelationIndex;
use crate::layout::{
    EVENTS, Envelope, Head, IDS, INDEX, LABELS, LabelDigest, RETAINED, STREAMS, id_key, index_key, label_key,
    number,
};
use crate::visible::{first_kept, is_too_old};

/// Maximum number of streams per step.
pub const STEP_STREAMS: u32 = 500;
/// Maximum number of events that one step removes.
pub const STEP_EVENTS: u64 = 1_000;
/// Approximate maximum bytes of events that one step reads into memory.
pub const STEP_BYTES: u64 = 4 << 20;
/// How often a step plans a stream's batch if writers change its head meanwhile.
pub const ROUNDS_MAX: u32 = 8;

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

/// Runs one step. `now` is the time of day in microseconds.
///
/// # Errors
///
/// [`Error::Invalid`] for a cursor that this function did not return; those of the storage.
pub fn scavenge(store: &impl Keyspaces, now: u64, from: Option<&Cursor>) -> Result<Scavenged, Error> {
    let start = from.map_or(Ok(Vec::new()), first_stream)?;
    let range = Range { keyspace: RETAINED.to_owned(), start, end: None };
    let page = store.scan(&range, Direction::Forward, STEP_STREAMS, KEYS_BYTES_MAX)?;
    let keys: Vec<Vec<u8>> = page.entries.into_iter().map(|entry| entry.key).collect();
    let mut step = Step { store, now, removed: 0, bytes: 0, skipped: Vec::new(), unfinished: None };
    let taken = step.streams(&keys)?;
    let next = match (step.unfinished, keys[..taken].last()) {
        (Some(unfinished), _) => Some(unfinished.cursor()),
        (None, Some(last)) if page.more || taken < keys.len() => {
            cursor::following(last).map(|key| cursor::of_key(AT_STREAM, &key))
        }
        (None, _) => None,
    };
    Ok(Scavenged {
        step: ScavengeStep { next, examined: taken as u64, removed: step.removed, bytes: step.bytes },
        skipped: step.skipped,
    })
}

struct Step<'a, S> {
    store: &'a S,
    now: u64,
    removed: u64,
    bytes: u64,
    skipped: Vec<String>,
    /// The first stream that has more to remove.
    unfinished: Option<Unfinished>,
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

impl<S: Keyspaces> Step<'_, S> {
    /// Removes the hidden events of as many of these streams as fit into the step. Returns how many those were.
    fn streams(&mut self, keys: &[Vec<u8>]) -> Result<usize, Error> {
        let mut open: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let taken = self.round(&mut open)?;
        // The next step processes the streams that did not fit.
        let mut open = open[..open.len() - (keys.len() - taken)].to_vec();
        for _ in 1..ROUNDS_MAX {
            self.round(&mut open)?;
        }
        for key in open {
            let reason = format!("writers changed its head {ROUNDS_MAX} times meanwhile");
            self.skip(key, &reason);
        }
        Ok(taken)
    }

    /// Processes as many of these streams as fit, and returns how many those were. Leaves in `open` the streams that were
    /// overtaken, followed by those that did not fit.
    fn round(&mut self, open: &mut Vec<&[u8]>) -> Result<usize, Error> {
        let mut room = Room { events: STEP_EVENTS, bytes: STEP_BYTES };
        let mut plans = Vec::new();
        let mut taken = 0;
        for key in open.iter() {
            taken += 1;
            let plan = self.plan(key, &mut room)?;
            let is_full =
                plan.as_ref().is_some_and(|plan| plan.has_more) || room.events == 0 || room.bytes == 0;
            plans.extend(plan);
            if is_full {
                break;
            }
        }
        let overtaken = self.commit(plans)?;
        let mut at = 0;
        open.retain(|key| {
            at += 1;
            at > taken || overtaken.contains(*key)
        });
        Ok(taken)
    }

    /// Commits plans. Returns the keys of those that were overtaken.
    fn commit(&mut self, plans: Vec<Plan>) -> Result<HashSet<Vec<u8>>, Error> {
        let mut overtaken = HashSet::new();
        if plans.is_empty() {
            return Ok(overtaken);
        }
        let batches: Vec<_> = plans.iter().map(|plan| plan.batch.clone().build()).collect();
        let outcome = self.store.commit(&batches)?;
        if outcome.len() != plans.len() {
            return Err(Error::Other("the storage did not give one result for each batch".into()));
        }
        for (plan, outcome) in plans.into_iter().zip(outcome) {
            match outcome {
                Ok(_) => {
                    self.removed += plan.removed;
                    self.bytes += plan.bytes;
                    if plan.has_more && self.unfinished.as_ref().is_none_or(|first| plan.key <= first.key) {
                        self.unfinished = Some(Unfinished { key: plan.key, below: plan.below });
                    }
                }
                Err(BatchError::GuardFailed(_)) => {
                    overtaken.insert(plan.key);
                }
                Err(error) => {
                    return Err(Error::Other(format!(
                        "the storage refused the component's batch: {error:?}"
                    )));
                }
            }
        }
        Ok(overtaken)
    }

    /// Plans the removal of one stream's hidden events; none if there are none.
    fn plan(&mut self, key: &[u8], room: &mut Room) -> Result<Option<Plan>, Error> {
        let Some(value) = self.store.get(STREAMS, key)? else {
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
        let mut plan = Plan {
            key: key.to_owned(),
            below: hidden.below,
            batch: BatchBuilder::new(),
            removed: 0,
            bytes: 0,
            has_more: hidden.has_more,
        };
        plan.batch.require(STREAMS, key, Some(&value));
        self.put_removals(&mut plan, head.origin, &hidden)?;
        plan.batch.put(STREAMS, key, next.encode());
        Ok(Some(plan))
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
            let values = self.values(&positions)?;
            if values.is_empty() {
                let reason = format!("the index does not lead to version {}", hidden.below);
                self.damaged(stream_id.as_bytes(), &reason);
                break;
            }
            hidden.appends.extend(appends);
            for (position, value) in positions.into_iter().zip(values) {
                if operations > BATCH_OPERATIONS {
                    break;
                }
                let version = hidden.below;
                let bytes = value.as_ref().map_or(0, Vec::len) as u64;
                let Some((link, event)) = event_of(stream_id, version, position, value) else {
                    let reason =
                        format!("version {version} is not at position {position}, or cannot be read");
                    self.damaged(stream_id.as_bytes(), &reason);
                    return Ok(hidden);
                };
                let is_visible = version >= sure && !is_too_old(head, event.created, self.now);
                let Some(below) = version.checked_add(1).filter(|_| !is_visible) else { return Ok(hidden) };
                room.events = room.events.saturating_sub(1);
                room.bytes = room.bytes.saturating_sub(bytes);
                let removed = Removed::new(link, bytes, event);
                // The event, its id, an index entry, and its labels.
                operations += 3 + removed.labels.len();
                hidden.events.push(removed);
                hidden.below = below;
            }
        }
        Ok(hidden)
    }

    /// The values at the first of these positions, as many as one read returns.
    fn values(&self, positions: &[Position]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<Vec<u8>> = positions.iter().map(|position| position.to_be_bytes().to_vec()).collect();
        Ok(self.store.get_many(EVENTS, &keys, READ_BYTES)?)
    }

    /// The positions of a stream's versions and their appends, as many as one read of the index returns.
    fn positions(
        &self,
        origin: Position,
        first: Version,
        count: u64,
    ) -> Result<(Vec<Position>, Vec<Append>), Error> {
        let limit = u32::try_from(count.min(STEP_EVENTS)).expect("the events of a step are few");
        let appends = appends_from(self.store, origin, first, limit)?;
        let mut positions = Vec::new();
        let mut next = first;
        for append in &appends {
            let room = usize::try_from(count).unwrap_or(usize::MAX) - positions.len();
            positions.extend((next..=append.last).take(room).map_while(|version| append.locate(version)));
            next = append.last.saturating_add(1);
        }
        Ok((positions, appends))
    }

    fn put_removals(&self, plan: &mut Plan, origin: Position, hidden: &Hidden) -> Result<(), Error> {
        let id_keys: Vec<Vec<u8>> =
            hidden.events.iter().map(|removed| id_key(origin, &removed.event_id)).collect();
        let versions = self.store.get_all(IDS, &id_keys)?;
        for ((removed, id_key), version) in hidden.events.iter().zip(id_keys).zip(versions) {
            let key = removed.position.to_be_bytes();
            let stub = Envelope::encode_removed(removed.link);
            plan.removed += 1;
            plan.bytes += removed.bytes.saturating_sub(stub.len() as u64);
            plan.batch.put(EVENTS, key, stub);
            // If the id was appended again after this event became hidden, the entry belongs to the later event.
            if version.as_deref().and_then(number) == Some(removed.version) {
                plan.delete(IDS, &id_key, 8);
            }
        }
        let label_keys: Vec<Vec<u8>> = hidden
            .events
            .iter()
            .flat_map(|removed| removed.labels.iter().map(|digest| label_key(*digest, removed.position)))
            .collect();
        let values = self.store.get_all(LABELS, &label_keys)?;
        // Events are removed in the order of versions, so with the last one, all events of the entry are removed.
        for (key, value) in label_keys.iter().zip(values) {
            if let Some(value) = value {
                plan.delete(LABELS, key, value.len());
            }
        }
        let mut deleted = HashSet::new();
        for append in hidden.appends.iter().filter(|append| append.last < hidden.below) {
            if deleted.insert(append.last) {
                plan.delete(INDEX, &index_key(origin, append.last), 8);
            }
        }
        Ok(())
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

/// The event at a position, which must be this version of the stream, with its link. None if it is removed although the
/// head does not say so: then its stream is unknown.
fn event_of(
    stream_id: &str,
    version: Version,
    position: Position,
    value: Option<Vec<u8>>,
) -> Option<(u64, RecordedEvent)> {
    match Envelope::decode(position, &value?) {
        Ok(Envelope::Event { link, event }) if event.stream_id == stream_id && event.version == version => {
            Some((link, event))
        }
        _ => None,
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
    link: u64,
    event_id: String,
    labels: Vec<LabelDigest>,
    /// Bytes of its value.
    bytes: u64,
}

impl Removed {
    fn new(link: u64, bytes: u64, event: RecordedEvent) -> Self {
        let labels = digests(&event, CorrelationIndex::On);
        Self { position: event.position, version: event.version, link, event_id: event.id, labels, bytes }
    }
}

/// The batch of one stream.
struct Plan {
    key: Vec<u8>,
    /// The new `reclaimed_before` of the head.
    below: Version,
    batch: BatchBuilder,
    removed: u64,
    bytes: u64,
    has_more: bool,
}

impl Plan {
    fn delete(&mut self, keyspace: &str, key: &[u8], value_bytes: usize) {
        self.bytes += (key.len() + value_bytes) as u64;
        self.batch.delete(keyspace, key);
    }
}
