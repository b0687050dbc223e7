//! What components of every kind share.
//!
//! What persistence components import, and the words of all interfaces, are generated once, in [`common`]. Each interface that a component can
//! export has a module with a macro of its own, so that a component exports just those that it has.

/// What persistence components import, and the words of the interfaces.
#[allow(missing_docs)]
pub mod common {
    wit_bindgen::generate!({
        inline: "
            package exesdb:sdk-store;

            world common {
                include exesdb:store/persistence-imports@0.2.0;
                import exesdb:storage/batches@0.2.0;
                import exesdb:store/types@0.2.0;
                import exesdb:store/decisions@0.2.0;
                import exesdb:store/snapshot-types@0.2.0;
                import exesdb:store/subscription-types@0.2.0;
            }
        ",
        path: ["../../wit/storage", "../../wit/host", "../../wit/store"],
        world: "exesdb:sdk-store/common",
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

/// Generates the bindings of one interface that a component can export.
macro_rules! exported {
    ($(#[$attribute:meta])* $module:ident, $inline:literal, $world:literal, $export:literal, { $($with:tt)* }) => {
        $(#[$attribute])*
        #[allow(missing_docs)]
        pub mod $module {
            wit_bindgen::generate!({
                inline: $inline,
                path: ["../../wit/storage", "../../wit/host", "../../wit/store"],
                world: $world,
                with: {
                    $($with)*
                },
                additional_derives: [PartialEq, Eq],
                pub_export_macro: true,
                export_macro_name: $export,
                default_bindings_module: "exesdb_sdk::bindings::store",
            });
        }
    };
}

exported! {
    /// Decisions about appends and transactions.
    #[cfg(feature = "streams")]
    stream_writes,
    "package exesdb:sdk-stream-writes; world sdk-stream-writes { export exesdb:store/stream-writes@0.2.0; }",
    "exesdb:sdk-stream-writes/sdk-stream-writes",
    "export_stream_writes",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:storage/views@0.2.0": crate::bindings::store::common::exesdb::storage::views,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
        "exesdb:storage/batches@0.2.0": crate::bindings::store::common::exesdb::storage::batches,
        "exesdb:store/decisions@0.2.0": crate::bindings::store::common::exesdb::store::decisions,
    }
}

exported! {
    /// Reads of one stream and of the whole store.
    #[cfg(feature = "streams")]
    stream_reads,
    "package exesdb:sdk-stream-reads; world sdk-stream-reads { export exesdb:store/stream-reads@0.2.0; }",
    "exesdb:sdk-stream-reads/sdk-stream-reads",
    "export_stream_reads",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:storage/views@0.2.0": crate::bindings::store::common::exesdb::storage::views,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
    }
}

exported! {
    /// Reads of the whole store that leave events out.
    #[cfg(feature = "streams")]
    stream_filters,
    "package exesdb:sdk-stream-filters; world sdk-stream-filters { export exesdb:store/stream-filters@0.2.0; }",
    "exesdb:sdk-stream-filters/sdk-stream-filters",
    "export_stream_filters",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:storage/views@0.2.0": crate::bindings::store::common::exesdb::storage::views,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
    }
}

exported! {
    /// Decisions about retention.
    #[cfg(feature = "streams")]
    stream_retention,
    "package exesdb:sdk-stream-retention; world sdk-stream-retention { export exesdb:store/stream-retention@0.2.0; }",
    "exesdb:sdk-stream-retention/sdk-stream-retention",
    "export_stream_retention",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:storage/views@0.2.0": crate::bindings::store::common::exesdb::storage::views,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
        "exesdb:storage/batches@0.2.0": crate::bindings::store::common::exesdb::storage::batches,
        "exesdb:store/decisions@0.2.0": crate::bindings::store::common::exesdb::store::decisions,
    }
}

exported! {
    /// Decisions about deletions.
    #[cfg(feature = "streams")]
    stream_deletion,
    "package exesdb:sdk-stream-deletion; world sdk-stream-deletion { export exesdb:store/stream-deletion@0.2.0; }",
    "exesdb:sdk-stream-deletion/sdk-stream-deletion",
    "export_stream_deletion",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:storage/views@0.2.0": crate::bindings::store::common::exesdb::storage::views,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
        "exesdb:storage/batches@0.2.0": crate::bindings::store::common::exesdb::storage::batches,
        "exesdb:store/decisions@0.2.0": crate::bindings::store::common::exesdb::store::decisions,
    }
}

exported! {
    /// Decisions about imports.
    #[cfg(feature = "streams")]
    stream_import,
    "package exesdb:sdk-stream-import; world sdk-stream-import { export exesdb:store/stream-import@0.2.0; }",
    "exesdb:sdk-stream-import/sdk-stream-import",
    "export_stream_import",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:storage/views@0.2.0": crate::bindings::store::common::exesdb::storage::views,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
        "exesdb:storage/batches@0.2.0": crate::bindings::store::common::exesdb::storage::batches,
        "exesdb:store/decisions@0.2.0": crate::bindings::store::common::exesdb::store::decisions,
    }
}

exported! {
    /// Lists and descriptions of streams.
    #[cfg(feature = "streams")]
    stream_listing,
    "package exesdb:sdk-stream-listing; world sdk-stream-listing { export exesdb:store/stream-listing@0.2.0; }",
    "exesdb:sdk-stream-listing/sdk-stream-listing",
    "export_stream_listing",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:storage/views@0.2.0": crate::bindings::store::common::exesdb::storage::views,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
    }
}

exported! {
    /// Snapshots.
    #[cfg(feature = "snapshots")]
    snapshots,
    "package exesdb:sdk-snapshots; world sdk-snapshots { export exesdb:store/snapshots@0.2.0; }",
    "exesdb:sdk-snapshots/sdk-snapshots",
    "export_snapshots",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:storage/views@0.2.0": crate::bindings::store::common::exesdb::storage::views,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
        "exesdb:storage/batches@0.2.0": crate::bindings::store::common::exesdb::storage::batches,
        "exesdb:store/decisions@0.2.0": crate::bindings::store::common::exesdb::store::decisions,
        "exesdb:store/snapshot-types@0.2.0": crate::bindings::store::common::exesdb::store::snapshot_types,
    }
}

exported! {
    /// What is stored of durable subscriptions.
    #[cfg(feature = "subscriptions")]
    subscriptions,
    "package exesdb:sdk-subscriptions; world sdk-subscriptions { export exesdb:store/subscriptions@0.2.0; }",
    "exesdb:sdk-subscriptions/sdk-subscriptions",
    "export_subscriptions",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:storage/views@0.2.0": crate::bindings::store::common::exesdb::storage::views,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
        "exesdb:storage/batches@0.2.0": crate::bindings::store::common::exesdb::storage::batches,
        "exesdb:store/decisions@0.2.0": crate::bindings::store::common::exesdb::store::decisions,
        "exesdb:store/subscription-types@0.2.0": crate::bindings::store::common::exesdb::store::subscription_types,
    }
}

exported! {
    /// What durable subscriptions deliver.
    #[cfg(feature = "subscriptions")]
    dispatch,
    "package exesdb:sdk-dispatch; world sdk-dispatch { export exesdb:store/dispatch@0.2.0; }",
    "exesdb:sdk-dispatch/sdk-dispatch",
    "export_dispatch",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
        "exesdb:store/subscription-types@0.2.0": crate::bindings::store::common::exesdb::store::subscription_types,
    }
}

exported! {
    /// Deliveries to a sink.
    #[cfg(feature = "sink")]
    sink,
    "package exesdb:sdk-sink; world sdk-sink { export exesdb:store/sink@0.2.0; }",
    "exesdb:sdk-sink/sdk-sink",
    "export_sink",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
    }
}

exported! {
    /// Upkeep.
    #[cfg(feature = "persistence")]
    maintenance,
    "package exesdb:sdk-maintenance; world sdk-maintenance { export exesdb:store/maintenance@0.2.0; }",
    "exesdb:sdk-maintenance/sdk-maintenance",
    "export_maintenance",
    {
        "exesdb:storage/places@0.2.0": crate::bindings::store::common::exesdb::storage::places,
        "exesdb:storage/views@0.2.0": crate::bindings::store::common::exesdb::storage::views,
        "exesdb:host/fields@0.2.0": crate::bindings::store::common::exesdb::host::fields,
        "exesdb:store/types@0.2.0": crate::bindings::store::common::exesdb::store::types,
        "exesdb:storage/batches@0.2.0": crate::bindings::store::common::exesdb::storage::batches,
    }
}
