//! Reads streams, the whole store, and what is known of them. A call's reads all see one state of the store.
//!
//! The durable position is taken before anything else is read, so that an event which is not in the page has a position
//! at or after it, and waiting from there cannot miss it.

use exesdb_sdk::arguments::{STREAM_ID_BYTES_MAX, check_count, check_part, check_stream_id};
use exesdb_sdk::keyspaces::{self, GET_MANY_KEYS_MAX, Keyspaces, Range, damaged, prefix_end};
use exesdb_sdk::stream_keys;
use exesdb_sdk::streams::{EventPage, StreamInfo, StreamPage};
use exesdb_sdk::types::{Direction, Error, Position, RecordedEvent, Version};

use crate::layout::{EVENTS, Head, INDEX, STREAMS, decode_event, index_key, number};

/// Bytes of events, as they are stored, on one page (one event alone may have more): a page is held in memory by the
/// component, the host and whoever asked.
pub const PAGE_BYTES_MAX: u32 = 2 << 20;

/// Bytes that a page of keys with small values takes at most: 1,000 entries of the longest keys.
const KEYS_BYTES_MAX: u32 = 1 << 20;

/// Events of one stream.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and [`Error::Other`] for damaged data.
pub fn read_stream(
    store: &impl Keyspaces,
    stream_id: &str,
    from: Option<Version>,
    count: u32,
    direction: Direction,
) -> Result<EventPage, Error> {
    check_stream_id("stream-id", stream_id)?;
    check_count("count", count)?;
    let durable_position = store.durable_position()?;
    let last = read_head(store, stream_id)?.last_version;
    let first = match direction {
        Direction::Forward => from.unwrap_or(0),
        Direction::Backward => from.unwrap_or(last).min(last),
    };
    if first > last {
        return Ok(EventPage { events: Vec::new(), next: Some(first), end: true, durable_position });
    }
    let index = read_index(store, stream_id, first, count, direction)?;
    let events = read_events(store, stream_id, &index)?;
    let reached = events.last().map_or(first, |event| event.version);
    let (next, end) = match direction {
        Direction::Forward => (Some(reached.saturating_add(1)), reached >= last),
        Direction::Backward => (reached.checked_sub(1), reached == 0),
    };
    Ok(EventPage { events, next, end, durable_position })
}

/// Events of the whole store.
///
/// # Errors
///
/// [`Error::Invalid`], those of the storage, and [`Error::Other`] for damaged data.
pub fn read_all(
    store: &impl Keyspaces,
    from: Option<Position>,
    count: u32,
    direction: Direction,
) -> Result<EventPage, Error> {
    check_count("count", count)?;
    let durable_position = store.durable_position()?;
    let (start, end) = match (direction, from) {
        (Direction::Forward, from) => (from.unwrap_or(0), None),
        (Direction::Backward, from) => (0, from.and_then(|from| from.checked_add(1))),
    };
    let range = Range {
        keyspace: EVENTS.to_owned(),
        start: start.to_be_bytes().to_vec(),
        end: end.map(|end| end.to_be_bytes().to_vec()),
    };
    let page = store.scan(&range, storage_direction(direction), count, PAGE_BYTES_MAX)?;
    let events =
        page.entries.iter().map(|entry| event(&entry.key, &entry.value)).collect::<Result<Vec<_>, _>>()?;
    let next = match (direction, events.last()) {
        (Direction::Forward, None) => Some(start),
        (Direction::Forward, Some(last)) => Some(last.position.saturating_add(1)),
        (Direction::Backward, None) => None,
        (Direction::Backward, Some(last)) => last.position.checked_sub(1).filter(|_| page.more),
    };
    Ok(EventPage { events, next, end: !page.more, durable_position })
}

/// Ids of streams in byte order.
///
/// # Errors
///
/// [`Error::Invalid`], those of the storage, and [`Error::Other`] for damaged data.
pub fn list_streams(
    store: &impl Keyspaces,
    prefix: &str,
    after: Option<&str>,
    count: u32,
) -> Result<StreamPage, Error> {
    check_part("prefix", prefix, STREAM_ID_BYTES_MAX)?;
    if let Some(after) = after {
        check_part("after", after, STREAM_ID_BYTES_MAX)?;
    }
    check_count("count", count)?;
    // The first id that can follow: the one after which we are asked, and a byte less than any in an id.
    let following = after.map(|after| [after.as_bytes(), &[0]].concat()).unwrap_or_default();
    let start = following.max(prefix.as_bytes().to_owned());
    let end = prefix_end(prefix.as_bytes());
    if end.as_ref().is_some_and(|end| start >= *end) {
        return Ok(StreamPage { streams: Vec::new(), more: false });
    }
    let range = Range { keyspace: STREAMS.to_owned(), start, end };
    let page = store.scan(&range, keyspaces::Direction::Forward, count, KEYS_BYTES_MAX)?;
    let streams = page
        .entries
        .into_iter()
        .map(|entry| {
            String::from_utf8(entry.key)
                .map_err(|error| damaged(STREAMS, error.as_bytes(), "the key is not UTF-8"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(StreamPage { streams, more: page.more })
}

/// What is known of one stream.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and [`Error::Other`] for damaged data.
pub fn stream_info(store: &impl Keyspaces, stream_id: &str) -> Result<StreamInfo, Error> {
    check_stream_id("stream-id", stream_id)?;
    let Head { last_version, created, updated } = read_head(store, stream_id)?;
    Ok(StreamInfo { stream_id: stream_id.to_owned(), last_version, created, updated })
}

fn read_head(store: &impl Keyspaces, stream_id: &str) -> Result<Head, Error> {
    let key = stream_id.as_bytes();
    let value = store.get(STREAMS, key)?.ok_or(Error::NotFound)?;
    Head::decode(&value).map_err(|reason| damaged(STREAMS, key, reason))
}

/// The versions from `first` on that one page may have, with their positions.
fn read_index(
    store: &impl Keyspaces,
    stream_id: &str,
    first: Version,
    count: u32,
    direction: Direction,
) -> Result<Vec<(Version, Position)>, Error> {
    let (start, end) = match direction {
        Direction::Forward => (index_key(stream_id, first), stream_keys::end(stream_id)),
        Direction::Backward => (
            index_key(stream_id, 0),
            first.checked_add(1).map_or_else(|| stream_keys::end(stream_id), |end| index_key(stream_id, end)),
        ),
    };
    let range = Range { keyspace: INDEX.to_owned(), start, end: Some(end) };
    let page = store.scan(&range, storage_direction(direction), count, KEYS_BYTES_MAX)?;
    let mut index = Vec::with_capacity(page.entries.len());
    let mut expected = Some(first);
    for entry in &page.entries {
        let Some(position) = number(&entry.value) else {
            return Err(damaged(INDEX, &entry.key, "it is no position"));
        };
        match (stream_keys::version_in(&entry.key, stream_id), expected) {
            (Some(version), Some(expected)) if version == expected => index.push((version, position)),
            _ => break,
        }
        expected = match direction {
            Direction::Forward => first.checked_add(index.len() as Version),
            Direction::Backward => first.checked_sub(index.len() as Version),
        };
    }
    // A gap ends the page before it, so that what lies before can be read; at the page's beginning it is an error.
    if index.is_empty() {
        return Err(damaged(
            INDEX,
            &index_key(stream_id, first),
            "it is missing, but the stream goes beyond it",
        ));
    }
    Ok(index)
}

/// The events of these positions, as many of the first as fit on a page.
fn read_events(
    store: &impl Keyspaces,
    stream_id: &str,
    index: &[(Version, Position)],
) -> Result<Vec<RecordedEvent>, Error> {
    let keys: Vec<Vec<u8>> =
        index.iter().take(GET_MANY_KEYS_MAX).map(|(_, position)| position.to_be_bytes().to_vec()).collect();
    let values = store.get_many(EVENTS, &keys, PAGE_BYTES_MAX)?;
    if values.is_empty() {
        return Err(Error::Other(format!("the storage gave no value for {} keys", keys.len())));
    }
    let mut events = Vec::with_capacity(values.len());
    for ((key, (version, _)), value) in keys.iter().zip(index).zip(values) {
        let value = value
            .ok_or_else(|| damaged(EVENTS, key, format!("it is missing, but `{stream_id}` refers to it")))?;
        let event = event(key, &value)?;
        if event.stream_id != stream_id || event.version != *version {
            return Err(damaged(EVENTS, key, format!("it is not version {version} of `{stream_id}`")));
        }
        events.push(event);
    }
    Ok(events)
}

fn event(key: &[u8], value: &[u8]) -> Result<RecordedEvent, Error> {
    let position = number(key).ok_or_else(|| damaged(EVENTS, key, "the key is no position"))?;
    decode_event(position, value).map_err(|reason| damaged(EVENTS, key, reason))
}

fn storage_direction(direction: Direction) -> keyspaces::Direction {
    match direction {
        Direction::Forward => keyspaces::Direction::Forward,
        Direction::Backward => keyspaces::Direction::Backward,
    }
}
