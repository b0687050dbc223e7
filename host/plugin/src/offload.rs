//! Runs long work off the runtime's worker threads, so that it does not delay other tasks: a guest that computes, a read
//! that waits for the disk.
//!
//! Most calls are short, and long ones are not known in advance. So a call starts on the runtime's thread, at no cost;
//! what has taken long once is offloaded the next time.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

/// A read that takes this long had to wait for the disk. A read from the page cache takes some microseconds, and a
/// large page of the log half a millisecond.
const SLOW_READ: Duration = Duration::from_millis(1);

/// Threads that may run offloaded work at a time: as many as there are processors. More would take processors from the
/// runtime's own threads.
static OFFLOAD_PERMITS: LazyLock<AtomicUsize> =
    LazyLock::new(|| AtomicUsize::new(available_parallelism().map_or(1, usize::from)));

/// The right to offload one piece of work.
struct Permit;

impl Permit {
    fn try_acquire() -> Option<Self> {
        let less = |permits: usize| permits.checked_sub(1);
        OFFLOAD_PERMITS.try_update(Ordering::Relaxed, Ordering::Relaxed, less).ok().map(|_| Self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        OFFLOAD_PERMITS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `work` on this thread and moves the runtime's other tasks to another one. Without a free permit, or on a runtime of
/// one thread, the other tasks wait.
pub(crate) fn offload<T>(work: impl FnOnce() -> T) -> T {
    let movable =
        Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    match movable.then(Permit::try_acquire).flatten() {
        Some(_permit) => tokio::task::block_in_place(work),
        None => work(),
    }
}

/// Offloads an instance's reads while they wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct ReadOffload {
    last_was_slow: bool,
}

impl ReadOffload {
    /// Reads; off the runtime's threads if the last read was slow.
    pub(crate) fn read<T>(&mut self, read: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let found = if self.last_was_slow { offload(read) } else { read() };
        self.last_was_slow = started.elapsed() >= SLOW_READ;
        found
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::{ReadOffload, SLOW_READ, offload};

    /// How long a test waits for what should happen at once.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

    /// Held by each test that needs a permit: a machine with one processor has only one.
    pub(crate) static ONLY_PERMIT: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_run_during_offloaded_work() {
        let _permit = ONLY_PERMIT.lock().await;
        let (sender, receiver) = mpsc::channel();
        let both = tokio::spawn(async move {
            // Both tasks run on the runtime's only thread.
            tokio::spawn(async move { sender.send(()) });
            offload(|| receiver.recv_timeout(PATIENCE))
        });
        assert_eq!(both.await.unwrap(), Ok(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_read_after_a_slow_one_is_offloaded() {
        let _permit = ONLY_PERMIT.lock().await;
        let (sender, receiver) = mpsc::channel();
        let both = tokio::spawn(async move {
            let mut reads = ReadOffload::default();
            reads.read(|| std::thread::sleep(SLOW_READ));
            tokio::spawn(async move { sender.send(()) });
            reads.read(|| receiver.recv_timeout(PATIENCE))
        });
        assert_eq!(both.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_runs_the_work_in_place() {
        assert_eq!(offload(|| 1), 1);
    }
}
