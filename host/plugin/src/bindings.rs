//! The contract in Rust, seen from the host's side: version 0.1 for gateways; [`next`], version 0.2, for persistence
//! components; and [`gateway`], version 0.2, for gateways.
//!
//! All interfaces are generated as imports, also those that persistence components export. Exports are called through typed
//! functions (see `persistence/exports.rs`).
#![allow(missing_docs, clippy::wildcard_imports, unreachable_pub)] // generated; the WIT files are the documentation

pub(crate) mod gateway;
pub(crate) mod next;

wasmtime::component::bindgen!({
    path: ["../../wit/host", "../../wit/store"],
    inline: "
        package exesdb:host-side;
        world contract {
            import exesdb:host/logging@0.1.0;
            import exesdb:host/config@0.1.0;
            import exesdb:store/streams@0.1.0;
            import exesdb:store/snapshots@0.1.0;
            import exesdb:store/live@0.1.0;
            import exesdb:store/history@0.1.0;
        }
    ",
    world: "exesdb:host-side/contract",
    imports: {
        "exesdb:store/streams": async,
        "exesdb:store/snapshots": async,
        "exesdb:store/live": async,
    },
    additional_derives: [Hash],
    require_store_data_send: true,
});

pub use exesdb::host::{config, logging};
pub use exesdb::store::{history, live, snapshots, streams, types};
