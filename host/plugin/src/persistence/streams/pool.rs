//! The pool's functions for each function of the interfaces.

use std::sync::Arc;

use super::change::StreamChange;
use super::kind::StreamsKind;
use crate::bindings::store::types::{
    ChangeResult, DeletionRequest, Error, EventFilter, ImportRequest, ImportState, PackedPage,
    RetentionRequest, Selection, StreamInfo, StreamLife, StreamPage, WriteRequest,
};
use crate::caller::Caller;
use crate::persistence::pool::{Pool, Target};
use crate::problem::{code, problem};

/// The pool of a store's streams component.
pub type StreamsPool = Pool<StreamsKind>;

/// Changes go to the writer of their first stream, whose order they keep; guards protect them from writers of other streams.
impl StreamsPool {
    /// Appends to streams.
    ///
    /// # Errors
    ///
    /// The component's errors, and those of T6.
    pub async fn write(&self, caller: Caller, request: WriteRequest) -> Result<ChangeResult, Error> {
        let target = request.appends.first().map_or(Target::Any, |append| self.target(&append.stream_id));
        self.send_change(target, caller, StreamChange::Write(Arc::new(request))).await
    }

    /// Deletes a stream.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    pub async fn remove(&self, caller: Caller, request: DeletionRequest) -> Result<ChangeResult, Error> {
        let target = self.target(&request.stream_id);
        self.send_change(target, caller, StreamChange::Remove(Arc::new(request))).await
    }

    /// Sets how long a stream's events are kept.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    pub async fn retain(&self, caller: Caller, request: RetentionRequest) -> Result<ChangeResult, Error> {
        let target = self.target(&request.stream_id);
        self.send_change(target, caller, StreamChange::Retain(Arc::new(request))).await
    }

    /// Imports events of another store, which may be of any streams.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    pub async fn import(&self, caller: Caller, request: ImportRequest) -> Result<ChangeResult, Error> {
        self.send_change(Target::Partition(0), caller, StreamChange::Import(Arc::new(request))).await
    }

    /// For each stream, how many rows of a source were imported into it, and its state.
    ///
    /// # Errors
    ///
    /// The component's errors, and that it returns another number of states.
    pub async fn import_states(
        &self,
        caller: Caller,
        source: String,
        stream_ids: Vec<String>,
    ) -> Result<Vec<ImportState>, Error> {
        let requested = stream_ids.len();
        let states = self
            .ask(
                Target::Any,
                caller,
                "import-states",
                |exports| exports.import().map(|import| &import.import_states),
                (source, stream_ids),
            )
            .await?;
        counted("import states", states, requested)
    }

    /// Reads a page of events.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn read(&self, caller: Caller, selection: Selection) -> Result<PackedPage, Error> {
        self.ask(Target::Any, caller, "read", |exports| Ok(&exports.reads.read), (selection,)).await
    }

    /// Reads a page of the whole store's events that match.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn read_filtered(
        &self,
        caller: Caller,
        filter: EventFilter,
        selection: Selection,
    ) -> Result<PackedPage, Error> {
        self.ask(
            Target::Any,
            caller,
            "read-filtered",
            |exports| exports.filters().map(|filters| &filters.read_filtered),
            (filter, selection),
        )
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
        self.ask(
            Target::Any,
            caller,
            "list-streams",
            |exports| exports.listing().map(|listing| &listing.list_streams),
            (prefix, after, count, deleted),
        )
        .await
    }

    /// The state of a stream.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn describe_stream(&self, caller: Caller, stream_id: String) -> Result<StreamInfo, Error> {
        self.ask(
            Target::Any,
            caller,
            "describe-stream",
            |exports| exports.listing().map(|listing| &listing.describe_stream),
            (stream_id,),
        )
        .await
    }

    /// The present life of each stream; none for one that is not live.
    ///
    /// # Errors
    ///
    /// The component's errors, and that it returns another number of lives.
    pub async fn stream_lives(
        &self,
        caller: Caller,
        stream_ids: Vec<String>,
    ) -> Result<Vec<Option<StreamLife>>, Error> {
        let requested = stream_ids.len();
        let lives = self
            .ask(
                Target::Any,
                caller,
                "stream-lives",
                |exports| Ok(&exports.reads.stream_lives),
                (stream_ids,),
            )
            .await?;
        counted("lives", lives, requested)
    }
}

/// Checks that there is one answer for each stream: a component's results are claims.
fn counted<T>(what: &str, found: Vec<T>, requested: usize) -> Result<Vec<T>, Error> {
    if found.len() == requested {
        return Ok(found);
    }
    let returned = found.len();
    let message = format!(
        "the streams component returned {returned} {what} where {requested} streams were asked about"
    );
    Err(problem(code::OTHER, message))
}
