//! The sinks of a store as supervised children.

use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{Backoff, ChildSpec, Context, Reason, Start, Strategy, SupervisorSpec};

use super::driver::Driver;
use super::{Sink, Sinks};
use crate::emitters::{BACKOFF, Emitters};
use crate::persistence::SubscriptionsPool;

/// Restarts of the sinks of a store within the period before their supervisor is parked. A sink halts its subscription after a
/// few crashes, so nothing but kills from outside reaches this.
const INTENSITY: (u32, Duration) = (1_000, Duration::from_secs(10));

impl Sinks {
    /// The supervisor of the store's sinks; none if there are none.
    #[must_use]
    pub fn supervisor(
        &self,
        id: &str,
        emitters: &Arc<Emitters>,
        pool: &Arc<SubscriptionsPool>,
    ) -> Option<ChildSpec> {
        if self.0.is_empty() {
            return None;
        }
        let (restarts, period) = INTENSITY;
        let supervisor = SupervisorSpec::new(id, Strategy::OneForOne)
            .intensity(restarts, period)
            .children(self.0.iter().map(|sink| child(sink, emitters, pool)));
        // The emitters serve all other consumers without it.
        Some(ChildSpec::supervisor(supervisor).park_when_given_up())
    }
}

fn child(sink: &Arc<Sink>, emitters: &Arc<Emitters>, pool: &Arc<SubscriptionsPool>) -> ChildSpec {
    let looked_at = sink.clone();
    let (name, sink, emitters, pool) = (sink.spec.name.clone(), sink.clone(), emitters.clone(), pool.clone());
    ChildSpec::worker(name, move |context| start(context, sink.clone(), emitters.clone(), pool.clone()))
        .backoff(Backoff::new(BACKOFF.0, BACKOFF.1))
        .detail(move || detail(&looked_at))
}

async fn start(
    context: Context,
    sink: Arc<Sink>,
    emitters: Arc<Emitters>,
    pool: Arc<SubscriptionsPool>,
) -> Result<Start, Reason> {
    let deployment = sink.installed.get()?;
    Ok(Start::running(async move {
        let path: Arc<str> = context.path().into();
        let shutdown = context.shutdown();
        let driver = Driver::new(&sink, &emitters, &pool, deployment, path);
        tokio::select! {
            () = shutdown.requested() => Reason::Shutdown,
            reason = driver.run() => reason,
        }
    }))
}

/// What the tree shows of a sink.
fn detail(sink: &Sink) -> Option<serde_json::Value> {
    let mut detail = sink.installed.get().ok()?.plugin.identity().detail();
    let status = sink.status.lock();
    detail["subscription"] = sink.spec.subscription.clone().into();
    detail["is"] = status.is().into();
    if let Some(reason) = status.reason() {
        detail["reason"] = reason.into();
    }
    Some(detail)
}
