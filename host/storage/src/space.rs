//! Free space on the disk, checked before it runs out.
//!
//! A write that fails half way stops the store until it is opened again. It is better to refuse a little earlier: nothing
//! was written, reads go on, and the store takes commits again as soon as there is room.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a reading of the free space is used. 100 ms: the disk is shared with others.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes that may be written on one reading. 8 MiB: little compared with any sensible reserve, and thousands of small
/// commits.
const CHECK_BYTES: u64 = 8 * 1024 * 1024;

/// Reads how many bytes are free on the store's disk.
pub type FreeSpace = Arc<dyn Fn() -> io::Result<u64> + Send + Sync>;

/// Divisor of the reserve: this part of it is kept even from writes that free space. It has to hold a journal and the flush
/// of a memtable, or the store would stop half way through a write.
const KEPT_SHARE: u64 = 4;

/// What a write is for, as far as disk space is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It must leave the whole reserve free.
    Ordinary,
    /// It frees space, at once or when the store is scavenged, and may use most of the reserve.
    MakesRoom,
}

/// The space of a store's disk, part of which is kept free as a reserve.
pub(crate) struct DiskSpace {
    free: FreeSpace,
    /// Bytes of the whole disk, if known.
    total: Option<u64>,
    reserve: u64,
    /// When the free space was last read, and how many bytes were free, if it could be read.
    reading: Option<(Instant, Option<u64>)>,
    /// Bytes written since the last reading.
    written: u64,
}

impl DiskSpace {
    /// The disk of `dir`. `free` replaces the file system's own figure in tests.
    pub(crate) fn new(dir: &Path, reserve: u64, free: Option<FreeSpace>) -> Self {
        let total = if free.is_some() { None } else { total_bytes(dir).ok() };
        let dir = dir.to_owned();
        let free = free.unwrap_or_else(|| Arc::new(move || free_bytes(&dir)));
        Self { free, total, reserve, reading: None, written: 0 }
    }

    /// Why there is no room to write now, if so. `bytes` are about to be written; the free space is read again only at
    /// intervals.
    pub(crate) fn shortage(&mut self, bytes: u64, now: Instant, purpose: Purpose) -> Option<String> {
        self.written = self.written.saturating_add(bytes);
        let current = self
            .reading
            .filter(|(at, _)| now.duration_since(*at) < CHECK_INTERVAL && self.written <= CHECK_BYTES);
        let free = match current {
            Some((_, free)) => free,
            None => {
                let free = match (self.free)() {
                    Ok(free) => Some(free),
                    // Not a reason to refuse: if there is no room, the write itself will fail.
                    Err(error) => {
                        tracing::warn!(%error, "the free space of the store's disk could not be read");
                        None
                    }
                };
                self.written = bytes;
                self.reading = Some((now, free));
                free
            }
        };
        free.filter(|free| *free < self.kept(purpose)).map(|free| self.explain(free, purpose))
    }

    /// Why there is no room for `bytes` in addition to what is kept free, if so. Reads the free space each time.
    pub(crate) fn shortage_for(&self, bytes: u64, purpose: Purpose) -> Option<String> {
        match (self.free)() {
            Ok(free) if free < self.kept(purpose).saturating_add(bytes) => Some(self.explain(free, purpose)),
            Ok(_) => None,
            Err(error) => Some(format!("the free space of its disk could not be read ({error})")),
        }
    }

    /// Bytes that have to stay free.
    fn kept(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Ordinary => self.reserve,
            Purpose::MakesRoom => self.reserve / KEPT_SHARE,
        }
    }

    fn explain(&self, free: u64, purpose: Purpose) -> String {
        let reserve = self.reserve;
        if let Some(total) = self.total.filter(|total| *total < reserve) {
            return format!(
                "its disk has {total} bytes in all, and {reserve} are to be kept in reserve; use a larger disk, or lower the reserve (disk_reserve_mib)"
            );
        }
        let of_total = self.total.map_or(String::new(), |total| format!(" of {total}"));
        match purpose {
            Purpose::Ordinary => format!(
                "{free}{of_total} bytes are free on its disk, and {reserve} are kept in reserve (disk_reserve_mib); make room: deleting, retention and scavenging may use the reserve"
            ),
            Purpose::MakesRoom => format!(
                "{free}{of_total} bytes are free on its disk, and {} of the reserve of {reserve} (disk_reserve_mib) are kept even from what makes room; make room for it elsewhere on the disk",
                self.kept(purpose)
            ),
        }
    }
}

fn total_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Name of the file that [`probe`] writes.
const PROBE_FILE: &str = "probe";

/// Bytes that [`probe`] writes: a block of the file system.
const PROBE_BYTES: usize = 4096;

/// Writes, syncs and removes a small file in `dir`.
pub(crate) fn probe(dir: &Path) -> io::Result<()> {
    struct Remove(PathBuf);
    impl Drop for Remove {
        fn drop(&mut self) {
            // A file that was not created cannot be removed, and one that is left is overwritten by the next probe.
            let _ = std::fs::remove_file(&self.0);
        }
    }
    let file = Remove(dir.join(PROBE_FILE));
    let mut probe = std::fs::File::create(&file.0)?;
    probe.write_all(&[0x5a; PROBE_BYTES])?;
    probe.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::{CHECK_BYTES, CHECK_INTERVAL, DiskSpace, Purpose, probe};
    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    #[test]
    fn a_reading_is_used_for_a_time_and_a_number_of_bytes() {
        let free = Arc::new(AtomicU64::new(100));
        let reads = Arc::new(AtomicU64::new(0));
        let (bytes, count) = (Arc::clone(&free), Arc::clone(&reads));
        let gauge = move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(bytes.load(Ordering::SeqCst))
        };
        let mut space = DiskSpace::new(Path::new("."), 100, Some(Arc::new(gauge)));
        let start = Instant::now();
        assert_eq!(space.shortage(1, start, Purpose::Ordinary), None);
        free.store(99, Ordering::SeqCst);
        assert_eq!(space.shortage(1, start, Purpose::Ordinary), None, "not read again");
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        let refusal = space.shortage(CHECK_BYTES, start, Purpose::Ordinary).unwrap();
        assert!(refusal.contains("99") && refusal.contains("100"), "{refusal}");
        free.store(100, Ordering::SeqCst);
        assert!(
            space.shortage(1, start + CHECK_INTERVAL / 2, Purpose::Ordinary).is_some()
                || reads.load(Ordering::SeqCst) == 3
        );
        assert_eq!(space.shortage(1, start + CHECK_INTERVAL, Purpose::Ordinary), None);
    }

    #[test]
    fn unknown_free_space_does_not_refuse_writes() {
        let gauge = || Err(io::Error::other("unknown"));
        let mut space = DiskSpace::new(Path::new("."), u64::MAX, Some(Arc::new(gauge)));
        assert_eq!(space.shortage(1, Instant::now(), Purpose::Ordinary), None);
        let mut real = DiskSpace::new(Path::new("."), u64::MAX, None);
        assert!(real.shortage(1, Instant::now(), Purpose::Ordinary).is_some(), "no disk has that much");
    }

    #[test]
    fn writes_that_make_room_may_use_most_of_the_reserve() {
        // Free bytes, whether ordinary writes are refused, whether those that make room are.
        let table =
            [(100, false, false), (99, true, false), (25, true, false), (24, true, true), (0, true, true)];
        for (free, ordinary, makes_room) in table {
            let mut space = DiskSpace::new(Path::new("."), 100, Some(Arc::new(move || Ok(free))));
            let now = Instant::now();
            assert_eq!(space.shortage(1, now, Purpose::Ordinary).is_some(), ordinary, "{free}");
            assert_eq!(space.shortage(1, now, Purpose::MakesRoom).is_some(), makes_room, "{free}");
            assert_eq!(space.shortage_for(0, Purpose::MakesRoom).is_some(), makes_room, "{free}");
        }
    }

    #[test]
    fn a_disk_smaller_than_the_reserve_is_reported_as_such() {
        let mut space = DiskSpace::new(Path::new("."), u64::MAX, None);
        let refusal = space.shortage(0, Instant::now(), Purpose::Ordinary).unwrap();
        assert!(refusal.contains("bytes in all") && refusal.contains("disk_reserve_mib"), "{refusal}");
    }

    #[test]
    fn a_probe_leaves_no_file_and_reports_errors() {
        let dir = tempfile::tempdir().unwrap();
        probe(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(probe(&dir.path().join("not there")).is_err());
    }
}
