//! The content of a file: pages, and holes where nothing was written.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The size of a page in bytes. A page is kept or lost as a whole.
pub(super) const PAGE: usize = 4_096;

/// A page, shared between the visible and the durable state until one of them changes.
pub(super) type Page = Arc<[u8; PAGE]>;

/// The content of a file. A missing page reads as zeros.
#[derive(Debug, Clone, Default)]
pub(super) struct Bytes {
    pub(super) size: u64,
    pub(super) pages: BTreeMap<u64, Page>,
}

impl Bytes {
    /// Copies a page from `other`.
    pub(super) fn take(&mut self, page: u64, other: &Self) {
        match other.pages.get(&page) {
            Some(bytes) => drop(self.pages.insert(page, bytes.clone())),
            None => drop(self.pages.remove(&page)),
        }
    }

    /// Sets the size, and returns the pages that this changed.
    pub(super) fn cut_to(&mut self, size: u64) -> Vec<u64> {
        let mut touched = Vec::new();
        if size < self.size {
            let first_gone = size.div_ceil(PAGE as u64);
            touched.extend(self.pages.split_off(&first_gone).into_keys());
            let rest = (size % PAGE as u64) as usize;
            // The part must read as zeros when the file grows again.
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
