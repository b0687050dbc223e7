//! The order between what is decided: usually side by side, and alone where nothing may come between.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Shared by all who have decisions about the same keyspaces applied: the queues of a component's pool, and its upkeep.
#[derive(Clone, Default)]
pub struct DecisionOrder(Arc<RwLock<()>>);

/// The right to decide on a view, until the decisions are applied.
pub(crate) enum Turn {
    /// Others may have theirs applied in between; guards find what does not fit.
    Shared(#[allow(dead_code, reason = "held until it is dropped")] OwnedRwLockReadGuard<()>),
    /// Nothing comes in between.
    Alone(#[allow(dead_code, reason = "held until it is dropped")] OwnedRwLockWriteGuard<()>),
}

impl DecisionOrder {
    /// Waits for a turn. Turns are given in the order in which they were asked for.
    pub(crate) async fn turn(&self, alone: bool) -> Turn {
        let lock = Arc::clone(&self.0);
        if alone { Turn::Alone(lock.write_owned().await) } else { Turn::Shared(lock.read_owned().await) }
    }
}
