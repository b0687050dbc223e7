//! What a long read may use.

use std::time::Duration;

/// Bytes of a page of a bulk read or a subscription.
pub(crate) const PAGE_BYTES_MAX: u32 = 1 << 20;

/// Events of such a page.
pub(crate) const PAGE_EVENTS_MAX: u32 = 1_000;

/// How long a reader that follows waits for a store that is being restarted.
pub(crate) const RESTART_PATIENCE: Duration = Duration::from_secs(30);

/// How long a reader that follows waits for a wake-up before it looks for events by itself: one may be lost, as when a writer
/// is killed between its commit and its result.
pub(crate) const WAKE_UP_PATIENCE: Duration = Duration::from_secs(10);
