//! The package `exesdb:gateway`: what gateways ask of their store, and gateways as steps. The functions that steps
//! gateways export are called through typed functions (see `gateway/steps/exports.rs`).

wasmtime::component::bindgen!({
    path: [
        "../../wit/next/host",
        "../../wit/next/storage",
        "../../wit/next/store",
        "../../wit/next/gateway",
    ],
    inline: "
        package exesdb:host-side-gateway;
        world contract {
            import exesdb:gateway/store@0.2.0;
            import exesdb:gateway/steps@0.2.0;
        }
    ",
    world: "exesdb:host-side-gateway/contract",
    with: {
        "exesdb:host/fields": crate::bindings::next::fields,
        "exesdb:storage/places": crate::bindings::next::places,
        "exesdb:store/types": crate::bindings::next::types,
        "exesdb:store/snapshot-types": crate::bindings::next::snapshot_types,
    },
    imports: {
        "exesdb:gateway/store.run": async,
        "exesdb:gateway/store.wait": async,
    },
    require_store_data_send: true,
});

pub use exesdb::gateway::{requests, steps, store};
