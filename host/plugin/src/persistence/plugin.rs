//! A persistence component that was loaded for a role.

use std::sync::Arc;

use exesdb_supervisor::Reason;
use wasmtime::Store;

use super::kind::Kind;
use crate::description::Description;
use crate::engine::Engine;
use crate::identity::Identity;
use crate::installed::Deployment;
use crate::limits::Limits;
use crate::load::{LoadError, Loaded, STARTED, WasmSource, load};
use crate::ownership::{self, Claimed};
use crate::state::State;

/// A persistence component of which instances can be made.
pub struct Plugin<K: Kind> {
    pub(crate) loaded: Loaded,
    pub(crate) indices: K::Indices,
    pub(crate) engine: Engine,
}

/// An instance of a component.
pub(crate) struct Made<K: Kind> {
    pub(crate) store: Store<State>,
    pub(crate) exports: K::Exports,
    /// Whether it may decide.
    pub(crate) claimed: Claimed,
}

impl<K: Kind> Plugin<K> {
    /// Makes an instance for the child at `path`.
    ///
    /// # Errors
    ///
    /// The instance traps, the engine has no room for it, or the state in the store is another component's.
    pub(crate) async fn instance(deployment: &Deployment<Self>, path: &Arc<str>) -> Result<Made<K>, Reason> {
        let (plugin, context) = (&deployment.plugin, &deployment.context);
        let claimed = ownership::claim(context, &deployment.owner).await.map_err(Reason::Error)?;
        let loaded = &plugin.loaded;
        let mut store = State::store(&plugin.engine.wasmtime, &loaded.identity, context, path);
        let instance = match loaded.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => {
                let crash = store.data().crash(&error);
                store.data().report(&crash);
                let error = loaded.not_started(context.role, STARTED, &crash, &context.limits);
                return Err(Reason::error(error));
            }
        };
        let exports = K::exports(&plugin.indices, &instance, &mut store)
            .map_err(|error| Reason::error(loaded.mistyped(context.role, &error)))?;
        Ok(Made { store, exports, claimed })
    }

    /// Loads a persistence component for a role.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]. No code of the component has run.
    pub fn load(engine: &Engine, role: &'static str, source: &WasmSource) -> Result<Arc<Self>, LoadError> {
        let loaded = load(engine, &engine.persistence, role, source)?;
        let indices = K::indices(&loaded.component).map_err(|export| loaded.lacks(role, &export))?;
        Ok(Arc::new(Self { loaded, indices, engine: engine.clone() }))
    }

    /// The component's description; none if it does not export one.
    ///
    /// # Errors
    ///
    /// The component cannot be started, was built against another version of the contract, or its description is invalid.
    pub async fn describe(
        &self,
        role: &'static str,
        limits: &Limits,
    ) -> Result<Option<Description>, LoadError> {
        self.loaded.describe(&self.engine, role, limits).await
    }

    /// SHA-256 of the component's bytes, in hex.
    pub fn digest(&self) -> &str {
        &self.loaded.identity.digest
    }

    /// Which component it is.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.loaded.identity
    }
}
