//! The floor: the least that a durable append costs on this disk.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Bytes of one record: an event of 256 bytes and its identification.
const RECORD_BYTES: usize = 300;

/// Appends to a file of its own on the measured disk.
pub(crate) struct Floor {
    file: PathBuf,
}

impl Floor {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { file: folder.join("floor") }
    }

    /// Durable appends per second.
    pub(crate) async fn measure(&self, time: Duration) -> anyhow::Result<f64> {
        let file = self.file.clone();
        // On a thread of its own, because it blocks in every fdatasync.
        tokio::task::spawn_blocking(move || appends(&file, time))
            .await
            .context("the floor's thread failed")?
    }
}

fn appends(path: &Path, time: Duration) -> anyhow::Result<f64> {
    let what = || format!("cannot append to {}", path.display());
    let mut file = std::fs::File::options().create(true).append(true).open(path).with_context(what)?;
    let record = [b'x'; RECORD_BYTES];
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < time {
        file.write_all(&record).and_then(|()| file.sync_data()).with_context(what)?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}
