//! What a file holds: pages, and holes where none was written.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a page: what is kept or lost as one.
pub(super) const PAGE: usize = 4_096;

/// A page. Shared between what is seen and what is durable until one of them changes.
pub(super) type Page = Arc<[u8; PAGE]>;

/// What a file holds. A page that is not there reads as zeros.
#[derive(Debug, Clone, Default)]
pub(super) struct Bytes {
    pub(super) size: u64,
    pub(super) pages: BTreeMap<u64, Page>,
}

impl Bytes {
    /// Takes a page over as it is in `other`.
    pub(super) fn take(&mut self, page: u64, other: &Self) {
        match other.pages.get(&page) {
            Some(bytes) => drop(self.pages.insert(page, bytes.clone())),
            None => drop(self.pages.remove(&page)),
        }
    }

    /// Sets the size; tells which pages that changed.
    pub(super) fn cut_to(&mut self, size: u64) -> Vec<u64> {
        let mut touched = Vec::new();
        if size < self.size {
            let first_gone = size.div_ceil(PAGE as u64);
            touched.extend(self.pages.split_off(&first_gone).into_keys());
            let rest = (size % PAGE as u64) as usize;
            // What becomes visible again when the file grows is zeros.
            if rest > 0
                && let Some(page) = self.pages.get_mut(&(size / PAGE as u64))
            {
                Arc::make_mut(page)[rest..].fill(0);
                touched.push(size / PAGE as u64);
            }
        }
        self.size = size;
        touched
    }
}
