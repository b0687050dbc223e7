//! The packages `exesdb:host`, `exesdb:storage` and `exesdb:store`. Every interface with types is generated as
//! an import; the functions that components export are called through typed functions (see `persistence/exports.rs`).

wasmtime::component::bindgen!({
    path: ["../../wit/host", "../../wit/storage", "../../wit/store"],
    inline: "
        package exesdb:host-side-store;
        world contract {
            import exesdb:host/logging@0.2.0;
            import exesdb:host/config@0.2.0;
            import exesdb:host/describe@0.2.0;
            import exesdb:storage/views@0.2.0;
            import exesdb:store/decisions@0.2.0;
            import exesdb:store/snapshot-types@0.2.0;
            import exesdb:store/subscription-types@0.2.0;
            import exesdb:store/dispatch@0.2.0;
            import exesdb:store/maintenance@0.2.0;
            import exesdb:store/sink@0.2.0;
        }
    ",
    world: "exesdb:host-side-store/contract",
    with: {
        "exesdb:storage/views.view": crate::view::View,
        "exesdb:store/dispatch.dispatcher": crate::guest_dispatcher::GuestDispatcher,
    },
    additional_derives: [PartialEq, Eq, Hash],
    require_store_data_send: true,
});

pub use exesdb::host::{config, describe, fields, logging};
pub use exesdb::storage::{batches, places, views};
pub use exesdb::store::{decisions, dispatch, maintenance, sink, snapshot_types, subscription_types, types};
