//! A pool: the partitions of one component, and how a call reaches one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use exesdb_supervisor::{ChildSpec, SupervisorSpec, partition_of};
use tokio::sync::oneshot;
use wasmtime::component::Lift;

use super::ask::{Ask, Params, ResultSender, Select, TypedAsk};
use super::breaker::{Breaker, CRASHES_MAX, OPENINGS_MAX, WINDOW};
use super::decider::order::DecisionOrder;
use super::kind::Kind;
use super::partition::Partition;
use super::plugin::Plugin;
use super::poison_tracker::PoisonTracker;
use super::worker;
use crate::bindings::store::types::{ChangeResult, Error};
use crate::caller::Caller;
use crate::installed::Installed;
use crate::limits::Limits;
use crate::problem::{code, unknown_outcome};
use crate::request_control::RequestControl;

/// Restarts within [`WINDOW`] before a pool gives up, without those of [`RESTARTS_PER_INSTANCE`]. Crashes use up half of
/// them before the breaker opens. The other half is for what the breaker does not count: instances that do not start, and
/// kills from outside.
const RESTARTS_MAX: u32 = 40;
const _: () = assert!(CRASHES_MAX * 2 <= RESTARTS_MAX as usize);

/// Additional restarts per instance within [`WINDOW`]: each time the breaker opens, every instance may crash with the calls
/// that it is serving.
const RESTARTS_PER_INSTANCE: u32 = OPENINGS_MAX + 1;

/// How long a request that was requested to finish waits for a partition without an instance. A restart takes less than a
/// millisecond.
const UNSERVED_TIMEOUT: Duration = Duration::from_millis(100);

/// The partition that a call is sent to.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// The one with this index.
    Partition(usize),
    /// Any; they take turns.
    Any,
}

/// The partitions of a component in a store. It outlives its instances and their supervisors: queued calls wait for the
/// next instance.
pub struct Pool<K: Kind> {
    partitions: Vec<Arc<Partition<K>>>,
    breaker: Arc<Breaker>,
    order: DecisionOrder,
    /// Calls with [`Target::Any`] so far.
    turn: AtomicUsize,
}

impl<K: Kind> Pool<K> {
    /// A pool of `count` partitions, at least one. Its supervisor starts the instances. Pools of one component share an
    /// `order`.
    pub fn new(count: usize, limits: &Limits, order: &DecisionOrder) -> Arc<Self> {
        let (poison, breaker) = (Arc::new(PoisonTracker::default()), Arc::new(Breaker::default()));
        let partition = |_| Partition::new(limits.mailbox, poison.clone(), breaker.clone(), order.clone());
        let partitions = (0..count.max(1)).map(partition).collect();
        Arc::new(Self { partitions, breaker, order: order.clone(), turn: AtomicUsize::new(0) })
    }

    /// The order of what is decided about the component's keyspaces.
    pub(super) fn order(&self) -> &DecisionOrder {
        &self.order
    }

    /// The supervisor of the pool's instances.
    pub fn supervisor(&self, id: &str, installed: &Arc<Installed<Plugin<K>>>) -> ChildSpec {
        let child = |index: usize| worker::child(index, installed.clone(), self.partitions[index].clone());
        let instances = u32::try_from(self.partitions.len()).expect("a pool's size comes from a u16");
        let restarts = RESTARTS_MAX + RESTARTS_PER_INSTANCE * instances;
        ChildSpec::supervisor(
            SupervisorSpec::partitions(id, self.partitions.len(), child).intensity(restarts, WINDOW),
        )
        .detail({
            let installed = installed.clone();
            move || Some(installed.get().ok()?.plugin.loaded.identity.detail())
        })
    }

    /// Why calls are refused, if they are. After the breaker's pause they are not: the next call is a probe.
    pub fn trouble(&self) -> Option<String> {
        if let Some(until) = self.breaker.open_until() {
            let left = until.saturating_duration_since(Instant::now()).as_secs() + 1;
            return Some(format!("left alone for {left} s, because it crashed again and again"));
        }
        self.partitions.iter().find_map(|partition| partition.vacancy())
    }

    /// The partition of a key: calls with one key are served in order.
    pub(crate) fn target(&self, key: &str) -> Target {
        Target::Partition(partition_of(key.as_bytes(), self.partitions.len()))
    }

    /// Has a change decided and applied.
    pub(super) async fn send_change(
        &self,
        target: Target,
        caller: Caller,
        change: K::Change,
    ) -> Result<ChangeResult, Error> {
        let partition = self.partition(target);
        let outcome = partition.change(change, caller.trace)?;
        tokio::select! {
            biased;
            outcome = outcome => outcome.unwrap_or_else(|_| Err(stopped())),
            () = given_up(caller.request, partition) => Err(stopped()),
        }
    }

    /// Calls a function that reads. `name` is its name in fingerprints.
    pub(crate) async fn ask<P, T>(
        &self,
        target: Target,
        caller: Caller,
        name: &'static str,
        function: Select<K::Exports, P, T>,
        params: P,
    ) -> Result<T, Error>
    where
        P: Params,
        T: Send + Sync + 'static,
        Result<T, Error>: Lift,
    {
        self.send(target, caller, |result| {
            Box::new(TypedAsk { name, function, params, result: Some(result) })
        })
        .await
    }

    /// Sends the ask that `make` makes, and waits for its result.
    pub(super) async fn send<T>(
        &self,
        target: Target,
        caller: Caller,
        make: impl FnOnce(ResultSender<T>) -> Box<dyn Ask<K::Exports>>,
    ) -> Result<T, Error> {
        let (sender, result) = oneshot::channel();
        let partition = self.partition(target);
        partition.ask(make(sender), caller.trace);
        tokio::select! {
            biased;
            result = result => result.unwrap_or_else(|_| Err(stopped())),
            () = given_up(caller.request, partition) => Err(stopped()),
        }
    }

    fn partition(&self, target: Target) -> &Partition<K> {
        &self.partitions[match target {
            Target::Partition(index) => index,
            Target::Any => self.turn.fetch_add(1, Ordering::Relaxed) % self.partitions.len(),
        }]
    }
}

/// The error of a call whose caller has to finish while there is no instance.
fn stopped() -> Error {
    unknown_outcome(
        code::RESTARTING,
        "the component was stopped before it answered; the outcome is unknown, send it again with the same event ids",
    )
}

/// How often an operator's call checks whether an instance can serve it.
const VACANCY_INTERVAL: Duration = Duration::from_secs(1);

/// Completes when a call gives up. A request that was requested to finish gives up on a partition without an instance, because the
/// next instance may start only after the request has ended. An operator's call gives up when waiting is useless.
async fn given_up<K: Kind>(request: Option<Arc<RequestControl>>, partition: &Partition<K>) {
    let Some(request) = request else {
        while partition.vacancy().is_none() {
            tokio::time::sleep(VACANCY_INTERVAL).await;
        }
        return;
    };
    request.closed().await;
    loop {
        let before = partition.is_served();
        tokio::time::sleep(UNSERVED_TIMEOUT).await;
        if !before && !partition.is_served() {
            return;
        }
    }
}
