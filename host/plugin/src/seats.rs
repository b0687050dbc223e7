//! How many clients follow a store, or listen to its topics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The seats of one store; clones are the same ones.
#[derive(Clone)]
pub(crate) struct Seats(Arc<State>);

struct State {
    max: usize,
    taken: AtomicUsize,
    /// Notified when the last one was freed.
    freed: Notify,
}

/// The seat of one of them, which is freed when it is dropped.
pub(crate) struct Seat(Seats);

impl Seats {
    /// So many seats.
    pub(crate) fn of(max: usize) -> Self {
        Self(Arc::new(State { max, taken: AtomicUsize::new(0), freed: Notify::new() }))
    }

    /// Takes a seat, if one is free.
    pub(crate) fn take(&self) -> Option<Seat> {
        let more = |taken| (taken < self.0.max).then_some(taken + 1);
        self.0.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Seat(self.clone()))
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Acquire)
    }

    /// Completes when no seat is taken.
    pub(crate) async fn all_free(&self) {
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            if self.0.taken.load(Ordering::Acquire) == 0 {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.0.0.taken.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.0.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Seats;

    #[tokio::test]
    async fn seats_are_bounded_and_freed() {
        let seats = Seats::of(2);
        seats.all_free().await;
        let (first, second) = (seats.take(), seats.take());
        assert!(first.is_some() && second.is_some() && seats.take().is_none());
        assert_eq!(seats.taken(), 2);
        drop(first);
        assert_eq!(seats.taken(), 1);
        let third = seats.take().expect("one was freed");
        let mut all_free = std::pin::pin!(seats.all_free());
        drop(second);
        assert!(futures_util::poll!(all_free.as_mut()).is_pending());
        drop(third);
        all_free.await;
    }
}
