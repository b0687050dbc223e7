//! Which journal the engine writes to. It does not say when it begins another, so that is looked up in the folder.

use std::path::PathBuf;

use crate::engine_files::journal;

/// Bytes in a journal above which fjall may begin another. It does so at 64,000,000, where compressed values count for
/// less than here, and incompressible ones for a little more.
const ROTATION_BYTES_MIN: u64 = 32_000_000;

/// The journal that the engine writes to, or an older one if it began another since [`refresh`](Self::refresh).
pub(super) struct ActiveJournal {
    data: PathBuf,
    id: u64,
    /// At least the bytes in it.
    bytes: u64,
    /// Bytes written since the last refresh.
    unseen: u64,
}

impl ActiveJournal {
    pub(super) fn new(data: PathBuf, id: u64, bytes: u64) -> Self {
        Self { data, id, bytes, unseen: 0 }
    }

    /// The number in the journal's name.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Finds out whether the engine has begun another journal. Called before a group is written, so that the group is in
    /// this journal or a later one.
    pub(super) fn refresh(&mut self) {
        while self.bytes > ROTATION_BYTES_MIN && journal::path(&self.data, self.id + 1).exists() {
            self.id += 1;
            self.bytes = self.unseen;
        }
        self.unseen = 0;
    }

    pub(super) fn wrote(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.unseen += bytes;
    }
}
