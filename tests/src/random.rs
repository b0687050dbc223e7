//! Numbers for tests that try something at random, repeatable from a seed.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// A sequence of numbers (xorshift64*).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence that belongs to a seed.
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// A seed that differs from run to run, unless the environment variable `EXESDB_TEST_SEED` names one. Tests
    /// print it, so that a failure can be tried again.
    pub fn seed() -> u64 {
        match std::env::var("EXESDB_TEST_SEED") {
            Ok(seed) => seed.parse().expect("EXESDB_TEST_SEED is a number"),
            Err(_) => RandomState::new().hash_one(std::process::id()) >> 32,
        }
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % end
    }

    /// A time below `end`.
    pub fn time_below(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(end.as_micros()).expect("tests wait for seconds")))
    }
}
