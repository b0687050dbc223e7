//! The package `exesdb:gateway`: what gateways ask of their store, and gateways as steps. The functions that steps
//! gateways export are called through typed functions (see `gateway/steps/exports.rs`).

wasmtime::component::bindgen!({
    path: [
        "../../wit/host",
        "../../wit/storage",
        "../../wit/store",
        "../../wit/gateway",
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
        "exesdb:host/fields": crate::bindings::store::fields,
        "exesdb:storage/places": crate::bindings::store::places,
        "exesdb:store/types": crate::bindings::store::types,
        "exesdb:store/snapshot-types": crate::bindings::store::snapshot_types,
    },
    imports: {
        "exesdb:gateway/store.run": async,
        "exesdb:gateway/store.wait": async,
    },
    require_store_data_send: true,
});

pub use exesdb::gateway::{requests, steps, store};
