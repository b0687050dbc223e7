//! A persistence instance as a supervised child: one task, one wasmtime `Store`, one instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use exesdb_supervisor::{ChildSpec, Context, Reason, ShutdownSignal, Start};
use wasmtime::Store;

use super::kind::{Call, Kind};
use super::slot::{Letter, Mailbox, Slot};
use crate::access::StoreAccess;
use crate::crash::{Crash, CrashKind};
use crate::installed::Installed;
use crate::load::{Plugin, STARTED};
use crate::names;
use crate::ownership;
use crate::pause::Watched;
use crate::state::{State, Tenancy};

/// The child that serves one partition.
pub(crate) fn child<K: Kind>(
    index: usize,
    installed: Arc<Installed<Plugin<K>>>,
    slot: Arc<Slot<K::Call>>,
) -> ChildSpec {
    ChildSpec::worker(index.to_string(), move |context| {
        let (installed, slot) = (installed.clone(), slot.clone());
        async move {
            match Worker::start(&context, &installed, slot.clone()).await {
                Ok(worker) => Ok(Start::running(worker.run(context.shutdown()))),
                Err(reason) => {
                    slot.fails_to_start(reason.message());
                    Err(reason)
                }
            }
        }
    })
}

struct Worker<K: Kind> {
    store: Store<State>,
    exports: K::Exports,
    slot: Arc<Slot<K::Call>>,
    /// The path of the pool's supervisor.
    pool: Arc<str>,
    call_wall: Duration,
}

impl<K: Kind> Worker<K> {
    /// Makes the instance. A trap in its start, or a refusal of the pool, is a failed start, and so is that the state
    /// in the store is another component's.
    async fn start(
        context: &Context,
        installed: &Installed<Plugin<K>>,
        slot: Arc<Slot<K::Call>>,
    ) -> Result<Self, Reason> {
        let deployment = installed.get()?;
        let (plugin, tenancy) = (&deployment.plugin, &deployment.tenancy);
        ownership::claim(tenancy, &deployment.owner).await.map_err(Reason::Error)?;
        let path: Arc<str> = context.path().into();
        let pool = path.rsplit_once('/').map_or(&*path, |(pool, _)| pool).into();
        let mut store = State::store(&plugin.engine, &plugin.loaded.identity, tenancy, &path);
        let loaded = &plugin.loaded;
        let instance = match loaded.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => {
                let crash = store.data().crash(&error);
                store.data().report(&crash);
                let error = loaded.not_started(tenancy.role, STARTED, &crash, &tenancy.limits);
                return Err(Reason::error(error));
            }
        };
        let exports = K::exports(&plugin.indices, &instance, &mut store)
            .map_err(|error| Reason::error(loaded.mistyped(tenancy.role, &error)))?;
        let call_wall = Duration::from_millis(tenancy.limits.call_wall_ms);
        slot.occupy();
        Ok(Self { store, exports, slot, pool, call_wall })
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
            if let Some(until) = slot.breaker().open_until() {
                slot.refuse(letters, until.saturating_duration_since(Instant::now()));
                continue;
            }
            if let Err(reason) = self.serve(letters).await {
                // The instance is of no use any more; its memory is.
                drop(self);
                return rest(reason, &slot, &mut mailbox, &shutdown).await;
            }
        }
    }

    async fn serve(&mut self, letters: Vec<Letter<K::Call>>) -> Result<(), Reason> {
        let (mut calls, traces): (Vec<_>, Vec<_>) =
            letters.into_iter().map(|letter| (letter.call, letter.trace)).unzip();
        let suspected = self.slot.suspected(&calls);
        State::begin_call(&mut self.store, traces);
        self.store.data_mut().makes_room = calls.iter().all(Call::makes_room);
        let pauses = self.store.data().meter.pauses();
        let served = Watched::new(K::serve(&self.exports, &mut self.store, &mut calls), pauses);
        let served = tokio::time::timeout(self.call_wall, served).await;
        let state = self.store.data_mut();
        state.end_call();
        let crash = match served {
            Ok(Ok(())) => {
                self.slot.acquit(&suspected);
                if self.slot.breaker().served() {
                    tell_breaker(state, &self.pool, "closed", None);
                }
                return Ok(());
            }
            Ok(Err(error)) => state.crash(&error),
            Err(_) => Crash::timeout(state.tenancy.limits.call_wall_ms),
        };
        state.report(&crash);
        if self.slot.breaker().crashed() {
            tell_breaker(state, &self.pool, "open", Some(&crash));
        }
        if state.committed {
            wake_followers(state);
        }
        // Calls are answered all or none, so those that are left are those that there were.
        let traces = std::mem::take(&mut state.traces);
        let letters = calls.into_iter().zip(traces).map(|(call, trace)| Letter { call, trace });
        // A slow disk makes calls time out as well as a bad call does.
        let to_blame = crash.kind != CrashKind::Timeout;
        self.slot.bury(letters.collect(), state.committed, to_blame, &crash);
        Err(crash.reason())
    }
}

/// What is left of an instance that crashed waits here while the breaker is open, and answers what comes. It is restarted
/// after that: to restart it at once would use up restarts for an instance that nobody may call.
async fn rest<C: Call>(
    reason: Reason,
    slot: &Slot<C>,
    mailbox: &mut Mailbox<'_, C>,
    shutdown: &ShutdownSignal,
) -> Reason {
    while let Some(until) = slot.breaker().open_until() {
        let pause = until.saturating_duration_since(Instant::now());
        tokio::select! {
            biased;
            () = shutdown.requested() => return Reason::Shutdown,
            letters = mailbox.next() => slot.refuse(letters, pause),
            () = tokio::time::sleep(pause) => {}
        }
    }
    reason
}

/// Tells the telemetry stream and the log that a pool's breaker opened or closed.
fn tell_breaker(state: &State, pool: &str, is: &str, crash: Option<&Crash>) {
    let Tenancy { store, role, telemetry, .. } = &*state.tenancy;
    let reason = crash.map(Crash::to_string);
    telemetry.emit(pool, "breaker", serde_json::json!({ "component": role, "is": is, "reason": reason }));
    match reason {
        Some(reason) => {
            tracing::warn!(
                store,
                role,
                pool,
                reason,
                "the component crashed again and again and is left alone for a while"
            );
        }
        None => tracing::info!(store, role, pool, "the component works again"),
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
