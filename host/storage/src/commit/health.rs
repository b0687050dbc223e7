//! The health of a store: whether it takes commits, and the listeners that are called when it is poisoned.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::panic::catch_panic;

/// Whether the store takes commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The store takes commits.
    Ok,
    /// The store takes no commits for now, because there is too little room on the disk. Reads go on, and it takes
    /// commits again by itself.
    ReadOnly {
        /// What is short, with its unit.
        reason: String,
    },
    /// A write or fsync failed. The store takes no more commits, and reads stay at the last durable snapshot.
    Poisoned {
        /// The first failure.
        reason: String,
    },
}

type PoisonedListener = Box<dyn FnOnce(&str) + Send>;

/// The store's health, shared by writers and committer.
#[derive(Default)]
pub(super) struct HealthState {
    /// Whether `troubles` holds any. Spares healthy stores the lock.
    has_trouble: AtomicBool,
    troubles: Mutex<Troubles>,
}

#[derive(Default)]
struct Troubles {
    poisoned: Option<String>,
    read_only: Option<String>,
    listeners: Vec<PoisonedListener>,
}

impl HealthState {
    pub(super) fn get(&self) -> Health {
        if !self.has_trouble.load(Ordering::Acquire) {
            return Health::Ok;
        }
        let troubles = self.troubles.lock();
        match (troubles.poisoned.clone(), troubles.read_only.clone()) {
            (Some(reason), _) => Health::Poisoned { reason },
            (None, Some(reason)) => Health::ReadOnly { reason },
            (None, None) => Health::Ok,
        }
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.has_trouble.load(Ordering::Acquire) && self.troubles.lock().poisoned.is_some()
    }

    /// Poisons the store and calls the listeners. Later reasons are ignored.
    pub(super) fn poison(&self, reason: &str) {
        let listeners = {
            let mut troubles = self.troubles.lock();
            if troubles.poisoned.is_some() {
                return;
            }
            troubles.poisoned = Some(reason.to_owned());
            self.has_trouble.store(true, Ordering::Release);
            std::mem::take(&mut troubles.listeners)
        };
        tracing::error!(reason, "the store stopped writing");
        for listener in listeners {
            call_back("a listener", || listener(reason));
        }
    }

    /// Makes the store read-only, or writable again with `None`.
    pub(super) fn set_read_only(&self, reason: Option<String>) {
        let mut troubles = self.troubles.lock();
        match (&troubles.read_only, &reason) {
            (None, Some(reason)) => tracing::error!(reason, "the store is read-only"),
            (Some(_), None) => tracing::info!("the store takes commits again"),
            _ => {}
        }
        troubles.read_only = reason;
        let has_trouble = troubles.poisoned.is_some() || troubles.read_only.is_some();
        self.has_trouble.store(has_trouble, Ordering::Release);
    }

    /// Has `listener` called once when the store is poisoned; at once if it already is.
    pub(super) fn on_poisoned(&self, listener: PoisonedListener) {
        let mut troubles = self.troubles.lock();
        match troubles.poisoned.clone() {
            None => troubles.listeners.push(listener),
            Some(reason) => {
                drop(troubles);
                listener(&reason);
            }
        }
    }
}

/// Calls a reply or listener on the committer thread. Its panic is no reason to doubt the disk, and must not keep others
/// from their replies.
pub(super) fn call_back(what: &str, call: impl FnOnce()) {
    if let Err(panic) = catch_panic(call) {
        tracing::error!(panic, "{what} panicked on the committer thread");
    }
}
