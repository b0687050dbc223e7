//! Version 0.1 of the contract, which gateways use.
//!
//! The host's interfaces and the store's types are generated once, in [`common`], and the worlds refer to them, so that
//! each WIT type has one Rust type.

/// The interfaces that more than one world uses.
#[allow(missing_docs)]
pub mod common {
    wit_bindgen::generate!({
        inline: "
            package exesdb:sdk;

            world common {
                import exesdb:host/logging@0.1.0;
                import exesdb:host/config@0.1.0;
                import exesdb:store/types@0.1.0;
            }
        ",
        path: ["../../wit/host", "../../wit/store"],
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

/// World `gateway-imports`: the store's interfaces for gateways.
#[allow(missing_docs)]
pub mod gateway_imports {
    wit_bindgen::generate!({
        path: ["../../wit/host", "../../wit/store"],
        world: "exesdb:store/gateway-imports",
        with: {
            "exesdb:host/logging@0.1.0": crate::bindings::gateway::common::exesdb::host::logging,
            "exesdb:host/config@0.1.0": crate::bindings::gateway::common::exesdb::host::config,
            "exesdb:store/types@0.1.0": crate::bindings::gateway::common::exesdb::store::types,
        },
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}
