//! How often the measured things take turns.

use std::time::Duration;

/// Several short rounds, in each of which everything that is compared has its turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) count: usize,
    /// Of each turn that has a load.
    pub(crate) time: Duration,
}
