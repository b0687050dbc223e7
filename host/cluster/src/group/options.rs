//! Options of a group.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(feature = "faults")]
use crate::fault::Fault;
use crate::health::Health;
use crate::kept::{Execution, OnApplied};
use crate::limits::LOG_BYTES_KEPT;

/// How to run a group.
#[derive(Clone)]
pub struct Options {
    /// Where work is done that waits for the disk.
    pub execution: Execution,
    /// Called with the topics of what was applied, once readers see it. It must not block.
    pub on_applied: Option<OnApplied>,
    /// The clock, in microseconds since 1970-01-01T00:00:00 UTC. Entries get it when they are proposed, and nothing else
    /// depends on it.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// How the node is, asked at each tick of the election and before each proposal.
    pub health: Arc<dyn Fn() -> Health + Send + Sync>,
    /// Bytes of entries that are kept for lagging followers, at least.
    pub log_bytes_kept: u64,
    /// Seed of the pauses before campaigns; `None` for real chance.
    pub seed: Option<u64>,
    /// A promise to break; only for tests.
    #[cfg(feature = "faults")]
    pub fault: Option<Fault>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            execution: Execution::Threads,
            on_applied: None,
            clock: Arc::new(system_clock),
            health: Arc::new(Health::default),
            log_bytes_kept: LOG_BYTES_KEPT,
            seed: None,
            #[cfg(feature = "faults")]
            fault: None,
        }
    }
}

fn system_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
