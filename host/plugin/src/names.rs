//! Names under which the parts of a store register, as processes do in OTP. Whoever needs a part asks the registry
//! at the time of use, because the part may have been restarted since.

/// The store's [`crate::StoreAccess`].
pub fn store(store: &str) -> String {
    format!("{store}/store")
}

/// The [`crate::StreamsPool`] of writers.
pub fn writers(store: &str) -> String {
    format!("{store}/streams/writers")
}

/// The [`crate::StreamsPool`] of readers.
pub fn readers(store: &str) -> String {
    format!("{store}/streams/readers")
}

/// The [`crate::SnapshotsPool`].
pub fn snapshots(store: &str) -> String {
    format!("{store}/snapshots")
}

/// The store's [`exesdb_pubsub::Bus`].
pub fn pubsub(store: &str) -> String {
    format!("{store}/pubsub")
}

/// One of the store's [`crate::GatewayWorker`]s.
pub fn gateway_worker(store: &str, index: usize) -> String {
    format!("{store}/gateway-workers/{index}")
}

/// Which components the store runs.
pub fn components(store: &str) -> String {
    format!("{store}/components")
}
