//! What belongs to a replica beside its engine: files, and the engine's own work in the background.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::apply::Applier;
use crate::commit::{ActiveJournal, Backpressure};
use crate::engine::{Fjall, Memory};
use crate::head::LogHead;
use crate::mark::{AppliedMark, MarkFile};
use crate::options::Options;
use crate::poison::PoisonReason;
use crate::read::Published;

/// Keeps what belongs to a replica beside its engine.
pub(super) trait Keeper<E: crate::engine::Engine>: Send {
    /// Called before an entry is applied. Waits until the engine can take more.
    fn begin(&mut self, applier: &Applier<E>) -> Result<(), PoisonReason>;

    /// Called after a record that takes at most so many bytes.
    fn wrote(&mut self, bytes: u64);

    /// Called once everything is durable. What is noted here is durable on return.
    fn persisted(&mut self, head: LogHead, applied: AppliedMark) -> io::Result<()>;
}

/// Keeps the files of a fjall database.
pub(super) struct FileKeeper {
    journal: ActiveJournal,
    backpressure: Backpressure,
    mark: MarkFile,
    _lock: File,
}

impl FileKeeper {
    pub(super) fn new(
        published: Arc<Published<Fjall>>,
        options: &Options,
        data: &Path,
        journal: (u64, u64),
        mark: MarkFile,
        lock: File,
    ) -> Self {
        let (id, bytes) = journal;
        Self {
            journal: ActiveJournal::new(data.to_owned(), id, bytes),
            backpressure: Backpressure::new(published, Duration::from_millis(options.stall_limit_ms)),
            mark,
            _lock: lock,
        }
    }
}

impl Keeper<Fjall> for FileKeeper {
    fn begin(&mut self, applier: &Applier<Fjall>) -> Result<(), PoisonReason> {
        self.backpressure.wait(applier.engine().database(), applier.keyspaces())?;
        self.journal.refresh();
        Ok(())
    }

    fn wrote(&mut self, bytes: u64) {
        self.journal.wrote(bytes);
        self.backpressure.wrote(bytes);
    }

    fn persisted(&mut self, head: LogHead, applied: AppliedMark) -> io::Result<()> {
        self.mark.advance_replica(head, self.journal.id(), applied)
    }
}

/// An engine in memory has no files.
pub(super) struct NoFiles;

impl Keeper<Memory> for NoFiles {
    fn begin(&mut self, _applier: &Applier<Memory>) -> Result<(), PoisonReason> {
        Ok(())
    }

    fn wrote(&mut self, _bytes: u64) {}

    fn persisted(&mut self, _head: LogHead, _applied: AppliedMark) -> io::Result<()> {
        Ok(())
    }
}
