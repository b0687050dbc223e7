//! The exports of a streams component. It may lack all but `stream-writes` and `stream-reads`.

use std::sync::Arc;

use wasmtime::component::TypedFunc;

use crate::bindings::store::decisions::Decision;
use crate::bindings::store::types::{
    DeletionRequest, EventFilter, ImportRequest, ImportState, PackedPage, RetentionRequest, Selection,
    StreamInfo, StreamLife, StreamPage, WriteRequest,
};
use crate::persistence::exports::Missing;
use crate::persistence::exports::{Function, ViewParam, exports};
use crate::persistence::maintenance::{self, Maintained};

/// A function that decides about a list of requests.
type Decide<R> = TypedFunc<(ViewParam, Vec<Arc<R>>), (Vec<Decision>,)>;

exports! {
    writes: "exesdb:store/stream-writes@0.2.0";
    decide: Decide<WriteRequest> = "decide",
}

exports! {
    reads: "exesdb:store/stream-reads@0.2.0";
    read: Function<(ViewParam, Selection), PackedPage> = "read",
    stream_lives: Function<(ViewParam, Vec<String>), Vec<Option<StreamLife>>> = "stream-lives",
}

exports! {
    filters: "exesdb:store/stream-filters@0.2.0";
    read_filtered: Function<(ViewParam, EventFilter, Selection), PackedPage> = "read-filtered",
}

exports! {
    retention: "exesdb:store/stream-retention@0.2.0";
    decide: Decide<RetentionRequest> = "decide",
}

exports! {
    deletion: "exesdb:store/stream-deletion@0.2.0";
    decide: Decide<DeletionRequest> = "decide",
}

exports! {
    import: "exesdb:store/stream-import@0.2.0";
    decide: TypedFunc<(ViewParam, Arc<ImportRequest>), (Decision,)> = "decide",
    import_states: Function<(ViewParam, String, Vec<String>), Vec<ImportState>> = "import-states",
}

exports! {
    listing: "exesdb:store/stream-listing@0.2.0";
    list_streams: Function<(ViewParam, String, Option<String>, u32, bool), StreamPage> = "list-streams",
    describe_stream: Function<(ViewParam, String), StreamInfo> = "describe-stream",
}

/// The places of the exports in a compiled component.
pub struct Indices {
    pub(super) writes: writes::Indices,
    pub(super) reads: reads::Indices,
    pub(super) filters: Option<filters::Indices>,
    pub(super) retention: Option<retention::Indices>,
    pub(super) deletion: Option<deletion::Indices>,
    pub(super) import: Option<import::Indices>,
    pub(super) listing: Option<listing::Indices>,
    pub(super) maintenance: Option<maintenance::Indices>,
}

/// The exports of one instance.
pub struct StreamsExports {
    pub(super) writes: writes::Exports,
    pub(super) reads: reads::Exports,
    pub(super) filters: Option<filters::Exports>,
    pub(super) retention: Option<retention::Exports>,
    pub(super) deletion: Option<deletion::Exports>,
    pub(super) import: Option<import::Exports>,
    pub(super) listing: Option<listing::Exports>,
    pub(super) maintenance: Option<maintenance::Exports>,
}

impl StreamsExports {
    pub(super) fn filters(&self) -> Result<&filters::Exports, Missing> {
        self.filters.as_ref().ok_or(Missing(filters::INTERFACE))
    }

    pub(super) fn retention(&self) -> Result<&retention::Exports, Missing> {
        self.retention.as_ref().ok_or(Missing(retention::INTERFACE))
    }

    pub(super) fn deletion(&self) -> Result<&deletion::Exports, Missing> {
        self.deletion.as_ref().ok_or(Missing(deletion::INTERFACE))
    }

    pub(super) fn import(&self) -> Result<&import::Exports, Missing> {
        self.import.as_ref().ok_or(Missing(import::INTERFACE))
    }

    pub(super) fn listing(&self) -> Result<&listing::Exports, Missing> {
        self.listing.as_ref().ok_or(Missing(listing::INTERFACE))
    }
}

impl Maintained for StreamsExports {
    fn maintenance(&self) -> Option<&maintenance::Exports> {
        self.maintenance.as_ref()
    }
}
