//! The mark: how far the log was synced, in a file of its own.
//!
//! A log whose end is damaged looks like one that ends there. So after each fsync and before its callbacks the writer notes
//! in another file how far it has come: one small write to alternating slots of a file of fixed size, so that a torn write
//! harms only one of them. The file is synced at intervals: it is exact after a killed process, and at most
//! [`MARK_SYNC_INTERVAL`] old after a loss of power. It never covers more than the log has synced, because the log is synced first.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_64;

use crate::disk::{Folder, FolderFile};
use crate::limits::MARK_SYNC_INTERVAL;
use crate::segment::{MARK_FILE, NEW_MARK_FILE};

/// First bytes of a slot.
const MAGIC: u64 = u64::from_be_bytes(*b"exeslogm");

/// Version of the slots.
const VERSION: u64 = 1;

/// Bytes of a slot.
const SLOT_BYTES: usize = 64;

/// Distance of the slots in bytes. Each lies in its own block of the file system, so that a torn block harms only one.
const SLOT_DISTANCE: u64 = 4096;

/// The contents of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Counts the writes of this file; the slot with the higher turn is the newer.
    pub(crate) turn: u64,
    /// The log that this is the mark of.
    pub(crate) incarnation: u64,
    /// Everything up to here is synced, and may have been called back.
    pub(crate) synced: Place,
}

/// The end of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// The record's link.
    pub(crate) link: u64,
}

/// The mark as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundMark {
    /// There is no file.
    Missing,
    /// Neither slot of the file is whole.
    Damaged,
    /// The newest whole slot.
    Whole(Mark),
}

impl Mark {
    /// The mark of a new log: nothing was promised.
    pub(crate) fn of_new(incarnation: u64) -> Self {
        Self { turn: 0, incarnation, synced: Place { segment: 1, offset: 0, link: 0 } }
    }

    /// Whether the log was only about to be created.
    pub(crate) fn is_of_new(&self) -> bool {
        self.synced == Self::of_new(self.incarnation).synced
    }

    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        let Place { segment, offset, link } = self.synced;
        let numbers = [MAGIC, VERSION, self.turn, self.incarnation, segment, offset, link];
        for (field, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_be_bytes());
        }
        let checksum = xxh3_64(&bytes[..SLOT_BYTES - 8]);
        bytes[SLOT_BYTES - 8..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SLOT_BYTES] = bytes.try_into().ok()?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let [magic, version, turn, incarnation, segment, offset, link, checksum] =
            <[[u8; 8]; 8]>::try_from(numbers).ok()?.map(u64::from_be_bytes);
        let is_whole = checksum == xxh3_64(&bytes[..SLOT_BYTES - 8]);
        (is_whole && magic == MAGIC && version == VERSION).then_some(Self {
            turn,
            incarnation,
            synced: Place { segment, offset, link },
        })
    }
}

/// Reads the mark of the log in `folder`.
pub(crate) fn read(folder: &dyn Folder) -> io::Result<FoundMark> {
    let Some(file) = folder.open(MARK_FILE)? else { return Ok(FoundMark::Missing) };
    let length = file.len()?;
    let slot = |at: u64| -> io::Result<Option<Mark>> {
        if length < at + SLOT_BYTES as u64 {
            return Ok(None);
        }
        let mut bytes = [0; SLOT_BYTES];
        file.read(at, &mut bytes)?;
        Ok(Mark::decode(&bytes))
    };
    let slots = [slot(0)?, slot(SLOT_DISTANCE)?];
    Ok(slots.into_iter().flatten().max_by_key(|mark| mark.turn).map_or(FoundMark::Damaged, FoundMark::Whole))
}

/// Creates the file durably, with `mark` in both slots. It gets its name once it is whole.
pub(crate) fn create(folder: &dyn Folder, mark: Mark) -> io::Result<()> {
    let file = folder.create(NEW_MARK_FILE)?;
    for slot in 0..2 {
        file.write(slot * SLOT_DISTANCE, &mark.encode())?;
    }
    file.sync()?;
    folder.rename(NEW_MARK_FILE, MARK_FILE)?;
    folder.sync()
}

/// The open file, and what was last written to it.
pub(crate) struct MarkFile {
    file: Arc<dyn FolderFile>,
    mark: Mark,
    /// When the first write since the last sync was made.
    unsynced: Option<Instant>,
}

impl MarkFile {
    /// Opens the file, which must exist, to continue after `mark`.
    pub(crate) fn open(folder: &dyn Folder, mark: Mark) -> io::Result<Self> {
        let file = folder.open(MARK_FILE)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { file, mark, unsynced: None })
    }

    /// Notes that everything up to `synced` is synced. One write, no sync.
    pub(crate) fn advance(&mut self, synced: Place) -> io::Result<()> {
        let mark = Mark { turn: self.mark.turn.wrapping_add(1), synced, ..self.mark };
        self.file.write(mark.turn % 2 * SLOT_DISTANCE, &mark.encode())?;
        self.mark = mark;
        self.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Makes the mark durable.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.is_some() {
            self.file.sync()?;
            self.unsynced = None;
        }
        Ok(())
    }

    /// When the mark must be synced; `None` if it is.
    pub(crate) fn sync_due(&self) -> Option<Instant> {
        self.unsynced.map(|since| since + MARK_SYNC_INTERVAL)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::{FoundMark, Mark, MarkFile, Place, SLOT_BYTES, SLOT_DISTANCE, create, read};
    use crate::disk::{Folder as _, MemoryDisk};
    use crate::segment::MARK_FILE;

    fn place(offset: u64) -> Place {
        Place { segment: 4, offset, link: 3 * offset }
    }

    #[test]
    fn the_newest_whole_slot_is_read() {
        let disk = MemoryDisk::new();
        let folder = disk.folder();
        assert_eq!(read(&folder).unwrap(), FoundMark::Missing);
        let mut mark = Mark::of_new(7);
        create(&folder, mark).unwrap();
        assert_eq!(read(&folder).unwrap(), FoundMark::Whole(mark));
        assert!(mark.is_of_new());
        let mut file = MarkFile::open(&folder, mark).unwrap();
        assert_eq!(file.sync_due(), None);
        for turn in 1..4 {
            file.advance(place(turn)).unwrap();
            mark = Mark { turn, incarnation: 7, synced: place(turn) };
            assert!(file.sync_due().is_some());
            assert_eq!(read(&folder).unwrap(), FoundMark::Whole(mark));
        }
        assert!(!mark.is_of_new());
        file.sync().unwrap();
        assert_eq!(file.sync_due(), None);
    }

    #[test]
    fn every_flip_and_every_truncation_of_a_slot_is_detected() {
        let disk = MemoryDisk::new();
        let folder = disk.folder();
        let mark = Mark { turn: 2, incarnation: 7, synced: place(1) };
        create(&folder, mark).unwrap();
        let whole = disk.contents(MARK_FILE).unwrap();
        let found = |bytes: &[u8]| {
            folder.create(MARK_FILE).unwrap().write(0, bytes).unwrap();
            read(&folder).unwrap()
        };
        for at in 0..SLOT_BYTES {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[SLOT_DISTANCE as usize + at] ^= 1 << bit;
                assert_eq!(found(&bytes), FoundMark::Whole(mark), "the other slot is whole");
                bytes[at] ^= 1 << bit;
                assert_eq!(found(&bytes), FoundMark::Damaged);
            }
        }
        for len in 0..SLOT_BYTES {
            assert_eq!(found(&whole[..len]), FoundMark::Damaged);
        }
        assert_eq!(found(&whole[..SLOT_BYTES]), FoundMark::Whole(mark));
    }
}
