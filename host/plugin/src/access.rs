//! How the other parts of a store access its database.

use std::sync::atomic::{AtomicU64, Ordering};

use exesdb_storage::{Reader, Snapshot, Store, Writer};

use crate::clock::Clock;

/// The database's reader and writer, registered as [`crate::names::store`]. They do not keep the database open: after its end
/// they fail, so that nobody else has to close it on a thread that must not wait.
pub struct StoreAccess {
    /// Reads what is durable.
    pub reader: Reader,
    /// Commits.
    pub writer: Writer,
    /// The latest time of a view so far: microseconds since 1970-01-01T00:00:00 UTC.
    latest_time: AtomicU64,
}

impl StoreAccess {
    /// The access to an open database.
    pub fn of(store: &Store) -> Self {
        Self { reader: store.reader(), writer: store.writer(), latest_time: AtomicU64::new(0) }
    }

    /// The time of a view of this snapshot (the rule V7): never less than that of an earlier view, nor than any time that was
    /// taken from one and stored, also if the system's clock is set back while the host is stopped.
    pub(crate) fn time_of(&self, snapshot: &Snapshot, clock: Clock) -> u64 {
        let now = u64::try_from(clock.since_epoch().as_micros()).unwrap_or(u64::MAX);
        if clock == Clock::Epoch {
            return now;
        }
        let now = now.max(snapshot.time());
        now.max(self.latest_time.fetch_max(now, Ordering::Relaxed))
    }
}
