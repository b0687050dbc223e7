//! Room on the disk, looked at before it runs out.
//!
//! A write that fails half way stops the store for good. Refusing a little earlier is better: nothing was written, reads
//! go on, and the store takes commits again as soon as there is room.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer of the file system is good for. 100 ms: others share the disk.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes that may be written on one answer. 8 MiB: little beside any sensible reserve, and thousands of small commits.
const CHECK_BYTES: u64 = 8 * 1024 * 1024;

/// Asks for the bytes that are free where the store lies.
pub type FreeSpace = Arc<dyn Fn() -> io::Result<u64> + Send + Sync>;

/// Whether there is room to write.
pub(crate) struct Space {
    free: FreeSpace,
    reserve: u64,
    /// The last answer: when, and why there is no room, if so.
    answer: Option<(Instant, Option<String>)>,
    /// Bytes written since the last answer.
    written: u64,
}

impl Space {
    /// Room in `dir`, as the file system says unless `free` is given.
    pub(crate) fn new(dir: &Path, reserve: u64, free: Option<FreeSpace>) -> Self {
        let dir = dir.to_owned();
        let free = free.unwrap_or_else(|| Arc::new(move || free_bytes(&dir)));
        Self { free, reserve, answer: None, written: 0 }
    }

    /// Why `bytes` must not be written now, if so.
    pub(crate) fn refuses(&mut self, bytes: u64, now: Instant) -> Option<String> {
        self.written = self.written.saturating_add(bytes);
        if let Some((at, refusal)) = &self.answer
            && now.duration_since(*at) < CHECK_INTERVAL
            && self.written <= CHECK_BYTES
        {
            return refusal.clone();
        }
        let refusal = match (self.free)() {
            Ok(free) if free < self.reserve => Some(format!(
                "{free} bytes are free on its disk, and {} are kept in reserve; make room",
                self.reserve
            )),
            Ok(_) => None,
            // Not knowing is no reason to refuse: if there is no room, the write will say so.
            Err(error) => {
                tracing::warn!(%error, "the free space of the store's disk could not be read");
                None
            }
        };
        self.written = bytes;
        self.answer = Some((now, refusal.clone()));
        refusal
    }

    /// Why there is no room for `bytes` beside the reserve, if so; asked anew each time.
    pub(crate) fn lacks(&self, bytes: u64) -> Option<String> {
        let needed = self.reserve.saturating_add(bytes);
        match (self.free)() {
            Ok(free) if free < needed => Some(format!(
                "{free} bytes are free on its disk, and {} of them are kept in reserve; make room",
                self.reserve
            )),
            Ok(_) => None,
            Err(error) => Some(format!("the free space of its disk could not be read ({error})")),
        }
    }
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
            // A file that was not created cannot be removed; one that is left is written over by the next probe.
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
    use super::{CHECK_BYTES, CHECK_INTERVAL, Space, probe};
    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    #[test]
    fn an_answer_is_kept_for_a_time_and_a_number_of_bytes() {
        let free = Arc::new(AtomicU64::new(100));
        let asked = Arc::new(AtomicU64::new(0));
        let (read, count) = (Arc::clone(&free), Arc::clone(&asked));
        let gauge = move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(read.load(Ordering::SeqCst))
        };
        let mut space = Space::new(Path::new("."), 100, Some(Arc::new(gauge)));
        let start = Instant::now();
        assert_eq!(space.refuses(1, start), None);
        free.store(99, Ordering::SeqCst);
        assert_eq!(space.refuses(1, start), None, "not asked again");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let refusal = space.refuses(CHECK_BYTES, start).unwrap();
        assert!(refusal.contains("99") && refusal.contains("100"), "{refusal}");
        free.store(100, Ordering::SeqCst);
        assert!(space.refuses(1, start + CHECK_INTERVAL / 2).is_some() || asked.load(Ordering::SeqCst) == 3);
        assert_eq!(space.refuses(1, start + CHECK_INTERVAL), None);
    }

    #[test]
    fn not_knowing_is_no_refusal() {
        let gauge = || Err(io::Error::other("no answer"));
        let mut space = Space::new(Path::new("."), u64::MAX, Some(Arc::new(gauge)));
        assert_eq!(space.refuses(1, Instant::now()), None);
        let mut real = Space::new(Path::new("."), u64::MAX, None);
        assert!(real.refuses(1, Instant::now()).is_some(), "no disk has as much as that");
    }

    #[test]
    fn a_probe_leaves_nothing_and_says_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        probe(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(probe(&dir.path().join("not there")).is_err());
    }
}
