//! A pool: the partitions of one component, and the way of a call to one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use exesdb_supervisor::{ChildSpec, SupervisorSpec, partition_of};
use tokio::sync::oneshot;

use super::kind::Kind;
use super::slot::Slot;
use super::worker;
use super::{SnapshotsKind, StreamsKind};
use crate::bindings::types::Error;
use crate::load::Plugin;
use crate::state::Tenancy;
use crate::trace::Trace;

/// Restarts of a pool's instances within the period before the pool gives up. One bad request may cost two, until it
/// is in quarantine, so this is a handful of bad requests at a time; more is a broken component.
const POOL_INTENSITY: (u32, Duration) = (20, Duration::from_secs(10));

/// The partitions of a component in a store. It outlives its instances and their supervisors: what waits in a
/// mailbox waits for the next instance.
pub struct Pool<K: Kind> {
    slots: Vec<Arc<Slot<K::Call>>>,
    turn: AtomicUsize,
}

/// Instances of the streams component.
pub type StreamsPool = Pool<StreamsKind>;

/// Instances of the snapshots component.
pub type SnapshotsPool = Pool<SnapshotsKind>;

impl<K: Kind> Pool<K> {
    /// A pool of `partitions` (at least one) without instances; its supervisor starts those.
    pub fn new(partitions: usize, tenancy: &Tenancy) -> Arc<Self> {
        let slots = (0..partitions.max(1)).map(|_| Slot::new(tenancy.limits.mailbox)).collect();
        Arc::new(Self { slots, turn: AtomicUsize::new(0) })
    }

    /// The supervisor of the pool's instances.
    pub fn supervisor(&self, id: &str, plugin: &Arc<Plugin<K>>, tenancy: &Arc<Tenancy>) -> ChildSpec {
        let child =
            |index: usize| worker::child(index, plugin.clone(), tenancy.clone(), self.slots[index].clone());
        let (restarts, period) = POOL_INTENSITY;
        ChildSpec::supervisor(
            SupervisorSpec::partitions(id, self.slots.len(), child).intensity(restarts, period),
        )
    }

    /// Calls that wait now, over all partitions, and how many may.
    pub fn load(&self) -> (usize, usize) {
        let loads = self.slots.iter().map(|slot| slot.load());
        loads.fold((0, 0), |(waiting, capacity), (more, room)| (waiting + more, capacity + room))
    }

    /// Sends a call to the partition that its key belongs to: calls with one key are served in order.
    pub(crate) async fn call<T>(
        &self,
        key: &str,
        trace: Trace,
        make: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> K::Call,
    ) -> Result<T, Error> {
        self.send(partition_of(key.as_bytes(), self.slots.len()), trace, make).await
    }

    /// Sends a call to the partitions in turn.
    pub(crate) async fn call_any<T>(
        &self,
        trace: Trace,
        make: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> K::Call,
    ) -> Result<T, Error> {
        self.send(self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len(), trace, make).await
    }

    async fn send<T>(
        &self,
        partition: usize,
        trace: Trace,
        make: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> K::Call,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.slots[partition].send(make(reply), trace);
        answer.await.unwrap_or_else(|_| {
            // The instance was killed with the call in its hands, which only an operator or a supervisor does.
            Err(Error::Restarting(
                "the component was stopped while it served this request; send it again with the same event ids".into(),
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::StreamsPool;
    use crate::state::Tenancy;
    use exesdb_supervisor::{Registry, Telemetry};

    #[test]
    fn a_pool_has_at_least_one_partition_and_bounded_mailboxes() {
        let limits = crate::Limits { mailbox: 8, ..crate::Limits::default() };
        let tenancy =
            Tenancy::new("main", "streams", Default::default(), limits, Registry::new(), Telemetry::new());
        assert_eq!(StreamsPool::new(0, &tenancy).load(), (0, 8));
        assert_eq!(StreamsPool::new(4, &tenancy).load(), (0, 32));
    }
}
