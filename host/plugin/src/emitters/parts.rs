//! What the children of a store's emitter-system are made of, and their ids.

use std::sync::Arc;

use exesdb_supervisor::Reason;

use super::Emitters;
use super::shared::Shared;
use crate::installed::Installed;
use crate::persistence::{Plugin, SubscriptionsKind, SubscriptionsPool};
use crate::store_calls::StoreCalls;

/// What the children of a store's emitter-system are made of.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) installed: Arc<Installed<Plugin<SubscriptionsKind>>>,
    pub(super) emitters: Arc<Emitters>,
    pub(super) pool: Arc<SubscriptionsPool>,
}

impl Parts {
    pub(super) fn shared(&self) -> Result<Shared, Reason> {
        let context = self.installed.get()?.context.clone();
        Ok(Shared {
            calls: StoreCalls::of(&context),
            context,
            pool: self.pool.clone(),
            turns: self.emitters.turns.clone(),
            live: self.emitters.live.clone(),
        })
    }
}

/// The id of a subscription's emitter among its siblings: ids have no slash.
pub(super) fn child_id(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}
