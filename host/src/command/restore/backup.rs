//! A backup that is restored as a whole.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context as _;
use exesdb_storage::dump::{self, RestoreError, Summary};

use crate::command::progress;

/// Size of the read buffer, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// The file of a backup, open for reading.
pub(super) struct Backup<'a> {
    path: &'a Path,
    input: BufReader<File>,
}

impl<'a> Backup<'a> {
    pub(super) fn open(path: &'a Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
        Ok(Self { path, input: BufReader::with_capacity(BUFFER_BYTES, file) })
    }

    /// Creates a store in a folder with everything that the backup has.
    pub(super) fn restore(&mut self, folder: &Path) -> anyhow::Result<Summary> {
        let bar = progress::bytes();
        let summary = dump::restore(folder, &mut self.input, &mut |progress| {
            bar.set_position(progress.bytes);
            bar.set_message(format!("{}.{}", progress.owner, progress.keyspace));
        });
        bar.finish_and_clear();
        summary.map_err(|error| match error {
            RestoreError::Dump(error) => {
                anyhow::Error::from(error).context(format!("{} cannot be restored", self.path.display()))
            }
            error => error.into(),
        })
    }
}
