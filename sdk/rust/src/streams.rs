//! Components that store streams: world `exesdb:store/streams-plugin`.

use std::marker::PhantomData;

use crate::panic;
use crate::types::{Direction, Error, ExpectedVersion, Position, StreamLife, Version};

/// A streams component. Register the type that implements it with [`streams_plugin!`](crate::streams_plugin).
pub use crate::bindings::streams_plugin::exports::exesdb::store::streams::Guest as StreamsPlugin;
pub use crate::bindings::streams_plugin::exports::exesdb::store::streams::{
    AppendCondition, AppendRequest, AppendResult, Deletion, EventFilter, EventPage, ImportMark, ImportResult,
    ImportState, ImportedEvent, QueryItem, Retention, StreamCheck, StreamInfo, StreamPage, StreamState,
    Transaction,
};

/// Wraps the registered component in what the SDK does for each call.
#[doc(hidden)]
pub struct Registered<P>(PhantomData<P>);

impl<P: StreamsPlugin> StreamsPlugin for Registered<P> {
    fn append(requests: Vec<AppendRequest>) -> Vec<Result<AppendResult, Error>> {
        panic::install_hook();
        P::append(requests)
    }

    fn transact(transactions: Vec<Transaction>) -> Vec<Result<Vec<AppendResult>, Error>> {
        panic::install_hook();
        P::transact(transactions)
    }

    fn import_events(events: Vec<ImportedEvent>, marks: Vec<ImportMark>) -> Result<ImportResult, Error> {
        panic::install_hook();
        P::import_events(events, marks)
    }

    fn get_import_states(source: String, stream_ids: Vec<String>) -> Result<Vec<ImportState>, Error> {
        panic::install_hook();
        P::get_import_states(source, stream_ids)
    }

    fn delete_stream(stream_id: String, expected: ExpectedVersion, deletion: Deletion) -> Result<(), Error> {
        panic::install_hook();
        P::delete_stream(stream_id, expected, deletion)
    }

    fn set_retention(stream_id: String, retention: Retention) -> Result<(), Error> {
        panic::install_hook();
        P::set_retention(stream_id, retention)
    }

    fn read_stream(
        stream_id: String,
        from: Option<Version>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        panic::install_hook();
        P::read_stream(stream_id, from, count, direction)
    }

    fn read_all(from: Option<Position>, count: u32, direction: Direction) -> Result<EventPage, Error> {
        panic::install_hook();
        P::read_all(from, count, direction)
    }

    fn read_filtered(
        filter: EventFilter,
        from: Option<Position>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        panic::install_hook();
        P::read_filtered(filter, from, count, direction)
    }

    fn list_streams(
        prefix: String,
        after: Option<String>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        panic::install_hook();
        P::list_streams(prefix, after, count, deleted)
    }

    fn get_stream_info(stream_id: String) -> Result<StreamInfo, Error> {
        panic::install_hook();
        P::get_stream_info(stream_id)
    }

    fn get_stream_lives(stream_ids: Vec<String>) -> Result<Vec<Option<StreamLife>>, Error> {
        panic::install_hook();
        P::get_stream_lives(stream_ids)
    }
}

/// Makes this crate a streams component: exports the functions of a type that implements
/// [`StreamsPlugin`](crate::streams::StreamsPlugin) and [`Maintenance`](crate::maintenance::Maintenance). Use it once per
/// component. It expands to nothing on targets other than WebAssembly, so that the rules can be tested there.
#[macro_export]
macro_rules! streams_plugin {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Registered = $crate::streams::Registered<$plugin>;
            $crate::bindings::streams_plugin::export_streams_plugin!(
                Registered with_types_in $crate::bindings::streams_plugin
            );
            type Maintained = $crate::maintenance::Registered<$plugin>;
            $crate::bindings::maintenance::export_maintenance!(
                Maintained with_types_in $crate::bindings::maintenance
            );
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn implements<P: $crate::streams::StreamsPlugin + $crate::maintenance::Maintenance>() {}
            implements::<$plugin>();
        };
    };
}
