//! How this node is, which decides whether its replicas should lead.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use exesdb_cluster::Health;
use exesdb_log::Log;
use parking_lot::Mutex;

/// How long a write of the log may take before its disk counts as stuck: several leases, and a busy disk takes a second or two.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);

/// How long free space counts as known: what a busy store writes meanwhile, the reserve has many times.
const SPACE_KNOWN_FOR: Duration = Duration::from_secs(1);

/// The state of a node, asked many times a second.
pub(super) fn health(
    log: Arc<Log>,
    data: PathBuf,
    reserve_bytes: u64,
) -> Arc<dyn Fn() -> Health + Send + Sync> {
    let space: Mutex<Option<(Instant, bool)>> = Mutex::default();
    Arc::new(move || {
        let is_log_stuck = log.writing_since().is_some_and(|since| since.elapsed() >= WRITE_TIME_MAX);
        let mut known = space.lock();
        let is_disk_full = match *known {
            Some((at, is_full)) if at.elapsed() < SPACE_KNOWN_FOR => is_full,
            _ => {
                let is_full = free_bytes(&data).is_some_and(|free| free < reserve_bytes);
                *known = Some((Instant::now(), is_full));
                is_full
            }
        };
        Health { is_log_stuck, is_disk_full, is_draining: false }
    })
}

/// None if the system does not say.
fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
