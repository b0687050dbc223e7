//! A sink's component.

use std::sync::Arc;

use wasmtime::component::{ComponentExportIndex, TypedFunc};

use super::instance::{Instance, NotMade};
use crate::bindings::store::sink::{Batch, Outcome};
use crate::description::Description;
use crate::engine::Engine;
use crate::grants::Grants;
use crate::identity::Identity;
use crate::installed::Deployment;
use crate::limits::Limits;
use crate::load::{LoadError, Loaded, WasmSource, load};

/// The role of sinks, as messages and the configuration name it.
pub(super) const ROLE: &str = "sink";

const INTERFACE: &str = "exesdb:store/sink@0.2.0";

/// The function that takes events.
pub(super) type Deliver = TypedFunc<(Batch,), (Outcome,)>;

/// The function that checks settings.
pub(super) type Check = TypedFunc<(), (Result<(), String>,)>;

/// A sink's component, of which instances can be made.
pub struct SinkPlugin {
    pub(super) loaded: Loaded,
    pub(super) deliver: ComponentExportIndex,
    pub(super) check: ComponentExportIndex,
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
        let function = |name| {
            let index = loaded.component.get_export_index(interface.as_ref(), name);
            interface.and(index).ok_or_else(|| loaded.lacks(ROLE, &format!("{INTERFACE}.{name}")))
        };
        let (deliver, check) = (function("deliver")?, function("check")?);
        Ok(Arc::new(Self { loaded, deliver, check, engine: engine.clone() }))
    }

    /// The component's description; none if it does not export one.
    ///
    /// # Errors
    ///
    /// The component cannot be started, was built against another version of the contract, or its description is invalid.
    pub async fn describe(&self, limits: &Limits) -> Result<Option<Description>, LoadError> {
        self.loaded.describe(&self.engine, ROLE, limits).await
    }

    /// Lets the component check its settings and grants (rule E11), for the child at `path`.
    ///
    /// # Errors
    ///
    /// What the component says is wrong, or why it could not be asked.
    pub async fn check(
        deployment: &Deployment<Self>,
        grants: &Grants,
        path: &Arc<str>,
    ) -> Result<(), String> {
        let checked = match Instance::new(deployment, path, grants).await {
            Ok(mut instance) => instance.check().await,
            Err(NotMade::Broken(why)) => Ok(Err(why)),
            Err(NotMade::Crashed(crash)) => Err(crash),
        };
        match checked {
            Ok(checked) => checked,
            Err(crash) => Err(format!("it ended while it checked its settings: {crash}")),
        }
    }

    /// Which component it is.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.loaded.identity
    }
}
