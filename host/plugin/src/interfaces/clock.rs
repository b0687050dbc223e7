//! `exesdb:host/clock`.

use crate::bindings::clock::Host;
use crate::state::State;

impl Host for State {
    fn now(&mut self) -> u64 {
        u64::try_from(self.context.clock.since_epoch().as_micros()).unwrap_or(u64::MAX)
    }
}
