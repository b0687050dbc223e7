//! Registering persistence components.

/// Makes this crate a persistence component: exports the named interfaces of a type that implements their traits. Use it
/// once per component. It expands to nothing on targets other than WebAssembly, so that the rules can be tested there.
///
/// | name | trait |
/// |---|---|
/// | `stream_writes` | `streams::StreamWrites` |
/// | `stream_reads` | `streams::StreamReads` |
/// | `stream_filters` | `streams::StreamFilters` |
/// | `stream_retention` | `streams::StreamRetention` |
/// | `stream_deletion` | `streams::StreamDeletion` |
/// | `stream_import` | `streams::StreamImport` |
/// | `stream_listing` | `streams::StreamListing` |
/// | `snapshots` | `snapshots::Snapshots` |
/// | `subscriptions` | `subscriptions::Subscriptions` |
/// | `dispatch` | `subscriptions::Dispatch` |
/// | `maintenance` | `maintenance::Maintenance` |
#[macro_export]
macro_rules! persistence_plugin {
    ($plugin:ty: $($interface:ident),+ $(,)?) => {
        $($crate::persistence_plugin!(@ $interface $plugin);)+
    };
    (@ stream_writes $plugin:ty) => { $crate::persistence_plugin!(@@ streams stream_writes export_stream_writes StreamWrites $plugin); };
    (@ stream_reads $plugin:ty) => { $crate::persistence_plugin!(@@ streams stream_reads export_stream_reads StreamReads $plugin); };
    (@ stream_filters $plugin:ty) => { $crate::persistence_plugin!(@@ streams stream_filters export_stream_filters StreamFilters $plugin); };
    (@ stream_retention $plugin:ty) => { $crate::persistence_plugin!(@@ streams stream_retention export_stream_retention StreamRetention $plugin); };
    (@ stream_deletion $plugin:ty) => { $crate::persistence_plugin!(@@ streams stream_deletion export_stream_deletion StreamDeletion $plugin); };
    (@ stream_import $plugin:ty) => { $crate::persistence_plugin!(@@ streams stream_import export_stream_import StreamImport $plugin); };
    (@ stream_listing $plugin:ty) => { $crate::persistence_plugin!(@@ streams stream_listing export_stream_listing StreamListing $plugin); };
    (@ snapshots $plugin:ty) => { $crate::persistence_plugin!(@@ snapshots snapshots export_snapshots Snapshots $plugin); };
    (@ subscriptions $plugin:ty) => { $crate::persistence_plugin!(@@ subscriptions subscriptions export_subscriptions Subscriptions $plugin); };
    (@ dispatch $plugin:ty) => { $crate::persistence_plugin!(@@ subscriptions dispatch export_dispatch Dispatch $plugin); };
    (@ maintenance $plugin:ty) => { $crate::persistence_plugin!(@@ maintenance maintenance export_maintenance Maintenance $plugin); };
    (@@ $home:ident $module:ident $export:ident $trait:ident $plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Registered = $crate::$home::Registered<$plugin>;
            $crate::bindings::store::$module::$export!(
                Registered with_types_in $crate::bindings::store::$module
            );
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn implements<P: $crate::$home::$trait>() {}
            implements::<$plugin>();
        };
    };
}
