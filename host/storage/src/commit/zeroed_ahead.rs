//! Zeroes written ahead of the journal's end, so that the sync of a group has no blocks of the disk to allocate.
//!
//! fjall preallocates a journal as a hole. A sync of records in a hole has to write not only the records but also where
//! the file system placed them. If they replace zeroes that are on the disk, they have their place already.
//!
//! A step replaces zeroes by zeroes, and thus never changes what a journal holds:
//!
//! - It is made on the committer thread, after a group is synced and answered. The engine's buffer is empty then, and
//!   fills only when the committer commits. The engine's own threads begin other journals and sync, but write nothing.
//! - It begins at a block after the latest place where the next record can begin, which is known only in a journal that
//!   the engine began while the store was open ([`ActiveJournal::end_max`]). Only such a journal is written from its start
//!   on; to one that was found at open the engine appends, so nothing may follow its records.
//! - It is made only if all bytes that it will replace are read as zeroes before, within the length of the file.
//!
//! The second point is enough if the counting is right, and the third even if it is not. A failure of a step ends this for
//! the journal at hand, and fails no commit. The reserve of the disk is not used for it.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;

use super::active_journal::ActiveJournal;
use super::disk_room::DiskRoom;
use crate::engine_files::journal;
use crate::fail_point::FailPoint;
use crate::options::Options;

/// Length at which fjall creates a journal.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes that are kept zeroed ahead of the end. 4 MiB: a full group, and little to read at an open after a crash, which
/// looks at everything that follows the records.
const AHEAD_BYTES: u64 = 4 * 1024 * 1024;

/// Most bytes of a step. 1 MiB: the next group waits for the step if it comes at once.
const STEP_BYTES: usize = 1024 * 1024;

/// Bytes of a group that a step may follow. 128 KiB: the zeroes under a larger group take as long to write as its sync gains
/// from them. None follows a group without data, which would be one of barriers.
const GROUP_BYTES: RangeInclusive<u64> = 1..=128 * 1024;

/// Unit of the steps. 4 KiB: a page of the kernel's cache, so that a page with records is never written to.
const BLOCK_BYTES: u64 = 4096;

static ZEROES: [u8; STEP_BYTES] = [0; STEP_BYTES];

/// What to write next in a journal whose next record begins at `end_max` at the latest, and which is zeroed from somewhere
/// below that up to `zeroed`.
fn plan(end_max: u64, zeroed: u64, length: u64) -> Option<Range<u64>> {
    let start = end_max.max(zeroed).checked_next_multiple_of(BLOCK_BYTES)?;
    if start - end_max >= AHEAD_BYTES {
        return None;
    }
    let end = length.min(start.checked_add(STEP_BYTES as u64)?) / BLOCK_BYTES * BLOCK_BYTES;
    (start < end).then_some(start..end)
}

/// How far the engine's journal is zeroed ahead of its end.
pub(super) struct ZeroedAhead {
    is_enabled: bool,
    #[cfg(feature = "faults")]
    zeroes_last_record: bool,
    progress: Progress,
}

#[derive(Default)]
struct Progress {
    /// The journal that this is about.
    id: u64,
    /// `None` before the first step.
    file: Option<File>,
    /// It is zeroed up to here.
    zeroed: u64,
    has_failed: bool,
}

/// Called at the fail points of a step.
type Pass<'a> = &'a dyn Fn(FailPoint) -> io::Result<()>;

impl ZeroedAhead {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            is_enabled: options.zeroes_ahead,
            #[cfg(feature = "faults")]
            zeroes_last_record: options.injects(crate::fault::Fault::ZeroLastRecord),
            progress: Progress::default(),
        }
    }

    /// The step to make after a group, if there is one and the disk has room for it.
    pub(super) fn next(
        &mut self,
        group_bytes: u64,
        journal: &ActiveJournal,
        disk_room: &DiskRoom,
    ) -> Option<Range<u64>> {
        if !self.is_enabled || !GROUP_BYTES.contains(&group_bytes) {
            return None;
        }
        let end_max = journal.end_max()?;
        if self.progress.id != journal.id() {
            self.progress = Progress { id: journal.id(), ..Progress::default() };
        }
        if self.progress.has_failed {
            return None;
        }
        let range = plan(end_max, self.progress.zeroed, JOURNAL_BYTES)?;
        disk_room.has_spare(range.end - range.start).then_some(range)
    }

    /// Makes a step. Its zeroes are on the disk then.
    pub(super) fn make(&mut self, journal: &ActiveJournal, range: Range<u64>, pass: Pass<'_>) {
        match self.try_make(journal, &range, pass) {
            Ok(()) => self.progress.zeroed = range.end,
            Err(error) => {
                tracing::warn!(
                    journal = %journal.path().display(),
                    at = range.start,
                    %error,
                    "no more zeroes are written ahead in this journal, so that commits may take longer"
                );
                self.progress.has_failed = true;
                self.progress.file = None;
            }
        }
    }

    fn try_make(&mut self, journal: &ActiveJournal, range: &Range<u64>, pass: Pass<'_>) -> io::Result<()> {
        let file = match &mut self.progress.file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().read(true).write(true).open(journal.path())?),
        };
        #[cfg(feature = "faults")]
        if self.zeroes_last_record {
            return write_and_sync(file, &from_last_record(file, journal.last_record_bytes())?, pass);
        }
        check(file, range)?;
        // A file system that places data late would report a full disk at the sync, and the engine's next one would fail
        // as well.
        rustix::fs::fallocate(&*file, FallocateFlags::KEEP_SIZE, range.start, range.end - range.start)?;
        write_and_sync(file, range, pass)
    }
}

fn write_and_sync(file: &File, range: &Range<u64>, pass: Pass<'_>) -> io::Result<()> {
    pass(FailPoint::BeforeZeroes)?;
    write(file, range)?;
    pass(FailPoint::AfterZeroes)?;
    file.sync_data()
}

fn write(file: &impl FileExt, range: &Range<u64>) -> io::Result<()> {
    let bytes = usize::try_from(range.end - range.start).expect("a step is bounded");
    file.write_all_at(&ZEROES[..bytes], range.start)
}

/// Checks that the range lies in the file and is zero.
fn check(file: &File, range: &Range<u64>) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length < range.end {
        return Err(io::Error::other(format!("it has {length} bytes, and {} were expected", range.end)));
    }
    let mut buffer = vec![0; STEP_BYTES];
    let last = journal::last_set_byte(file, range.clone(), &mut buffer)?;
    if last > range.start {
        return Err(io::Error::other(format!("there is data up to byte {last}")));
    }
    Ok(())
}

/// A step that begins at the last record, which takes so many bytes: the fault
/// [`ZeroLastRecord`](crate::fault::Fault::ZeroLastRecord).
#[cfg(feature = "faults")]
fn from_last_record(file: &File, bytes: u64) -> io::Result<Range<u64>> {
    let end = journal::last_set_byte(file, 0..u64::MAX, &mut vec![0; STEP_BYTES])?;
    let start = end.saturating_sub(bytes);
    Ok(start..start + STEP_BYTES as u64)
}

#[cfg(test)]
mod tests;
