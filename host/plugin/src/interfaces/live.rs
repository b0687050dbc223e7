//! `exesdb:store/live`: waiting for events. The wait does not count as the guest's CPU time.

use std::sync::Arc;
use std::time::Duration;

use exesdb_pubsub::Bus;

use crate::access::StoreAccess;
use crate::bindings::live::{Host, Wake};
use crate::names;
use crate::state::State;

/// The longest wait, as the interface says.
const WAIT_MS_MAX: u32 = 60_000;

/// How long a waiter sleeps if the store has no pubsub, by configuration or because it is being restarted.
const POLL: Duration = Duration::from_millis(100);

impl Host for State {
    async fn wait(&mut self, stream_id: Option<String>, seen: u64, timeout_ms: u32) -> Wake {
        // Only a request can wait. A component that tries to wait in its start is requested to finish.
        let Some(request) = self.request.clone() else { return Wake::Closing };
        if !request.enter_live() {
            return Wake::Overloaded;
        }
        let timeout = Duration::from_millis(timeout_ms.min(WAIT_MS_MAX).into());
        let bus: Option<Arc<Bus>> = self.context.registry.get(&names::pubsub(&self.context.store));
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
        tokio::select! {
            biased;
            () = request.closed() => Wake::Closing,
            wake = news => wake,
            () = tokio::time::sleep(timeout) => self.timed_out(seen),
        }
    }
}

impl State {
    /// The result of a wait that was not woken. There may be events that were not published, as when a writer is killed
    /// between its commit and its result, so the log is read.
    fn timed_out(&self, seen: u64) -> Wake {
        let store = self.context.registry.get::<StoreAccess>(&names::store(&self.context.store));
        if store.is_some_and(|store| store.reader.next_position() > seen) {
            Wake::Events
        } else {
            Wake::Timeout
        }
    }
}
