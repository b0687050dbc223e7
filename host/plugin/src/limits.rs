//! What an instance may use. All limits are on by default.
//!
//! A guest that exceeds one ends with a typed [`crate::Crash`] that names the limit; other instances go on.

/// Limits that the operator sets per store and component. The constants below are what one of our components has ever
/// needed, times a margin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// CPU milliseconds that a guest may use between two waits in the host. A call of ours takes microseconds; a second
    /// means that it hangs.
    pub call_cpu_ms: u64,
    /// Milliseconds that a persistence call, or a step of a gateway, may take. A persistence call waits for no commit but that of
    /// a step of upkeep.
    pub call_wall_ms: u64,
    /// Milliseconds that a gateway may take to begin its response, counted from the last part of the request's body. A
    /// response that has begun may last: a live one lasts as long as its client stays. More than `call_wall_ms`, which a
    /// call into the store may take.
    pub response_wall_ms: u64,
    /// Bytes of linear memory, summed over all memories of the instance. A list of changes has up to 8 MiB of events, which
    /// a component holds together with what it reads and with its batches.
    pub memory_bytes: usize,
    /// Changes that may wait for a persistence instance, and as many reads. Further ones fail with `overloaded`: a longer
    /// queue would only delay the results.
    pub mailbox: usize,
    /// Gateway instances of one worker: steps that are computed, or, of a gateway that speaks wasi:http, requests and live
    /// responses in progress.
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

/// Table elements of an instance, over all of its tables. A Rust guest needs one per indirect function: hundreds.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Bytes that one call may bring out of a guest: the decisions about a list, whose batches are 8 MiB of events with their keys
/// and guards.
pub(crate) const HOSTCALL_BYTES_MAX: usize = 32 << 20;

/// Handles that an instance may hold at a time. A request needs about ten.
pub(crate) const HANDLES_MAX: usize = 1_000;

/// Random bytes that a guest may request in one call: the host makes them in its own memory.
pub(crate) const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// Log records that an instance may write per second; the rest is counted and dropped, so that a guest cannot fill the
/// operator's disk.
pub(crate) const LOG_RECORDS_PER_SECOND_MAX: u32 = 100;

/// Milliseconds between two engine ticks: how late a deadline may be noticed, and how long a guest runs before it yields.
pub(crate) const TICK_MS: u64 = 10;

/// Bytes of a guest's wasm stack.
pub(crate) const WASM_STACK_BYTES: usize = 512 << 10;

/// Bytes of a component. Components made from Python, usually the largest, have 18 to 38 MB.
pub(crate) const COMPONENT_BYTES_MAX: u64 = 64 << 20;
