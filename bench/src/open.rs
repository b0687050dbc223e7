//! Opening a store that has many events: time, memory, bytes on disk.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

use crate::host::BenchHost;

/// Cost of opening a store.
#[derive(Debug, Serialize)]
pub(crate) struct Opened {
    events: usize,
    /// From the start of the process until it is ready, with components that were compiled before.
    ready_ms: u64,
    /// The same with an empty store: the share of the host itself.
    ready_empty_ms: u64,
    memory_mib: u64,
    disk_bytes_per_event: f64,
}

impl Opened {
    pub(crate) fn line(&self) -> String {
        format!(
            "opening {} events: {} ms from start to ready (an empty store: {} ms), {} MiB of memory then, \
             {:.0} bytes per event on disk after compaction",
            self.events, self.ready_ms, self.ready_empty_ms, self.memory_mib, self.disk_bytes_per_event
        )
    }
}

/// Stops a host whose store has `events`, and opens the store again. Returns the host that runs then.
pub(crate) async fn measure(
    exesdb: &Path,
    host: BenchHost,
    folder: &Path,
    events: usize,
) -> anyhow::Result<(BenchHost, Opened)> {
    host.compact().await?;
    host.stop().await?;
    let disk = disk_bytes(&folder.join("data").join("main"))?;
    // The first start on this folder compiles the components into its cache; the second one, which counts, finds them.
    let empty = folder.join("empty");
    BenchHost::start(exesdb, &empty).await?.stop().await?;
    let start = Instant::now();
    let host = BenchHost::start(exesdb, &empty).await?;
    let ready_empty = start.elapsed();
    host.stop().await?;
    let start = Instant::now();
    let host = BenchHost::start(exesdb, folder).await?;
    let ready = start.elapsed();
    let opened = Opened {
        events,
        ready_ms: u64::try_from(ready.as_millis())?,
        ready_empty_ms: u64::try_from(ready_empty.as_millis())?,
        memory_mib: host.memory_bytes()? >> 20,
        disk_bytes_per_event: disk as f64 / events as f64,
    };
    Ok((host, opened))
}

/// Bytes that the files below a folder occupy on disk, without the holes of sparse files.
fn disk_bytes(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    /// The unit of `st_blocks`, whatever the file system's own blocks are.
    const BLOCK_BYTES: u64 = 512;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * BLOCK_BYTES };
    }
    Ok(bytes)
}
