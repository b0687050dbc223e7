//! Persistence components as supervised children: pools of instances, each behind a bounded mailbox that outlives
//! the instance.
//!
//! A call goes to a partition's [`slot`]; the partition's [`worker`] hands it to its instance. When the instance
//! ends, [`verdict`] decides for each call that it took along: to try it again alone, to answer that its outcome is
//! unknown, or to put it in quarantine. What waited in the mailbox waits on for the next instance, so a restart
//! fails nobody else's call. A component whose instances keep crashing is left alone for a while by the pool's [`breaker`].

mod ask;
mod breaker;
pub(crate) mod kind;
mod lives;
mod maintenance;
mod pool;
mod slot;
mod snapshots;
mod streams;
mod suspects;
mod verdict;
mod worker;

pub use lives::{LivingSnapshots, Swept};
pub use pool::{Caller, Pool, SnapshotsPool, StreamsPool};
pub use snapshots::SnapshotsKind;
pub use streams::StreamsKind;
