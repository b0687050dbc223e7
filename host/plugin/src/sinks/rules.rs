//! What follows from what a sink returns: pauses, the circuit breaker, and which events are parked or halt the subscription.
//! Pure.

use std::time::Duration;

use crate::bindings::store::dispatch::Refusal;
use crate::bindings::store::sink::{Failure, Outcome, Unavailability};
use crate::bindings::store::subscription_types::{PoisonPolicy, Settings};
use crate::emitters::REASON_BYTES_MAX;
use crate::text::truncated;

/// The first pause after a failure. It doubles each time, so that a receiver that just restarts is not waited for long.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// The longest pause: a receiver that is back gets its events again within this time.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The longest pause that a receiver can ask for. It is a claim: a wrong one should not stop deliveries for a day.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// Calls in a row that find no receiver, after which the breaker opens: fewer may be a restart of it.
const UNAVAILABLE_MAX: u32 = 3;

/// What is known of a sink's receiver and of the event that it did not take. It outlives the sink's instances.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Calls in a row that found no receiver.
    unavailable: u32,
    /// The event that failed last, and how often in a row.
    failing: Option<(u64, u32)>,
}

/// What is done after a call, when what is done is acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next events are passed.
    GoOn,
    /// The next event is refused in this way, and those after it are passed.
    Refuse(Refusal),
    /// The next event is refused in this way, all others go back to the subscription, and the sink is called again after
    /// the pause.
    GiveBack(Option<Refusal>, Duration),
}

impl Rules {
    /// What follows from an outcome. `place` is that of the event after what is done, and `jitter` any number.
    pub(super) fn after(
        &mut self,
        outcome: Outcome,
        place: Option<u64>,
        settings: &Settings,
        jitter: u64,
    ) -> Next {
        let Outcome { done, failure } = outcome;
        if done > 0 {
            *self = Self::default();
        }
        let (Some(failure), Some(place)) = (failure, place) else { return Next::GoOn };
        match failure {
            Failure::Unavailable(Unavailability { retry_after_ms, .. }) => {
                self.unavailable = self.unavailable.saturating_add(1);
                let asked = Duration::from_millis(retry_after_ms.unwrap_or(0).into()).min(RETRY_AFTER_MAX);
                Next::GiveBack(None, pause(self.unavailable, jitter).max(asked))
            }
            Failure::Failed(reason) => {
                self.unavailable = 0;
                let before = self.failing.filter(|(failing, _)| *failing == place);
                let times = before.map_or(1, |(_, times)| times.saturating_add(1));
                if times > settings.retries_max {
                    self.failing = None;
                    return given_up(settings.poison, &format!("it failed {times} times: {reason}"));
                }
                self.failing = Some((place, times));
                Next::GiveBack(Some(Refusal::Retry), pause(times, jitter))
            }
            Failure::Rejected(reason) => {
                *self = Self::default();
                given_up(settings.poison, &format!("it was rejected: {reason}"))
            }
            Failure::Broken(reason) => {
                let reason = reason_of(&format!("the sink cannot deliver: {reason}"));
                Next::GiveBack(Some(Refusal::Stop(reason)), Duration::ZERO)
            }
        }
    }

    /// Whether the breaker is open: then one event is passed at a time, until one is done.
    pub(super) fn is_open(&self) -> bool {
        self.unavailable >= UNAVAILABLE_MAX
    }

    /// Events that are passed at a time, of those that a batch may have.
    pub(super) fn window(&self, batch_events: u32) -> u32 {
        if self.is_open() { 1 } else { batch_events }
    }
}

/// What is done with an event that cannot be delivered.
fn given_up(policy: PoisonPolicy, why: &str) -> Next {
    match policy {
        PoisonPolicy::Park => Next::Refuse(Refusal::Park(reason_of(why))),
        PoisonPolicy::Halt => Next::GiveBack(Some(Refusal::Stop(reason_of(why))), Duration::ZERO),
    }
}

fn reason_of(why: &str) -> String {
    truncated(why, REASON_BYTES_MAX)
}

/// The pause after so many failures in a row, shortened by up to a half, so that sinks that failed together do not call
/// together again.
fn pause(times: u32, jitter: u64) -> Duration {
    let factor = 1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    let whole = PAUSE_FIRST.saturating_mul(factor).min(PAUSE_MAX);
    whole - whole / 2 * u32::try_from(jitter % 1_024).expect("less than 1,024") / 1_024
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failure, Next, Outcome, PoisonPolicy, Refusal, Rules, Settings, Unavailability, pause};
    use crate::bindings::store::subscription_types::Strategy;

    fn settings(poison: PoisonPolicy, retries_max: u32) -> Settings {
        Settings {
            strategy: Strategy::RoundRobin,
            poison,
            ack_timeout_ms: 30_000,
            retries_max,
            consumers_max: 1,
            buffer_events: 1,
            checkpoint_events_max: 1,
            checkpoint_ms: 1_000,
            checkpoint_events_min: 0,
            options: Vec::new(),
        }
    }

    fn failed(done: u32, failure: Failure) -> Outcome {
        Outcome { done, failure: Some(failure) }
    }

    fn away(retry_after_ms: Option<u32>) -> Failure {
        Failure::Unavailable(Unavailability { reason: "refused".into(), retry_after_ms })
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_receiver_that_is_not_there_is_tried_without_limit_and_no_event_is_refused() {
        let (mut rules, settings) = (Rules::default(), settings(PoisonPolicy::Park, 0));
        let mut next = |done, failure| {
            let next = rules.after(failed(done, failure), Some(7), &settings, 0);
            (next, rules.is_open(), rules.window(100))
        };
        for (times, expected) in
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000].into_iter().enumerate()
        {
            let is_open = times >= 2;
            let window = if is_open { 1 } else { 100 };
            assert_eq!(next(0, away(None)), (Next::GiveBack(None, ms(expected)), is_open, window), "{times}");
        }
        assert_eq!(next(0, away(Some(90_000))).0, Next::GiveBack(None, ms(90_000)), "it asked for it");
        assert_eq!(next(0, away(Some(u32::MAX))).0, Next::GiveBack(None, ms(600_000)), "within bounds");
        assert_eq!(next(1, away(None)), (Next::GiveBack(None, ms(500)), false, 100), "one got through");
    }

    #[test]
    fn the_breaker_closes_when_an_event_is_done_or_refused() {
        for outcome in [
            Outcome { done: 1, failure: None },
            failed(0, Failure::Failed("500".into())),
            failed(0, Failure::Rejected("400".into())),
        ] {
            let (mut rules, settings) = (Rules::default(), settings(PoisonPolicy::Park, 3));
            for _ in 0..5 {
                rules.after(failed(0, away(None)), Some(7), &settings, 0);
            }
            assert!(rules.is_open());
            rules.after(outcome.clone(), Some(7), &settings, 0);
            assert!(!rules.is_open(), "{outcome:?}");
        }
    }

    #[test]
    fn an_event_that_fails_is_parked_or_halts_after_its_retries() {
        for poison in [PoisonPolicy::Park, PoisonPolicy::Halt] {
            let (mut rules, settings) = (Rules::default(), settings(poison, 2));
            let mut next =
                |place| rules.after(failed(0, Failure::Failed("500".into())), Some(place), &settings, 0);
            assert_eq!(next(7), Next::GiveBack(Some(Refusal::Retry), ms(500)));
            assert_eq!(next(9), Next::GiveBack(Some(Refusal::Retry), ms(500)), "another event");
            assert_eq!(next(9), Next::GiveBack(Some(Refusal::Retry), ms(1_000)));
            match (poison, next(9)) {
                (PoisonPolicy::Park, Next::Refuse(Refusal::Park(why))) => {
                    assert_eq!(why, "it failed 3 times: 500")
                }
                (PoisonPolicy::Halt, Next::GiveBack(Some(Refusal::Stop(why)), Duration::ZERO)) => {
                    assert_eq!(why, "it failed 3 times: 500");
                }
                (_, other) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_rejected_event_is_parked_or_halts_at_once_and_a_broken_sink_halts() {
        let next =
            |poison, failure| Rules::default().after(failed(2, failure), Some(7), &settings(poison, 9), 0);
        let rejected = || Failure::Rejected("400".into());
        let parked = next(PoisonPolicy::Park, rejected());
        assert_eq!(parked, Next::Refuse(Refusal::Park("it was rejected: 400".into())));
        let halted = next(PoisonPolicy::Halt, rejected());
        assert_eq!(
            halted,
            Next::GiveBack(Some(Refusal::Stop("it was rejected: 400".into())), Duration::ZERO)
        );
        for poison in [PoisonPolicy::Park, PoisonPolicy::Halt] {
            let broken = next(poison, Failure::Broken("no url".into()));
            let reason = "the sink cannot deliver: no url".into();
            assert_eq!(broken, Next::GiveBack(Some(Refusal::Stop(reason)), Duration::ZERO));
        }
    }

    #[test]
    fn what_is_done_needs_no_pause() {
        let next = Rules::default().after(
            Outcome { done: 3, failure: None },
            None,
            &settings(PoisonPolicy::Park, 1),
            0,
        );
        assert_eq!(next, Next::GoOn);
    }

    #[test]
    fn jitter_shortens_a_pause_by_at_most_a_half() {
        for jitter in [0, 1, 1_023, 1_024, u64::MAX] {
            let pause = pause(2, jitter);
            assert!((ms(500)..=ms(1_000)).contains(&pause), "{jitter}: {pause:?}");
        }
        assert_eq!(pause(u32::MAX, 0), ms(60_000));
    }
}
