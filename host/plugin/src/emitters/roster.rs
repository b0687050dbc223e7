//! The roster of a partition: starts an emitter for each of its subscriptions, and another one when a subscription was changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{
    CallError, ChildSpec, Handle, Reason, Registry, ShutdownSignal, Start, partition_of,
};

use super::parts::{Parts, child_id};
use super::{Emitters, Partition};
use crate::bindings::store::subscription_types::SubscriptionState;
use crate::bindings::store::types::Error;
use crate::caller::Caller;
use crate::names;
use crate::persistence::SubscriptionsPool;

/// Subscriptions that are listed at a time.
const LIST_PAGE: u32 = 1_000;

/// How long an emitter may take to end by itself, before it is stopped.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Pause after something that did not work.
const PAUSE: Duration = Duration::from_millis(200);

/// How often all subscriptions are looked at again, so that none stays without an emitter.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

pub(super) fn child(index: usize, parts: Parts) -> ChildSpec {
    ChildSpec::worker("roster", move |context| {
        let parts = parts.clone();
        async move {
            let path = context.path();
            let partition = path.rsplit_once('/').map_or(path, |(partition, _)| partition);
            let roster = Roster {
                supervisor: format!("{partition}/emitters"),
                index,
                emitters: parts.emitters,
                pool: parts.pool,
                registry: context.registry().clone(),
            };
            Ok(Start::running(roster.run(context.shutdown())))
        }
    })
}

struct Roster {
    /// The path of the supervisor of the emitters.
    supervisor: String,
    index: usize,
    emitters: Arc<Emitters>,
    pool: Arc<SubscriptionsPool>,
    registry: Registry,
}

impl Roster {
    async fn run(self, shutdown: ShutdownSignal) -> Reason {
        tokio::select! {
            () = shutdown.requested() => Reason::Shutdown,
            never = self.keep() => match never {},
        }
    }

    async fn keep(&self) -> std::convert::Infallible {
        let partition = &self.emitters.partitions[self.index];
        let mut pending: BTreeSet<String> = BTreeSet::new();
        let mut is_listed = false;
        loop {
            if !is_listed {
                match self.names().await {
                    Ok(names) => {
                        is_listed = true;
                        for name in names {
                            if self.start(&name).await.is_err() {
                                pending.insert(name);
                            }
                        }
                    }
                    Err(error) if super::errors::is_transient(&error) => {}
                    Err(error) => {
                        let reason = crate::problem::message_of(&error);
                        tracing::warn!(reason, "the durable subscriptions of a store cannot be listed");
                    }
                }
            }
            pending.append(&mut taken(partition));
            let mut failed = BTreeSet::new();
            for name in std::mem::take(&mut pending) {
                if self.renew(&name).await.is_err() {
                    failed.insert(name);
                }
            }
            pending = failed;
            let pause = if is_listed && pending.is_empty() { LOOK_INTERVAL } else { PAUSE };
            if tokio::time::timeout(pause, partition.woken.notified()).await.is_err() {
                is_listed = false;
            }
        }
    }

    /// The active subscriptions of the partition.
    async fn names(&self) -> Result<Vec<String>, Error> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = self.pool.list(Caller::operator(), String::new(), after, LIST_PAGE).await?;
            after = page.subscriptions.last().map(|last| last.name.clone());
            let count = self.emitters.partitions.len();
            let active = page.subscriptions.into_iter().filter(|subscription| {
                matches!(subscription.state, SubscriptionState::Active)
                    && partition_of(subscription.name.as_bytes(), count) == self.index
            });
            names.extend(active.map(|subscription| subscription.name));
            if !page.more {
                return Ok(names);
            }
        }
    }

    /// Ends the emitter of a subscription, and starts another one. That one ends at once if the subscription is not active.
    async fn renew(&self, name: &str) -> Result<(), CallError> {
        let mailbox = self.emitters.mailbox(name);
        mailbox.drain();
        let ended = async {
            while mailbox.is_served() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        drop(tokio::time::timeout(END_PATIENCE, ended).await);
        match self.handle()?.terminate_child(&self.supervisor, &child_id(name)).await {
            Ok(()) | Err(CallError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        self.start(name).await
    }

    async fn start(&self, name: &str) -> Result<(), CallError> {
        match self.handle()?.start_instance(&self.supervisor, name.into()).await {
            Ok(_) | Err(CallError::AlreadyStarted { .. } | CallError::AlreadyPresent { .. }) => Ok(()),
            Err(error) => {
                tracing::warn!(subscription = name, %error, "the emitter of a durable subscription does not start");
                Err(error)
            }
        }
    }

    /// The handle of the tree; it is there soon after the tree has started.
    fn handle(&self) -> Result<Arc<Handle>, CallError> {
        let missing = || CallError::NoProc { path: self.supervisor.clone() };
        self.registry.get(names::HANDLE).ok_or_else(missing)
    }
}

fn taken(partition: &Partition) -> BTreeSet<String> {
    std::mem::take(&mut partition.changed.lock())
}
