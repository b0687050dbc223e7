//! An instance of a sink.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift, Lower, TypedFunc};

use super::check::checked_settings;
use super::plugin::{Check, Deliver, SinkPlugin};
use crate::bindings::store::sink::{Batch, Outcome};
use crate::crash::Crash;
use crate::grants::Grants;
use crate::installed::Deployment;
use crate::metered_call::MeteredCall;
use crate::state::State;
use crate::trace::Trace;

/// An instance. It ends with a crash.
pub(super) struct Instance {
    store: Store<State>,
    deliver: Deliver,
    check: Check,
    call_wall_ms: u64,
}

/// Why there is no instance.
pub(super) enum NotMade {
    /// It ended in its start.
    Crashed(Box<Crash>),
    /// None can be made until something else is granted, or the component is another one.
    Broken(String),
}

impl Instance {
    /// Makes an instance for the child at `path`.
    pub(super) async fn new(
        deployment: &Deployment<SinkPlugin>,
        path: &Arc<str>,
        grants: &Grants,
    ) -> Result<Self, NotMade> {
        let (plugin, context) = (&deployment.plugin, &deployment.context);
        let loaded = &plugin.loaded;
        let store =
            State::store_with_grants(&plugin.engine.wasmtime, &loaded.identity, context, path, grants);
        let mut store = store.map_err(|error| {
            let directory =
                grants.directory.as_deref().map_or_else(String::new, |path| path.display().to_string());
            NotMade::Broken(format!("its `directory` {directory} cannot be opened: {error:#}"))
        })?;
        State::begin_call(&mut store, vec![Trace::new()]);
        let made = loaded.pre.instantiate_async(&mut store).await;
        let instance = made.map_err(|error| {
            let crash = store.data().crash(&error);
            NotMade::Crashed(reported(&mut store, crash))
        })?;
        let mistyped = |error| NotMade::Broken(loaded.mistyped(context.role, &error).to_string());
        let deliver = instance.get_typed_func(&mut store, plugin.deliver).map_err(mistyped)?;
        let check = instance.get_typed_func(&mut store, plugin.check).map_err(mistyped)?;
        Ok(Self { store, deliver, check, call_wall_ms: context.limits.call_wall_ms })
    }

    /// Passes a batch.
    pub(super) async fn deliver(&mut self, batch: Batch) -> Result<Outcome, Box<Crash>> {
        let deliver = self.deliver;
        self.call(deliver, (batch,)).await
    }

    /// Lets it check its settings and grants. The inner error is what it says is wrong.
    pub(super) async fn check(&mut self) -> Result<Result<(), String>, Box<Crash>> {
        let check = self.check;
        let checked = self.call(check, ()).await?;
        checked_settings(checked).map_err(|what| self.breach(&what))
    }

    async fn call<P, R>(&mut self, function: TypedFunc<P, (R,)>, parameters: P) -> Result<R, Box<Crash>>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: Send + Sync + 'static,
        (R,): ComponentNamedList + Lift + Send + Sync,
    {
        let Self { store, call_wall_ms, .. } = self;
        State::begin_call(store, vec![Trace::new()]);
        let yield_state = store.data().meter.yield_state();
        let call = MeteredCall::new(function.call_async(&mut *store, parameters), yield_state);
        let crash = match tokio::time::timeout(Duration::from_millis(*call_wall_ms), call).await {
            Ok(Ok((result,))) => {
                store.data_mut().end_call();
                return Ok(result);
            }
            Ok(Err(error)) => store.data().crash(&error),
            Err(_) => Crash::timeout(*call_wall_ms),
        };
        Err(reported(store, crash))
    }

    /// A crash, because the component broke its contract.
    pub(super) fn breach(&mut self, what: &str) -> Box<Crash> {
        reported(&mut self.store, Crash::breach(what))
    }
}

fn reported(store: &mut Store<State>, crash: Crash) -> Box<Crash> {
    store.data_mut().end_call();
    store.data().report(&crash);
    Box::new(crash)
}
