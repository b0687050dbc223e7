//! Running what takes long beside the runtime's threads, so that nobody else waits for it: a guest that computes, a read
//! that waits for the disk.
//!
//! Which those are shows only when they have begun, and most calls are neither. So a call begins on the runtime's
//! thread, where it costs nothing to; what has taken long once is moved the next time.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

/// How long a read takes that waited for the disk. One from the page cache takes some microseconds, and a large page of
/// the log half a millisecond.
const SLOW_READ: Duration = Duration::from_millis(1);

/// Threads at a time that run something beside the runtime's: as many as there are processors. More would take them
/// from the runtime's own.
static ROOM: LazyLock<AtomicUsize> =
    LazyLock::new(|| AtomicUsize::new(available_parallelism().map_or(1, usize::from)));

/// A place beside the runtime's threads.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let less = |room: usize| room.checked_sub(1);
        ROOM.try_update(Ordering::Relaxed, Ordering::Relaxed, less).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        ROOM.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs something beside the runtime's threads, if there is room: another thread goes on with what this one was to do.
pub(crate) fn beside<T>(work: impl FnOnce() -> T) -> T {
    let movable =
        Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    match movable.then(Place::take).flatten() {
        Some(_place) => tokio::task::block_in_place(work),
        None => work(),
    }
}

/// Whether the disk has to be waited for, as the last read told.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    is_slow: bool,
}

impl Disk {
    /// Reads; beside the runtime's threads if the read before had to wait.
    pub(crate) fn read<T>(&mut self, read: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let found = if self.is_slow { beside(read) } else { read() };
        self.is_slow = begun.elapsed() >= SLOW_READ;
        found
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::{Disk, SLOW_READ, beside};

    /// Longest that a test waits for what should happen at once.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

    /// Held by a test that needs room, of which a machine with one processor has no more.
    pub(crate) static ROOM_FOR_ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_something_runs_beside() {
        let _room = ROOM_FOR_ONE.lock().await;
        let (sender, receiver) = mpsc::channel();
        let both = tokio::spawn(async move {
            // On the only thread of the runtime, and so is the one that it waits for.
            tokio::spawn(async move { sender.send(()) });
            beside(|| receiver.recv_timeout(PATIENCE))
        });
        assert_eq!(both.await.unwrap(), Ok(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_read_is_beside_the_others_when_the_one_before_was_slow() {
        let _room = ROOM_FOR_ONE.lock().await;
        let (sender, receiver) = mpsc::channel();
        let both = tokio::spawn(async move {
            let mut disk = Disk::default();
            disk.read(|| std::thread::sleep(SLOW_READ));
            tokio::spawn(async move { sender.send(()) });
            disk.read(|| receiver.recv_timeout(PATIENCE))
        });
        assert_eq!(both.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_runs_it_itself() {
        assert_eq!(beside(|| 1), 1);
    }
}
