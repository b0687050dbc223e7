//! An instance of the subscriptions component with the dispatcher of one subscription.

use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::Reason;
use wasmtime::Store;
use wasmtime::component::ResourceAny;

use crate::bindings::store::dispatch::{Beginning, DispatcherState, Input, Outcome};
use crate::crash::Crash;
use crate::installed::Deployment;
use crate::metered_call::MeteredCall;
use crate::persistence::{Plugin, SubscriptionsExports, SubscriptionsKind};
use crate::state::State;
use crate::trace::Trace;

/// An instance, before it has its dispatcher.
pub(super) struct Instance {
    store: Store<State>,
    exports: SubscriptionsExports,
    call_wall_ms: u64,
}

/// A dispatcher. It ends with a crash; what it kept is lost then.
pub(super) struct Dispatcher {
    instance: Instance,
    resource: ResourceAny,
}

impl Instance {
    /// Makes an instance for the child at `path`.
    pub(super) async fn new(
        deployment: &Deployment<Plugin<SubscriptionsKind>>,
        path: &Arc<str>,
    ) -> Result<Self, Reason> {
        let made = Plugin::instance(deployment, path).await?;
        let call_wall_ms = deployment.context.limits.call_wall_ms;
        Ok(Self { store: made.store, exports: made.exports, call_wall_ms })
    }

    /// Makes the dispatcher.
    pub(super) async fn dispatcher(mut self, beginning: Beginning) -> Result<Dispatcher, Box<Crash>> {
        let Self { store, exports, call_wall_ms } = &mut self;
        begin(store);
        let yield_state = store.data().meter.yield_state();
        let call = MeteredCall::new(exports.dispatch.new.call_async(&mut *store, (beginning,)), yield_state);
        let called = tokio::time::timeout(Duration::from_millis(*call_wall_ms), call).await;
        let (resource,) = ended(store, called, *call_wall_ms)?;
        Ok(Dispatcher { instance: self, resource })
    }
}

impl Dispatcher {
    /// Makes a step.
    pub(super) async fn step(&mut self, now: u64, inputs: Vec<Input>) -> Result<Outcome, Box<Crash>> {
        let Instance { store, exports, call_wall_ms } = &mut self.instance;
        begin(store);
        let yield_state = store.data().meter.yield_state();
        let params = (self.resource, now, inputs);
        let call = MeteredCall::new(exports.dispatch.step.call_async(&mut *store, params), yield_state);
        let called = tokio::time::timeout(Duration::from_millis(*call_wall_ms), call).await;
        Ok(ended(store, called, *call_wall_ms)?.0)
    }

    /// What it keeps at the moment.
    pub(super) async fn state(&mut self) -> Result<DispatcherState, Box<Crash>> {
        let Instance { store, exports, call_wall_ms } = &mut self.instance;
        begin(store);
        let yield_state = store.data().meter.yield_state();
        let params = (self.resource,);
        let call = MeteredCall::new(exports.dispatch.state.call_async(&mut *store, params), yield_state);
        let called = tokio::time::timeout(Duration::from_millis(*call_wall_ms), call).await;
        Ok(ended(store, called, *call_wall_ms)?.0)
    }

    /// A crash, because the component broke its contract.
    pub(super) fn breach(&mut self, what: &str) -> Box<Crash> {
        reported(&mut self.instance.store, Crash::breach(what))
    }
}

fn begin(store: &mut Store<State>) {
    State::begin_call(store, vec![Trace::new()]);
}

fn ended<T>(
    store: &mut Store<State>,
    called: Result<wasmtime::Result<T>, tokio::time::error::Elapsed>,
    call_wall_ms: u64,
) -> Result<T, Box<Crash>> {
    match called {
        Ok(Ok(returned)) => {
            store.data_mut().end_call();
            Ok(returned)
        }
        Ok(Err(error)) => {
            let crash = store.data().crash(&error);
            Err(reported(store, crash))
        }
        Err(_) => Err(reported(store, Crash::timeout(call_wall_ms))),
    }
}

fn reported(store: &mut Store<State>, crash: Crash) -> Box<Crash> {
    store.data_mut().end_call();
    store.data().report(&crash);
    Box::new(crash)
}
