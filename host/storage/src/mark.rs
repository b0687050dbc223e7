//! The durable mark: what was acknowledged, in a file of its own.
//!
//! A journal whose end is damaged looks like a journal that ends there, and a store that lost its last hour looks like an
//! intact store of an hour ago. So after each group's fsync and before its replies the committer notes in another file how
//! far it has come: one small write to alternating slots of a file of fixed size, so that a torn write harms only one of
//! them. The file is synced after the replies, at intervals: it is exact after a killed process, and at most
//! [`SYNC_INTERVAL`] behind after a loss of power. It is never ahead of the journal, which is synced before it.
//!
//! The mark of a [replica](crate::Replica) says how far the replica was made durable, which nobody waits for: what is
//! missing after it comes from the log again. It has other first bytes, so it is not taken for the mark of a store without
//! a log.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use crate::files::{if_exists, sync_folder};
use crate::format;
use crate::head::LogHead;

/// Longest time that a mark stays unsynced. 100 ms: ten syncs a second cost little next to the journal's thousands, and a
/// power failure together with damage to the journal's end can hide no more than a tenth of a second.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// First bytes of a slot.
const MAGIC: u64 = u64::from_be_bytes(*b"exesmark");

/// First bytes of a slot of a replica's mark.
const REPLICA_MAGIC: u64 = u64::from_be_bytes(*b"exesrepl");

/// Bytes of a slot.
const SLOT_BYTES: usize = 64;

/// Bytes of a slot of a replica's mark: two numbers more.
const REPLICA_SLOT_BYTES: usize = SLOT_BYTES + 2 * 8;

/// Distance of the slots in bytes. Each lies in its own block of the file system, so that a torn block harms only one.
const SLOT_DISTANCE: u64 = 4096;

/// The contents of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Counts the writes of this file; the slot with the higher turn is the newer.
    pub(crate) turn: u64,
    /// Everything up to this head is durable, and may have been acknowledged. It has no time when it was read.
    pub(crate) head: LogHead,
    /// Batches up to this sequence are in tables, so no journal is needed for them.
    pub(crate) flushed_through: u64,
    /// Number of the journal that the head's batch is in, or of an earlier one.
    pub(crate) journal: u64,
    /// How far the log was applied; only in the mark of a replica.
    pub(crate) applied: Option<AppliedMark>,
}

/// How far a replica has applied the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AppliedMark {
    /// Index of the last entry that was applied whole.
    pub(crate) index: u64,
    /// Batches of the next entry that were applied.
    pub(crate) batches: u64,
}

/// The mark of a store, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundMark {
    /// There is no file.
    Missing,
    /// Neither slot of the file is whole.
    Damaged,
    /// The newest whole slot.
    Whole(Mark),
}

/// The open file, and what was last written to it.
pub(crate) struct MarkFile {
    file: File,
    mark: Mark,
    /// When the first write since the last sync was made.
    unsynced: Option<Instant>,
}

impl Mark {
    fn encode(&self) -> Vec<u8> {
        let LogHead { sequence, next_position, chain, time: _ } = self.head;
        let magic = if self.applied.is_some() { REPLICA_MAGIC } else { MAGIC };
        let numbers = [magic, self.turn, sequence, next_position, chain, self.flushed_through, self.journal];
        let applied = self.applied.map(|AppliedMark { index, batches }| [index, batches]);
        let numbers = numbers.into_iter().chain(applied.into_iter().flatten());
        let mut bytes: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
        bytes.extend(xxh3_64(&bytes).to_be_bytes());
        bytes
    }

    /// Reads the slot at the beginning of the bytes, which may go on after it.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let magic = u64::from_be_bytes(*bytes.first_chunk()?);
        let length = if magic == REPLICA_MAGIC { REPLICA_SLOT_BYTES } else { SLOT_BYTES };
        let bytes = bytes.get(..length)?;
        let (content, checksum) = bytes.split_last_chunk::<8>()?;
        if u64::from_be_bytes(*checksum) != xxh3_64(content) {
            return None;
        }
        let numbers: Vec<u64> =
            content.as_chunks().0.iter().map(|number| u64::from_be_bytes(*number)).collect();
        let (common, applied) = numbers.split_first_chunk::<7>()?;
        let [magic, turn, sequence, next_position, chain, flushed_through, journal] = *common;
        let applied = match (magic, applied) {
            (MAGIC, []) => None,
            (REPLICA_MAGIC, [index, batches]) => Some(AppliedMark { index: *index, batches: *batches }),
            _ => return None,
        };
        let head = LogHead { sequence, next_position, chain, time: 0 };
        Some(Self { turn, head, flushed_through, journal, applied })
    }

    fn offset(&self) -> u64 {
        self.turn % 2 * SLOT_DISTANCE
    }
}

/// The newest whole slot of a mark file's bytes.
fn newest(bytes: &[u8]) -> FoundMark {
    let slot = |at: usize| bytes.get(at..).and_then(Mark::decode);
    match slot(0).into_iter().chain(slot(SLOT_DISTANCE as usize)).max_by_key(|mark| mark.turn) {
        Some(mark) => FoundMark::Whole(mark),
        None => FoundMark::Damaged,
    }
}

/// Reads the mark of the store in `dir`.
pub(crate) fn read(dir: &Path) -> io::Result<FoundMark> {
    let bytes = if_exists(std::fs::read(dir.join(format::MARK_FILE)))?;
    Ok(bytes.map_or(FoundMark::Missing, |bytes| newest(&bytes)))
}

/// Creates the file durably, with `mark` in both slots. It gets its name once it is whole.
pub(crate) fn create(dir: &Path, mark: Mark) -> io::Result<()> {
    let new = dir.join(format::NEW_MARK_FILE);
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&new)?;
    file.set_len(2 * SLOT_DISTANCE)?;
    for turn in [mark.turn, mark.turn + 1] {
        let mark = Mark { turn, ..mark };
        file.write_all_at(&mark.encode(), mark.offset())?;
    }
    file.sync_all()?;
    std::fs::rename(&new, dir.join(format::MARK_FILE))?;
    sync_folder(dir)
}

impl MarkFile {
    /// Opens the file, which must exist, to continue after `mark`.
    pub(crate) fn open(dir: &Path, mark: Mark) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(dir.join(format::MARK_FILE))?;
        Ok(Self { file, mark, unsynced: None })
    }

    /// Notes that everything up to `head` is durable, and its last batch in `journal` or a later one. One write, no sync.
    pub(crate) fn advance(&mut self, head: LogHead, journal: u64) -> io::Result<()> {
        self.write(Mark { head, journal, ..self.mark })
    }

    /// As [`advance`](Self::advance), of a replica that has applied the log so far; durable on return.
    pub(crate) fn advance_replica(
        &mut self,
        head: LogHead,
        journal: u64,
        applied: AppliedMark,
    ) -> io::Result<()> {
        self.write(Mark { head, journal, applied: Some(applied), ..self.mark })?;
        self.sync()
    }

    /// Notes that no journal is needed for anything up to the head. Writes both slots, durably: after a torn write the
    /// other slot must say the same, because a journal may have been emptied since.
    pub(crate) fn flushed(&mut self) -> io::Result<()> {
        let mark = Mark { flushed_through: self.mark.head.sequence, ..self.mark };
        for _ in 0..2 {
            self.write(mark)?;
            self.sync()?;
        }
        Ok(())
    }

    /// Makes the mark durable.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.unsynced = None;
        Ok(())
    }

    /// When the mark must be synced; `None` if it is.
    pub(crate) fn sync_due(&self) -> Option<Instant> {
        self.unsynced.map(|since| since + SYNC_INTERVAL)
    }

    fn write(&mut self, mark: Mark) -> io::Result<()> {
        let mark = Mark { turn: self.mark.turn + 1, ..mark };
        self.file.write_all_at(&mark.encode(), mark.offset())?;
        self.mark = mark;
        self.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::{
        AppliedMark, FoundMark, Mark, MarkFile, REPLICA_SLOT_BYTES, SLOT_BYTES, SLOT_DISTANCE, create,
        newest, read,
    };
    use crate::format;
    use crate::head::LogHead;

    fn mark(turn: u64, sequence: u64) -> Mark {
        let head = LogHead { sequence, next_position: 2 * sequence, chain: 3 * sequence, time: 0 };
        Mark { turn, head, flushed_through: 0, journal: 4, applied: None }
    }

    #[test]
    fn the_newest_whole_slot_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), FoundMark::Missing);
        create(dir.path(), mark(0, 1)).unwrap();
        let path = dir.path().join(format::MARK_FILE);
        assert_eq!(read(dir.path()).unwrap(), FoundMark::Whole(mark(1, 1)), "both slots are written");
        let mut file = MarkFile::open(dir.path(), mark(1, 1)).unwrap();
        assert_eq!(file.sync_due(), None);
        file.advance(mark(0, 2).head, 4).unwrap();
        assert!(file.sync_due().is_some());
        assert_eq!(read(dir.path()).unwrap(), FoundMark::Whole(mark(2, 2)));
        file.advance(mark(0, 3).head, 4).unwrap();
        assert_eq!(read(dir.path()).unwrap(), FoundMark::Whole(mark(3, 3)));
        file.flushed().unwrap();
        assert_eq!(file.sync_due(), None);
        let bytes = std::fs::read(&path).unwrap();
        for at in [0, SLOT_DISTANCE as usize] {
            let slot = Mark::decode(&bytes[at..at + SLOT_BYTES]).unwrap();
            assert_eq!((slot.head, slot.flushed_through), (mark(0, 3).head, 3));
        }
    }

    #[test]
    fn every_flip_and_every_truncation_of_a_slot_is_detected() {
        let replica = Mark { applied: Some(AppliedMark { index: 5, batches: 6 }), ..mark(0, 1) };
        for (mark, bytes) in [(mark(0, 1), SLOT_BYTES), (replica, REPLICA_SLOT_BYTES)] {
            check_damage(mark, bytes);
        }
    }

    fn check_damage(mark: Mark, slot_bytes: usize) {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), mark).unwrap();
        let whole = std::fs::read(dir.path().join(format::MARK_FILE)).unwrap();
        for at in 0..slot_bytes {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[SLOT_DISTANCE as usize + at] ^= 1 << bit;
                assert_eq!(newest(&bytes), FoundMark::Whole(mark), "the other slot is whole");
                bytes[at] ^= 1 << bit;
                assert_eq!(newest(&bytes), FoundMark::Damaged);
            }
        }
        for len in 0..slot_bytes {
            assert_eq!(newest(&whole[..len]), FoundMark::Damaged);
        }
        assert_eq!(newest(&whole[..slot_bytes]), FoundMark::Whole(mark));
    }

    #[test]
    fn the_mark_of_a_replica_says_how_far_it_has_applied() {
        let dir = tempfile::tempdir().unwrap();
        let applied = |index| Some(AppliedMark { index, batches: 1 });
        create(dir.path(), Mark { applied: applied(5), ..mark(0, 1) }).unwrap();
        let found = read(dir.path()).unwrap();
        assert_eq!(found, FoundMark::Whole(Mark { applied: applied(5), ..mark(1, 1) }));
        let mut file = MarkFile::open(dir.path(), Mark { applied: applied(5), ..mark(1, 1) }).unwrap();
        file.advance_replica(mark(0, 2).head, 4, AppliedMark { index: 7, batches: 1 }).unwrap();
        assert_eq!(file.sync_due(), None);
        let found = read(dir.path()).unwrap();
        assert_eq!(found, FoundMark::Whole(Mark { applied: applied(7), ..mark(2, 2) }));
    }
}
