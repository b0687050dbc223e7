//! `exesdb:host/clock`.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::bindings::clock::Host;
use crate::state::State;

impl Host for State {
    fn now(&mut self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}
