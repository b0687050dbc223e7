//! A pool: the partitions of one component, and the way of a call to one of them.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use exesdb_supervisor::{ChildSpec, SupervisorSpec, partition_of};
use tokio::sync::oneshot;
use wasmtime::component::{ComponentNamedList, Lift, Lower};

use super::ask::{Ask, Asked};
use super::breaker::{Breaker, CRASHES_MAX, OPENINGS_MAX, WINDOW};
use super::kind::{Call, Function, Kind};
use super::slot::Slot;
use super::suspects::Suspects;
use super::worker;
use super::{SnapshotsKind, StreamsKind};
use crate::bindings::types::Error;
use crate::installed::Installed;
use crate::limits::Limits;
use crate::load::Plugin;
use crate::request::RequestControl;
use crate::trace::Trace;

/// Restarts of a pool's instances within [`WINDOW`] before the pool gives up, beyond those of [`RESTARTS_PER_INSTANCE`].
/// Crashes stop at half of this, where the pool's breaker opens; so it is used up by what the breaker does not see:
/// instances that do not start, and kills from outside.
const RESTARTS_MAX: u32 = 40;
const _: () = assert!(CRASHES_MAX * 2 <= RESTARTS_MAX as usize);

/// Restarts of each instance within [`WINDOW`] on top: each time when the breaker opens, every instance may crash at a
/// call that it has in its hands.
const RESTARTS_PER_INSTANCE: u32 = OPENINGS_MAX + 1;

/// How long a partition may be without an instance before a request that has to finish gives up on it. A restart takes
/// less than a millisecond.
const UNSERVED_PATIENCE: Duration = Duration::from_millis(100);

/// On whose behalf a call is made.
#[derive(Clone)]
pub struct Caller {
    pub(crate) trace: Trace,
    /// The request that waits for the answer.
    pub(crate) request: Option<Arc<RequestControl>>,
}

impl Caller {
    /// The operator's, which belongs to no client's request.
    #[must_use]
    pub fn operator() -> Self {
        Self { trace: Trace::new(), request: None }
    }
}

/// Where a call goes.
#[derive(Clone, Copy)]
pub(crate) enum Partition {
    /// To this one.
    Of(usize),
    /// To each in turn.
    Any,
}

/// The partitions of a component in a store. It outlives its instances and their supervisors: what waits in a
/// mailbox waits for the next instance.
pub struct Pool<K: Kind> {
    slots: Vec<Arc<Slot<K::Call>>>,
    breaker: Arc<Breaker>,
    turn: AtomicUsize,
}

/// Instances of the streams component.
pub type StreamsPool = Pool<StreamsKind>;

/// Instances of the snapshots component.
pub type SnapshotsPool = Pool<SnapshotsKind>;

impl<K: Kind> Pool<K> {
    /// A pool of `partitions` (at least one) without instances; its supervisor starts those.
    pub fn new(partitions: usize, limits: &Limits) -> Arc<Self> {
        let (suspects, breaker) = (Arc::new(Suspects::default()), Arc::new(Breaker::default()));
        let slot = |_| Slot::new(limits.mailbox, suspects.clone(), breaker.clone());
        let slots = (0..partitions.max(1)).map(slot).collect();
        Arc::new(Self { slots, breaker, turn: AtomicUsize::new(0) })
    }

    /// The supervisor of the pool's instances.
    pub fn supervisor(&self, id: &str, installed: &Arc<Installed<Plugin<K>>>) -> ChildSpec {
        let child = |index: usize| worker::child(index, installed.clone(), self.slots[index].clone());
        let instances = u32::try_from(self.slots.len()).expect("a pool's size comes from a u16");
        let restarts = RESTARTS_MAX + RESTARTS_PER_INSTANCE * instances;
        ChildSpec::supervisor(
            SupervisorSpec::partitions(id, self.slots.len(), child).intensity(restarts, WINDOW),
        )
        .detail({
            let installed = installed.clone();
            move || Some(installed.get().ok()?.plugin.loaded.identity.detail())
        })
    }

    /// Why calls are refused, if they are. Once the breaker's pause is over they are not: the next one finds out.
    pub fn trouble(&self) -> Option<String> {
        if let Some(until) = self.breaker.open_until() {
            let left = until.saturating_duration_since(Instant::now()).as_secs() + 1;
            return Some(format!("left alone for {left} s, because it crashed again and again"));
        }
        self.slots.iter().find_map(|slot| slot.vacant())
    }

    /// The partition that a key belongs to: calls with one key are served in order.
    pub(crate) fn partition(&self, key: &str) -> Partition {
        Partition::Of(partition_of(key.as_bytes(), self.slots.len()))
    }

    /// Calls a function that answers one result. `name` tells it from the pool's other functions.
    pub(crate) async fn ask<P, T>(
        &self,
        partition: Partition,
        caller: Caller,
        name: &'static str,
        function: fn(&K::Exports) -> &Function<P, T>,
        params: P,
    ) -> Result<T, Error>
    where
        P: ComponentNamedList + Lower + Clone + Hash + Send + Sync + 'static,
        T: Send + Sync + 'static,
        Result<T, Error>: Lift,
    {
        self.send(partition, caller, |reply| {
            let ask: Box<dyn Ask<K::Exports>> =
                Box::new(Asked { name, function, params, reply: Some(reply) });
            ask.into()
        })
        .await
    }

    /// Sends a call.
    pub(crate) async fn send<T>(
        &self,
        partition: Partition,
        caller: Caller,
        make: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> K::Call,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let slot = &self.slots[match partition {
            Partition::Of(index) => index,
            Partition::Any => self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len(),
        }];
        slot.send(make(reply), caller.trace);
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or_else(|_| Err(stopped())),
            () = given_up(caller.request, slot) => Err(stopped()),
        }
    }
}

/// The instance was killed with the call in its hands, or there is none and the caller has to finish.
fn stopped() -> Error {
    Error::Restarting(
        "the component was stopped before it answered; the outcome is unknown, send it again with the same event ids".into(),
    )
}

/// How often a call that belongs to no request looks whether anybody will serve it.
const VACANCY_INTERVAL: Duration = Duration::from_secs(1);

/// Completes when a request that has to finish waits for a partition that nobody serves. Then its call would wait
/// for an instance that may start only after the request has ended. A call of an operator has no such end, and gives up
/// when there is no use in waiting.
async fn given_up<C: Call>(request: Option<Arc<RequestControl>>, slot: &Slot<C>) {
    let Some(request) = request else {
        while slot.vacant().is_none() {
            tokio::time::sleep(VACANCY_INTERVAL).await;
        }
        return;
    };
    request.closed().await;
    loop {
        let before = slot.is_served();
        tokio::time::sleep(UNSERVED_PATIENCE).await;
        if !before && !slot.is_served() {
            return;
        }
    }
}
