//! Limits of the log. Each has its unit and its reason.

use std::time::Duration;

/// Fewest bytes of a segment. 64 KiB: a checkpoint of a few groups takes a quarter of it at most.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;

/// Most bytes of a segment. 256 MiB: opening reads a segment into memory, whatever a file's length says.
pub const SEGMENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Part of a segment that one record may take. A half: checkpoint, copied entries and one record fit into a new segment.
const RECORD_SHARE: u64 = 2;

/// Part of a segment that its checkpoint may take.
const CHECKPOINT_SHARE: u64 = 4;

/// Part of a segment that entries copied forward may take.
const COPIED_SHARE: u64 = 8;

/// Most groups of a log. 1,024: four times the replicas of a node, so that groups of replaced replicas fit as well.
pub const GROUPS_MAX: u64 = 1024;

/// Bytes that a group may take in a checkpoint. 4 KiB: state, notes, and two ranges in each of [`SEGMENTS_MAX`] segments.
const GROUP_CHECKPOINT_BYTES: u64 = 4096;

/// Most segments that the limit of a node may amount to. 64: a checkpoint lists the segments of each group.
pub const SEGMENTS_MAX: u64 = 64;

/// Most bytes of a group's state. 256: a vote has some thirty.
pub const STATE_BYTES_MAX: usize = 256;

/// Most bytes of the note at a purged or committed index. 256: a log id has some thirty.
pub const NOTE_BYTES_MAX: usize = 256;

/// Most entries of one append. 65,536: their lengths take a quarter of a MiB.
pub const ENTRIES_MAX: usize = 65_536;

/// Highest index of an entry. 2^63 - 1: the next one can always be counted.
pub const INDEX_MAX: u64 = i64::MAX as u64;

/// Bytes that a record counts at least in the limits of group and node. 512: the index in memory has 150 bytes for each
/// record, however small it is.
pub const RECORD_COUNTS_MIN: u64 = 512;

/// Bytes after which a write takes no further record. 8 MiB: what a disk writes in some milliseconds.
pub(crate) const WRITE_BYTES: usize = 8 * 1024 * 1024;

/// Files of zeroes that are kept for coming segments. 2: one to begin with at once, and one for the next.
pub(crate) const SPARES_MAX: usize = 2;

/// Bytes of zeroes that are written into a new file at once. 1 MiB: the next records wait for them.
pub(crate) const ZEROES_BYTES: usize = 1024 * 1024;

/// The most files with torn ends that are kept. 8 show what the last crashes left, and crashes in a row do not fill the disk.
pub(crate) const CUT_FILES_MAX: usize = 8;

/// Longest time that a mark stays unsynced. 100 ms: ten syncs a second cost little next to the log's thousands.
pub(crate) const MARK_SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// Pause before another attempt to make a file on a full disk. 1 s: an operator who makes room does not notice it.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Most bytes of a record in segments of this size.
#[must_use]
pub const fn record_bytes_max(segment_bytes: u64) -> u64 {
    segment_bytes / RECORD_SHARE
}

/// Most groups in segments of this size.
#[must_use]
pub const fn groups_max(segment_bytes: u64) -> u64 {
    let fit = segment_bytes / CHECKPOINT_SHARE / GROUP_CHECKPOINT_BYTES;
    if fit < GROUPS_MAX { fit } else { GROUPS_MAX }
}

/// Most bytes that are copied forward into one segment of this size.
pub(crate) const fn copied_bytes_max(segment_bytes: u64) -> u64 {
    segment_bytes / COPIED_SHARE
}
