//! How fast children of one supervisor may be killed. Beyond its limit the supervisor gives up, and more ends than the model
//! knows of.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Restarts that `system` permits within [`PERIOD`].
const RESTARTS: usize = 3;

/// Its period, which is 5 s, and a margin: the supervisor counts later than the test does.
const PERIOD: Duration = Duration::from_secs(6);

/// The last kills of children of `system`.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<Instant>);

impl Pace {
    /// Waits until one more may be killed.
    pub(super) fn next(&mut self) {
        if self.0.len() == RESTARTS
            && let Some(first) = self.0.pop_front()
        {
            std::thread::sleep(PERIOD.saturating_sub(first.elapsed()));
        }
        self.0.push_back(Instant::now());
    }
}
