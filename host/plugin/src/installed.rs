//! The component that a role currently runs. Children read it at each start, so that a restarted store runs the component
//! that was loaded last.

use std::sync::Arc;

use exesdb_supervisor::Reason;
use parking_lot::RwLock;

use crate::context::ComponentContext;
use crate::ownership::StateOwner;

/// A component that was loaded for a store, with what its instances share.
pub struct Deployment<P> {
    /// The component.
    pub plugin: Arc<P>,
    /// Its settings and limits in this store.
    pub context: Arc<ComponentContext>,
    /// The owner of its state in the store.
    pub owner: StateOwner,
}

/// The component of one role in a store; none until the first is loaded.
pub struct Installed<P>(RwLock<Option<Arc<Deployment<P>>>>);

impl<P> Default for Installed<P> {
    fn default() -> Self {
        Self(RwLock::new(None))
    }
}

impl<P> Installed<P> {
    /// Sets the component of instances that start from now on.
    pub fn install(&self, deployment: Deployment<P>) {
        *self.0.write() = Some(Arc::new(deployment));
    }

    /// The component of an instance that starts now.
    ///
    /// # Errors
    ///
    /// No component was loaded yet. The error is the exit reason of the child that needs it.
    pub fn get(&self) -> Result<Arc<Deployment<P>>, Reason> {
        self.0.read().clone().ok_or_else(|| Reason::error("no component was loaded for this role yet"))
    }
}
