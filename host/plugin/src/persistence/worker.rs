//! A persistence instance as a supervised child: one task, one wasmtime `Store`, one instance.

use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{ChildSpec, Context, Reason, ShutdownSignal, Start};
use wasmtime::Store;

use super::kind::Kind;
use super::slot::Slot;
use crate::load::Plugin;
use crate::names;
use crate::state::{State, Tenancy};

/// The child that serves one partition.
pub(crate) fn child<K: Kind>(
    index: usize,
    plugin: Arc<Plugin<K>>,
    tenancy: Arc<Tenancy>,
    slot: Arc<Slot<K::Call>>,
) -> ChildSpec {
    ChildSpec::worker(index.to_string(), move |context| {
        let (plugin, tenancy, slot) = (plugin.clone(), tenancy.clone(), slot.clone());
        async move {
            let worker = Worker::start(&context, &plugin, tenancy, slot).await?;
            Ok(Start::running(worker.run(context.shutdown())))
        }
    })
}

struct Worker<K: Kind> {
    store: Store<State>,
    exports: K::Exports,
    slot: Arc<Slot<K::Call>>,
    call_wall: Duration,
}

impl<K: Kind> Worker<K> {
    /// Makes the instance. A trap in its start, or a refusal of the pool, is a failed start.
    async fn start(
        context: &Context,
        plugin: &Plugin<K>,
        tenancy: Arc<Tenancy>,
        slot: Arc<Slot<K::Call>>,
    ) -> Result<Self, Reason> {
        let path: Arc<str> = context.path().into();
        let mut store = State::store(&plugin.engine, &tenancy, &path);
        let started = async {
            let instance = plugin.loaded.pre.instantiate_async(&mut store).await?;
            K::exports(&plugin.indices, &instance, &mut store)
        };
        let exports = match started.await {
            Ok(exports) => exports,
            Err(error) => {
                let crash = store.data().crash(&error);
                store.data().report(&crash, None);
                return Err(crash.reason());
            }
        };
        let call_wall = Duration::from_millis(tenancy.limits.call_wall_ms);
        Ok(Self { store, exports, slot, call_wall })
    }

    /// Serves until the instance ends or the supervisor asks to stop; then what waits is served first.
    async fn run(mut self, shutdown: ShutdownSignal) -> Reason {
        let slot = self.slot.clone();
        let mut mailbox = slot.open().await;
        loop {
            let calls = tokio::select! {
                biased;
                calls = mailbox.next() => calls,
                () = shutdown.requested() => break,
            };
            if let Err(reason) = self.serve(calls).await {
                return reason;
            }
        }
        loop {
            let calls = mailbox.waiting();
            if calls.is_empty() {
                return Reason::Shutdown;
            }
            if let Err(reason) = self.serve(calls).await {
                return reason;
            }
        }
    }

    async fn serve(&mut self, mut calls: Vec<K::Call>) -> Result<(), Reason> {
        self.store.data_mut().begin_call();
        let served =
            tokio::time::timeout(self.call_wall, K::serve(&self.exports, &mut self.store, &mut calls)).await;
        let state = self.store.data();
        let crash = match served {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => state.crash(&error),
            Err(_) => crate::Crash::timeout(state.tenancy.limits.call_wall_ms),
        };
        state.report(&crash, None);
        if state.committed {
            wake_followers(state);
        }
        self.slot.bury(calls, state.committed);
        Err(crash.reason())
    }
}

/// An instance ended after a commit and before its answer: nobody will publish what it committed.
fn wake_followers(state: &State) {
    let registry = &state.tenancy.registry;
    let bus = registry.get::<exesdb_pubsub::Bus>(&names::pubsub(&state.tenancy.store));
    let storage = registry.get::<exesdb_storage::Store>(&names::store(&state.tenancy.store));
    if let (Some(bus), Some(storage)) = (bus, storage) {
        bus.lost(storage.snapshot().next_position());
    }
}
