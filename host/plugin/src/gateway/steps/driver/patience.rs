//! Until when a request may go on, if nothing happens. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::steps::limits::{DRAIN_TIME, OUTCOME_TIME, READ_PAUSE_MAX};

/// How long a request has waited for its client.
pub(super) struct Patience {
    /// Parts of the response that were taken, and since when no other was, though there are some.
    taken: (u64, Instant),
    /// When something last happened that the gateway may wait for as long as it likes.
    resumed: Instant,
    /// Until when the request may go on after the host began to stop.
    drained: Option<Instant>,
}

/// What a request waits for.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    /// The response has begun.
    pub(super) has_begun: bool,
    /// For something that may take as long as it likes.
    pub(super) for_events: bool,
    /// For more of its body.
    pub(super) for_body: bool,
    /// Bytes of the response that were not taken.
    pub(super) untaken: usize,
}

impl Patience {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { taken: (0, now), resumed: now, drained: None }
    }

    /// Something has happened that the gateway may wait for as long as it likes.
    pub(super) fn resume(&mut self) {
        self.resumed = Instant::now();
    }

    /// Until when a call may go on before the response has begun, so that its outcome is there in time. `last_part` is when a part
    /// of the request last came, `wall` how long a response may take to begin.
    pub(super) fn of_calls(&self, last_part: Instant, wall: Duration) -> Instant {
        last_part.max(self.resumed) + wall
    }

    /// Notes how many parts of the response were taken, and how many bytes were not.
    pub(super) fn taken(&mut self, parts: u64, untaken: usize) {
        if parts != self.taken.0 || untaken == 0 {
            self.taken = (parts, Instant::now());
        }
    }

    /// The host stops.
    pub(super) fn drain(&mut self) {
        self.drained = Some(Instant::now() + DRAIN_TIME);
    }

    /// Whether the host stops.
    pub(super) fn is_draining(&self) -> bool {
        self.drained.is_some()
    }

    /// Until when the request may wait; the arguments are those of [`of_calls`](Self::of_calls).
    pub(super) fn until(&self, waiting: &Waiting, last_part: Instant, wall: Duration) -> Option<Instant> {
        if self.drained.is_some() {
            return self.drained;
        }
        if waiting.has_begun {
            return (waiting.untaken > 0).then(|| self.taken.1 + READ_PAUSE_MAX);
        }
        // Until the response begins, the body has a limit of its own.
        (!waiting.for_events && !waiting.for_body).then(|| self.of_calls(last_part, wall) + OUTCOME_TIME)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use super::{DRAIN_TIME, OUTCOME_TIME, Patience, READ_PAUSE_MAX, Waiting};

    const NOTHING: Waiting = Waiting { has_begun: false, for_events: false, for_body: false, untaken: 0 };
    const BEGUN: Waiting = Waiting { has_begun: true, ..NOTHING };
    const WALL: Duration = Duration::from_secs(40);
    /// Since the last part of the request came.
    const AGO: Duration = Duration::from_secs(7);

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_as_long_as_nobody_is_too_slow() {
        let patience = Patience::new();
        advance(AGO * 2).await;
        let now = Instant::now();
        for (waiting, expected) in [
            (NOTHING, Some(WALL + OUTCOME_TIME - AGO)),
            (Waiting { for_events: true, ..NOTHING }, None),
            (Waiting { for_body: true, ..NOTHING }, None),
            (BEGUN, None),
            (Waiting { for_body: true, ..BEGUN }, None),
            (Waiting { untaken: 1, ..BEGUN }, Some(READ_PAUSE_MAX)),
            (Waiting { for_body: true, untaken: 1, ..BEGUN }, Some(READ_PAUSE_MAX)),
        ] {
            let mut patience = Patience { ..patience };
            patience.taken(1, waiting.untaken);
            let until = patience.until(&waiting, now - AGO, WALL);
            assert_eq!(until.map(|until| until - now), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_response_begins_again_after_what_may_take_long() {
        let (mut patience, last_part) = (Patience::new(), Instant::now());
        advance(WALL * 2).await;
        assert!(patience.of_calls(last_part, WALL) < Instant::now());
        patience.resume();
        assert_eq!(patience.of_calls(last_part, WALL), Instant::now() + WALL);
        let until = patience.until(&NOTHING, last_part, WALL);
        assert_eq!(until, Some(Instant::now() + WALL + OUTCOME_TIME));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_slow_only_from_when_there_is_something_for_it() {
        let mut patience = Patience::new();
        let unread = Waiting { untaken: 1, ..BEGUN };
        let until =
            |patience: &Patience| patience.until(&unread, Instant::now(), WALL).expect("it is limited");
        advance(READ_PAUSE_MAX * 3).await;
        // As when something is about to be sent after long silence.
        patience.taken(0, 0);
        assert_eq!(until(&patience), Instant::now() + READ_PAUSE_MAX);
        advance(AGO).await;
        patience.taken(0, 1);
        assert_eq!(until(&patience), Instant::now() + READ_PAUSE_MAX - AGO);
        patience.taken(1, 1);
        assert_eq!(until(&patience), Instant::now() + READ_PAUSE_MAX);
        patience.drain();
        assert_eq!(until(&patience), Instant::now() + DRAIN_TIME);
        assert!(patience.is_draining());
    }
}
