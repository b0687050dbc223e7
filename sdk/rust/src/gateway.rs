//! Components that serve HTTP: world `exesdb:gateway/gateway-plugin`.

use std::marker::PhantomData;

use wasip2::exports::http::incoming_handler;

use crate::panic;

mod request;
mod response;

pub use wasip2;
pub use wasip2::http::types::{IncomingRequest, ResponseOutparam};

pub use request::{BodyError, header_entries, method_name, read_body};
pub use response::{RespondError, StreamingBody, respond, respond_streaming};

/// The types that all interfaces of the store share: `exesdb:store/types`.
pub mod types {
    pub use crate::bindings::gateway::common::exesdb::store::types::{
        ConditionFailure, Direction, Error, EventData, ExpectedVersion, HistoryChange, HistoryId,
        InvalidArgument, MissingVersion, Position, RecordedEvent, StreamLife, Version, VersionConflict,
    };
}

/// The store's streams, as a gateway calls them: `exesdb:store/streams`.
pub mod streams {
    pub use crate::bindings::gateway::gateway_imports::exesdb::store::streams::{
        AppendCondition, AppendRequest, AppendResult, Deletion, EventFilter, EventPage, ImportMark,
        ImportResult, ImportState, ImportedEvent, QueryItem, Retention, StreamCheck, StreamInfo, StreamPage,
        StreamState, Transaction, append, delete_stream, get_import_states, get_stream_info, import_events,
        list_streams, read_all, read_filtered, read_stream, set_retention, transact,
    };
}

/// The store's snapshots, as a gateway calls them: `exesdb:store/snapshots`.
pub mod snapshots {
    pub use crate::bindings::gateway::gateway_imports::exesdb::store::snapshots::{
        RecordedSnapshot, SnapshotData, SnapshotId, SnapshotInfo, SnapshotPage, SnapshotScope,
        delete_snapshot, import_snapshot, keep_newest, list_snapshots, read_latest, read_snapshot,
        record_snapshot,
    };
}

/// Waiting for new events: `exesdb:store/live`.
pub mod live {
    pub use crate::bindings::gateway::gateway_imports::exesdb::store::live::{Wake, wait};
}

/// The history that a position belongs to: `exesdb:store/history`.
pub mod history {
    pub use crate::bindings::gateway::gateway_imports::exesdb::store::history::{
        StoreHistory, check, current,
    };
}

/// A gateway component. Register the type that implements it with [`gateway_plugin!`](crate::gateway_plugin).
pub trait Gateway {
    /// Responds to one request through `out`, which must be set exactly once. Returns when the response is written.
    fn handle(request: IncomingRequest, out: ResponseOutparam);
}

/// Wraps the registered gateway in what the SDK does for each call.
#[doc(hidden)]
pub struct Registered<G>(PhantomData<G>);

impl<G: Gateway> incoming_handler::Guest for Registered<G> {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        panic::install_hook();
        G::handle(request, out);
    }
}

/// Makes this crate a gateway component: exports `wasi:http/incoming-handler` of a type that implements
/// [`Gateway`](crate::gateway::Gateway). Use it once per component. It expands to nothing on targets other than WebAssembly.
#[macro_export]
macro_rules! gateway_plugin {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Registered = $crate::gateway::Registered<$plugin>;
            $crate::gateway::wasip2::http::proxy::export!(
                Registered with_types_in $crate::gateway::wasip2
            );
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn implements<P: $crate::gateway::Gateway>() {}
            implements::<$plugin>();
        };
    };
}
