//! A sink's component.

use std::sync::Arc;

use wasmtime::component::{ComponentExportIndex, TypedFunc};

use crate::bindings::store::sink::{Batch, Outcome};
use crate::description::Description;
use crate::engine::Engine;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::load::{LoadError, Loaded, WasmSource, load};

/// The role of sinks, as messages and the configuration name it.
pub(super) const ROLE: &str = "sink";

const INTERFACE: &str = "exesdb:store/sink@0.2.0";

/// The function that a sink exports.
pub(super) type Deliver = TypedFunc<(Batch,), (Outcome,)>;

/// A sink's component, of which instances can be made.
pub struct SinkPlugin {
    pub(super) loaded: Loaded,
    pub(super) deliver: ComponentExportIndex,
    pub(super) engine: Engine,
}

impl SinkPlugin {
    /// Loads a sink's component.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]. No code of the component has run.
    pub fn load(engine: &Engine, source: &WasmSource) -> Result<Arc<Self>, LoadError> {
        let loaded = load(engine, &engine.sink, ROLE, source)?;
        let interface = loaded.component.get_export_index(None, INTERFACE);
        let deliver = loaded.component.get_export_index(interface.as_ref(), "deliver");
        let deliver =
            interface.and(deliver).ok_or_else(|| loaded.lacks(ROLE, &format!("{INTERFACE}.deliver")))?;
        Ok(Arc::new(Self { loaded, deliver, engine: engine.clone() }))
    }

    /// The component's description; none if it does not export one.
    ///
    /// # Errors
    ///
    /// The component cannot be started, was built against another version of the contract, or its description is invalid.
    pub async fn describe(&self, limits: &Limits) -> Result<Option<Description>, LoadError> {
        self.loaded.describe(&self.engine, ROLE, limits).await
    }

    /// Which component it is.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.loaded.identity
    }
}
