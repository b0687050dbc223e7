//! The emitters of a store as supervised children.
//!
//! ```text
//! emitter-system        one_for_one    partitions
//! └─ <partition>        rest_for_one
//!    ├─ emitters        dynamic: a child for each active subscription
//!    └─ roster          starts them
//! ```
//!
//! The sinks follow after the partitions, if the store has any.

use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{
    Backoff, ChildSpec, Context, Reason, Restart, ShutdownSignal, Start, Strategy, SupervisorSpec,
};

use super::begin::{BACKOFF, begin};
use super::emitter::Emitter;
use super::guest::Instance;
use super::over::Over;
use super::parts::{Parts, child_id};
use super::shared::Shared;
use super::{Emitters, roster};
use crate::installed::Installed;
use crate::persistence::{Plugin, SubscriptionsKind, SubscriptionsPool};

/// Restarts of the emitters of a partition within the period before it gives up. An emitter halts its subscription after a few
/// crashes, so nothing but kills from outside reaches this.
const EMITTERS_INTENSITY: (u32, Duration) = (1_000, Duration::from_secs(10));

/// The same for a partition. It counts what ends rosters, and partitions that gave up.
const PARTITION_INTENSITY: (u32, Duration) = (10, Duration::from_secs(60));

impl Emitters {
    /// The supervisor of the store's emitters, and after them of its sinks, if it has any.
    pub fn supervisor(
        self: &Arc<Self>,
        id: &str,
        installed: &Arc<Installed<Plugin<SubscriptionsKind>>>,
        pool: &Arc<SubscriptionsPool>,
        sinks: Option<ChildSpec>,
    ) -> ChildSpec {
        let (restarts, period) = PARTITION_INTENSITY;
        let partitions = self.partitions(installed, pool);
        ChildSpec::supervisor(
            SupervisorSpec::partitions(id, partitions.len(), |index| partitions[index].clone())
                .children(sinks)
                .intensity(restarts, period),
        )
    }

    /// The children of that supervisor without the sinks: those that a leader starts.
    pub fn partitions(
        self: &Arc<Self>,
        installed: &Arc<Installed<Plugin<SubscriptionsKind>>>,
        pool: &Arc<SubscriptionsPool>,
    ) -> Vec<ChildSpec> {
        let parts = Parts { installed: installed.clone(), emitters: self.clone(), pool: pool.clone() };
        (0..self.partitions.len()).map(|index| ChildSpec::supervisor(partition(index, &parts))).collect()
    }

    /// That supervisor without children, which a leader adds.
    #[must_use]
    pub fn empty_supervisor(id: &str) -> ChildSpec {
        let (restarts, period) = PARTITION_INTENSITY;
        ChildSpec::supervisor(SupervisorSpec::new(id, Strategy::OneForOne).intensity(restarts, period))
    }
}

fn partition(index: usize, parts: &Parts) -> SupervisorSpec {
    let (restarts, period) = EMITTERS_INTENSITY;
    let template = {
        let parts = parts.clone();
        move |name: serde_json::Value| emitter(name.as_str().unwrap_or_default(), &parts)
    };
    let emitters = SupervisorSpec::dynamic("emitters", template, parts.emitters.subscriptions_max)
        .intensity(restarts, period);
    let (restarts, period) = PARTITION_INTENSITY;
    SupervisorSpec::new(index.to_string(), Strategy::RestForOne)
        .intensity(restarts, period)
        .child(ChildSpec::supervisor(emitters))
        .child(roster::child(index, parts.clone()))
}

/// The emitter of a subscription. It ends by itself when the subscription is changed; the roster starts another one then.
fn emitter(name: &str, parts: &Parts) -> ChildSpec {
    let (name, parts): (Arc<str>, Parts) = (name.into(), parts.clone());
    ChildSpec::worker(child_id(&name), move |context| start(context, name.clone(), parts.clone()))
        .restart(Restart::Transient)
        .backoff(Backoff::new(BACKOFF.0, BACKOFF.1))
}

async fn start(context: Context, name: Arc<str>, parts: Parts) -> Result<Start, Reason> {
    let path: Arc<str> = context.path().into();
    let deployment = parts.installed.get()?;
    let instance = Instance::new(&deployment, &path).await?;
    let shared = parts.shared()?;
    Ok(Start::running(serve(shared, parts.emitters, name, instance, context.shutdown())))
}

async fn serve(
    shared: Shared,
    emitters: Arc<Emitters>,
    name: Arc<str>,
    instance: Instance,
    shutdown: ShutdownSignal,
) -> Reason {
    let mailbox = emitters.mailbox(&name);
    let begun = tokio::select! {
        begun = begin(&shared, &mailbox, &name, instance) => begun,
        () = shutdown.requested() => return Reason::Shutdown,
    };
    let mut begun = match begun {
        Ok(begun) => begun,
        Err(Over::Done) => return Reason::Normal,
        Err(Over::Crashed(crash)) => return crash.reason(),
        Err(Over::Failed(error)) => return Reason::error(crate::problem::message_of(&error)),
    };
    let timeout = Duration::from_millis(begun.subscription.settings.ack_timeout_ms.into());
    let (service, consumers) = mailbox.open(timeout).await;
    begun.consumers = consumers;
    let reason = Emitter::new(&shared, &mailbox, begun).run(&shutdown).await;
    drop(service);
    reason
}
