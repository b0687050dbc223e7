//! Files for segments: begun with zeroes, and used again once nothing in them is needed.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::{PoisonReason, Writer};
use crate::disk::{Folder, FolderFile};
use crate::fail_point::FailPoint;
use crate::limits::{RETRY_INTERVAL, SPARES_MAX};
use crate::segment::{NEW_SEGMENT_FILE, Name, NewFile};

/// Files that wait to be segments.
pub(super) struct Spares {
    names: Vec<String>,
    /// A file that has some of its zeroes.
    unfinished: Option<NewFile>,
    /// When to try again after a failure.
    retry_at: Option<Instant>,
}

impl Spares {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names, unfinished: None, retry_at: None }
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Gives a file the name of a segment, durably: a spare one, or a new one. Its contents are of no segment, or of an
    /// earlier one.
    pub(super) fn name_segment(
        &mut self,
        folder: &dyn Folder,
        id: u64,
        length: u64,
    ) -> io::Result<Arc<dyn FolderFile>> {
        let name = Name::Segment(id).to_string();
        let file = if self.names.is_empty() {
            let unfinished = self.unfinished.take();
            let unfinished = unfinished.map_or_else(|| NewFile::begin(folder, length), Ok)?;
            let file = unfinished.finish()?;
            folder.rename(NEW_SEGMENT_FILE, &name)?;
            file
        } else {
            let spare = self.names.remove(0);
            let file = folder.open(&spare)?.ok_or(io::ErrorKind::NotFound)?;
            folder.rename(&spare, &name)?;
            file
        };
        folder.sync()?;
        Ok(file)
    }

    /// Writes some zeroes of the next file, up to byte `due`. Returns whether there is one then.
    fn prepare(&mut self, folder: &dyn Folder, before: u64, length: u64, due: u64) -> io::Result<bool> {
        let unfinished = match &mut self.unfinished {
            Some(unfinished) => unfinished,
            none => none.insert(NewFile::begin(folder, length)?),
        };
        while !unfinished.step()? {
            if unfinished.written() >= due {
                return Ok(false);
            }
        }
        self.unfinished = None;
        let name = Name::Spare(before).to_string();
        folder.rename(NEW_SEGMENT_FILE, &name)?;
        folder.sync()?;
        self.names.push(name);
        Ok(true)
    }
}

/// How many bytes of the next file should be zeroes when a segment is written up to `offset`: none up to its half, and all
/// at its end. So large groups do not leave them to the moment when the file is needed.
fn zeroes_due(offset: u64, capacity: u64, length: u64) -> u64 {
    let half = (capacity / 2).max(1);
    length.min(offset.saturating_sub(half).saturating_mul(length) / half)
}

impl Writer {
    /// The oldest segment that is needed.
    pub(super) fn oldest_needed(&self) -> u64 {
        let segments =
            self.groups.values().flat_map(|group| group.entries.iter().map(|(_, segment)| *segment));
        segments.min().unwrap_or(self.active.id).min(self.active.id)
    }

    /// Takes the names of segments in which nothing is needed. What says so is synced, and the mark is, too: it must not be
    /// in a segment that is gone.
    pub(super) fn release(&mut self) -> Result<(), PoisonReason> {
        let needed = self.oldest_needed();
        loop {
            let oldest = self.shared.lock().segments.keys().next().copied().filter(|oldest| *oldest < needed);
            let Some(oldest) = oldest else { break };
            self.pass(FailPoint::BeforeReuse)?;
            self.sync_mark()?;
            let file = self.shared.lock().segments.remove(&oldest);
            self.retire(oldest, file).map_err(PoisonReason::failed("releasing a segment failed"))?;
            self.pass(FailPoint::AfterReuse)?;
        }
        self.report_held_back();
        Ok(())
    }

    fn retire(&mut self, segment: u64, file: Option<Arc<dyn FolderFile>>) -> io::Result<()> {
        let name = Name::Segment(segment).to_string();
        let length = file.map(|file| file.len()).transpose()?;
        if self.spares.names.len() < SPARES_MAX && length == Some(self.options().segment_bytes) {
            let spare = Name::Spare(segment).to_string();
            self.folder.rename(&name, &spare)?;
            self.spares.names.push(spare);
        } else {
            self.folder.remove(&name)?;
        }
        self.folder.sync()
    }

    /// Makes a part of the file for the next segment once half of this one is used. If the disk is full, no more entries
    /// are accepted: the other half is for what makes room.
    pub(super) fn prepare_spare(&mut self) {
        let is_early = self.active.offset < self.active.capacity / 2;
        let waits = self.spares.retry_at.is_some_and(|at| at > Instant::now());
        if !self.spares.names.is_empty() {
            self.set_disk_full(None);
            return;
        }
        if waits || (is_early && self.spares.retry_at.is_none()) {
            return;
        }
        let length = self.options().segment_bytes;
        let due = zeroes_due(self.active.offset, self.active.capacity, length);
        match self.spares.prepare(&*self.folder, self.active.id + 1, length, due) {
            Ok(true) => self.set_disk_full(None),
            // After a failure there is nothing else by which another step would follow.
            Ok(false) if self.spares.retry_at.is_some() => self.spares.retry_at = Some(Instant::now()),
            Ok(false) => {}
            Err(error) => {
                self.spares.unfinished = None;
                self.set_disk_full(Some(format!("a file for the next segment cannot be made: {error}")));
            }
        }
    }

    fn set_disk_full(&mut self, reason: Option<String>) {
        self.spares.retry_at = reason.is_some().then(|| Instant::now() + RETRY_INTERVAL);
        let mut inner = self.shared.lock();
        match (&inner.disk_full, &reason) {
            (None, Some(reason)) => tracing::error!(reason, "the log takes no entries"),
            (Some(_), None) => tracing::info!("the log takes entries again"),
            _ => {}
        }
        inner.disk_full = reason;
    }
}

#[cfg(test)]
mod tests {
    use super::zeroes_due;

    #[test]
    fn zeroes_are_due_in_the_second_half_of_a_segment() {
        // Bytes written, of how many, and the zeroes that are due of 1,000.
        for (offset, capacity, due) in [
            (0, 100, 0),
            (50, 100, 0),
            (51, 100, 20),
            (75, 100, 500),
            (100, 100, 1_000),
            (7, 1, 1_000),
            (0, 0, 0),
        ] {
            assert_eq!(zeroes_due(offset, capacity, 1_000), due, "{offset} of {capacity}");
        }
    }
}
