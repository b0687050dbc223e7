//! A gateway worker as a supervised child, and the choice among a store's workers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use exesdb_supervisor::{
    ChildSpec, Context, Reason, Registration, Registry, ShutdownSignal, Start, SupervisorSpec,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use super::instances::Instances;
use super::plugin::GatewayPlugin;
use super::steps::limits::DRAIN_TIME;
use super::steps::{Followers, Origin, ROOM_BYTES_MAX, Room, half};
use crate::admission::{Admission, Load, LongShare, soonest};
use crate::context::ComponentContext;
use crate::installed::Installed;
use crate::names;
use crate::request_control::RequestControl;

/// How often idle instances that were not needed meanwhile are dropped.
const TRIM_INTERVAL: Duration = Duration::from_secs(30);

/// The supervisor of a store's `count` gateway workers, which have `instances` instances together. `followers` are the store's.
pub fn workers(
    id: &str,
    count: usize,
    instances: usize,
    installed: &Arc<Installed<GatewayPlugin>>,
    followers: &Arc<Followers>,
) -> ChildSpec {
    let long = LongShare::of(instances);
    let child = |index: usize| {
        let (installed, long, followers) = (installed.clone(), long.clone(), followers.clone());
        ChildSpec::worker(index.to_string(), move |context| {
            start(context, index, installed.clone(), long.clone(), followers.clone())
        })
    };
    ChildSpec::supervisor(SupervisorSpec::partitions(id, count, child)).detail({
        let installed = installed.clone();
        move || Some(installed.get().ok()?.plugin.loaded.identity.detail())
    })
}

async fn start(
    child: Context,
    index: usize,
    installed: Arc<Installed<GatewayPlugin>>,
    long: LongShare,
    followers: Arc<Followers>,
) -> Result<Start, Reason> {
    let deployment = installed.get()?;
    let context = deployment.context.clone();
    let registry = child.registry().clone();
    let name = names::gateway_worker(&context.store, index);
    let origin = Origin {
        context: context.clone(),
        identity: deployment.plugin.identity().clone(),
        workers: followers.workers,
        turn: AtomicUsize::new(0),
    };
    let instances_of_long = half(context.limits.gateway_instances_per_worker);
    let worker = Arc::new(GatewayWorker {
        instances: Instances::new(deployment.plugin.clone(), context.clone(), child.path().into()),
        admission: Admission::to(context.limits.gateway_instances_per_worker),
        context,
        requests: Mutex::default(),
        finished: Notify::new(),
        stopping: AtomicBool::new(false),
        long,
        numbers: AtomicU64::new(0),
        has_steps: deployment.plugin.has_steps(),
        of_long: Semaphore::new(available_parallelism().map_or(1, usize::from).min(instances_of_long)),
        room: Room::of(ROOM_BYTES_MAX),
        origin: Arc::new(origin),
        followers,
    });
    // The worker does not start if no instance can be made.
    worker.instances.warm_up().await.map_err(Reason::error)?;
    let registration = registry.register(name, worker.clone());
    let aborts = AbortsRequests(worker);
    Ok(Start::running(async move {
        let reason = aborts.0.run(child.shutdown(), registration).await;
        drop(aborts);
        reason
    }))
}

/// Aborts the worker's requests when its task ends, also when it is killed.
struct AbortsRequests(Arc<GatewayWorker>);

impl Drop for AbortsRequests {
    fn drop(&mut self) {
        self.0.refuse_requests();
        for (_, running) in self.0.requests.lock().drain() {
            running.task.abort();
        }
        self.0.instances.clear();
    }
}

/// A gateway worker, registered as [`names::gateway_worker`] while it runs.
pub struct GatewayWorker {
    pub(super) context: Arc<ComponentContext>,
    pub(super) admission: Admission,
    pub(super) instances: Instances,
    /// Requests in progress.
    pub(super) requests: Mutex<HashMap<u64, Running>>,
    /// Notified when a request has ended.
    pub(super) finished: Notify,
    pub(super) stopping: AtomicBool,
    pub(super) long: LongShare,
    pub(super) numbers: AtomicU64,
    /// The component is made of steps.
    pub(super) has_steps: bool,
    /// Calls at a time for reads that may be long, such as those that encode pages: no more than there are processors, and with
    /// half of the instances at most, so that steps of short requests do not wait behind many of them.
    pub(super) of_long: Semaphore,
    /// For bodies and held events of requests as steps.
    pub(super) room: Room,
    /// The component, for followers.
    pub(super) origin: Arc<Origin>,
    /// The store's followers.
    pub(super) followers: Arc<Followers>,
}

/// A request in progress.
pub(super) struct Running {
    pub(super) task: AbortHandle,
    pub(super) control: Arc<RequestControl>,
}

/// Keeps a request in the worker's list while it is served, also when its task is aborted or panics: a worker that stops waits
/// for all.
pub(super) struct Listed<'a> {
    pub(super) worker: &'a GatewayWorker,
    pub(super) number: u64,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.worker.requests.lock().remove(&self.number) {
            running.control.leave_long();
        }
        self.worker.finished.notify_one();
    }
}

impl GatewayWorker {
    /// One of the store's `count` workers: the first running one from number `turn` on, unless it is busy; then the one that
    /// will serve soonest.
    pub fn pick(registry: &Registry, store: &str, count: usize, turn: usize) -> Option<Arc<Self>> {
        let mut running = (0..count).filter_map(|offset| {
            registry.get::<Self>(&names::gateway_worker(store, turn.wrapping_add(offset) % count))
        });
        let first = running.next()?;
        if first.admission.is_mostly_free() {
            return Some(first);
        }
        let workers: Vec<Arc<Self>> = std::iter::once(first).chain(running).collect();
        let loads: Vec<Load> = workers.iter().map(|worker| worker.load()).collect();
        let soonest = soonest(&loads)?;
        workers.into_iter().nth(soonest)
    }

    fn load(&self) -> Load {
        let long = self.requests.lock().values().filter(|running| running.control.is_long()).count();
        self.admission.load(long)
    }

    /// Refuses new requests, and tells those in progress to finish.
    pub fn finish(&self) {
        self.refuse_requests();
        self.requests.lock().values().for_each(|running| running.control.close());
    }

    /// Waits for the shutdown, then for the requests in progress.
    async fn run(&self, shutdown: ShutdownSignal, registration: Registration) -> Reason {
        let mut trims = tokio::time::interval(TRIM_INTERVAL);
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                _ = trims.tick() => self.instances.trim(),
            }
        }
        // When the host stops, followers get their last bytes from the workers that are there.
        drop(tokio::time::timeout(DRAIN_TIME, self.followers.finished()).await);
        drop(registration);
        self.finish();
        while !self.requests.lock().is_empty() {
            self.finished.notified().await;
        }
        Reason::Shutdown
    }

    fn refuse_requests(&self) {
        self.stopping.store(true, Ordering::Release);
        self.admission.close();
        self.instances.close();
    }
}
