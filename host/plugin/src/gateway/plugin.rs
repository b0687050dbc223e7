//! A gateway component that was loaded.

use std::sync::Arc;

use wasmtime_wasi_http::p2::bindings::ProxyIndices;

use crate::description::Description;
use crate::engine::Engine;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::load::{LoadError, Loaded, WasmSource, load};

/// A gateway component of which instances can be made.
pub struct GatewayPlugin {
    pub(crate) loaded: Loaded,
    pub(super) indices: ProxyIndices,
    pub(super) engine: Engine,
}

impl GatewayPlugin {
    /// Loads a gateway component.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]. No code of the component has run.
    pub fn load(engine: &Engine, source: &WasmSource) -> Result<Arc<Self>, LoadError> {
        let loaded = load(engine, &engine.gateway, "gateway", source)?;
        let indices = ProxyIndices::new(&loaded.pre)
            .map_err(|error| loaded.lacks("gateway", &format!("wasi:http/incoming-handler@0.2 ({error})")))?;
        Ok(Arc::new(Self { loaded, indices, engine: engine.clone() }))
    }

    /// The component's description; none if it does not export one.
    ///
    /// # Errors
    ///
    /// The component cannot be started, was built against another version of the contract, or its description is invalid.
    pub async fn describe(&self, limits: &Limits) -> Result<Option<Description>, LoadError> {
        self.loaded.describe(&self.engine, "gateway", limits).await
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
