//! Persistence components as supervised children: pools of partitions, each with one instance and a bounded mailbox that
//! outlives it.
//!
//! What is sent to a component enters a [`partition`]: changes, which the component decides about in lists ([`decider`]) and
//! the host commits, and asks, which read ([`ask`]). The partition's [`worker`] passes both to its instance. An instance that
//! ends has written nothing, so [`retry`] has what it was serving served again: a list in halves, and what ends two instances
//! alone is put in quarantine. What waits is for the next instance, so a restart does not fail it. A component whose
//! instances keep crashing gets nothing for a while: the pool's [`breaker`] opens.

mod ask;
mod breaker;
mod decider;
mod exports;
mod kind;
mod maintenance;
mod partition;
mod plugin;
mod poison_tracker;
mod pool;
mod retry;
mod snapshots;
mod streams;
mod subscriptions;
mod upkeep;
mod visible_snapshots;
mod worker;

pub use decider::order::DecisionOrder;
pub use kind::Kind;

pub use plugin::Plugin;
pub use pool::Pool;
pub use snapshots::{SnapshotsKind, SnapshotsPool};
pub use streams::{StreamsKind, StreamsPool};
pub(crate) use subscriptions::SubscriptionsExports;
pub use subscriptions::{SubscriptionsKind, SubscriptionsPool};
pub use upkeep::{ScavengeStep, VerifyStep};
pub use visible_snapshots::{SweepStep, VisibleSnapshots};
