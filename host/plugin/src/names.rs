//! The names of a store's parts in the registry, as OTP registers processes. A part is looked up at the time of use, because
//! it may have been restarted.

use exesdb_supervisor::Registry;

/// The store's [`crate::StoreAccess`].
pub fn store(store: &str) -> String {
    format!("{store}/store")
}

/// The store's [`crate::StreamsPool`] of writers.
pub fn writers(store: &str) -> String {
    format!("{store}/streams/writers")
}

/// The store's [`crate::StreamsPool`] of readers.
pub fn readers(store: &str) -> String {
    format!("{store}/streams/readers")
}

/// The store's [`crate::SnapshotsPool`].
pub fn snapshots(store: &str) -> String {
    format!("{store}/snapshots")
}

/// The store's [`crate::SubscriptionsPool`].
pub fn subscriptions(store: &str) -> String {
    format!("{store}/subscriptions")
}

/// The store's [`crate::Emitters`].
pub fn emitters(store: &str) -> String {
    format!("{store}/emitters")
}

/// A store in the supervision tree: its path. In a cluster the stores have a supervisor of their own, whose path is registered as
/// [`STORES`].
pub fn child(registry: &Registry, store: &str) -> String {
    match registry.get::<String>(STORES) {
        Some(stores) => format!("{stores}/{store}"),
        None => format!("host/{store}"),
    }
}

/// The path of the supervisor of the stores, if it is not the root.
pub const STORES: &str = "stores";

/// The [`crate::HealthSource`] of the host.
pub const HEALTH: &str = "health";

/// The store's [`crate::Sinks`].
pub fn sinks(store: &str) -> String {
    format!("{store}/sinks")
}

/// The handle of the tree that a store is in.
pub const HANDLE: &str = "handle";

/// The store's [`exesdb_pubsub::Bus`].
pub fn pubsub(store: &str) -> String {
    format!("{store}/pubsub")
}

/// One of the store's [`crate::GatewayWorker`]s.
pub fn gateway_worker(store: &str, index: usize) -> String {
    format!("{store}/gateway-workers/{index}")
}

/// The components that the store runs.
pub fn components(store: &str) -> String {
    format!("{store}/components")
}
