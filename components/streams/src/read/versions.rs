//! Finds a stream's versions in the log.

use exesdb_sdk::keyspaces::{self, Entry, GET_MANY_KEYS_MAX, Keyspaces, Range, damaged, prefix_end};
use exesdb_sdk::types::{Direction, Error, Position, RecordedEvent, Version};

use super::{KEYS_BYTES_MAX, PAGE_BYTES_MAX, envelope, storage_direction};
use crate::layout::{EVENTS, Envelope, INDEX, index_key, number, version_in};

/// Positions that one range may span for each event wanted of it: so few others are cheaper to read along than each
/// event is to look up by itself.
const SPAN_PER_EVENT_MAX: u64 = 2;

/// Events of a stream from version `first` on, which it has: one at least, as many of `count` as fit on a page. Damage
/// ends the page before it, so that what lies before can be read; at the page's beginning it is an error.
pub(crate) fn read_versions(
    store: &impl Keyspaces,
    stream_id: &str,
    origin: Position,
    first: Version,
    count: u32,
    direction: Direction,
) -> Result<Vec<RecordedEvent>, Error> {
    let wanted = match direction {
        Direction::Forward => positions_forward(store, origin, first, count)?,
        Direction::Backward => positions_backward(store, origin, first, count)?,
    };
    let values = read_values(store, &wanted, direction)?;
    let mut events = Vec::with_capacity(values.len());
    for ((version, position), value) in wanted.into_iter().zip(values) {
        match event_of(stream_id, version, position, value) {
            Ok(event) => events.push(event),
            Err(error) if events.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    if events.is_empty() {
        return Err(Error::Other(format!(
            "the storage gave nothing of `{stream_id}` from version {first} on"
        )));
    }
    Ok(events)
}

/// An append as keyspace `index` has it: the version of its last event, and that one's position. Its other events lie
/// directly before, down to the append before it.
#[derive(Clone, Copy)]
struct Append {
    last: Version,
    position: Position,
}

impl Append {
    fn decode(origin: Position, entry: &Entry) -> Result<Self, Error> {
        let no_append = || damaged(INDEX, &entry.key, "it is no version with its position");
        let last = version_in(&entry.key, origin).ok_or_else(no_append)?;
        let position = number(&entry.value).ok_or_else(no_append)?;
        Ok(Self { last, position })
    }

    /// A version of this append, or of a lower one, with the position that it has in this append. Where that is wrong,
    /// because the index lacks an entry, another event is found there; with none at all it is position 0.
    fn locate(&self, version: Version) -> (Version, Position) {
        (version, self.position.saturating_sub(self.last.saturating_sub(version)))
    }
}

/// The versions from `first` on, `count` at most, with their positions.
fn positions_forward(
    store: &impl Keyspaces,
    origin: Position,
    first: Version,
    count: u32,
) -> Result<Vec<(Version, Position)>, Error> {
    let appends = scan_index(store, origin, first, None, keyspaces::Direction::Forward, count)?;
    let mut positions = Vec::with_capacity(count as usize);
    let mut next = first;
    for append in appends {
        let room = count as usize - positions.len();
        positions.extend((next..=append.last).take(room).map(|version| append.locate(version)));
        next = append.last.saturating_add(1);
    }
    if positions.is_empty() {
        return Err(beyond_the_index(origin, first));
    }
    Ok(positions)
}

/// The versions from `first` down, `count` at most, with their positions.
fn positions_backward(
    store: &impl Keyspaces,
    origin: Position,
    first: Version,
    count: u32,
) -> Result<Vec<(Version, Position)>, Error> {
    let containing = scan_index(store, origin, first, None, keyspaces::Direction::Forward, 1)?;
    let containing = containing.first().ok_or_else(|| beyond_the_index(origin, first))?;
    let before = scan_index(store, origin, 0, Some(first), keyspaces::Direction::Backward, count)?;
    let mut positions = Vec::with_capacity(count as usize);
    let mut next = Some(first);
    // Where each append begins is known from the one before it; so the last one of a full page is only that.
    let is_full = before.len() == count as usize;
    let begins = before.iter().map(|append| append.last.checked_add(1));
    let begins = begins.chain((!is_full).then_some(Some(0)));
    for (append, begin) in std::iter::once(containing).chain(&before).zip(begins) {
        let room = count as usize - positions.len();
        if let (Some(begin), Some(end)) = (begin, next) {
            positions.extend((begin..=end).rev().take(room).map(|version| append.locate(version)));
        }
        next = begin.and_then(|begin| begin.checked_sub(1));
    }
    Ok(positions)
}

/// Appends of a stream whose last version is at least `start` and, if given, below `end`.
fn scan_index(
    store: &impl Keyspaces,
    origin: Position,
    start: Version,
    end: Option<Version>,
    direction: keyspaces::Direction,
    limit: u32,
) -> Result<Vec<Append>, Error> {
    let range = Range {
        keyspace: INDEX.to_owned(),
        start: index_key(origin, start),
        end: match end {
            Some(end) => Some(index_key(origin, end)),
            None => prefix_end(&origin.to_be_bytes()),
        },
    };
    let page = store.scan(&range, direction, limit, KEYS_BYTES_MAX)?;
    page.entries.iter().map(|entry| Append::decode(origin, entry)).collect()
}

fn beyond_the_index(origin: Position, version: Version) -> Error {
    let reason = "no entry is at or behind it, but the stream goes beyond it";
    damaged(INDEX, &index_key(origin, version), reason)
}

/// The values of the events at these positions, which are in the order of `direction`: as many of the first as fit on a
/// page.
fn read_values(
    store: &impl Keyspaces,
    wanted: &[(Version, Position)],
    direction: Direction,
) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let (Some((_, first)), Some((_, last))) = (wanted.first(), wanted.last()) else { return Ok(Vec::new()) };
    let (low, high) = (*first.min(last), *first.max(last));
    let span = (high - low).saturating_add(1);
    if span > SPAN_PER_EVENT_MAX * wanted.len() as u64 {
        let keys = wanted.iter().take(GET_MANY_KEYS_MAX);
        let keys: Vec<Vec<u8>> = keys.map(|(_, position)| position.to_be_bytes().to_vec()).collect();
        return Ok(store.get_many(EVENTS, &keys, PAGE_BYTES_MAX)?);
    }
    let range = Range {
        keyspace: EVENTS.to_owned(),
        start: low.to_be_bytes().to_vec(),
        end: high.checked_add(1).map(|end| end.to_be_bytes().to_vec()),
    };
    let limit = u32::try_from(span).unwrap_or(u32::MAX);
    let page = store.scan(&range, storage_direction(direction), limit, PAGE_BYTES_MAX)?;
    let mut entries = page.entries.into_iter().peekable();
    let mut values = Vec::with_capacity(wanted.len());
    for (_, position) in wanted {
        let key = position.to_be_bytes();
        let is_before = |entry: &Entry| match direction {
            Direction::Forward => entry.key[..] < key[..],
            Direction::Backward => entry.key[..] > key[..],
        };
        while entries.next_if(is_before).is_some() {}
        match entries.next_if(|entry| entry.key == key) {
            Some(entry) => values.push(Some(entry.value)),
            // The page is full; what is behind it was not read.
            None if page.more && entries.peek().is_none() => break,
            None => values.push(None),
        }
    }
    Ok(values)
}

/// The event at a position where this version of the stream has to be.
fn event_of(
    stream_id: &str,
    version: Version,
    position: Position,
    value: Option<Vec<u8>>,
) -> Result<RecordedEvent, Error> {
    let key = position.to_be_bytes();
    let missing = || damaged(EVENTS, &key, format!("it is missing, but `{stream_id}` refers to it"));
    let event = envelope(&key, &value.ok_or_else(missing)?)?.into_event();
    let removed =
        || damaged(EVENTS, &key, format!("it was removed, but `{stream_id}` has its version {version}"));
    let event = event.ok_or_else(removed)?;
    if event.stream_id != stream_id || event.version != version {
        return Err(damaged(EVENTS, &key, format!("it is not version {version} of `{stream_id}`")));
    }
    Ok(event)
}

/// When the event of this version, which the stream has, was appended; none if the event was removed.
pub(crate) fn created_at(
    store: &impl Keyspaces,
    stream_id: &str,
    origin: Position,
    version: Version,
) -> Result<Option<u64>, Error> {
    let wanted = positions_forward(store, origin, version, 1)?;
    let (_, position) = *wanted.first().ok_or_else(|| beyond_the_index(origin, version))?;
    let key = position.to_be_bytes();
    let value = store.get(EVENTS, &key)?;
    if let Some(value) = &value
        && let Envelope::Removed { .. } = envelope(&key, value)?
    {
        return Ok(None);
    }
    event_of(stream_id, version, position, value).map(|event| Some(event.created))
}
