//! A model of a store: the result of every call, as plain data. The streams component and the whole host are tested
//! against it.
//!
//! The model keeps all events that were ever added in one list and finds everything in it by going through it: it is slow,
//! and easy to check against the contract in `wit/store/`. It does not check arguments, so calls must have valid ones. It
//! does not scavenge, because scavenging changes no result.

mod append;
mod history;
mod import;
mod read;
mod requests;
mod retention;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet};

use exesdb_sdk::events::{EventData, RecordedEvent};
use exesdb_sdk::types::{
    Error, ExpectedVersion, IdConflict, Position, StreamState, Version, VersionConflict,
};

use import::ImportedRows;
pub use requests::{AppendRequest, AppendResult, ImportResult, ImportedEvent, Transaction, import_request};

/// Microseconds per second.
const SECOND: u64 = 1_000_000;

/// The model of a store.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// The time of day in microseconds, which the test advances.
    pub now: u64,
    /// All events that were ever added, visible or not, in the order of their positions.
    events: Vec<RecordedEvent>,
    /// The position of the next event.
    end: Position,
    /// The streams that ever had an event.
    streams: BTreeMap<String, Stream>,
    /// The rows that were imported, by stream and source.
    imported: BTreeMap<(String, String), ImportedRows>,
    /// The versions of snapshots, by stream and source.
    snapshots: BTreeMap<(String, String), BTreeSet<Version>>,
}

/// What a stream has besides its events.
#[derive(Clone, Debug)]
struct Stream {
    state: StreamState,
    /// The first version of its present life; 0 if it was never deleted.
    life_begins: Version,
    /// The first version that may be visible.
    truncate_before: Version,
    max_count: Option<u64>,
    max_age_seconds: Option<u64>,
}

impl Reference {
    /// The position of the next event.
    #[must_use]
    pub fn end(&self) -> Position {
        self.end
    }

    /// The version of the stream's last event, visible or not; none if it never had one.
    #[must_use]
    pub fn last_version(&self, stream_id: &str) -> Option<Version> {
        self.last_event(stream_id).map(|event| event.version)
    }

    /// The version of the stream's next event.
    #[must_use]
    pub fn next_version(&self, stream_id: &str) -> Version {
        self.last_version(stream_id).map_or(0, |last| last + 1)
    }

    /// The stream's visible event with this id.
    #[must_use]
    pub fn event_with_id(&self, stream_id: &str, id: &str) -> Option<&RecordedEvent> {
        self.events_of(stream_id).find(|event| event.id == id && self.is_visible(event))
    }

    /// The stream's event with this version, visible or not.
    #[must_use]
    pub fn event_at(&self, stream_id: &str, version: Version) -> Option<&RecordedEvent> {
        self.events_of(stream_id).find(|event| event.version == version)
    }

    /// All events that the stream ever had, visible or not.
    fn events_of(&self, stream_id: &str) -> impl DoubleEndedIterator<Item = &RecordedEvent> {
        self.events.iter().filter(move |event| event.stream_id == stream_id)
    }

    /// The last event that the stream had, visible or not.
    fn last_event(&self, stream_id: &str) -> Option<&RecordedEvent> {
        self.events_of(stream_id).next_back()
    }

    /// The stream's state; none if it never had an event.
    fn state(&self, stream_id: &str) -> Option<StreamState> {
        self.streams.get(stream_id).map(|stream| stream.state)
    }

    fn is_live(&self, stream_id: &str) -> bool {
        self.state(stream_id) == Some(StreamState::Live)
    }

    fn is_tombstoned(&self, stream_id: &str) -> bool {
        self.state(stream_id) == Some(StreamState::Tombstoned)
    }

    /// Fails if the stream is not at the expected version.
    fn check_version(&self, stream_id: &str, expected: ExpectedVersion) -> Result<(), Error> {
        let holds = match expected {
            ExpectedVersion::Any => true,
            ExpectedVersion::NoStream => !self.is_live(stream_id),
            ExpectedVersion::StreamExists => self.is_live(stream_id),
            ExpectedVersion::Exact(version) => self.last_version(stream_id) == Some(version),
        };
        if holds { Ok(()) } else { Err(self.conflict(stream_id, expected)) }
    }

    /// The error for a stream that is not at the expected version.
    fn conflict(&self, stream_id: &str, expected: ExpectedVersion) -> Error {
        Error::WrongExpectedVersion(VersionConflict {
            stream_id: stream_id.to_owned(),
            expected,
            last_version: self.last_version(stream_id),
            is_deleted: self.state(stream_id).is_some_and(|state| state != StreamState::Live),
        })
    }

    /// The error for an event id that the stream has already.
    fn id_conflict(&self, stream_id: &str, id: &str) -> Error {
        let (stream_id, last_version) = (stream_id.to_owned(), self.last_version(stream_id).unwrap_or(0));
        Error::IdConflict(IdConflict { stream_id, id: id.to_owned(), last_version })
    }

    /// Adds an event at a position that is at or after the end. The event may begin its stream, or begin it again.
    fn add(
        &mut self,
        stream_id: &str,
        version: Version,
        position: Position,
        created: u64,
        event: &EventData,
    ) {
        let stream = self.streams.entry(stream_id.to_owned()).or_insert(Stream {
            state: StreamState::Live,
            life_begins: 0,
            truncate_before: version,
            max_count: None,
            max_age_seconds: None,
        });
        if stream.state == StreamState::Deleted {
            stream.life_begins = version;
        }
        stream.state = StreamState::Live;
        let EventData { id, event_type, content_type, data, metadata, tags } = event.clone();
        self.events.push(RecordedEvent {
            stream_id: stream_id.to_owned(),
            version,
            position,
            id,
            event_type,
            content_type,
            data,
            metadata,
            tags,
            created,
        });
        self.end = position + 1;
    }
}
