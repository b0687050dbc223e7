//! The interface that a gateway on steps exports. Its words are those of [`store::common`](super::store::common) and of
//! [`gateway::common`](super::gateway::common).

#![allow(missing_docs)]

wit_bindgen::generate!({
    inline: "package exesdb:sdk-steps; world sdk-steps { export exesdb:gateway/steps@0.2.0; }",
    path: ["../../wit/storage", "../../wit/host", "../../wit/store", "../../wit/gateway"],
    world: "exesdb:sdk-steps/sdk-steps",
    with: {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
        "exesdb:store/snapshot-types@0.2.0": crate::bindings::store::common::exesdb::store::snapshot_types,
        "exesdb:gateway/requests@0.2.0": crate::bindings::gateway::common::exesdb::gateway::requests,
    },
    generate_all,
    additional_derives: [PartialEq, Eq],
    pub_export_macro: true,
    export_macro_name: "export_steps",
    default_bindings_module: "exesdb_sdk::bindings::steps",
});
