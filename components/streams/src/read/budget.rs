//! How much one call may look at.

use super::PAGE_BYTES_MAX;
use crate::events::Event;
use crate::filter::Filter;

/// Maximum number of records that one call looks at before it returns a partial page: a call is short, and the caller learns
/// how far the read has come.
pub const SCAN_BUDGET_EVENTS: u64 = 10_000;

/// Maximum bytes of records that one call looks at, because events can be large.
pub const SCAN_BUDGET_BYTES: usize = 8 << 20;

/// The part of the scan budget that a call has used.
#[derive(Default)]
pub(super) struct ScanBudget {
    events: u64,
    bytes: usize,
}

impl ScanBudget {
    pub(super) fn is_exhausted(&self) -> bool {
        self.events >= SCAN_BUDGET_EVENTS || self.bytes >= SCAN_BUDGET_BYTES
    }

    /// The number of records that the next step may look at: at most `wanted`, at least 1.
    pub(super) fn events_left(&self, wanted: u64) -> u64 {
        wanted.min(SCAN_BUDGET_EVENTS.saturating_sub(self.events)).max(1)
    }

    /// The maximum bytes of the next read.
    pub(super) fn bytes_left(&self) -> u32 {
        let left = SCAN_BUDGET_BYTES.saturating_sub(self.bytes).max(1);
        u32::try_from(left).map_or(PAGE_BYTES_MAX, |left| left.min(PAGE_BYTES_MAX))
    }

    /// Whether an event matches. Charges the cost of the filter's patterns.
    pub(super) fn matches(&mut self, filter: &Filter, event: &Event<'_>) -> bool {
        self.bytes = self.bytes.saturating_add(filter.pattern_cost(&event.envelope));
        filter.matches(&event.envelope)
    }

    /// Charges a record, or a read that found none.
    pub(super) fn charge(&mut self, bytes: usize) {
        self.events = self.events.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}
