//! A circuit breaker in front of a pool. A component that keeps crashing is left alone for a while, and its callers are
//! told so at once, instead of having it restarted until the supervisors above give up and take its siblings along.
//!
//! [`Rules`] decides, and is pure; [`Breaker`] is what the partitions of a pool share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Crashes within [`WINDOW`] that open the breaker: half of the restarts that the pool's supervisor allows for them. One bad
/// request may cost three until it is in quarantine (one shared with others, two alone), so this is a handful of bad
/// requests at a time; more is a broken component.
pub(super) const CRASHES_MAX: usize = 20;

/// The time in which crashes are counted: the period of the pool's supervisor.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// How long the breaker stays open at first. Each further time it is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(2);

/// The longest that it stays open: a component that was mended is noticed within it.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long the breaker has to stay closed until its next pause is short again.
const CALM: Duration = Duration::from_secs(60);

/// How long a call that was let through to see whether the component works again is waited for. After it another is.
const PROBE_WAIT: Duration = Duration::from_secs(5);

/// How often the breaker can open within [`WINDOW`]: after pauses of 2, 4 and 8 seconds. Each time, every instance may
/// crash at a call that it has in its hands.
pub(super) const OPENINGS_MAX: u32 = 3;

/// Whether a call may go to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may.
    Pass,
    /// It may not, for this long at least.
    Refuse(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls pass.
    Closed,
    /// No call passes until then.
    Open { until: Instant },
    /// One call passed, to see whether the component works again; until then it is waited for.
    HalfOpen { until: Instant },
}

/// The rules of a breaker. Pure: told what happens and when.
#[derive(Debug)]
pub(super) struct Rules {
    state: State,
    /// The times of the last crashes, at most [`CRASHES_MAX`] of them.
    crashes: VecDeque<Instant>,
    pause: Duration,
    /// When it was closed for the last time.
    closed_at: Option<Instant>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { state: State::Closed, crashes: VecDeque::new(), pause: PAUSE_MIN, closed_at: None }
    }
}

impl Rules {
    /// A call wants to pass.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed => Admission::Pass,
            State::Open { until } | State::HalfOpen { until } if now < until => {
                Admission::Refuse(until.duration_since(now))
            }
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen { until: now + PROBE_WAIT };
                Admission::Pass
            }
        }
    }

    /// An instance crashed while it served. Whether the breaker opened.
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
            // Of a call that was under way when it opened.
            State::Open { .. } => false,
        };
        if opens {
            let calm = self.closed_at.is_none_or(|at| now.duration_since(at) >= CALM);
            if calm && self.state == State::Closed {
                self.pause = PAUSE_MIN;
            }
            self.state = State::Open { until: now + self.pause };
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
        opens
    }

    /// A call was served. Whether the breaker closed.
    pub(super) fn served(&mut self, now: Instant) -> bool {
        // Of a call that was under way when it opened, nothing follows.
        let closes = matches!(self.state, State::HalfOpen { .. });
        if closes {
            self.state = State::Closed;
            self.closed_at = Some(now);
        }
        closes
    }

    /// Until when no call passes, if so.
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
    /// As the rules have it: spares all calls the lock as long as nothing is wrong.
    closed: AtomicBool,
    /// Why the component did not start the last time, if so. All partitions of a pool run the same component, and a pool
    /// that gives up at the first of them never starts the others.
    start_failure: Mutex<Option<String>>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { rules: Mutex::default(), closed: AtomicBool::new(true), start_failure: Mutex::default() }
    }
}

impl Breaker {
    /// An instance could not be made.
    pub(super) fn fails_to_start(&self, reason: &str) {
        *self.start_failure.lock() = Some(reason.to_owned());
    }

    /// An instance was made.
    pub(super) fn starts(&self) {
        *self.start_failure.lock() = None;
    }

    /// Why no instance can be made, as far as is known.
    pub(super) fn start_failure(&self) -> Option<String> {
        self.start_failure.lock().clone()
    }

    /// A call wants to pass.
    pub(super) fn admit(&self) -> Admission {
        if self.is_closed() {
            return Admission::Pass;
        }
        self.change(|rules, now| rules.admit(now))
    }

    /// An instance crashed while it served. Whether the breaker opened.
    pub(super) fn crashed(&self) -> bool {
        self.change(Rules::crashed)
    }

    /// A call was served. Whether the breaker closed.
    pub(super) fn served(&self) -> bool {
        !self.is_closed() && self.change(Rules::served)
    }

    /// Until when no call passes, if so.
    pub(super) fn open_until(&self) -> Option<Instant> {
        if self.is_closed() {
            return None;
        }
        self.rules.lock().open_until(Instant::now())
    }

    /// Whether calls pass as they come.
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
        Admission, CALM, CRASHES_MAX, OPENINGS_MAX, PAUSE_MAX, PAUSE_MIN, PROBE_WAIT, Rules, WINDOW,
    };
    use std::time::{Duration, Instant};

    /// Rules that have just opened, and when.
    fn opened() -> (Rules, Instant) {
        let (mut rules, now) = (Rules::default(), Instant::now());
        for crash in 1..=CRASHES_MAX {
            assert_eq!(rules.crashed(now), crash == CRASHES_MAX);
        }
        (rules, now)
    }

    #[test]
    fn crashes_that_are_far_apart_open_nothing() {
        let (mut rules, mut now) = (Rules::default(), Instant::now());
        for _ in 0..10 * CRASHES_MAX {
            assert!(!rules.crashed(now));
            assert_eq!(rules.admit(now), Admission::Pass);
            now += WINDOW / (CRASHES_MAX as u32 - 1) + Duration::from_millis(1);
        }
    }

    #[test]
    fn an_open_breaker_refuses_and_says_for_how_long() {
        let (mut rules, now) = opened();
        assert_eq!(rules.admit(now), Admission::Refuse(PAUSE_MIN));
        assert_eq!(rules.admit(now + PAUSE_MIN / 2), Admission::Refuse(PAUSE_MIN / 2));
        assert_eq!(rules.open_until(now), Some(now + PAUSE_MIN));
        assert!(!rules.served(now), "a call that was under way closes nothing");
        assert!(!rules.crashed(now), "nor does one open it again");
        assert_eq!(rules.open_until(now), Some(now + PAUSE_MIN));
    }

    #[test]
    fn after_the_pause_one_call_decides() {
        let (mut rules, now) = opened();
        let later = now + PAUSE_MIN;
        assert_eq!(rules.admit(later), Admission::Pass);
        assert_eq!(rules.admit(later), Admission::Refuse(PROBE_WAIT), "the others wait for its outcome");
        assert!(rules.served(later));
        assert_eq!(rules.admit(later), Admission::Pass);
        assert_eq!(rules.admit(later), Admission::Pass);
    }

    #[test]
    fn a_call_that_decides_nothing_is_followed_by_another() {
        let (mut rules, now) = opened();
        let later = now + PAUSE_MIN;
        assert_eq!(rules.admit(later), Admission::Pass);
        assert_eq!(rules.admit(later + PROBE_WAIT), Admission::Pass);
        assert!(matches!(rules.admit(later + PROBE_WAIT), Admission::Refuse(_)));
    }

    #[test]
    fn each_pause_is_longer_up_to_a_limit_and_short_again_after_calm() {
        let (mut rules, mut now) = opened();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let until = rules.open_until(now).expect("it is open");
            pauses.push(until.duration_since(now));
            now = until;
            assert_eq!(rules.admit(now), Admission::Pass);
            assert!(rules.crashed(now), "one crash is enough when half open");
        }
        let expected = [2, 4, 8, 16, 30, 30].map(Duration::from_secs);
        assert_eq!(pauses, expected);
        assert_eq!(pauses[4], PAUSE_MAX);
        now = rules.open_until(now).expect("it is open");
        assert_eq!(rules.admit(now), Admission::Pass);
        assert!(rules.served(now));
        now += CALM;
        for _ in 0..CRASHES_MAX {
            rules.crashed(now);
        }
        assert_eq!(rules.open_until(now), Some(now + PAUSE_MIN));
    }

    #[test]
    fn it_opens_no_oftener_within_the_window_than_the_pool_allows_for() {
        // The worst: the component works again at each probe, and crashes right after it.
        let (mut rules, start) = opened();
        let (mut now, mut openings) = (start, 1);
        loop {
            now = rules.open_until(now).expect("it is open");
            if now.duration_since(start) >= WINDOW {
                break;
            }
            assert_eq!(rules.admit(now), Admission::Pass);
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
