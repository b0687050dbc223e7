//! Asks a component for its description, once when it is loaded, in an instance without a store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{Registry, Telemetry};

use super::Loaded;
use super::error::{ASKED, LoadError, STARTED};
use crate::bindings::store::describe as wit;
use crate::clock::Clock;
use crate::context::ComponentContext;
use crate::crash::Crash;
use crate::description::{Description, checked};
use crate::engine::Engine;
use crate::limits::Limits;
use crate::state::State;
use crate::trace::Trace;

/// The interface with which a component describes itself.
const INTERFACE: &str = "exesdb:host/describe@0.2.0";

impl Loaded {
    /// Asks the component for its description; none if it does not export the interface.
    ///
    /// # Errors
    ///
    /// No instance could be made, the function has another type, the call failed, or its result breaks a rule of the
    /// interface.
    pub(crate) async fn describe(
        &self,
        engine: &Engine,
        role: &'static str,
        limits: &Limits,
    ) -> Result<Option<Description>, LoadError> {
        let Some(interface) = self.component.get_export_index(None, INTERFACE) else { return Ok(None) };
        let index = self.component.get_export_index(Some(&interface), "describe");
        let index = index.ok_or_else(|| self.lacks(role, &format!("{INTERFACE}.describe")))?;
        // The registry is empty: there is no store that the instance could reach.
        let (registry, telemetry) = (Registry::new(), Telemetry::new());
        let context = ComponentContext::new(
            "",
            role,
            BTreeMap::new(),
            limits.clone(),
            Clock::System,
            registry,
            telemetry,
        );
        let path: Arc<str> = role.into();
        let mut store = State::store(&engine.wasmtime, &self.identity, &context, &path);
        State::begin_call(&mut store, vec![Trace::new()]);
        let mut step = STARTED;
        let call = async {
            let instance = self.pre.instantiate_async(&mut store).await.map_err(CallFailure::Crash)?;
            let describe = instance
                .get_typed_func::<(), (wit::Description,)>(&mut store, &index)
                .map_err(CallFailure::OtherType)?;
            step = ASKED;
            describe.call_async(&mut store, ()).await.map_err(CallFailure::Crash)
        };
        let result = tokio::time::timeout(Duration::from_millis(limits.call_wall_ms), call).await;
        let crash = match result {
            Ok(Ok((description,))) => {
                return checked(description).map(Some).map_err(|reason| {
                    let name = self.identity.name.clone();
                    LoadError::Describe { name, role, reason }
                });
            }
            Ok(Err(CallFailure::OtherType(error))) => return Err(self.mistyped(role, &error)),
            Ok(Err(CallFailure::Crash(error))) => store.data().crash(&error),
            Err(_) => Crash::timeout(limits.call_wall_ms),
        };
        Err(self.not_started(role, step, &crash, limits))
    }
}

/// Why the call gave no result.
enum CallFailure {
    /// The function's type differs from the interface.
    OtherType(wasmtime::Error),
    /// The instance ended.
    Crash(wasmtime::Error),
}
