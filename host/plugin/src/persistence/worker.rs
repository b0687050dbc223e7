//! A persistence instance as a supervised child: one task, one wasmtime `Store`, one instance.

use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{ChildSpec, Context, Reason, ShutdownSignal, Start};
use wasmtime::Store;

use super::kind::Kind;
use super::slot::{Letter, Slot};
use crate::access::StoreAccess;
use crate::crash::{Crash, CrashKind};
use crate::load::Plugin;
use crate::names;
use crate::pause::Watched;
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

    /// Serves until the instance ends or the supervisor asks to stop. What waits in the mailbox then waits for the
    /// next instance; when the whole host stops nothing does, because the gateway has finished before.
    async fn run(mut self, shutdown: ShutdownSignal) -> Reason {
        let slot = self.slot.clone();
        let mut mailbox = slot.open().await;
        loop {
            let letters = tokio::select! {
                biased;
                () = shutdown.requested() => return Reason::Shutdown,
                letters = mailbox.next() => letters,
            };
            if let Err(reason) = self.serve(letters).await {
                return reason;
            }
        }
    }

    async fn serve(&mut self, letters: Vec<Letter<K::Call>>) -> Result<(), Reason> {
        let (mut calls, traces): (Vec<_>, Vec<_>) =
            letters.into_iter().map(|letter| (letter.call, letter.trace)).unzip();
        let suspected = self.slot.suspected(&calls);
        State::begin_call(&mut self.store, traces);
        let pauses = self.store.data().meter.pauses();
        let served = Watched::new(K::serve(&self.exports, &mut self.store, &mut calls), pauses);
        let served = tokio::time::timeout(self.call_wall, served).await;
        let state = self.store.data_mut();
        state.end_call();
        let crash = match served {
            Ok(Ok(())) => {
                self.slot.acquit(&suspected);
                return Ok(());
            }
            Ok(Err(error)) => state.crash(&error),
            Err(_) => Crash::timeout(state.tenancy.limits.call_wall_ms),
        };
        state.report(&crash, None);
        if state.committed {
            wake_followers(state);
        }
        // Calls are answered all or none, so those that are left are those that there were.
        let traces = std::mem::take(&mut state.traces);
        let letters = calls.into_iter().zip(traces).map(|(call, trace)| Letter { call, trace });
        // A slow disk makes calls time out as well as a bad call does.
        let to_blame = crash.kind != CrashKind::Timeout;
        self.slot.bury(letters.collect(), state.committed, to_blame);
        Err(crash.reason())
    }
}

/// An instance ended after a commit and before its answer: nobody will publish what it committed.
fn wake_followers(state: &State) {
    let registry = &state.tenancy.registry;
    let bus = registry.get::<exesdb_pubsub::Bus>(&names::pubsub(&state.tenancy.store));
    let store = registry.get::<StoreAccess>(&names::store(&state.tenancy.store));
    if let (Some(bus), Some(store)) = (bus, store) {
        bus.lost(store.reader.next_position());
    }
}
