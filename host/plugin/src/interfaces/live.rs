//! `exesdb:store/live`: waiting for events. Time spent here is the host's, not the guest's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use exesdb_pubsub::Bus;

use crate::bindings::live::{Host, Wake};
use crate::names;
use crate::state::State;

/// Longest wait, as the interface says.
const WAIT_MS_MAX: u32 = 60_000;

/// How long a waiter sleeps when the store has no pubsub, by configuration or because it is being restarted: the
/// delay that its absence adds.
const POLL: Duration = Duration::from_millis(100);

/// Share of a worker's gateway instances that may be live responses, in percent, so that they cannot starve
/// ordinary requests.
const LIVE_PERCENT_MAX: usize = 75;

impl Host for State {
    async fn wait(&mut self, stream_id: Option<String>, seen: u64, timeout_ms: u32) -> Wake {
        // Only a request can wait; a component that tries to in its start is told to finish.
        let Some(request) = self.request.clone() else { return Wake::Closing };
        let live_max = self.tenancy.limits.gateway_instances_per_worker * LIVE_PERCENT_MAX / 100;
        let Some(_counted) = Live::enter(&request.live, live_max.max(1)) else { return Wake::Overloaded };
        let timeout = Duration::from_millis(timeout_ms.min(WAIT_MS_MAX).into());
        let bus: Option<Arc<Bus>> = self.tenancy.registry.get(&names::pubsub(&self.tenancy.store));
        let news = async {
            match bus {
                None => tokio::time::sleep(POLL.min(timeout)).await,
                Some(bus) => match bus.wait(stream_id.as_deref(), seen) {
                    Ok(wait) => {
                        drop(bus);
                        wait.woken().await;
                    }
                    Err(exesdb_pubsub::TooManyWaiters) => return Wake::Overloaded,
                },
            }
            Wake::Events
        };
        let wake = tokio::select! {
            biased;
            () = request.closed() => Wake::Closing,
            wake = news => wake,
            () = tokio::time::sleep(timeout) => Wake::Timeout,
        };
        self.meter.waited();
        wake
    }
}

/// One call that waits, counted as long as it lives.
struct Live<'a>(&'a AtomicUsize);

impl<'a> Live<'a> {
    fn enter(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::AcqRel);
        let live = Self(count);
        (before < max).then_some(live)
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
