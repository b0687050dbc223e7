//! A component of a store as it was last loaded. Children ask for it whenever they start, so that a store that is started
//! again runs what was loaded then.

use std::sync::Arc;

use exesdb_supervisor::Reason;
use parking_lot::RwLock;

use crate::ownership::StateOwner;
use crate::state::Tenancy;

/// A component that was loaded for a store, with everything that its instances have in common.
pub struct Deployment<P> {
    /// The component.
    pub plugin: Arc<P>,
    /// Its settings and limits in this store.
    pub tenancy: Arc<Tenancy>,
    /// Whom what it keeps belongs to.
    pub owner: StateOwner,
}

/// The place of one role's component in a store: empty until one is loaded for the first time.
pub struct Installed<P>(RwLock<Option<Arc<Deployment<P>>>>);

impl<P> Default for Installed<P> {
    fn default() -> Self {
        Self(RwLock::new(None))
    }
}

impl<P> Installed<P> {
    /// Has instances that start from now on be made of this component.
    pub fn install(&self, deployment: Deployment<P>) {
        *self.0.write() = Some(Arc::new(deployment));
    }

    /// The component that an instance that starts now is made of.
    ///
    /// # Errors
    ///
    /// None was loaded yet: the exit reason of a child that needs it.
    pub fn get(&self) -> Result<Arc<Deployment<P>>, Reason> {
        self.0.read().clone().ok_or_else(|| Reason::error("no component was loaded for this role yet"))
    }
}
