//! A way to have a store's files made smaller while it runs.

use std::sync::{Arc, Weak};

use exesdb_storage::{CompactError, Compacted, EraseError, Store};

/// The handle that `store` registers. It does not keep the database open, except for as long as it compacts.
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
    /// See [`Store::compact`]; or the store was closed.
    pub fn compact(&self, progress: &mut dyn FnMut(Compacted<'_>)) -> Result<(), String> {
        let store = self.0.upgrade().ok_or("the store is restarting; try again")?;
        store.compact(progress).map_err(|error: CompactError| error.to_string())
    }

    /// The same, and sees to it that nothing of what was deleted is left in any of the store's files.
    ///
    /// # Errors
    ///
    /// See [`Store::erase`]; or the store was closed.
    pub fn erase(&self, progress: &mut dyn FnMut(Compacted<'_>)) -> Result<(), String> {
        let store = self.0.upgrade().ok_or("the store is restarting; try again")?;
        store.erase(progress).map_err(|error: EraseError| error.to_string())
    }
}
