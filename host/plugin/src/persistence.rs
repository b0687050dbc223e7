//! Persistence components as supervised children: pools of partitions, each with one instance and a bounded mailbox that
//! outlives it.
//!
//! A call enters the mailbox of a [`partition`]; the partition's [`worker`] passes it to its instance. When the instance
//! ends, [`retry`] decides about each call that it was serving: retry it alone, fail it with an unknown outcome, or put it
//! in quarantine. Calls in the mailbox wait for the next instance, so a restart does not fail them. A component whose
//! instances keep crashing gets no calls for a while: the pool's [`breaker`] opens.

mod breaker;
mod call;
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
mod unary_call;
mod visible_snapshots;
mod worker;

pub use kind::Kind;
pub use plugin::Plugin;
pub use pool::Pool;
pub use snapshots::{SnapshotsKind, SnapshotsPool};
pub use streams::{StreamsKind, StreamsPool};
pub use visible_snapshots::{SweepStep, VisibleSnapshots};
