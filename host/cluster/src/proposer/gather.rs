//! What waits to be proposed, and how much of it becomes one entry.

use std::collections::VecDeque;

use crate::limits::{ENTRY_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_COMMITS_MAX};

/// A bounded queue of things that have sizes.
pub(super) struct Queue<T> {
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Queue<T> {
    /// Whether one more fits, or which limit is reached.
    pub(super) fn check(&self, bytes: usize) -> Result<(), String> {
        if self.waiting.len() >= QUEUE_COMMITS_MAX {
            return Err(format!("{QUEUE_COMMITS_MAX} commits"));
        }
        if self.bytes + bytes > QUEUE_BYTES_MAX {
            return Err(format!("{QUEUE_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    /// Adds one that fits.
    pub(super) fn push(&mut self, one: T, bytes: usize) {
        self.bytes += bytes;
        self.waiting.push_back((one, bytes));
    }

    /// Takes those that become one entry: as many as fit, and at least one if one waits.
    pub(super) fn take(&mut self) -> Vec<T> {
        let mut taken = Vec::new();
        let mut total = 0;
        while let Some((one, bytes)) =
            self.waiting.pop_front_if(|(_, bytes)| total == 0 || total + *bytes <= ENTRY_BYTES_MAX)
        {
            // One without bytes is something all the same.
            total += bytes.max(1);
            self.bytes -= bytes;
            taken.push(one);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use crate::limits::{ENTRY_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_COMMITS_MAX};

    #[test]
    fn an_entry_has_what_fits_and_at_least_one_commit() {
        const MAX: usize = ENTRY_BYTES_MAX;
        let table: [(&[usize], &[usize]); 5] = [
            (&[], &[]),
            (&[MAX * 3, 1], &[1, 1]),
            (&[MAX / 2, MAX / 2, 1], &[2, 1]),
            (&[1, MAX], &[1, 1]),
            (&[0, 0, 0], &[3]),
        ];
        for (sizes, expected) in table {
            let mut queue = Queue::default();
            sizes.iter().for_each(|bytes| queue.push((), *bytes));
            let taken: Vec<_> = expected.iter().map(|_| queue.take().len()).collect();
            assert_eq!(taken, expected, "{sizes:?}");
            assert!(queue.take().is_empty() && queue.bytes == 0);
        }
    }

    #[test]
    fn what_exceeds_a_limit_is_refused_and_fits_once_something_is_taken() {
        let mut queue = Queue::default();
        assert_eq!(queue.check(QUEUE_BYTES_MAX), Ok(()));
        queue.push((), QUEUE_BYTES_MAX);
        assert_eq!(queue.check(1), Err(format!("{QUEUE_BYTES_MAX} bytes")));
        queue.take();
        (0..QUEUE_COMMITS_MAX).for_each(|_| queue.push((), 0));
        assert_eq!(queue.check(0), Err(format!("{QUEUE_COMMITS_MAX} commits")));
    }
}
