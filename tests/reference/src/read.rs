//! Reads of events, and descriptions of streams.

use exesdb_sdk::events::RecordedEvent;
use exesdb_sdk::types::{
    Direction, Error, Position, QueryItem, Retention, StreamInfo, StreamLife, StreamState, Version,
};

use crate::Reference;

impl Reference {
    /// The visible events of a stream from a version on.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and [`Error::StreamDeleted`] for a stream with a tombstone.
    pub fn read_stream(
        &self,
        stream_id: &str,
        from: Option<Version>,
        direction: Direction,
    ) -> Result<Vec<RecordedEvent>, Error> {
        match self.state(stream_id) {
            Some(StreamState::Live) => {
                let visible = self.events_of(stream_id).filter(|event| self.is_visible(event));
                Ok(in_direction(visible, |event| event.version, from, direction))
            }
            Some(StreamState::Tombstoned) => Err(Error::StreamDeleted(stream_id.to_owned())),
            Some(StreamState::Deleted) | None => Err(Error::NotFound),
        }
    }

    /// The visible events of the store from a position on that match a query (empty for all), in streams whose ids begin
    /// with `prefix`.
    #[must_use]
    pub fn read_filtered(
        &self,
        query: &[QueryItem],
        prefix: &str,
        from: Option<Position>,
        direction: Direction,
    ) -> Vec<RecordedEvent> {
        in_direction(self.matching(query, prefix), |event| event.position, from, direction)
    }

    /// The visible events that match, in the order of their positions.
    pub(crate) fn matching(
        &self,
        query: &[QueryItem],
        prefix: &str,
    ) -> impl DoubleEndedIterator<Item = &RecordedEvent> {
        self.events.iter().filter(move |event| {
            self.is_visible(event)
                && event.stream_id.starts_with(prefix)
                && (query.is_empty() || query.iter().any(|item| matches(item, event)))
        })
    }

    /// The ids of live streams, or of all that ever had an event.
    #[must_use]
    pub fn list_streams(&self, deleted: bool) -> Vec<String> {
        self.streams.keys().filter(|stream_id| deleted || self.is_live(stream_id)).cloned().collect()
    }

    /// The description of a stream.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it never had an event.
    pub fn stream_info(&self, stream_id: &str) -> Result<StreamInfo, Error> {
        let stream = self.streams.get(stream_id).ok_or(Error::NotFound)?;
        let first = self.events_of(stream_id).next().ok_or(Error::NotFound)?;
        let last = self.last_event(stream_id).ok_or(Error::NotFound)?;
        let is_begun_again = stream.state == StreamState::Live && stream.life_begins > 0;
        Ok(StreamInfo {
            stream_id: stream_id.to_owned(),
            state: stream.state,
            first_version: self.first_visible(stream_id),
            last_version: last.version,
            life_begins: is_begun_again.then_some(stream.life_begins),
            first_position: first.position,
            retention: Retention {
                max_count: stream.max_count,
                max_age_seconds: stream.max_age_seconds,
                truncate_before: Some(stream.truncate_before).filter(|version| *version > 0),
            },
            created: first.created,
            updated: last.created,
        })
    }

    /// The present life of a stream; none if it is not live.
    #[must_use]
    pub fn stream_life(&self, stream_id: &str) -> Option<StreamLife> {
        let stream = self.streams.get(stream_id).filter(|stream| stream.state == StreamState::Live)?;
        let last_version = self.last_version(stream_id)?;
        Some(StreamLife { first_version: stream.life_begins, last_version })
    }

    /// The version of the stream's first visible event.
    pub(crate) fn first_visible(&self, stream_id: &str) -> Option<Version> {
        self.events_of(stream_id).find(|event| self.is_visible(event)).map(|event| event.version)
    }
}

/// Whether an event has one of the types and all of the tags.
fn matches(item: &QueryItem, event: &RecordedEvent) -> bool {
    (item.types.is_empty() || item.types.contains(&event.event_type))
        && item.tags.iter().all(|tag| event.tags.contains(tag))
}

/// The events from a number on, which is their version or position.
fn in_direction<'a>(
    events: impl DoubleEndedIterator<Item = &'a RecordedEvent>,
    number: impl Fn(&RecordedEvent) -> u64,
    from: Option<u64>,
    direction: Direction,
) -> Vec<RecordedEvent> {
    match direction {
        Direction::Forward => {
            events.filter(|event| from.is_none_or(|from| number(event) >= from)).cloned().collect()
        }
        Direction::Backward => {
            events.rev().filter(|event| from.is_none_or(|from| number(event) <= from)).cloned().collect()
        }
    }
}
