//! Reads one stream, and describes streams.

use exesdb_sdk::arguments::check_stream_id;
use exesdb_sdk::packed::{Envelope, push_envelope};
use exesdb_sdk::types::{Direction, Error, PackedPage, Retention, StreamInfo, StreamState, Version};
use exesdb_sdk::view::View;

use super::Limits;
use super::versions::{created_at, read_versions};
use crate::entries::decode_head;
use crate::events::events;
use crate::layout::{Head, STREAMS};
use crate::visible::{first_kept, is_too_old};

/// Events per read when each event of a stream must be checked.
const SCAN_EVENTS: u32 = 100;

/// Reads a page of events of one stream.
pub(super) fn read(
    view: &impl View,
    stream_id: &str,
    from: Option<Version>,
    limits: Limits,
) -> Result<PackedPage, Error> {
    check_stream_id("stream-id", stream_id)?;
    let head = read_head(view, stream_id)?;
    match head.state {
        StreamState::Live => {}
        StreamState::Deleted => return Err(Error::NotFound),
        StreamState::Tombstoned => return Err(Error::StreamDeleted(stream_id.to_owned())),
    }
    let stream = Stream { view, stream_id, head };
    match limits.direction {
        Direction::Forward => stream.forward(from.unwrap_or(0), limits),
        Direction::Backward => stream.backward(from.unwrap_or(Version::MAX), limits),
    }
}

/// Describes one stream.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and the problem `damaged` for damaged data.
pub fn describe_stream(view: &impl View, stream_id: &str) -> Result<StreamInfo, Error> {
    check_stream_id("stream-id", stream_id)?;
    let head = read_head(view, stream_id)?;
    info(view, stream_id, head)
}

/// The descriptions of these streams, in order; none for a stream that never had events.
pub(crate) fn info_of(view: &impl View, stream_ids: &[String]) -> Result<Vec<Option<StreamInfo>>, Error> {
    let keys: Vec<Vec<u8>> = stream_ids.iter().map(|id| id.as_bytes().to_owned()).collect();
    let heads = view.get_all(STREAMS, &keys)?;
    let infos = stream_ids.iter().zip(heads).map(|(id, value)| {
        let head = decode_head(id, value.as_deref())?;
        head.map(|head| info(view, id, head)).transpose()
    });
    infos.collect()
}

/// The version of a stream's oldest visible event; none if there is none.
pub(crate) fn first_visible(
    view: &impl View,
    stream_id: &str,
    head: &Head,
) -> Result<Option<Version>, Error> {
    match first_kept(head) {
        Some(first) => Stream { view, stream_id, head: *head }.first_young(first),
        None => Ok(None),
    }
}

fn info(view: &impl View, stream_id: &str, head: Head) -> Result<StreamInfo, Error> {
    let first_version = first_visible(view, stream_id, &head)?;
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

fn read_head(view: &impl View, stream_id: &str) -> Result<Head, Error> {
    let value = view.get(STREAMS, stream_id.as_bytes())?;
    decode_head(stream_id, value.as_deref())?.ok_or(Error::NotFound)
}

/// A stream in the state that one call reads.
struct Stream<'a, V> {
    view: &'a V,
    stream_id: &'a str,
    head: Head,
}

/// Events of a stream that were read.
struct Found {
    /// The frames of those that are not too old.
    frames: Vec<u8>,
    /// The version of the last one, too old or not.
    reached: Version,
    /// Whether some were too old.
    has_old: bool,
    /// Whether the first one was.
    begins_old: bool,
}

impl<V: View> Stream<'_, V> {
    /// The page from this version up.
    fn forward(&self, from: Version, limits: Limits) -> Result<PackedPage, Error> {
        let last = self.head.last_version;
        let nothing = || self.page(Vec::new(), Some(from.max(self.head.next_version())), true);
        let Some(kept) = first_kept(&self.head) else { return Ok(nothing()) };
        let first = from.max(kept);
        if first > last {
            return Ok(nothing());
        }
        let mut found = self.young(first, limits.count, limits)?;
        if found.begins_old {
            let Some(first) = self.first_young(first)? else { return Ok(nothing()) };
            found = self.young(first, limits.count, limits)?;
        }
        Ok(self.page(found.frames, Some(found.reached.saturating_add(1)), found.reached >= last))
    }

    /// The page from this version down, to the first that is kept.
    fn backward(&self, from: Version, limits: Limits) -> Result<PackedPage, Error> {
        let mut first = from.min(self.head.last_version);
        loop {
            let Some(kept) = first_kept(&self.head).filter(|kept| *kept <= first) else {
                return Ok(self.page(Vec::new(), None, true));
            };
            let there = u32::try_from(first - kept).unwrap_or(u32::MAX).saturating_add(1);
            let found = self.young(first, limits.count.min(there), limits)?;
            // If times are ordered, all events before one that is too old are too old.
            let is_past = found.has_old && !self.head.is_unordered;
            let next = found.reached.checked_sub(1).filter(|next| *next >= kept && !is_past);
            match next {
                // Only the last page may be empty.
                Some(next) if found.frames.is_empty() => first = next,
                next => return Ok(self.page(found.frames, next, next.is_none())),
            }
        }
    }

    fn page(&self, events: Vec<u8>, next: Option<Version>, end: bool) -> PackedPage {
        PackedPage { events, next, end, last_version: Some(self.head.last_version) }
    }

    fn read(&self, first: Version, count: u32, direction: Direction) -> Result<Vec<u8>, Error> {
        read_versions(self.view, self.stream_id, self.head.origin, first, count, direction)
    }

    /// Reads a page of events, and leaves those out that are too old.
    fn young(&self, first: Version, count: u32, limits: Limits) -> Result<Found, Error> {
        let frames = self.read(first, count, limits.direction)?;
        let mut found = Found { frames: Vec::new(), reached: first, has_old: false, begins_old: false };
        let mut young = Vec::new();
        for (index, event) in events(&frames).enumerate() {
            let event = event?;
            let is_old = self.is_too_old(event.envelope.created);
            let is_over = |young: &Vec<u8>| young.len() + event.bytes.len() > limits.bytes as usize;
            if !young.is_empty() && is_over(&young) {
                break;
            }
            found.reached = event.envelope.version;
            found.has_old |= is_old;
            found.begins_old |= is_old && index == 0;
            if !is_old {
                push_envelope(&mut young, event.position, event.bytes)
                    .expect("it came from a frame, so it fits into one");
            }
        }
        found.frames = young;
        Ok(found)
    }

    fn is_too_old(&self, created: u64) -> bool {
        is_too_old(&self.head, created, self.view.now())
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
            let created = created_at(self.view, self.stream_id, head.origin, middle)?;
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
            let frames = self.read(first, SCAN_EVENTS, Direction::Forward)?;
            for event in events(&frames) {
                let Envelope { version, created, .. } = event?.envelope;
                if !self.is_too_old(created) {
                    return Ok(Some(version));
                }
                next = version.checked_add(1);
            }
        }
        Ok(None)
    }
}
