//! Topics: transient subscriptions. A listener begins now, acknowledges nothing, and is gone with its connection.
//!
//! | topic | what is heard |
//! |---|---|
//! | `$all`, `stream:NAME`, `type:NAME`, `tag:NAME`, `pattern:{JSON}` | events of the store, as they become durable |
//! | `$lifecycle`, `$alerts`, `$subscriptions` | what happens in the store's part of the supervision tree, from the telemetry |
//! | `$health`, `$metrics` | states: one when it changes, the other every ten seconds |
//!
//! No queue holds events for a listener: it has a place in the log, or in the ring of the telemetry. One that is too slow is put
//! ahead to what is new, and its next message says what was dropped. [`topic`] reads the names, [`lag`] has the rule for who is
//! put ahead, [`record`] which event of the telemetry belongs to which topic; these are pure. A [`listener`] hears [`stored`]
//! events, those of the [`telemetry`], or a state ([`sample`]).
//!
//! Gateways use the named feed `topics/follow` with the payload `{"topic":"..."}`. The first page has the note `begun`. After it,
//! packed events come as events; what was dropped before them, and what system topics say, as notes (see [`notes`]).

mod heard;
mod lag;
mod listener;
mod notes;
mod record;
mod sample;
mod stored;
mod telemetry;
mod topic;

use std::sync::Arc;

use crate::bindings::store::types::Error;
use crate::long_read::LiveReads;
use crate::problem::{code, problem};
use crate::seats::{Seat, Seats};

pub(crate) use heard::Heard;
pub(crate) use listener::Listener;
pub use sample::{HealthSource, StoreHealth};

/// Listeners of one store. Each reads and encodes on its own, so that they may be fewer than followers, who share that.
const LISTENERS_MAX: usize = 1_024;

/// What the listeners of one store share.
pub(crate) struct Topics {
    seats: Seats,
    live: Arc<LiveReads>,
    samples: sample::Samples,
}

impl Topics {
    /// The topics of a store with these followers.
    pub(crate) fn of(followers: &Seats) -> Arc<Self> {
        let seats = Seats::of(LISTENERS_MAX);
        let samples = sample::Samples::of(followers, &seats);
        Arc::new(Self { seats, live: Arc::default(), samples })
    }

    fn seat(&self) -> Result<Seat, Error> {
        self.seats.take().ok_or_else(|| {
            let message = format!("the store has its {LISTENERS_MAX} listeners of topics");
            problem(code::TOO_LARGE, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{LISTENERS_MAX, Topics};
    use crate::seats::Seats;

    #[test]
    fn a_store_has_only_so_many_listeners() {
        let topics = Topics::of(&Seats::of(1));
        let seats: Vec<_> = (0..LISTENERS_MAX).map(|_| topics.seat().expect("one is free")).collect();
        assert!(topics.seat().is_err());
        drop(seats);
        assert!(topics.seat().is_ok());
    }
}
