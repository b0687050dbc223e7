//! The contract in Rust: every interface of `wit/`, seen from the host's side.
//!
//! All interfaces are generated as imports, also those that persistence components export, so that both sides of the host
//! use the same types: a gateway's request is passed to a streams component unchanged. Exports are called through typed
//! functions (see `persistence/exports.rs`).
#![allow(missing_docs, clippy::wildcard_imports, unreachable_pub)] // generated; the WIT files are the documentation

wasmtime::component::bindgen!({
    path: ["../../wit/storage", "../../wit/host", "../../wit/store"],
    inline: "
        package exesdb:host-side;
        world contract {
            import exesdb:storage/keyspaces@0.1.0;
            import exesdb:host/logging@0.1.0;
            import exesdb:host/config@0.1.0;
            import exesdb:host/clock@0.1.0;
            import exesdb:host/describe@0.1.0;
            import exesdb:store/streams@0.1.0;
            import exesdb:store/snapshots@0.1.0;
            import exesdb:store/live@0.1.0;
            import exesdb:store/history@0.1.0;
            import exesdb:store/maintenance@0.1.0;
        }
    ",
    world: "exesdb:host-side/contract",
    imports: {
        "exesdb:storage/keyspaces.commit": async,
        "exesdb:store/streams": async,
        "exesdb:store/snapshots": async,
        "exesdb:store/live": async,
    },
    additional_derives: [Hash],
    require_store_data_send: true,
});

pub use exesdb::host::{clock, config, describe, logging};
pub use exesdb::storage::keyspaces;
pub use exesdb::store::{history, live, maintenance, snapshots, streams, types};
