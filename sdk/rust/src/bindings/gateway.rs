//! What gateways ask of their store, for both worlds of gateways. Its words are those of [`store::common`](super::store::common).

#![allow(missing_docs)]

/// Requests and their results, as data.
pub mod common {
    wit_bindgen::generate!({
        inline: "package exesdb:sdk-requests; world sdk-requests { import exesdb:gateway/requests@0.2.0; }",
        path: ["../../wit/storage", "../../wit/host", "../../wit/store", "../../wit/gateway"],
        world: "exesdb:sdk-requests/sdk-requests",
        with: {
            "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
            "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
            "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
            "exesdb:store/snapshot-types@0.2.0": crate::bindings::store::common::exesdb::store::snapshot_types,
        },
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

/// The calls of a gateway that waits in them.
#[cfg(feature = "gateway")]
pub mod calls {
    wit_bindgen::generate!({
        inline: "package exesdb:sdk-calls; world sdk-calls { import exesdb:gateway/store@0.2.0; }",
        path: ["../../wit/storage", "../../wit/host", "../../wit/store", "../../wit/gateway"],
        world: "exesdb:sdk-calls/sdk-calls",
        with: {
            "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
            "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
            "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
            "exesdb:store/snapshot-types@0.2.0": crate::bindings::store::common::exesdb::store::snapshot_types,
            "exesdb:gateway/requests@0.2.0": crate::bindings::gateway::common::exesdb::gateway::requests,
        },
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}
