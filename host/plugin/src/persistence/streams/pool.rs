//! The pool's functions for each function of the interface.

use std::sync::Arc;

use super::call::{BatchedCall, StreamsCall};
use super::kind::StreamsKind;
use crate::bindings::streams::{
    AppendRequest, AppendResult, Deletion, EventFilter, EventPage, ImportMark, ImportResult, ImportState,
    ImportedEvent, Retention, StreamInfo, StreamPage, Transaction,
};
use crate::bindings::types::{Direction, Error, ExpectedVersion, StreamLife};
use crate::caller::Caller;
use crate::persistence::pool::{Pool, Target};

/// The pool of a store's streams component.
pub type StreamsPool = Pool<StreamsKind>;

/// Changes to a stream go to the one writer of its partition; any reader serves a read.
impl StreamsPool {
    pub(crate) async fn append(&self, caller: Caller, request: AppendRequest) -> Result<AppendResult, Error> {
        let target = self.target(&request.stream_id);
        let request = Arc::new(request);
        self.send(target, caller, |result| StreamsCall::Append(BatchedCall { request, result })).await
    }

    /// Goes to the writer of its first stream; guards protect it against concurrent writers of the other streams.
    pub(crate) async fn transact(
        &self,
        caller: Caller,
        transaction: Transaction,
    ) -> Result<Vec<AppendResult>, Error> {
        let first = transaction.appends.first();
        let target = first.map_or(Target::Any, |append| self.target(&append.stream_id));
        let request = Arc::new(transaction);
        self.send(target, caller, |result| StreamsCall::Transact(BatchedCall { request, result })).await
    }

    /// Imports events at their positions in another store, and records how many rows of its source each stream has.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn import_events(
        &self,
        caller: Caller,
        events: Vec<ImportedEvent>,
        marks: Vec<ImportMark>,
    ) -> Result<ImportResult, Error> {
        let first = events.first().map(|event| &event.stream_id);
        let first = first.or(marks.first().map(|mark| &mark.stream_id));
        let target = first.map_or(Target::Any, |stream_id| self.target(stream_id));
        let params = (Arc::from(events), Arc::from(marks));
        self.call(target, caller, "import-events", |exports| &exports.streams.import_events, params).await
    }

    /// For each stream, how many rows of a source were imported into it, and its state.
    pub(crate) async fn import_states(
        &self,
        caller: Caller,
        source: String,
        stream_ids: Vec<String>,
    ) -> Result<Vec<ImportState>, Error> {
        let requested = stream_ids.len();
        let params = (source, stream_ids);
        let states = self
            .call(Target::Any, caller, "import-states", |exports| &exports.streams.import_states, params)
            .await?;
        // A component's results are checked before others rely on them.
        if states.len() != requested {
            let returned = states.len();
            return Err(Error::Other(format!(
                "the streams component told the imports of {returned} streams where {requested} were asked about"
            )));
        }
        Ok(states)
    }

    /// Deletes a stream.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn delete_stream(
        &self,
        caller: Caller,
        stream_id: String,
        expected: ExpectedVersion,
        deletion: Deletion,
    ) -> Result<(), Error> {
        let target = self.target(&stream_id);
        let params = (stream_id, expected, deletion);
        self.call(target, caller, "delete-stream", |exports| &exports.streams.delete_stream, params).await
    }

    /// Sets how long a stream's events are kept.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn set_retention(
        &self,
        caller: Caller,
        stream_id: String,
        retention: Retention,
    ) -> Result<(), Error> {
        let target = self.target(&stream_id);
        let params = (stream_id, retention);
        self.call(target, caller, "set-retention", |exports| &exports.streams.set_retention, params).await
    }

    pub(crate) async fn read_stream(
        &self,
        caller: Caller,
        stream_id: String,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        let params = (stream_id, from, count, direction);
        self.call(Target::Any, caller, "read-stream", |exports| &exports.streams.read_stream, params).await
    }

    /// Reads events of the whole store.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn read_all(
        &self,
        caller: Caller,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        let params = (from, count, direction);
        self.call(Target::Any, caller, "read-all", |exports| &exports.streams.read_all, params).await
    }

    pub(crate) async fn read_filtered(
        &self,
        caller: Caller,
        filter: EventFilter,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        let params = (filter, from, count, direction);
        self.call(Target::Any, caller, "read-filtered", |exports| &exports.streams.read_filtered, params)
            .await
    }

    /// Lists the ids of streams, with those of deleted ones if `deleted`.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn list_streams(
        &self,
        caller: Caller,
        prefix: String,
        after: Option<String>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        let params = (prefix, after, count, deleted);
        self.call(Target::Any, caller, "list-streams", |exports| &exports.streams.list_streams, params).await
    }

    /// The state of a stream.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn stream_info(&self, caller: Caller, stream_id: String) -> Result<StreamInfo, Error> {
        let params = (stream_id,);
        self.call(Target::Any, caller, "stream-info", |exports| &exports.streams.stream_info, params).await
    }

    /// The current life of each stream; none for one that is not live.
    ///
    /// # Errors
    ///
    /// The component's errors, and [`Error::Other`] if it returns another number of lives.
    pub async fn stream_lives(
        &self,
        caller: Caller,
        stream_ids: Vec<String>,
    ) -> Result<Vec<Option<StreamLife>>, Error> {
        let requested = stream_ids.len();
        let params = (stream_ids,);
        let lives = self
            .call(Target::Any, caller, "stream-lives", |exports| &exports.streams.stream_lives, params)
            .await?;
        // A component's results are checked before others rely on them.
        if lives.len() != requested {
            let returned = lives.len();
            return Err(Error::Other(format!(
                "the streams component told the lives of {returned} streams where {requested} were asked about"
            )));
        }
        Ok(lives)
    }
}
