//! `exesdb:store/live`: waiting for events. Time spent here is the host's, not the guest's.

use std::sync::Arc;
use std::time::Duration;

use exesdb_pubsub::Bus;

use crate::access::StoreAccess;
use crate::bindings::live::{Host, Wake};
use crate::names;
use crate::state::State;

/// Longest wait, as the interface says.
const WAIT_MS_MAX: u32 = 60_000;

/// How long a waiter sleeps when the store has no pubsub, by configuration or because it is being restarted: the
/// delay that its absence adds.
const POLL: Duration = Duration::from_millis(100);

impl Host for State {
    async fn wait(&mut self, stream_id: Option<String>, seen: u64, timeout_ms: u32) -> Wake {
        // Only a request can wait; a component that tries to in its start is told to finish.
        let Some(request) = self.request.clone() else { return Wake::Closing };
        if !request.enter_live() {
            return Wake::Overloaded;
        }
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
        tokio::select! {
            biased;
            () = request.closed() => Wake::Closing,
            wake = news => wake,
            () = tokio::time::sleep(timeout) => self.overdue(seen),
        }
    }
}

impl State {
    /// Nothing came in time. There may be events all the same that nobody told of, as when a writer is killed between
    /// its commit and its answer: the log knows.
    fn overdue(&self, seen: u64) -> Wake {
        let store = self.tenancy.registry.get::<StoreAccess>(&names::store(&self.tenancy.store));
        if store.is_some_and(|store| store.reader.next_position() > seen) {
            Wake::Events
        } else {
            Wake::Timeout
        }
    }
}
