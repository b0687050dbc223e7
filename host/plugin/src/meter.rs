//! Counts what an instance uses, and enforces its limits on memory, tables and CPU time.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::limits::{Limits, TABLE_ELEMENTS_MAX, TICK_MS};
use crate::metered_call::YieldState;

/// The usage of one instance.
#[derive(Debug)]
pub(crate) struct Meter {
    memory_bytes_max: usize,
    memory_bytes: usize,
    /// Bytes of linear memory that were in use when the instance was ready.
    initial_bytes: usize,
    call_cpu_ms: u64,
    table_elements: usize,
    /// The last growth that was granted: taken back if it fails after all.
    granted: Granted,
    /// A growth was denied in this call: the likely cause if the guest now aborts.
    pub(crate) memory_denied: bool,
    ticks_max: u64,
    /// Engine ticks during which the guest ran since it last waited in the host.
    ticks: u64,
    pub(crate) deadline_passed: bool,
    yield_state: Arc<YieldState>,
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
            initial_bytes: 0,
            call_cpu_ms: limits.call_cpu_ms,
            table_elements: 0,
            memory_denied: false,
            ticks_max: limits.call_cpu_ms.div_ceil(TICK_MS),
            ticks: 0,
            deadline_passed: false,
            granted: Granted::default(),
            yield_state: Arc::default(),
        }
    }

    /// Resets what is counted per call.
    pub(crate) fn begin_call(&mut self) {
        self.ticks = 0;
        self.yield_state.take_waited();
        self.memory_denied = false;
    }

    /// Counts an engine tick during which the guest ran. Whether the guest may continue; if so, the caller makes it yield.
    pub(crate) fn tick(&mut self) -> bool {
        // Time that the guest waited in the host does not count, nor does the tick that follows the wait.
        self.ticks = if self.yield_state.take_waited() { 0 } else { self.ticks + 1 };
        self.deadline_passed = self.ticks > self.ticks_max;
        self.yield_state.set_yielded();
        !self.deadline_passed
    }

    /// Shared with the [`MeteredCall`](crate::metered_call::MeteredCall) that polls the guest.
    pub(crate) fn yield_state(&self) -> Arc<YieldState> {
        self.yield_state.clone()
    }

    /// Bytes of linear memory in use.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The instance is ready: memory that it takes from now on is growth.
    pub(crate) fn set_initial_memory(&mut self) {
        self.initial_bytes = self.memory_bytes;
    }

    /// Bytes of linear memory that the instance has grown by since it was ready, and the bytes that it could have grown by.
    pub(crate) fn growth(&self) -> (usize, usize) {
        (
            self.memory_bytes.saturating_sub(self.initial_bytes),
            self.memory_bytes_max.saturating_sub(self.initial_bytes),
        )
    }

    pub(crate) fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max
    }

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
        // The engine's own limit counts each memory separately.
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
    use crate::metered_call::MeteredCall;
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
    fn growth_is_counted_from_the_ready_instance() {
        let mut meter = Meter::new(&Limits { memory_bytes: 100, ..Limits::default() });
        assert!(meter.memory_growing(0, 60, None).expect("a decision"));
        meter.set_initial_memory();
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
    fn cpu_time_is_counted_from_the_last_wait() {
        let mut meter = Meter::new(&Limits { call_cpu_ms: 20, ..Limits::default() });
        assert!(meter.tick() && meter.tick());
        // The guest waits in the host; the next tick notices the wait and counts nothing.
        let mut waiting = MeteredCall::new(std::future::pending::<()>(), meter.yield_state());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::Pin::new(&mut waiting).poll(&mut context).is_pending());
        assert!(meter.tick());
        assert!(meter.tick() && meter.tick());
        assert!(!meter.tick());
        assert!(meter.deadline_passed);
    }

    #[test]
    fn a_failed_growth_is_taken_back() {
        let mut meter = Meter::new(&Limits { memory_bytes: 100, ..Limits::default() });
        assert!(meter.memory_growing(0, 60, None).expect("a decision"));
        meter.memory_grow_failed(wasmtime::Error::msg("no memory")).expect("noted");
        assert!(meter.memory_growing(0, 100, None).expect("a decision"));
    }
}
