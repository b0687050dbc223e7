//! A way to have a store's files made smaller while it runs.

use std::sync::{Arc, Weak};

use exesdb_storage::{CompactError, Compacted, Store};

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
}
