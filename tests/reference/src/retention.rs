//! Deletion and retention, and which events they hide.

use exesdb_sdk::events::RecordedEvent;
use exesdb_sdk::types::{Deletion, Error, ExpectedVersion, Retention, StreamState};

use crate::{Reference, SECOND};

impl Reference {
    /// Whether neither deletion nor retention hides an event.
    pub(crate) fn is_visible(&self, event: &RecordedEvent) -> bool {
        let stream = &self.streams[&event.stream_id];
        stream.state == StreamState::Live
            && event.version >= stream.truncate_before
            && stream
                .max_count
                .is_none_or(|count| event.version + count >= self.next_version(&event.stream_id))
            && stream.max_age_seconds.is_none_or(|age| self.now <= event.created + age * SECOND)
    }

    /// Deletes a stream.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] and [`Error::WrongExpectedVersion`].
    pub fn delete_stream(
        &mut self,
        stream_id: &str,
        expected: ExpectedVersion,
        deletion: Deletion,
    ) -> Result<(), Error> {
        let state = self.state(stream_id).ok_or(Error::NotFound)?;
        if state != StreamState::Live && deletion == Deletion::Soft {
            return Err(Error::NotFound);
        }
        self.check_version(stream_id, expected)?;
        let next = self.next_version(stream_id);
        let stream = self.streams.get_mut(stream_id).ok_or(Error::NotFound)?;
        stream.truncate_before = next;
        stream.state = match deletion {
            Deletion::Soft => StreamState::Deleted,
            Deletion::Tombstone => StreamState::Tombstoned,
        };
        Ok(())
    }

    /// Replaces the retention of a stream. Hidden events stay hidden.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], and [`Error::StreamDeleted`] for a stream with a tombstone.
    pub fn set_retention(&mut self, stream_id: &str, retention: &Retention) -> Result<(), Error> {
        if self.is_tombstoned(stream_id) {
            return Err(Error::StreamDeleted(stream_id.to_owned()));
        }
        let next = self.next_version(stream_id);
        let hidden = self.first_visible(stream_id).unwrap_or(next);
        let wanted = retention.truncate_before.unwrap_or(0).min(next);
        let stream = self.streams.get_mut(stream_id).ok_or(Error::NotFound)?;
        stream.truncate_before = stream.truncate_before.max(hidden).max(wanted);
        stream.max_count = retention.max_count;
        stream.max_age_seconds = retention.max_age_seconds;
        Ok(())
    }
}
