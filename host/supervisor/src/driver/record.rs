//! What is known of a child over all of its incarnations.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use crate::reason::Reason;
use crate::spec::ChildSpec;

/// The history of a child, over all of its incarnations and those of the supervisors above it, while it is listed.
#[derive(Default)]
pub(crate) struct Record {
    /// Attempts to start the child.
    pub(crate) attempts: AtomicU64,
    /// Attempts that led to a process.
    pub(crate) starts: AtomicU64,
    pub(crate) last_exit: Mutex<Option<Reason>>,
    children: Mutex<HashMap<Arc<str>, Arc<Record>>>,
}

impl Record {
    pub(crate) fn child(&self, id: &Arc<str>) -> Arc<Record> {
        Arc::clone(self.children.lock().entry(Arc::clone(id)).or_default())
    }

    pub(crate) fn forget(&self, id: &str, record: &Arc<Record>) {
        let mut children = self.children.lock();
        if children.get(id).is_some_and(|known| Arc::ptr_eq(known, record)) {
            children.remove(id);
        }
    }

    /// Forgets children that were added by call: they are not restarted with their supervisor.
    pub(crate) fn forget_all_but(&self, kept: &[ChildSpec]) {
        let kept: std::collections::HashSet<&str> = kept.iter().map(ChildSpec::id).collect();
        self.children.lock().retain(|id, _| kept.contains(&**id));
    }
}
