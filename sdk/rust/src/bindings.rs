//! The bindings that wit-bindgen generates from `wit/`, and nothing else: generated code needs `unsafe` for the canonical
//! ABI.
//!
//! The host's interfaces and the store's types are generated once, in [`common`], and the worlds refer to them, so that
//! each WIT type has one Rust type whatever features are on. A component imports only functions that its code calls, so a
//! linked description does not request a grant.

/// The interfaces that more than one world uses.
#[allow(missing_docs)]
pub mod common {
    wit_bindgen::generate!({
        inline: "
            package exesdb:sdk;

            world common {
                import exesdb:storage/keyspaces@0.1.0;
                import exesdb:host/logging@0.1.0;
                import exesdb:host/config@0.1.0;
                import exesdb:host/clock@0.1.0;
                import exesdb:store/types@0.1.0;
            }
        ",
        path: ["../../wit/storage", "../../wit/host", "../../wit/store"],
        world: "exesdb:sdk/common",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

/// The interface by which a component describes itself.
#[allow(missing_docs)]
pub mod described {
    wit_bindgen::generate!({
        path: "../../wit/host",
        world: "exesdb:host/described",
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export_described",
        default_bindings_module: "exesdb_sdk::bindings::described",
    });
}

/// The interface that both worlds of persistence components export; generated once, like the types in [`common`].
#[cfg(any(feature = "streams", feature = "snapshots"))]
#[allow(missing_docs)]
pub mod maintenance {
    wit_bindgen::generate!({
        inline: "
            package exesdb:sdk-maintenance;

            world maintenance {
                export exesdb:store/maintenance@0.1.0;
            }
        ",
        path: ["../../wit/storage", "../../wit/host", "../../wit/store"],
        world: "exesdb:sdk-maintenance/maintenance",
        with: {
            "exesdb:store/types@0.1.0": crate::bindings::common::exesdb::store::types,
        },
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export_maintenance",
        default_bindings_module: "exesdb_sdk::bindings::maintenance",
    });
}

/// World `streams-plugin`, without the interface in [`maintenance`].
#[cfg(feature = "streams")]
#[allow(missing_docs)]
pub mod streams_plugin {
    wit_bindgen::generate!({
        inline: "
            package exesdb:sdk-streams;

            world streams {
                import exesdb:storage/keyspaces@0.1.0;
                import exesdb:host/logging@0.1.0;
                import exesdb:host/config@0.1.0;
                import exesdb:host/clock@0.1.0;
                export exesdb:store/streams@0.1.0;
            }
        ",
        path: ["../../wit/storage", "../../wit/host", "../../wit/store"],
        world: "exesdb:sdk-streams/streams",
        with: {
            "exesdb:storage/keyspaces@0.1.0": crate::bindings::common::exesdb::storage::keyspaces,
            "exesdb:host/logging@0.1.0": crate::bindings::common::exesdb::host::logging,
            "exesdb:host/config@0.1.0": crate::bindings::common::exesdb::host::config,
            "exesdb:host/clock@0.1.0": crate::bindings::common::exesdb::host::clock,
            "exesdb:store/types@0.1.0": crate::bindings::common::exesdb::store::types,
        },
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export_streams_plugin",
        default_bindings_module: "exesdb_sdk::bindings::streams_plugin",
    });
}

/// World `snapshots-plugin`, without the interface in [`maintenance`].
#[cfg(feature = "snapshots")]
#[allow(missing_docs)]
pub mod snapshots_plugin {
    wit_bindgen::generate!({
        inline: "
            package exesdb:sdk-snapshots;

            world snapshots {
                import exesdb:storage/keyspaces@0.1.0;
                import exesdb:host/logging@0.1.0;
                import exesdb:host/config@0.1.0;
                import exesdb:host/clock@0.1.0;
                export exesdb:store/snapshots@0.1.0;
            }
        ",
        path: ["../../wit/storage", "../../wit/host", "../../wit/store"],
        world: "exesdb:sdk-snapshots/snapshots",
        with: {
            "exesdb:storage/keyspaces@0.1.0": crate::bindings::common::exesdb::storage::keyspaces,
            "exesdb:host/logging@0.1.0": crate::bindings::common::exesdb::host::logging,
            "exesdb:host/config@0.1.0": crate::bindings::common::exesdb::host::config,
            "exesdb:host/clock@0.1.0": crate::bindings::common::exesdb::host::clock,
            "exesdb:store/types@0.1.0": crate::bindings::common::exesdb::store::types,
        },
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export_snapshots_plugin",
        default_bindings_module: "exesdb_sdk::bindings::snapshots_plugin",
    });
}

/// World `gateway-imports`: the store's interfaces for gateways.
#[cfg(feature = "gateway")]
#[allow(missing_docs)]
pub mod gateway_imports {
    wit_bindgen::generate!({
        path: ["../../wit/storage", "../../wit/host", "../../wit/store"],
        world: "exesdb:store/gateway-imports",
        with: {
            "exesdb:host/logging@0.1.0": crate::bindings::common::exesdb::host::logging,
            "exesdb:host/config@0.1.0": crate::bindings::common::exesdb::host::config,
            "exesdb:store/types@0.1.0": crate::bindings::common::exesdb::store::types,
        },
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}
