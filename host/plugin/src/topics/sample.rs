//! The states of a store that topics say: its readiness, and its figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use exesdb_supervisor::Registry;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::record::Record;
use crate::access::StoreAccess;
use crate::bindings::store::subscription_types::SubscriptionState;
use crate::caller::Caller;
use crate::clock::Clock;
use crate::context::ComponentContext;
use crate::names;
use crate::persistence::SubscriptionsPool;
use crate::seats::Seats;

/// How often the readiness of a store is looked at while somebody listens to it.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// How often figures are said.
pub(super) const METRICS_INTERVAL: Duration = Duration::from_secs(10);

/// Subscriptions that are listed at a time.
const LIST_PAGE: u32 = 1_000;

/// Whether a store serves: what `/health/ready` says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Why it cannot serve, if so.
    pub trouble: Option<String>,
    /// What is missing although it serves, if anything.
    pub degraded: Option<String>,
}

/// The readiness of each store, by name; none for one that is not known. Registered as [`names::HEALTH`].
pub struct HealthSource(Box<HealthOf>);

/// The readiness of the store of this name.
type HealthOf = dyn Fn(&str) -> Option<StoreHealth> + Send + Sync;

impl HealthSource {
    /// Readiness as this function says.
    pub fn new(of: impl Fn(&str) -> Option<StoreHealth> + Send + Sync + 'static) -> Self {
        Self(Box::new(of))
    }
}

/// The last samples of one store, which all listeners share.
pub(super) struct Samples {
    followers: Seats,
    listeners: Seats,
    health: Mutex<Option<(Instant, StoreHealth)>>,
    metrics: tokio::sync::Mutex<Option<Figures>>,
    /// What was left out for listeners that were too slow, since the host was started.
    dropped: AtomicU64,
}

/// Figures that were taken.
struct Figures {
    taken: Instant,
    next_position: Option<u64>,
    record: Record,
}

impl Samples {
    pub(super) fn of(followers: &Seats, listeners: &Seats) -> Self {
        let (followers, listeners) = (followers.clone(), listeners.clone());
        Self {
            followers,
            listeners,
            health: Mutex::default(),
            metrics: tokio::sync::Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Counts events that were left out for a listener.
    pub(super) fn count_dropped(&self, events: u64) {
        self.dropped.fetch_add(events, Ordering::Relaxed);
    }

    /// The readiness of the store, not older than its interval. None if the host does not say it.
    pub(super) fn health(&self, registry: &Registry, store: &str) -> Option<StoreHealth> {
        let mut last = self.health.lock();
        if let Some((taken, health)) = &*last
            && taken.elapsed() < HEALTH_INTERVAL
        {
            return Some(health.clone());
        }
        let source: Arc<HealthSource> = registry.get(names::HEALTH)?;
        let health = (source.0)(store)?;
        *last = Some((Instant::now(), health.clone()));
        Some(health)
    }

    /// Waits until the readiness of the store has changed, and says it.
    pub(super) async fn next_health(&self, context: &ComponentContext, watch: &mut HealthWatch) -> Record {
        loop {
            let health = self.health(&context.registry, &context.store);
            if let Some(detail) = health.and_then(|health| watch.changed(&health)) {
                return record_of(context, "health", detail);
            }
            tokio::time::sleep(HEALTH_INTERVAL).await;
        }
    }

    /// The figures of the store, not older than their interval.
    pub(super) async fn metrics(&self, context: &ComponentContext) -> Record {
        // Held while they are taken, so that everybody who waits gets them.
        let mut last = self.metrics.lock().await;
        if let Some(figures) = &*last
            && figures.taken.elapsed() < METRICS_INTERVAL
        {
            return figures.record.clone();
        }
        let taken = Instant::now();
        let access: Option<Arc<StoreAccess>> = context.registry.get(&names::store(&context.store));
        let next_position = access.map(|access| access.reader().next_position());
        let before = last.as_ref().and_then(|before| Some((before.taken, before.next_position?)));
        let rate = before
            .zip(next_position)
            .and_then(|((then, from), to)| per_second(to.saturating_sub(from), taken.duration_since(then)));
        let detail = json!({
            "next_position": next_position,
            "positions_per_second": rate,
            "subscriptions": subscriptions(context).await,
            "followers": self.followers.taken(),
            "listeners": self.listeners.taken(),
            "dropped": self.dropped.load(Ordering::Relaxed),
        });
        let record = record_of(context, "metrics", detail);
        *last = Some(Figures { taken, next_position, record: record.clone() });
        record
    }
}

/// A record about a store as a whole, of now.
fn record_of(context: &ComponentContext, kind: &str, detail: Value) -> Record {
    let at_us = u64::try_from(Clock::System.since_epoch().as_micros()).unwrap_or(u64::MAX);
    Record { at_us, kind: kind.to_owned(), path: names::child(&context.registry, &context.store), detail }
}

/// How many of something there were in a second; none for no time.
fn per_second(count: u64, time: Duration) -> Option<u64> {
    let ms = u64::try_from(time.as_millis()).ok().filter(|ms| *ms > 0)?;
    Some(count.saturating_mul(1_000) / ms)
}

/// How many durable subscriptions are in which state; null if they cannot be listed at the moment.
async fn subscriptions(context: &ComponentContext) -> Value {
    let pool: Option<Arc<SubscriptionsPool>> = context.registry.get(&names::subscriptions(&context.store));
    let Some(pool) = pool else { return Value::Null };
    let (mut active, mut paused, mut halted) = (0_u64, 0_u64, 0_u64);
    let mut after = None;
    loop {
        let listed = pool.list(Caller::operator(), String::new(), after, LIST_PAGE).await;
        let Ok(page) = listed else { return Value::Null };
        for subscription in &page.subscriptions {
            *match subscription.state {
                SubscriptionState::Active => &mut active,
                SubscriptionState::Paused => &mut paused,
                SubscriptionState::Halted(_) => &mut halted,
            } += 1;
        }
        after = page.subscriptions.into_iter().last().map(|last| last.name);
        if !page.more || after.is_none() {
            return json!({ "active": active, "paused": paused, "halted": halted });
        }
    }
}

/// Says the readiness of a store when it changes.
#[derive(Default)]
pub(super) struct HealthWatch(Option<StoreHealth>);

impl HealthWatch {
    /// One that takes this for known.
    pub(super) fn knowing(health: Option<StoreHealth>) -> Self {
        Self(health)
    }

    /// What is to be said about this readiness, if it has changed. Another reason for the same state is no change: some name a time
    /// that goes on.
    pub(super) fn changed(&mut self, now: &StoreHealth) -> Option<Value> {
        let state = |health: &StoreHealth| (health.trouble.is_some(), health.degraded.is_some());
        if self.0.as_ref().map(state) == Some(state(now)) {
            return None;
        }
        self.0 = Some(now.clone());
        let StoreHealth { trouble, degraded } = now;
        Some(json!({ "ready": trouble.is_none(), "trouble": trouble, "degraded": degraded }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use exesdb_supervisor::Registry;
    use serde_json::json;

    use super::{HEALTH_INTERVAL, HealthSource, HealthWatch, Samples, StoreHealth, per_second};
    use crate::names;
    use crate::seats::Seats;

    fn health(trouble: Option<&str>, degraded: Option<&str>) -> StoreHealth {
        StoreHealth { trouble: trouble.map(str::to_owned), degraded: degraded.map(str::to_owned) }
    }

    #[test]
    fn health_is_said_when_it_changes() {
        let mut watch = HealthWatch::default();
        for (now, expected) in [
            (health(None, None), Some(json!({ "ready": true, "trouble": null, "degraded": null }))),
            (health(None, None), None),
            (
                health(Some("hangs for 1 s"), None),
                Some(json!({ "ready": false, "trouble": "hangs for 1 s", "degraded": null })),
            ),
            (health(Some("hangs for 2 s"), None), None),
            (health(Some("x"), Some("y")), Some(json!({ "ready": false, "trouble": "x", "degraded": "y" }))),
            (health(None, Some("y")), Some(json!({ "ready": true, "trouble": null, "degraded": "y" }))),
            (health(None, None), Some(json!({ "ready": true, "trouble": null, "degraded": null }))),
        ] {
            assert_eq!(watch.changed(&now), expected, "{now:?}");
        }
        let mut watch = HealthWatch::knowing(Some(health(None, None)));
        assert_eq!(watch.changed(&health(None, None)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn all_listeners_share_a_sample() {
        let (registry, asked) = (Registry::new(), Arc::<AtomicUsize>::default());
        let seats = Seats::of(1);
        let samples = Samples::of(&seats, &seats);
        assert_eq!(samples.health(&registry, "main"), None, "nobody says it");
        let counted = asked.clone();
        let source = HealthSource::new(move |store| {
            counted.fetch_add(1, Ordering::Relaxed);
            (store == "main").then(StoreHealth::default)
        });
        let _registration = registry.register(names::HEALTH, Arc::new(source));
        for _ in 0..10 {
            assert_eq!(samples.health(&registry, "main"), Some(StoreHealth::default()));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(HEALTH_INTERVAL).await;
        samples.health(&registry, "main").expect("it is known");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_rate_needs_time() {
        assert_eq!(per_second(500, Duration::from_secs(10)), Some(50));
        assert_eq!(per_second(5, Duration::ZERO), None);
        assert_eq!(per_second(u64::MAX, Duration::from_secs(1)), Some(u64::MAX / 1_000));
    }
}
