//! A gateway component that was loaded.

use std::sync::Arc;

use wasmtime_wasi_http::p2::bindings::ProxyIndices;

use super::steps;
use crate::description::Description;
use crate::engine::Engine;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::load::{LoadError, Loaded, WasmSource, load};

/// A gateway component of which instances can be made.
pub struct GatewayPlugin {
    pub(crate) loaded: Loaded,
    pub(super) indices: Indices,
    pub(super) engine: Engine,
}

/// The places of a gateway's exports in the compiled component.
pub(super) enum Indices {
    /// It speaks `wasi:http`.
    Http(ProxyIndices),
    /// It is made of steps.
    Steps(steps::Indices),
}

impl GatewayPlugin {
    /// Loads a gateway component.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]. No code of the component has run.
    pub fn load(engine: &Engine, source: &WasmSource) -> Result<Arc<Self>, LoadError> {
        let loaded = load(engine, &engine.gateway, "gateway", source)?;
        let steps = steps::Indices::find(&loaded.component);
        let indices = match steps.map_err(|missing| loaded.lacks("gateway", &missing))? {
            Some(indices) => Indices::Steps(indices),
            None => Indices::Http(ProxyIndices::new(&loaded.pre).map_err(|error| {
                loaded.lacks("gateway", &format!("wasi:http/incoming-handler@0.2 ({error})"))
            })?),
        };
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

impl GatewayPlugin {
    /// Whether the component is made of steps.
    pub(super) fn has_steps(&self) -> bool {
        matches!(self.indices, Indices::Steps(_))
    }
}
