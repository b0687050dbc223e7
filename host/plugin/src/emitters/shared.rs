//! What all emitters of a store use.

use std::sync::Arc;
use std::time::Duration;

use super::events::query;
use super::read::Read;
use crate::bindings::store::subscription_types::Subscription;
use crate::caller::Caller;
use crate::clock::Clock;
use crate::context::ComponentContext;
use crate::long_read::{LiveReads, PAGE_BYTES_MAX, Reader, Reading, Turns};
use crate::persistence::SubscriptionsPool;
use crate::store_calls::StoreCalls;

/// What all emitters of a store use.
pub(super) struct Shared {
    pub(super) context: Arc<ComponentContext>,
    pub(super) calls: StoreCalls,
    pub(super) pool: Arc<SubscriptionsPool>,
    pub(super) turns: Arc<Turns>,
    pub(super) live: Arc<LiveReads>,
}

impl Shared {
    /// The time in microseconds since 1970-01-01T00:00:00 UTC.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(Clock::System.since_epoch().as_micros()).unwrap_or(u64::MAX)
    }

    /// How long a call of the store may take.
    pub(super) fn wall(&self) -> Duration {
        Duration::from_millis(self.context.limits.call_wall_ms)
    }

    /// The read of a subscription, from its checkpoint on.
    pub(super) fn read(&self, subscription: &Subscription) -> Read {
        let query = query(&subscription.selector.source, subscription.progress.checkpoint, 0, None);
        let reader = Reader {
            calls: self.calls.clone(),
            caller: Caller::operator(),
            wall: self.wall(),
            turns: self.turns.clone(),
            reading: Reading::of(query, true, PAGE_BYTES_MAX),
        };
        Read::new(reader, &self.live)
    }
}
