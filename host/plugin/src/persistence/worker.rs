//! The worker of a partition as a supervised child: one task, one wasmtime `Store`, one instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use exesdb_supervisor::{ChildSpec, Context, Reason, ShutdownSignal, Start};
use wasmtime::Store;

use super::call::Call;
use super::kind::Kind;
use super::partition::{Mailbox, Partition, QueuedCall};
use super::plugin::Plugin;
use crate::access::StoreAccess;
use crate::context::ComponentContext;
use crate::crash::{Crash, CrashKind};
use crate::installed::Installed;
use crate::load::STARTED;
use crate::metered_call::MeteredCall;
use crate::names;
use crate::ownership;
use crate::state::State;

/// The child that serves a partition.
pub(crate) fn child<K: Kind>(
    index: usize,
    installed: Arc<Installed<Plugin<K>>>,
    partition: Arc<Partition<K::Call>>,
) -> ChildSpec {
    ChildSpec::worker(index.to_string(), move |child| {
        let (installed, partition) = (installed.clone(), partition.clone());
        async move {
            match Worker::start(&child, &installed, partition.clone()).await {
                Ok(worker) => Ok(Start::running(worker.run(child.shutdown()))),
                Err(reason) => {
                    partition.record_start_failure(reason.message());
                    Err(reason)
                }
            }
        }
    })
}

struct Worker<K: Kind> {
    store: Store<State>,
    exports: K::Exports,
    partition: Arc<Partition<K::Call>>,
    /// The path of the pool's supervisor.
    pool: Arc<str>,
    call_wall: Duration,
}

impl<K: Kind> Worker<K> {
    /// Makes the instance. The start fails if the instance traps, if the engine has no room for it, or if the state in the
    /// store is another component's.
    async fn start(
        child: &Context,
        installed: &Installed<Plugin<K>>,
        partition: Arc<Partition<K::Call>>,
    ) -> Result<Self, Reason> {
        let deployment = installed.get()?;
        let (plugin, context) = (&deployment.plugin, &deployment.context);
        ownership::claim(context, &deployment.owner).await.map_err(Reason::Error)?;
        let path: Arc<str> = child.path().into();
        let pool = path.rsplit_once('/').map_or(&*path, |(pool, _)| pool).into();
        let mut store = State::store(&plugin.engine.wasmtime, &plugin.loaded.identity, context, &path);
        let loaded = &plugin.loaded;
        let instance = match loaded.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => {
                let crash = store.data().crash(&error);
                store.data().report(&crash);
                let error = loaded.not_started(context.role, STARTED, &crash, &context.limits);
                return Err(Reason::error(error));
            }
        };
        let exports = K::exports(&plugin.indices, &instance, &mut store)
            .map_err(|error| Reason::error(loaded.mistyped(context.role, &error)))?;
        let call_wall = Duration::from_millis(context.limits.call_wall_ms);
        partition.record_start();
        Ok(Self { store, exports, partition, pool, call_wall })
    }

    /// Serves until the instance ends or the supervisor stops it. Queued calls then wait for the next instance. There are
    /// none when the whole host stops, because the gateway has finished before.
    async fn run(mut self, shutdown: ShutdownSignal) -> Reason {
        let partition = self.partition.clone();
        let mut mailbox = partition.open().await;
        loop {
            let batch = tokio::select! {
                biased;
                () = shutdown.requested() => return Reason::Shutdown,
                batch = mailbox.next_batch() => batch,
            };
            if let Some(until) = partition.breaker().open_until() {
                partition.refuse(batch, until.saturating_duration_since(Instant::now()));
                continue;
            }
            if let Err(reason) = self.serve(batch).await {
                // Frees the dead instance's memory during the pause.
                drop(self);
                return wait_for_breaker(reason, &partition, &mut mailbox, &shutdown).await;
            }
        }
    }

    async fn serve(&mut self, batch: Vec<QueuedCall<K::Call>>) -> Result<(), Reason> {
        let (mut calls, traces): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|queued| (queued.call, queued.trace)).unzip();
        let suspected = self.partition.suspected(&calls);
        State::begin_call(&mut self.store, traces);
        self.store.data_mut().frees_space = calls.iter().all(Call::frees_space);
        let yield_state = self.store.data().meter.yield_state();
        let served = MeteredCall::new(K::serve(&self.exports, &mut self.store, &mut calls), yield_state);
        let served = tokio::time::timeout(self.call_wall, served).await;
        let state = self.store.data_mut();
        state.end_call();
        let crash = match served {
            Ok(Ok(())) => {
                self.partition.record_success(&suspected);
                if self.partition.breaker().served() {
                    report_breaker(state, &self.pool, "closed", None);
                }
                return Ok(());
            }
            Ok(Err(error)) => state.crash(&error),
            Err(_) => Crash::timeout(state.context.limits.call_wall_ms),
        };
        state.report(&crash);
        if self.partition.breaker().crashed() {
            report_breaker(state, &self.pool, "open", Some(&crash));
        }
        if state.committed {
            wake_followers(state);
        }
        // The results of a batch are sent all or none, so `calls` is still complete.
        let traces = std::mem::take(&mut state.traces);
        let batch = calls.into_iter().zip(traces).map(|(call, trace)| QueuedCall { call, trace });
        // A timeout may be the fault of a slow disk.
        let to_blame = crash.kind != CrashKind::Timeout;
        self.partition.requeue_or_fail(batch.collect(), state.committed, to_blame, &crash);
        Err(crash.reason())
    }
}

/// After a crash, delays the end of the worker, and so its restart, while the breaker is open: restarts are not used up for an
/// instance that gets no calls. Calls that arrive meanwhile are refused.
async fn wait_for_breaker<C: Call>(
    reason: Reason,
    partition: &Partition<C>,
    mailbox: &mut Mailbox<'_, C>,
    shutdown: &ShutdownSignal,
) -> Reason {
    while let Some(until) = partition.breaker().open_until() {
        let pause = until.saturating_duration_since(Instant::now());
        tokio::select! {
            biased;
            () = shutdown.requested() => return Reason::Shutdown,
            batch = mailbox.next_batch() => partition.refuse(batch, pause),
            () = tokio::time::sleep(pause) => {}
        }
    }
    reason
}

/// Writes to the telemetry stream and the log that a pool's breaker opened or closed.
fn report_breaker(state: &State, pool: &str, is: &str, crash: Option<&Crash>) {
    let ComponentContext { store, role, telemetry, .. } = &*state.context;
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

/// Wakes all followers, because an instance ended between its commit and its result: nobody will publish that commit.
fn wake_followers(state: &State) {
    let registry = &state.context.registry;
    let bus = registry.get::<exesdb_pubsub::Bus>(&names::pubsub(&state.context.store));
    let store = registry.get::<StoreAccess>(&names::store(&state.context.store));
    if let (Some(bus), Some(store)) = (bus, store) {
        bus.resync(store.reader.next_position());
    }
}
