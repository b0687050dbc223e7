//! Reads one stream, and describes streams.

use exesdb_sdk::arguments::{check_count, check_stream_id};
use exesdb_sdk::keyspaces::Keyspaces;
use exesdb_sdk::streams::{EventPage, Retention, StreamInfo, StreamState};
use exesdb_sdk::types::{Direction, Error, RecordedEvent, Version};

use super::versions::{created_at, read_versions};
use crate::entries::decode_head;
use crate::layout::{Head, STREAMS};
use crate::visible::{first_kept, is_too_old};

/// Events per read when each event of a stream must be checked.
const SCAN_EVENTS: u32 = 100;

/// Reads a page of events of one stream.
///
/// # Errors
///
/// [`Error::Invalid`], [`Error::NotFound`] and [`Error::StreamDeleted`], those of the storage, and [`Error::Damaged`] for
/// damaged data.
pub fn read_stream(
    store: &impl Keyspaces,
    now: u64,
    stream_id: &str,
    from: Option<Version>,
    count: u32,
    direction: Direction,
) -> Result<EventPage, Error> {
    check_stream_id("stream-id", stream_id)?;
    check_count("count", count)?;
    let durable_position = store.durable_position()?;
    let head = read_head(store, stream_id)?;
    match head.state {
        StreamState::Live => {}
        StreamState::Deleted => return Err(Error::NotFound),
        StreamState::Tombstoned => return Err(Error::StreamDeleted(stream_id.to_owned())),
    }
    let stream = Stream { store, now, stream_id, head };
    let mut page = match direction {
        Direction::Forward => stream.forward(from.unwrap_or(0), count)?,
        Direction::Backward => stream.backward(from.unwrap_or(Version::MAX), count)?,
    };
    page.durable_position = durable_position;
    Ok(page)
}

/// Describes one stream.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and [`Error::Damaged`] for damaged data.
pub fn stream_info(store: &impl Keyspaces, now: u64, stream_id: &str) -> Result<StreamInfo, Error> {
    check_stream_id("stream-id", stream_id)?;
    let head = read_head(store, stream_id)?;
    info(store, now, stream_id, head)
}

/// The descriptions of these streams, in order; none for a stream that never had events.
pub(crate) fn info_of(
    store: &impl Keyspaces,
    now: u64,
    stream_ids: &[String],
) -> Result<Vec<Option<StreamInfo>>, Error> {
    let keys: Vec<Vec<u8>> = stream_ids.iter().map(|id| id.as_bytes().to_owned()).collect();
    let heads = store.get_all(STREAMS, &keys)?;
    let infos = stream_ids.iter().zip(heads).map(|(id, value)| {
        let head = decode_head(id, value.as_deref())?;
        head.map(|head| info(store, now, id, head)).transpose()
    });
    infos.collect()
}

fn info(store: &impl Keyspaces, now: u64, stream_id: &str, head: Head) -> Result<StreamInfo, Error> {
    let stream = Stream { store, now, stream_id, head };
    let first_version = match first_kept(&head) {
        Some(first) => stream.first_young(first)?,
        None => None,
    };
    Ok(StreamInfo {
        stream_id: stream_id.to_owned(),
        state: head.state,
        first_version,
        last_version: head.last_version,
        life_begins: (head.state == StreamState::Live && head.life_begins != 0).then_some(head.life_begins),
        first_position: head.origin,
        retention: Retention {
            max_count: (head.max_count != 0).then_some(head.max_count),
            max_age_seconds: (head.max_age_seconds != 0).then_some(head.max_age_seconds),
            truncate_before: (head.truncated_before() != 0).then_some(head.truncated_before()),
        },
        created: head.created,
        updated: head.updated,
    })
}

fn read_head(store: &impl Keyspaces, stream_id: &str) -> Result<Head, Error> {
    let value = store.get(STREAMS, stream_id.as_bytes())?;
    decode_head(stream_id, value.as_deref())?.ok_or(Error::NotFound)
}

/// A stream in the state that one call reads.
struct Stream<'a, K> {
    store: &'a K,
    now: u64,
    stream_id: &'a str,
    head: Head,
}

impl<K: Keyspaces> Stream<'_, K> {
    /// The page from this version up.
    fn forward(&self, from: Version, count: u32) -> Result<EventPage, Error> {
        let last = self.head.last_version;
        let nothing = || page(Vec::new(), Some(from.max(self.head.next_version())), true);
        let Some(kept) = first_kept(&self.head) else { return Ok(nothing()) };
        let first = from.max(kept);
        if first > last {
            return Ok(nothing());
        }
        let mut events = self.read(first, count, Direction::Forward)?;
        if events.first().is_some_and(|event| self.is_too_old(event.created)) {
            let Some(first) = self.first_young(first)? else { return Ok(nothing()) };
            events = self.read(first, count, Direction::Forward)?;
        }
        let reached = events.last().map_or(first, |event| event.version);
        events.retain(|event| !self.is_too_old(event.created));
        Ok(page(events, Some(reached.saturating_add(1)), reached >= last))
    }

    /// The page from this version down, to the first that is kept.
    fn backward(&self, from: Version, count: u32) -> Result<EventPage, Error> {
        let mut first = from.min(self.head.last_version);
        loop {
            let Some(kept) = first_kept(&self.head).filter(|kept| *kept <= first) else {
                return Ok(page(Vec::new(), None, true));
            };
            let there = u32::try_from(first - kept).unwrap_or(u32::MAX).saturating_add(1);
            let mut events = self.read(first, count.min(there), Direction::Backward)?;
            let reached = events.last().map_or(first, |event| event.version);
            let read = events.len();
            events.retain(|event| !self.is_too_old(event.created));
            // If times are ordered, all events before one that is too old are too old.
            let is_past = events.len() < read && !self.head.is_unordered;
            let next = reached.checked_sub(1).filter(|next| *next >= kept && !is_past);
            match next {
                // Only the last page may be empty.
                Some(next) if events.is_empty() => first = next,
                next => return Ok(page(events, next, next.is_none())),
            }
        }
    }

    fn read(&self, first: Version, count: u32, direction: Direction) -> Result<Vec<RecordedEvent>, Error> {
        read_versions(self.store, self.stream_id, self.head.origin, first, count, direction)
    }

    fn is_too_old(&self, created: u64) -> bool {
        is_too_old(&self.head, created, self.now)
    }

    /// The first version at or after `first` (which must exist) that is not too old; none if there is none.
    fn first_young(&self, first: Version) -> Result<Option<Version>, Error> {
        let head = &self.head;
        if head.max_age_seconds == 0 {
            return Ok(Some(first));
        }
        if head.is_unordered {
            return self.first_young_by_scan(first);
        }
        if !self.is_too_old(head.created) {
            return Ok(Some(first));
        }
        if self.is_too_old(head.updated) {
            return Ok(None);
        }
        // Times rise with versions, so a binary search finds it. All below `low` are too old; `high` is not.
        let (mut low, mut high) = (first, head.last_version);
        while low < high {
            let middle = low + (high - low) / 2;
            let created = created_at(self.store, self.stream_id, head.origin, middle)?;
            // A removed event was too old.
            if created.is_none_or(|created| self.is_too_old(created)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Some(high))
    }

    /// As [`Self::first_young`], for a stream whose times are not ordered.
    fn first_young_by_scan(&self, first: Version) -> Result<Option<Version>, Error> {
        let mut next = Some(first);
        while let Some(first) = next.filter(|first| *first <= self.head.last_version) {
            let events = self.read(first, SCAN_EVENTS, Direction::Forward)?;
            if let Some(young) = events.iter().find(|event| !self.is_too_old(event.created)) {
                return Ok(Some(young.version));
            }
            next = events.last().and_then(|event| event.version.checked_add(1));
        }
        Ok(None)
    }
}

/// A page without its durable position, which the caller sets.
fn page(events: Vec<RecordedEvent>, next: Option<u64>, end: bool) -> EventPage {
    EventPage { events, next, end, durable_position: 0 }
}
