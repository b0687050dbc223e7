//! How the other parts of a store reach its database.

use exesdb_storage::{Reader, Store, Writer};

/// The database's two ends, as [`crate::names::store`] registers them. Neither keeps the database open: whoever holds
/// them when `store` ends is told so, and does not close it on a thread that must not wait.
pub struct StoreAccess {
    /// Reads what is durable.
    pub reader: Reader,
    /// Commits.
    pub writer: Writer,
}

impl StoreAccess {
    /// The ends of an open database.
    pub fn of(store: &Store) -> Self {
        Self { reader: store.reader(), writer: store.writer() }
    }
}
