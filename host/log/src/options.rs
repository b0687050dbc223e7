//! Options of a log: every number that may differ from log to log, with its default and the reason for it.

use std::sync::Arc;

use crate::fail_point::FailPoints;
#[cfg(feature = "faults")]
use crate::fault::Fault;
use crate::limits;

/// Called with the groups that hold the log back.
pub type HeldBack = Arc<dyn Fn(&[u64]) + Send + Sync>;

/// How to run a log. The defaults suit a node of a few stores.
#[derive(Clone)]
pub struct Options {
    /// Bytes of a segment. 64 MiB: one file in 64 MiB is begun and one renamed, and 32 of them are the limit of a node. From
    /// [`limits::SEGMENT_BYTES_MIN`] to [`limits::SEGMENT_BYTES_MAX`]. Segments that exist keep their length.
    pub segment_bytes: u64,
    /// Records that may be queued. 4,096: sixteen for each of 256 groups.
    pub queue_records: usize,
    /// Bytes of the records that may be queued. 64 MiB: two of the largest records, or eight full writes.
    pub queue_bytes: usize,
    /// Bytes of recent entries that are kept in memory. 32 MiB: what followers that keep up have not read yet, and what the
    /// owner applies next.
    pub cache_bytes: usize,
    /// Bytes of entries that a group may hold. 256 MiB: four times what a store has applied at most and not made durable;
    /// the rest is for slow followers. What holds more should be purged, and its follower gets a snapshot.
    pub group_bytes: u64,
    /// Bytes of the segments of all groups, at most [`limits::SEGMENTS_MAX`] segments. 2 GiB: opening reads all of it, which
    /// takes seconds; eight groups may reach their limits.
    pub node_bytes: u64,
    /// Bytes of one group in the oldest segment up to which they are copied forward, so that the segment can be used
    /// again. 1 MiB: of a quiet group. A group with more holds the log back, and is reported.
    pub copied_bytes: u64,
    /// Called on the writer's thread when the oldest segments of a log that has used half of [`node_bytes`](Self::node_bytes)
    /// cannot be used again because of these groups. Their owners should purge them.
    pub held_back: Option<HeldBack>,
    /// Called at each fail point; only for tests.
    pub fail_points: Option<FailPoints>,
    /// A promise to break; only for tests.
    #[cfg(feature = "faults")]
    pub fault: Option<Fault>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            queue_records: 4096,
            queue_bytes: 64 * 1024 * 1024,
            cache_bytes: 32 * 1024 * 1024,
            group_bytes: 256 * 1024 * 1024,
            node_bytes: 2 * 1024 * 1024 * 1024,
            copied_bytes: 1024 * 1024,
            held_back: None,
            fail_points: None,
            #[cfg(feature = "faults")]
            fault: None,
        }
    }
}

/// An option is out of its range.
pub(crate) struct InvalidOption {
    pub(crate) option: &'static str,
    pub(crate) actual: u64,
    pub(crate) range: String,
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), InvalidOption> {
        let within = |option, actual: u64, least: u64, most: u64| {
            if (least..=most).contains(&actual) {
                return Ok(());
            }
            Err(InvalidOption { option, actual, range: format!("from {least} to {most}") })
        };
        let segment = self.segment_bytes;
        within("segment_bytes", segment, limits::SEGMENT_BYTES_MIN, limits::SEGMENT_BYTES_MAX)?;
        within("queue_records", self.queue_records as u64, 1, u64::MAX)?;
        within("node_bytes", self.node_bytes, 4 * segment, limits::SEGMENTS_MAX * segment)
    }

    /// Segments from which on entries are copied out of the oldest one.
    pub(crate) fn segments_before_copying(&self) -> u64 {
        self.node_bytes / self.segment_bytes / 2
    }

    /// Whether this fault is injected.
    #[cfg(feature = "faults")]
    pub(crate) fn injects(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}
