//! A circuit breaker for a pool. When a component keeps crashing, its calls fail at once for a while. Otherwise it would be
//! restarted until the supervisors above it give up and stop its siblings, too.
//!
//! [`Rules`] decides and is pure; the partitions of a pool share a [`Breaker`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Crashes within [`WINDOW`] that open the breaker: half of the restarts that the pool's supervisor allows for them. One bad
/// request costs three to five crashes until it is in quarantine (one to three with others, two alone), so this is a handful of
/// bad requests at a time; more means that the component is broken.
pub(super) const CRASHES_MAX: usize = 20;

/// The window in which crashes are counted: the restart period of the pool's supervisor.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// How long the breaker stays open the first time. The pause doubles each further time.
const PAUSE_MIN: Duration = Duration::from_secs(2);

/// The longest pause: a component that was repaired gets calls again within this time.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long the breaker has to stay closed until its next pause is [`PAUSE_MIN`] again.
const PAUSE_RESET_AFTER: Duration = Duration::from_secs(60);

/// How long the outcome of a probe call is awaited before another one is admitted.
const PROBE_WAIT: Duration = Duration::from_secs(5);

/// How often the breaker can open within [`WINDOW`]: after pauses of 2, 4 and 8 seconds. Each time, every instance may
/// crash with the calls that it is serving.
pub(super) const OPENINGS_MAX: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls are admitted.
    Closed,
    /// No call is admitted before `until`.
    Open { until: Instant },
    /// One probe call was admitted; its outcome is awaited until `until`.
    HalfOpen { until: Instant },
}

/// The rules of a breaker. Pure: every function is passed the time.
#[derive(Debug)]
pub(super) struct Rules {
    state: State,
    /// The times of the latest crashes, at most [`CRASHES_MAX`].
    crashes: VecDeque<Instant>,
    /// The next pause.
    pause: Duration,
    /// When the breaker last closed.
    closed_at: Option<Instant>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { state: State::Closed, crashes: VecDeque::new(), pause: PAUSE_MIN, closed_at: None }
    }
}

impl Rules {
    /// Admits a call; the error is how long calls are refused.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until } | State::HalfOpen { until } if now < until => {
                Err(until.duration_since(now))
            }
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen { until: now + PROBE_WAIT };
                Ok(())
            }
        }
    }

    /// Records that an instance crashed while it served. Whether the breaker opened.
    pub(super) fn crashed(&mut self, now: Instant) -> bool {
        while self.crashes.front().is_some_and(|crash| now.duration_since(*crash) >= WINDOW) {
            self.crashes.pop_front();
        }
        if self.crashes.len() == CRASHES_MAX {
            self.crashes.pop_front();
        }
        self.crashes.push_back(now);
        let opens = match self.state {
            State::Closed => self.crashes.len() == CRASHES_MAX,
            State::HalfOpen { .. } => true,
            // The call had begun before the breaker opened.
            State::Open { .. } => false,
        };
        if opens {
            let was_closed_long = self.closed_at.is_none_or(|at| now.duration_since(at) >= PAUSE_RESET_AFTER);
            if was_closed_long && self.state == State::Closed {
                self.pause = PAUSE_MIN;
            }
            self.state = State::Open { until: now + self.pause };
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        opens
    }

    /// Records that a call was served. Whether the breaker closed.
    pub(super) fn served(&mut self, now: Instant) -> bool {
        // An open breaker stays open: the call had begun before.
        let closes = matches!(self.state, State::HalfOpen { .. });
        if closes {
            self.state = State::Closed;
            self.closed_at = Some(now);
        }
        closes
    }

    /// The end of the pause, if the breaker is open.
    pub(super) fn open_until(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Open { until } if now < until => Some(until),
            _ => None,
        }
    }

    fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}

/// The breaker of a pool.
pub(super) struct Breaker {
    rules: Mutex<Rules>,
    /// A copy of the rules' state, so that calls need no lock while the breaker is closed.
    closed: AtomicBool,
    /// Why the component did not start the last time. Shared by the partitions, because they run the same component, and a
    /// pool whose first partition does not start never starts the others.
    start_failure: Mutex<Option<String>>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { rules: Mutex::default(), closed: AtomicBool::new(true), start_failure: Mutex::default() }
    }
}

impl Breaker {
    /// Records why an instance could not be made.
    pub(super) fn record_start_failure(&self, reason: &str) {
        *self.start_failure.lock() = Some(reason.to_owned());
    }

    /// Records that an instance was made.
    pub(super) fn record_start(&self) {
        *self.start_failure.lock() = None;
    }

    /// Why the last instance could not be made.
    pub(super) fn start_failure(&self) -> Option<String> {
        self.start_failure.lock().clone()
    }

    /// Admits a call; the error is how long calls are refused.
    pub(super) fn admit(&self) -> Result<(), Duration> {
        if self.is_closed() {
            return Ok(());
        }
        self.change(|rules, now| rules.admit(now))
    }

    /// Records that an instance crashed while it served. Whether the breaker opened.
    pub(super) fn crashed(&self) -> bool {
        self.change(Rules::crashed)
    }

    /// Records that a call was served. Whether the breaker closed.
    pub(super) fn served(&self) -> bool {
        !self.is_closed() && self.change(Rules::served)
    }

    /// The end of the pause, if the breaker is open.
    pub(super) fn open_until(&self) -> Option<Instant> {
        if self.is_closed() {
            return None;
        }
        self.rules.lock().open_until(Instant::now())
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Rules, Instant) -> T) -> T {
        let mut rules = self.rules.lock();
        let outcome = change(&mut rules, Instant::now());
        self.closed.store(rules.is_closed(), Ordering::Release);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CRASHES_MAX, OPENINGS_MAX, PAUSE_MAX, PAUSE_MIN, PAUSE_RESET_AFTER, PROBE_WAIT, Rules, WINDOW,
    };
    use std::time::{Duration, Instant};

    /// Rules of a breaker that has just opened, and the time.
    fn opened() -> (Rules, Instant) {
        let (mut rules, now) = (Rules::default(), Instant::now());
        for crash in 1..=CRASHES_MAX {
            assert_eq!(rules.crashed(now), crash == CRASHES_MAX);
        }
        (rules, now)
    }

    #[test]
    fn crashes_far_apart_do_not_open_the_breaker() {
        let (mut rules, mut now) = (Rules::default(), Instant::now());
        for _ in 0..10 * CRASHES_MAX {
            assert!(!rules.crashed(now));
            assert_eq!(rules.admit(now), Ok(()));
            now += WINDOW / (CRASHES_MAX as u32 - 1) + Duration::from_millis(1);
        }
    }

    #[test]
    fn an_open_breaker_refuses_for_the_rest_of_the_pause() {
        let (mut rules, now) = opened();
        assert_eq!(rules.admit(now), Err(PAUSE_MIN));
        assert_eq!(rules.admit(now + PAUSE_MIN / 2), Err(PAUSE_MIN / 2));
        assert_eq!(rules.open_until(now), Some(now + PAUSE_MIN));
        assert!(!rules.served(now), "a call from before does not close it");
        assert!(!rules.crashed(now), "nor does one open it again");
        assert_eq!(rules.open_until(now), Some(now + PAUSE_MIN));
    }

    #[test]
    fn after_the_pause_a_probe_call_decides() {
        let (mut rules, now) = opened();
        let later = now + PAUSE_MIN;
        assert_eq!(rules.admit(later), Ok(()));
        assert_eq!(rules.admit(later), Err(PROBE_WAIT), "the others are refused until its outcome is known");
        assert!(rules.served(later));
        assert_eq!(rules.admit(later), Ok(()));
        assert_eq!(rules.admit(later), Ok(()));
    }

    #[test]
    fn a_probe_without_outcome_is_followed_by_another() {
        let (mut rules, now) = opened();
        let later = now + PAUSE_MIN;
        assert_eq!(rules.admit(later), Ok(()));
        assert_eq!(rules.admit(later + PROBE_WAIT), Ok(()));
        assert!(rules.admit(later + PROBE_WAIT).is_err());
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_reset_after_a_long_time_closed() {
        let (mut rules, mut now) = opened();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let until = rules.open_until(now).expect("it is open");
            pauses.push(until.duration_since(now));
            now = until;
            assert_eq!(rules.admit(now), Ok(()));
            assert!(rules.crashed(now), "one crash is enough when half open");
        }
        let expected = [2, 4, 8, 16, 30, 30].map(Duration::from_secs);
        assert_eq!(pauses, expected);
        assert_eq!(pauses[4], PAUSE_MAX);
        now = rules.open_until(now).expect("it is open");
        assert_eq!(rules.admit(now), Ok(()));
        assert!(rules.served(now));
        now += PAUSE_RESET_AFTER;
        for _ in 0..CRASHES_MAX {
            rules.crashed(now);
        }
        assert_eq!(rules.open_until(now), Some(now + PAUSE_MIN));
    }

    #[test]
    fn openings_within_the_window_are_bounded() {
        // The worst case: the component serves each probe and crashes right after it.
        let (mut rules, start) = opened();
        let (mut now, mut openings) = (start, 1);
        loop {
            now = rules.open_until(now).expect("it is open");
            if now.duration_since(start) >= WINDOW {
                break;
            }
            assert_eq!(rules.admit(now), Ok(()));
            assert!(rules.served(now));
            let mut crashes = 1;
            while !rules.crashed(now) {
                crashes += 1;
            }
            assert!(crashes <= CRASHES_MAX);
            openings += 1;
        }
        assert_eq!(openings, OPENINGS_MAX);
    }
}
