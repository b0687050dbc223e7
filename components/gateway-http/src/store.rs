//! The calls that the gateway makes outside of itself.

use exesdb_sdk::gateway::wasip2::clocks::monotonic_clock;
use exesdb_sdk::gateway::wasip2::random::random::get_random_bytes;
use exesdb_sdk::gateway::{history, live, snapshots, streams};
use exesdb_sdk::logging;

pub use exesdb_sdk::gateway::history::StoreHistory;
pub use exesdb_sdk::gateway::live::Wake;
pub use exesdb_sdk::gateway::snapshots::{
    RecordedSnapshot, SnapshotData, SnapshotId, SnapshotInfo, SnapshotPage, SnapshotScope,
};
pub use exesdb_sdk::gateway::streams::{
    AppendCondition, AppendRequest, AppendResult, Deletion, EventFilter, EventPage, ImportMark, ImportResult,
    ImportState, ImportedEvent, QueryItem, Retention, StreamCheck, StreamInfo, StreamPage, StreamState,
    Transaction,
};
pub use exesdb_sdk::gateway::types::{
    Direction, Error, EventData, ExpectedVersion, HistoryChange, RecordedEvent,
};

use crate::history::HistoryId;

/// The events that a read covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventScope {
    /// All events of the store.
    Store,
    /// The events of the store that match a filter.
    Filtered(EventFilter),
    /// The events of one stream.
    Stream(String),
}

impl EventScope {
    /// The stream, if the scope is one stream.
    pub fn stream(&self) -> Option<&str> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Store | Self::Filtered(_) => None,
        }
    }

    /// The event's number in the order of the read: its version in a stream, its position in the store.
    pub fn order(&self, event: &RecordedEvent) -> u64 {
        if self.stream().is_some() { event.version } else { event.position }
    }
}

/// The store's interfaces, the clock, random bytes and the log. Tests replace them.
pub trait StoreApi {
    /// `streams.append` of one request.
    fn append(&mut self, request: AppendRequest) -> Result<AppendResult, Error>;
    /// `streams.transact` of one transaction. Returns one result for each of its appends.
    fn transact(&mut self, transaction: Transaction) -> Result<Vec<AppendResult>, Error>;
    /// `streams.import-events`.
    fn import(&mut self, events: &[ImportedEvent], marks: &[ImportMark]) -> Result<ImportResult, Error>;
    /// `streams.get-import-states`. Returns one state for each stream.
    fn import_states(&mut self, source: &str, streams: &[String]) -> Result<Vec<ImportState>, Error>;
    /// `streams.delete-stream`.
    fn delete_stream(
        &mut self,
        stream: &str,
        expected: ExpectedVersion,
        deletion: Deletion,
    ) -> Result<(), Error>;
    /// `streams.set-retention`.
    fn set_retention(&mut self, stream: &str, retention: Retention) -> Result<(), Error>;
    /// `streams.read-all`, `streams.read-filtered` or `streams.read-stream`.
    fn read(
        &mut self,
        scope: &EventScope,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error>;
    /// `streams.list-streams`.
    fn list_streams(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error>;
    /// `streams.get-stream-info`.
    fn stream_info(&mut self, stream: &str) -> Result<StreamInfo, Error>;
    /// `snapshots.record-snapshot`, or `snapshots.import-snapshot` with the time in microseconds since 1970.
    fn record_snapshot(
        &mut self,
        id: &SnapshotId,
        snapshot: &SnapshotData,
        created: Option<u64>,
    ) -> Result<(), Error>;
    /// `snapshots.read-snapshot`.
    fn read_snapshot(&mut self, id: &SnapshotId) -> Result<RecordedSnapshot, Error>;
    /// `snapshots.read-latest`.
    fn read_latest(
        &mut self,
        stream: &str,
        source: &str,
        at_most: Option<u64>,
    ) -> Result<RecordedSnapshot, Error>;
    /// `snapshots.list-snapshots`.
    fn list_snapshots(
        &mut self,
        scope: &SnapshotScope,
        after: Option<&SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error>;
    /// `snapshots.delete-snapshot`.
    fn delete_snapshot(&mut self, id: &SnapshotId) -> Result<(), Error>;
    /// `snapshots.keep-newest`.
    fn keep_newest(&mut self, stream: &str, source: &str, keep: u32) -> Result<u64, Error>;
    /// `history.current`.
    fn history(&mut self) -> Result<StoreHistory, Error>;
    /// `history.check`.
    fn check_history(&mut self, next: u64, of: Option<HistoryId>) -> Result<(), Error>;
    /// `live.wait`.
    fn wait(&mut self, stream: Option<&str>, seen: u64, timeout_ms: u32) -> Wake;
    /// The time of a monotonic clock in milliseconds.
    fn clock_ms(&mut self) -> u64;
    /// `length` unpredictable bytes.
    fn random(&mut self, length: usize) -> Vec<u8>;
    /// Logs a failure for the operator.
    fn log_failure(&mut self, message: &str);
}

/// The store that the component is linked to.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkedStore;

impl StoreApi for LinkedStore {
    fn append(&mut self, request: AppendRequest) -> Result<AppendResult, Error> {
        only(streams::append(&[request]))
    }

    fn transact(&mut self, transaction: Transaction) -> Result<Vec<AppendResult>, Error> {
        let appends = transaction.appends.len();
        let results = only(streams::transact(&[transaction]))?;
        if results.len() == appends {
            return Ok(results);
        }
        let found = results.len();
        Err(Error::Other(format!("the streams component gave {found} results for {appends} appends")))
    }

    fn import(&mut self, events: &[ImportedEvent], marks: &[ImportMark]) -> Result<ImportResult, Error> {
        streams::import_events(events, marks)
    }

    fn import_states(&mut self, source: &str, streams: &[String]) -> Result<Vec<ImportState>, Error> {
        let states = streams::get_import_states(source, streams)?;
        if states.len() == streams.len() {
            return Ok(states);
        }
        let (found, asked) = (states.len(), streams.len());
        Err(Error::Other(format!("the streams component gave {found} import states for {asked} streams")))
    }

    fn delete_stream(
        &mut self,
        stream: &str,
        expected: ExpectedVersion,
        deletion: Deletion,
    ) -> Result<(), Error> {
        streams::delete_stream(stream, expected, deletion)
    }

    fn set_retention(&mut self, stream: &str, retention: Retention) -> Result<(), Error> {
        streams::set_retention(stream, retention)
    }

    fn read(
        &mut self,
        scope: &EventScope,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        match scope {
            EventScope::Store => streams::read_all(from, count, direction),
            EventScope::Filtered(filter) => streams::read_filtered(filter, from, count, direction),
            EventScope::Stream(stream) => streams::read_stream(stream, from, count, direction),
        }
    }

    fn list_streams(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        streams::list_streams(prefix, after, count, deleted)
    }

    fn stream_info(&mut self, stream: &str) -> Result<StreamInfo, Error> {
        streams::get_stream_info(stream)
    }

    fn record_snapshot(
        &mut self,
        id: &SnapshotId,
        snapshot: &SnapshotData,
        created: Option<u64>,
    ) -> Result<(), Error> {
        match created {
            Some(created) => snapshots::import_snapshot(id, snapshot, created),
            None => snapshots::record_snapshot(id, snapshot),
        }
    }

    fn read_snapshot(&mut self, id: &SnapshotId) -> Result<RecordedSnapshot, Error> {
        snapshots::read_snapshot(id)
    }

    fn read_latest(
        &mut self,
        stream: &str,
        source: &str,
        at_most: Option<u64>,
    ) -> Result<RecordedSnapshot, Error> {
        snapshots::read_latest(stream, source, at_most)
    }

    fn list_snapshots(
        &mut self,
        scope: &SnapshotScope,
        after: Option<&SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        snapshots::list_snapshots(scope, after, count)
    }

    fn delete_snapshot(&mut self, id: &SnapshotId) -> Result<(), Error> {
        snapshots::delete_snapshot(id)
    }

    fn keep_newest(&mut self, stream: &str, source: &str, keep: u32) -> Result<u64, Error> {
        snapshots::keep_newest(stream, source, keep)
    }

    fn history(&mut self) -> Result<StoreHistory, Error> {
        history::current()
    }

    fn check_history(&mut self, next: u64, of: Option<HistoryId>) -> Result<(), Error> {
        history::check(next, of.map(|history| history.0))
    }

    fn wait(&mut self, stream: Option<&str>, seen: u64, timeout_ms: u32) -> Wake {
        live::wait(stream, seen, timeout_ms)
    }

    fn clock_ms(&mut self) -> u64 {
        monotonic_clock::now() / 1_000_000
    }

    fn random(&mut self, length: usize) -> Vec<u8> {
        get_random_bytes(length as u64)
    }

    fn log_failure(&mut self, message: &str) {
        logging::error(message);
    }
}

/// The only result of a call that was given one request.
fn only<T>(mut results: Vec<Result<T, Error>>) -> Result<T, Error> {
    match (results.pop(), results.is_empty()) {
        (Some(result), true) => result,
        _ => Err(Error::Other("the streams component did not give one result for one request".to_owned())),
    }
}
