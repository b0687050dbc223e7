//! The worker of a partition as a supervised child: one task, one wasmtime `Store`, one instance.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use exesdb_pubsub::Bus;
use exesdb_storage::{BatchError, Commit, Committed};
use exesdb_supervisor::{ChildSpec, Context, Reason, ShutdownSignal, Start};
use wasmtime::Store;

use super::ask::unsupported;
use super::decider::apply::{Observer, apply};
use super::decider::changes::{Change, Changes, Grants, Outcome, PlannedChange, decisions, refused};
use super::exports::Missing;
use super::kind::Kind;
use super::partition::{ChangeList, Partition, Service, Work};
use super::plugin::{Made, Plugin};
use super::retry::Verdict;
use crate::access::CommitFailure;
use crate::bindings::store::types::Error;
use crate::context::ComponentContext;
use crate::crash::{Crash, CrashKind};
use crate::installed::Installed;
use crate::metered_call::{MeteredCall, YieldState};
use crate::names;
use crate::ownership::{self, Claimed, StateOwner};
use crate::problem::{code, not_committed, problem};
use crate::state::State;
use crate::store_view::Freshness;

/// The child that serves a partition.
pub(crate) fn child<K: Kind>(
    index: usize,
    installed: Arc<Installed<Plugin<K>>>,
    partition: Arc<Partition<K>>,
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
    partition: Arc<Partition<K>>,
    /// The path of the pool's supervisor.
    pool: Arc<str>,
    call_wall: Duration,
    yield_state: Arc<YieldState>,
    owner: StateOwner,
    claimed: Claimed,
}

impl<K: Kind> Worker<K> {
    /// Makes the instance. The start fails if the instance traps, if the engine has no room for it, or if the state in the
    /// store is another component's.
    async fn start(
        child: &Context,
        installed: &Installed<Plugin<K>>,
        partition: Arc<Partition<K>>,
    ) -> Result<Self, Reason> {
        let deployment = installed.get()?;
        let path: Arc<str> = child.path().into();
        let pool = path.rsplit_once('/').map_or(&*path, |(pool, _)| pool).into();
        let Made { store, exports, claimed } = Plugin::instance(&deployment, &path).await?;
        let call_wall = Duration::from_millis(deployment.context.limits.call_wall_ms);
        let yield_state = store.data().meter.yield_state();
        partition.record_start();
        let owner = deployment.owner.clone();
        Ok(Self { store, exports, partition, pool, call_wall, yield_state, owner, claimed })
    }

    /// Serves until the instance ends or the supervisor stops it. What is queued then waits for the next instance. There is
    /// nothing when the whole host stops, because the gateway has finished before.
    async fn run(mut self, shutdown: ShutdownSignal) -> Reason {
        let partition = self.partition.clone();
        let service = partition.open().await;
        loop {
            let work = tokio::select! {
                biased;
                () = shutdown.requested() => return Reason::Shutdown,
                work = service.next() => work,
            };
            if let Some(until) = partition.breaker().open_until() {
                work.refuse(until.saturating_duration_since(Instant::now()));
                continue;
            }
            if let Err(reason) = self.serve(&partition, work).await {
                // Frees the dead instance's memory during the pause.
                drop(self);
                return wait_for_breaker(reason, &partition, &service, &shutdown).await;
            }
        }
    }

    async fn serve(&mut self, partition: &Partition<K>, mut work: Work<'_, K>) -> Result<(), Reason> {
        let suspected = partition.suspected(&mut work);
        State::begin_call(&mut self.store, work.traces());
        let turnout = match work {
            Work::Changes(list) => self.decide(list).await,
            Work::Ask(mut ask) => {
                let serve = ask.get().ask.serve(&self.exports, &mut self.store);
                match metered(serve, self.yield_state.clone(), self.call_wall).await {
                    Ok(called) => {
                        ask.served();
                        if called { Turnout::Served } else { Turnout::NotCalled }
                    }
                    Err(ended) => Turnout::Ended(ended, Work::Ask(ask)),
                }
            }
        };
        let state = self.store.data_mut();
        state.end_call();
        let (ended, work) = match turnout {
            Turnout::Ended(ended, work) => (ended, work),
            Turnout::NotCalled => return Ok(()),
            Turnout::Served => {
                partition.record_success(&suspected);
                if partition.breaker().served() {
                    report_breaker(state, &self.pool, "closed", None);
                }
                return Ok(());
            }
        };
        let crash = match ended {
            Ended::Error(error) => state.crash(&error),
            Ended::TooLong => Crash::timeout(state.context.limits.call_wall_ms),
        };
        state.report(&crash);
        if partition.breaker().crashed() {
            report_breaker(state, &self.pool, "open", Some(&crash));
        }
        // A timeout may be the fault of a slow disk.
        let to_blame = crash.kind != CrashKind::Timeout;
        if partition.put_back_or_fail(work, to_blame, &crash) == Verdict::Quarantine {
            report_quarantine(state, &self.pool, &crash);
        }
        Err(crash.reason())
    }

    /// Makes sure that it is recorded who keeps the state that is decided on. An instance of a node that did not lead when it was
    /// started has not recorded it.
    async fn claim(&mut self) -> Result<(), Error> {
        if self.claimed == Claimed::NotYet {
            let context = Arc::clone(&self.store.data().context);
            let claimed = ownership::claim(&context, &self.owner).await;
            self.claimed = claimed.map_err(|message| problem(code::UNAVAILABLE, message))?;
        }
        match self.claimed {
            Claimed::Recorded => Ok(()),
            Claimed::NotYet => Err(not_committed(&CommitFailure::NoLeader)),
        }
    }

    /// Has the instance decide about a list on what is applied, and hands its decisions to the committer.
    async fn decide<'a>(&mut self, list: ChangeList<K>) -> Turnout<'a, K> {
        if let Err(error) = self.claim().await {
            list.end_with(|| Err(error.clone()));
            return Turnout::NotCalled;
        }
        let lent = match State::lend_view_to_decide(&mut self.store, Freshness::Applied) {
            Ok(Ok(lent)) => lent,
            Ok(Err(error)) => {
                list.end_with(|| Err(error.clone()));
                return Turnout::NotCalled;
            }
            Err(error) => return Turnout::crash(error, list),
        };
        let changes = list.requests().iter().map(|waiting| waiting.request.clone()).collect();
        let call = K::decide(&self.exports, &mut self.store, lent.param(), changes);
        let decided = metered(call, self.yield_state.clone(), self.call_wall).await;
        let grants = Grants { takes_positions: K::TAKES_POSITIONS, log_end: lent.log_end() };
        let (decidable, time) = (lent.decidable(), lent.time());
        if let Err(error) = State::take_back(&mut self.store, lent) {
            return Turnout::crash(error, list);
        }
        let decided = match decided {
            Ok(Ok(decided)) => decided,
            Ok(Err(Missing(interface))) => {
                list.end_with(|| Err(unsupported(interface)));
                return Turnout::NotCalled;
            }
            Err(ended) => return Turnout::Ended(ended, Work::Changes(list)),
        };
        let requests: Vec<&K::Change> = list.requests().iter().map(|waiting| &waiting.request).collect();
        let makes_room = requests.iter().all(|change| change.frees_space());
        let decided = match decisions(decided, &requests, &grants) {
            Ok(decided) => decided,
            Err(broken) => return Turnout::crash(broken.into(), list),
        };
        let context = Arc::clone(&self.store.data().context);
        let commit = Commit { owner: context.role.into(), batches: Vec::new(), time, makes_room };
        match apply(list, decided, commit, &decidable, Observed::<K>::new(context)) {
            Ok(()) => Turnout::Served,
            Err((broken, list)) => Turnout::crash(broken.into(), list),
        }
    }
}

/// What became of one piece of work.
enum Turnout<'a, K: Kind> {
    /// The instance did it.
    Served,
    /// It has a result, for which the instance was not needed.
    NotCalled,
    /// The instance ended.
    Ended(Ended, Work<'a, K>),
}

impl<K: Kind> Turnout<'_, K> {
    fn crash(error: wasmtime::Error, list: ChangeList<K>) -> Self {
        Self::Ended(Ended::Error(error), Work::Changes(list))
    }
}

/// Why an instance ended.
enum Ended {
    Error(wasmtime::Error),
    /// The call took more wall time than it may.
    TooLong,
}

/// Runs a call of the guest within its limits of time.
async fn metered<T>(
    call: impl Future<Output = wasmtime::Result<T>>,
    yield_state: Arc<YieldState>,
    wall: Duration,
) -> Result<T, Ended> {
    match tokio::time::timeout(wall, MeteredCall::new(call, yield_state)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Ended::Error(error)),
        Err(_) => Err(Ended::TooLong),
    }
}

/// What follows from the changes of a list.
struct Observed<K> {
    context: Arc<ComponentContext>,
    /// Wakes followers; none if the store has no bus. Looked up when the first change is durable.
    bus: OnceLock<Option<Arc<Bus>>>,
    kind: PhantomData<fn(K)>,
}

impl<K> Observed<K> {
    fn new(context: Arc<ComponentContext>) -> Self {
        Self { context, bus: OnceLock::new(), kind: PhantomData }
    }
}

impl<K: Kind> Observer<Changes<K::Change>> for Observed<K> {
    fn durable(&self, change: &K::Change, planned: &PlannedChange, committed: Committed) {
        let bus = || self.context.registry.get(&names::pubsub(&self.context.store));
        if let Some(bus) = self.bus.get_or_init(bus) {
            K::wake(bus, change, &planned.appended, committed.first_position);
        }
    }

    fn refused(&self, error: &BatchError) -> Outcome {
        Err(refused(error, &self.context))
    }
}

/// After a crash, delays the end of the worker, and so its restart, while the breaker is open: restarts are not used up for an
/// instance that gets no calls. Calls that arrive meanwhile are refused.
async fn wait_for_breaker<K: Kind>(
    reason: Reason,
    partition: &Partition<K>,
    service: &Service<'_, K>,
    shutdown: &ShutdownSignal,
) -> Reason {
    while let Some(until) = partition.breaker().open_until() {
        let pause = until.saturating_duration_since(Instant::now());
        tokio::select! {
            biased;
            () = shutdown.requested() => return Reason::Shutdown,
            work = service.next() => work.refuse(pause),
            () = tokio::time::sleep(pause) => {}
        }
    }
    reason
}

/// Writes to the telemetry stream that a request is not served any more, because it ends instances. The log has its crashes.
fn report_quarantine(state: &State, pool: &str, crash: &Crash) {
    let ComponentContext { role, telemetry, .. } = &*state.context;
    let detail =
        serde_json::json!({ "component": role, "reason": crash.to_string(), "incident": crash.incident });
    telemetry.emit(pool, "quarantined", detail);
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
