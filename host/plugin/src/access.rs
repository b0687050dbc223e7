//! How the other parts of a store access its database.

use exesdb_storage::{Reader, Store, Writer};

/// The database's reader and writer, registered as [`crate::names::store`]. They do not keep the database open: after its end
/// they fail, so that nobody else has to close it on a thread that must not wait.
pub struct StoreAccess {
    /// Reads what is durable.
    pub reader: Reader,
    /// Commits.
    pub writer: Writer,
}

impl StoreAccess {
    /// The access to an open database.
    pub fn of(store: &Store) -> Self {
        Self { reader: store.reader(), writer: store.writer() }
    }
}
