//! The exports of a streams component.

use std::sync::Arc;

use wasmtime::component::TypedFunc;

use crate::bindings::streams::{
    AppendRequest, AppendResult, Deletion, EventFilter, EventPage, ImportMark, ImportResult, ImportState,
    ImportedEvent, Retention, StreamInfo, StreamPage, Transaction,
};
use crate::bindings::types::{Direction, Error, ExpectedVersion, StreamLife};
use crate::persistence::exports::{Function, exports};
use crate::persistence::maintenance::{self, Maintained};

/// A function that takes many requests and returns one result for each, in order.
pub(super) type Batched<R, A> = TypedFunc<(Vec<Arc<R>>,), (Vec<Result<A, Error>>,)>;

exports! {
    "exesdb:store/streams@0.1.0";
    append: Batched<AppendRequest, AppendResult> = "append",
    transact: Batched<Transaction, Vec<AppendResult>> = "transact",
    import_events: Function<(Arc<[ImportedEvent]>, Arc<[ImportMark]>), ImportResult> = "import-events",
    import_states: Function<(String, Vec<String>), Vec<ImportState>> = "get-import-states",
    delete_stream: Function<(String, ExpectedVersion, Deletion), ()> = "delete-stream",
    set_retention: Function<(String, Retention), ()> = "set-retention",
    read_stream: Function<(String, Option<u64>, u32, Direction), EventPage> = "read-stream",
    read_all: Function<(Option<u64>, u32, Direction), EventPage> = "read-all",
    read_filtered: Function<(EventFilter, Option<u64>, u32, Direction), EventPage> = "read-filtered",
    list_streams: Function<(String, Option<String>, u32, bool), StreamPage> = "list-streams",
    stream_info: Function<(String,), StreamInfo> = "get-stream-info",
    stream_lives: Function<(Vec<String>,), Vec<Option<StreamLife>>> = "get-stream-lives",
}

/// The exports of one instance.
pub struct StreamsExports {
    pub(super) streams: Exports,
    pub(super) maintenance: maintenance::Exports,
}

impl Maintained for StreamsExports {
    fn maintenance(&self) -> &maintenance::Exports {
        &self.maintenance
    }
}
