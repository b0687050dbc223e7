//! A persistence component that was loaded for a role.

use std::sync::Arc;

use super::kind::Kind;
use crate::description::Description;
use crate::engine::Engine;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::load::{LoadError, Loaded, WasmSource, load};

/// A persistence component of which instances can be made.
pub struct Plugin<K: Kind> {
    pub(crate) loaded: Loaded,
    pub(crate) indices: K::Indices,
    pub(crate) engine: Engine,
}

impl<K: Kind> Plugin<K> {
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
