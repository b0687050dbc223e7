//! Waits until flushes and compactions have caught up with the writes. fjall would wait as well, but without a limit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fjall::Database;

use crate::apply::KeyspaceHandles;
use crate::engine::Fjall;
use crate::poison::PoisonReason;
use crate::read::Published;
use crate::stall;

/// Bytes written after which memtables and tables are counted again. 1 MiB: a memtable has at least
/// [`MEMTABLE_BYTES_MIN`](crate::limits::MEMTABLE_BYTES_MIN), so filling another one takes at least 32 such intervals.
const CHECK_INTERVAL_BYTES: u64 = 1024 * 1024;

pub(crate) struct Backpressure {
    published: Arc<Published<Fjall>>,
    limit: Duration,
    /// Bytes written since memtables and tables were counted; `None` before the first count.
    uncounted: Option<u64>,
}

impl Backpressure {
    pub(crate) fn new(published: Arc<Published<Fjall>>, limit: Duration) -> Self {
        Self { published, limit, uncounted: None }
    }

    pub(crate) fn wrote(&mut self, bytes: u64) {
        self.uncounted = self.uncounted.map(|uncounted| uncounted + bytes);
    }

    /// Waits until every keyspace can be written to.
    pub(crate) fn wait(
        &mut self,
        database: &Database,
        keyspaces: &KeyspaceHandles<Fjall>,
    ) -> Result<(), PoisonReason> {
        if self.uncounted.is_some_and(|bytes| bytes < CHECK_INTERVAL_BYTES) {
            return Ok(());
        }
        let busy = || keyspaces.find(stall::is_crowded);
        let excused = || self.published.compacting.load(Ordering::Acquire);
        stall::wait(database, self.limit, busy, excused).map_err(PoisonReason)?;
        self.uncounted = Some(0);
        Ok(())
    }
}
