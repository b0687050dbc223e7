//! Compacts a store's files while it runs.

use std::sync::{Arc, Weak};

use exesdb_storage::{CompactError, Compacted, EraseError, Store};

/// The handle that `store` registers. It keeps the database open only while it compacts.
pub struct Compactor(Weak<Store>);

impl Compactor {
    pub(super) fn of(store: &Arc<Store>) -> Compactor {
        Compactor(Arc::downgrade(store))
    }

    /// Its name in the registry.
    pub fn name(store: &str) -> String {
        format!("{store}/compactor")
    }

    /// Rewrites all of the store's files, on the caller's thread.
    ///
    /// # Errors
    ///
    /// Those of [`Store::compact`], and a store that was closed.
    pub fn compact(&self, progress: &mut dyn FnMut(Compacted<'_>)) -> Result<(), String> {
        let store = self.0.upgrade().ok_or("the store is restarting; try again")?;
        store.compact(progress).map_err(|error: CompactError| error.to_string())
    }

    /// The same, and leaves nothing deleted in any of the store's files.
    ///
    /// # Errors
    ///
    /// Those of [`Store::erase`], and a store that was closed.
    pub fn erase(&self, progress: &mut dyn FnMut(Compacted<'_>)) -> Result<(), String> {
        let store = self.0.upgrade().ok_or("the store is restarting; try again")?;
        store.erase(progress).map_err(|error: EraseError| error.to_string())
    }
}
