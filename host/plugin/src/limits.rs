//! What an instance may use, and the meter that counts it.
//!
//! All limits are on by default. A guest that exceeds one ends with a typed [`crate::Crash`]; its neighbours do not
//! notice, and the crash names the limit.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::pause::Pauses;

/// What one instance may use. The operator sets these per store and component; the constants below follow from what a component
/// of ours ever needed, times a margin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// CPU milliseconds that a call may burn since the guest last waited in the host. A call of ours takes
    /// microseconds; a second means that it hangs.
    pub call_cpu_ms: u64,
    /// Milliseconds from the start of a persistence call to its answer. Covers a commit that waits for the disk.
    pub call_wall_ms: u64,
    /// Milliseconds that a gateway's call may take until its response begins, counted from the last part of the request's
    /// body. A response that has begun may last: a live one does as long as its client stays. More than
    /// `call_wall_ms`, which a call into the store may take.
    pub response_wall_ms: u64,
    /// Bytes of linear memory, summed over all memories of the instance. A call handles at most a few requests of
    /// 4 MiB, several copies each.
    pub memory_bytes: usize,
    /// Calls that may wait for a persistence instance. Past this the caller is told to try again later: a longer
    /// queue only makes the answers late.
    pub mailbox: usize,
    /// Gateway instances of one worker: requests and live responses in progress.
    pub gateway_instances_per_worker: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_cpu_ms: 1_000,
            call_wall_ms: 30_000,
            response_wall_ms: 40_000,
            memory_bytes: 64 << 20,
            mailbox: 1_024,
            gateway_instances_per_worker: 64,
        }
    }
}

/// Upper bound of [`Limits::memory_bytes`]: the size of a memory slot in the engine's pool.
pub const MEMORY_BYTES_MAX: usize = 1 << 30;

/// Elements over all tables of an instance. Rust guests need one per indirect function: hundreds.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Bytes that one host call may copy out of the guest: a commit of the largest writers' call, with its keys.
pub(crate) const HOSTCALL_BYTES_MAX: usize = 32 << 20;

/// Handles that an instance may hold at a time. A request needs about ten.
pub(crate) const HANDLES_MAX: usize = 1_000;

/// Random bytes that a guest may ask for in one call: they are made in the host's memory.
pub(crate) const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// Log records a second that an instance may write; the rest is counted and dropped, so that a guest cannot fill
/// the operator's disk.
pub(crate) const LOG_RECORDS_PER_SECOND_MAX: u32 = 100;

/// Counts what an instance uses.
#[derive(Debug)]
pub(crate) struct Meter {
    memory_bytes_max: usize,
    memory_bytes: usize,
    /// Bytes of linear memory that were in use when the instance was made.
    made_bytes: usize,
    call_cpu_ms: u64,
    table_elements: usize,
    /// The last growth that was granted, should it fail after all.
    granted: Granted,
    /// A growth was refused in this call: the likely reason if the guest now aborts.
    pub(crate) memory_denied: bool,
    ticks_max: u64,
    /// Engine ticks that passed while the guest was running, since it last waited in the host.
    ticks: u64,
    pub(crate) deadline_passed: bool,
    pauses: Arc<Pauses>,
}

#[derive(Debug, Default)]
struct Granted {
    memory_bytes: usize,
    table_elements: usize,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes_max: limits.memory_bytes,
            memory_bytes: 0,
            made_bytes: 0,
            call_cpu_ms: limits.call_cpu_ms,
            table_elements: 0,
            memory_denied: false,
            ticks_max: limits.call_cpu_ms.div_ceil(crate::engine::TICK_MS),
            ticks: 0,
            deadline_passed: false,
            granted: Granted::default(),
            pauses: Arc::default(),
        }
    }

    /// A call begins.
    pub(crate) fn begin(&mut self) {
        self.ticks = 0;
        self.pauses.take_waited();
        self.memory_denied = false;
    }

    /// An engine tick passed while the guest was running. Whether it may go on.
    pub(crate) fn tick(&mut self) -> bool {
        // What passed while the guest waited in the host is not its own, the tick that noticed it included.
        self.ticks = if self.pauses.take_waited() { 0 } else { self.ticks + 1 };
        self.deadline_passed = self.ticks > self.ticks_max;
        // Whoever calls this makes the guest give way when it may go on.
        self.pauses.give_way();
        !self.deadline_passed
    }

    /// For whoever polls the calls.
    pub(crate) fn pauses(&self) -> Arc<Pauses> {
        self.pauses.clone()
    }

    /// Bytes of linear memory in use.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The instance is made: what it uses from now on it has grown by.
    pub(crate) fn made(&mut self) {
        self.made_bytes = self.memory_bytes;
    }

    /// Bytes of linear memory that the instance has grown by since it was made, and those that it could then have grown by.
    pub(crate) fn growth(&self) -> (usize, usize) {
        (
            self.memory_bytes.saturating_sub(self.made_bytes),
            self.memory_bytes_max.saturating_sub(self.made_bytes),
        )
    }

    /// What the instance may use, for messages.
    pub(crate) fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max
    }

    /// What a call may burn, for messages.
    pub(crate) fn call_cpu_ms(&self) -> u64 {
        self.call_cpu_ms
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Summed here because the engine's own limit counts each memory alone.
        let more = desired.saturating_sub(current);
        let total = self.memory_bytes.saturating_add(more);
        if total > self.memory_bytes_max {
            self.memory_denied = true;
            return Ok(false);
        }
        self.memory_bytes = total;
        self.granted.memory_bytes = more;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_bytes -= std::mem::take(&mut self.granted.memory_bytes);
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let total = self.table_elements.saturating_add(more);
        if total > TABLE_ELEMENTS_MAX {
            return Ok(false);
        }
        self.table_elements = total;
        self.granted.table_elements = more;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.table_elements -= std::mem::take(&mut self.granted.table_elements);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, Meter, TABLE_ELEMENTS_MAX};
    use crate::pause::Watched;
    use std::future::Future;
    use wasmtime::ResourceLimiter;

    #[test]
    fn memory_is_summed_over_all_memories() {
        let mut meter = Meter::new(&Limits { memory_bytes: 100, ..Limits::default() });
        assert!(meter.memory_growing(0, 60, None).expect("a decision"));
        assert!(!meter.memory_growing(0, 60, None).expect("a decision"), "a second memory shares the limit");
        assert!(meter.memory_denied);
        assert!(meter.memory_growing(60, 100, None).expect("a decision"));
        assert_eq!(meter.memory_bytes(), 100);
    }

    #[test]
    fn growth_counts_from_when_the_instance_was_made() {
        let mut meter = Meter::new(&Limits { memory_bytes: 100, ..Limits::default() });
        assert!(meter.memory_growing(0, 60, None).expect("a decision"));
        meter.made();
        assert_eq!(meter.growth(), (0, 40));
        assert!(meter.memory_growing(60, 70, None).expect("a decision"));
        assert_eq!(meter.growth(), (10, 40));
    }

    #[test]
    fn table_elements_are_summed_over_all_tables() {
        let mut meter = Meter::new(&Limits::default());
        assert!(meter.table_growing(0, TABLE_ELEMENTS_MAX, None).expect("a decision"));
        assert!(!meter.table_growing(0, 1, None).expect("a decision"));
    }

    #[test]
    fn the_deadline_counts_from_the_last_wait() {
        let mut meter = Meter::new(&Limits { call_cpu_ms: 20, ..Limits::default() });
        assert!(meter.tick() && meter.tick());
        // The guest waits in the host; the next tick is the one that notices.
        let mut waiting = Watched::new(std::future::pending::<()>(), meter.pauses());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::Pin::new(&mut waiting).poll(&mut context).is_pending());
        assert!(meter.tick());
        assert!(meter.tick() && meter.tick());
        assert!(!meter.tick());
        assert!(meter.deadline_passed);
    }

    #[test]
    fn a_growth_that_fails_after_all_is_given_back() {
        let mut meter = Meter::new(&Limits { memory_bytes: 100, ..Limits::default() });
        assert!(meter.memory_growing(0, 60, None).expect("a decision"));
        meter.memory_grow_failed(wasmtime::Error::msg("no memory")).expect("noted");
        assert!(meter.memory_growing(0, 100, None).expect("a decision"));
    }
}
