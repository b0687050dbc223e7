//! Components that store streams. One needs [`StreamWrites`] and [`StreamReads`]; each further trait is a capability. Register
//! them with [`persistence_plugin!`](crate::persistence_plugin).

use std::marker::PhantomData;

use crate::panic;
use crate::types::{
    Decision, DeletionRequest, Error, EventFilter, ImportRequest, ImportState, PackedPage, RetentionRequest,
    Selection, StreamInfo, StreamLife, StreamPage, WriteRequest,
};
use crate::view::HostView;

pub use crate::bindings::store::stream_deletion::exports::exesdb::store::stream_deletion::Guest as StreamDeletion;
pub use crate::bindings::store::stream_filters::exports::exesdb::store::stream_filters::Guest as StreamFilters;
pub use crate::bindings::store::stream_import::exports::exesdb::store::stream_import::Guest as StreamImport;
pub use crate::bindings::store::stream_listing::exports::exesdb::store::stream_listing::Guest as StreamListing;
pub use crate::bindings::store::stream_reads::exports::exesdb::store::stream_reads::Guest as StreamReads;
pub use crate::bindings::store::stream_retention::exports::exesdb::store::stream_retention::Guest as StreamRetention;
pub use crate::bindings::store::stream_writes::exports::exesdb::store::stream_writes::Guest as StreamWrites;

/// Wraps the registered component in what the SDK does for each call.
#[doc(hidden)]
pub struct Registered<P>(PhantomData<P>);

impl<P: StreamWrites> StreamWrites for Registered<P> {
    fn decide(view: &HostView, requests: Vec<WriteRequest>) -> Vec<Decision> {
        panic::install_hook();
        P::decide(view, requests)
    }
}

impl<P: StreamReads> StreamReads for Registered<P> {
    fn read(view: &HostView, selection: Selection) -> Result<PackedPage, Error> {
        panic::install_hook();
        P::read(view, selection)
    }

    fn stream_lives(view: &HostView, stream_ids: Vec<String>) -> Result<Vec<Option<StreamLife>>, Error> {
        panic::install_hook();
        P::stream_lives(view, stream_ids)
    }
}

impl<P: StreamFilters> StreamFilters for Registered<P> {
    fn read_filtered(
        view: &HostView,
        filter: EventFilter,
        selection: Selection,
    ) -> Result<PackedPage, Error> {
        panic::install_hook();
        P::read_filtered(view, filter, selection)
    }
}

impl<P: StreamRetention> StreamRetention for Registered<P> {
    fn decide(view: &HostView, requests: Vec<RetentionRequest>) -> Vec<Decision> {
        panic::install_hook();
        P::decide(view, requests)
    }
}

impl<P: StreamDeletion> StreamDeletion for Registered<P> {
    fn decide(view: &HostView, requests: Vec<DeletionRequest>) -> Vec<Decision> {
        panic::install_hook();
        P::decide(view, requests)
    }
}

impl<P: StreamImport> StreamImport for Registered<P> {
    fn decide(view: &HostView, request: ImportRequest) -> Decision {
        panic::install_hook();
        P::decide(view, request)
    }

    fn import_states(
        view: &HostView,
        source: String,
        stream_ids: Vec<String>,
    ) -> Result<Vec<ImportState>, Error> {
        panic::install_hook();
        P::import_states(view, source, stream_ids)
    }
}

impl<P: StreamListing> StreamListing for Registered<P> {
    fn list_streams(
        view: &HostView,
        prefix: String,
        after: Option<String>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        panic::install_hook();
        P::list_streams(view, prefix, after, count, deleted)
    }

    fn describe_stream(view: &HostView, stream_id: String) -> Result<StreamInfo, Error> {
        panic::install_hook();
        P::describe_stream(view, stream_id)
    }
}
