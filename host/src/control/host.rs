//! The host as all connections see it.

use std::sync::Arc;

use exesdb_supervisor::{Handle, Kind, Registry, Telemetry};
use tokio::sync::watch;

use super::protocol::Refusal;
use crate::tree::stores_in;

/// What all connections share.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) handle: Handle,
    /// Where the parts of the stores are found.
    pub(super) registry: Registry,
    pub(super) telemetry: Telemetry,
    /// Turns true when the host ends.
    pub(super) ending: watch::Receiver<bool>,
}

impl Host {
    /// A part of a store, by its name in the registry.
    ///
    /// # Errors
    ///
    /// There is no such store, or it does not run.
    pub(super) async fn part<T: Send + Sync + 'static>(
        &self,
        store: &str,
        name: &str,
    ) -> Result<Arc<T>, Refusal> {
        if let Some(part) = self.registry.get::<T>(name) {
            return Ok(part);
        }
        let tree = self.handle.tree().await;
        let stores = stores_in(&tree).iter().filter(|child| child.kind == Kind::Supervisor);
        let stores: Vec<String> = stores.map(|child| child.id.clone()).collect();
        if stores.iter().any(|known| known == store) {
            let detail = format!("store {store} does not run at the moment; look at `exesdb tree`");
            return Err(Refusal::Declined { detail });
        }
        Err(Refusal::UnknownStore { store: store.to_owned(), stores })
    }

    /// Completes when the host ends (or `serve` is dropped, which is the same for a connection).
    pub(super) async fn ended(&self) {
        drop(self.ending.clone().wait_for(|ending| *ending).await);
    }
}
