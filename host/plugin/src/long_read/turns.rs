//! Turns of long reads. Bulk reads, followers and subscriptions share the instances with short requests, which must not wait
//! behind thousands of them: so only few long reads of a store read and encode a page at a time, and the others wait here.

use std::thread::available_parallelism;

use tokio::sync::{Semaphore, SemaphorePermit};

/// The turns of one store.
pub(crate) struct Turns {
    /// Pages of reads that are on their own and are being read, encoded, or both. Each is in memory.
    alone: Semaphore,
    /// The same for groups of followers, which must not wait behind followers that catch up.
    shared: Semaphore,
    /// Instances of the streams component that read for them.
    reads: Semaphore,
}

/// A turn; it is over when this is dropped.
pub(crate) struct Turn<'a>(#[expect(dead_code, reason = "it is held")] SemaphorePermit<'a>);

impl Turns {
    /// The turns of a store with so many instances that read.
    pub(crate) fn of(readers: usize) -> Self {
        let pages = pages_at_a_time(available_parallelism().map_or(1, usize::from));
        Self {
            alone: Semaphore::new(pages),
            shared: Semaphore::new(pages),
            reads: Semaphore::new(half(readers)),
        }
    }

    /// Waits for the turn of a page that one client reads.
    pub(crate) async fn alone(&self) -> Turn<'_> {
        turn(&self.alone).await
    }

    /// Waits for the turn of a page that a group reads.
    pub(crate) async fn shared(&self) -> Turn<'_> {
        turn(&self.shared).await
    }

    /// Waits for the turn of a call of the streams component.
    pub(crate) async fn read(&self) -> Turn<'_> {
        turn(&self.reads).await
    }
}

async fn turn(semaphore: &Semaphore) -> Turn<'_> {
    Turn(semaphore.acquire().await.expect("the semaphore is never closed"))
}

/// While one page is read, another one is encoded, on each processor that may do either.
fn pages_at_a_time(processors: usize) -> usize {
    processors.max(2)
}

/// Half of the instances, which leaves the other half to short requests. One is shared with them.
pub(crate) fn half(instances: usize) -> usize {
    (instances / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::{Turns, half};

    #[test]
    fn long_reads_have_half_of_the_instances() {
        for (instances, expected) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (64, 32)] {
            assert_eq!(half(instances), expected, "{instances}");
        }
    }

    #[tokio::test]
    async fn a_turn_ends_when_it_is_dropped_and_others_wait_in_order() {
        let turns = Turns::of(3);
        let first = turns.read().await;
        let (mut second, mut third) = (Box::pin(turns.read()), Box::pin(turns.read()));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        drop(first);
        let second = second.await;
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        drop(second);
        drop(third.await);
    }
}
