//! A view as a resource of guests.

use exesdb_storage::Snapshot;

/// One state of the store, which a guest may read in one call.
pub struct View {
    pub(crate) snapshot: Snapshot,
    /// Microseconds since 1970-01-01T00:00:00 UTC.
    pub(crate) now: u64,
}
