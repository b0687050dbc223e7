//! Remembers the calls that ended a pool's instances.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Calls that are remembered. The oldest are forgotten, so that a stream of ever new poison calls uses bounded memory.
const SUSPECTS_MAX: usize = 1_024;

/// How long a call is remembered. A call that ended an instance by accident gets another chance; a poison call then costs
/// two more instances.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// The fingerprints of calls that ended an instance while it served nothing else. All partitions of a pool share one
/// tracker, because reads go to any of them.
#[derive(Default)]
pub(crate) struct PoisonTracker {
    list: Mutex<VecDeque<Suspect>>,
    /// The length of the list, so that an empty one is seen without the lock.
    count: AtomicUsize,
}

struct Suspect {
    fingerprint: u64,
    strikes: u32,
    last: Instant,
}

impl PoisonTracker {
    /// Whether no call is remembered, as is nearly always the case.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// How many instances the call has ended.
    pub(crate) fn strikes(&self, fingerprint: u64, now: Instant) -> u32 {
        let list = self.list.lock();
        let suspect = list.iter().find(|suspect| suspect.fingerprint == fingerprint);
        suspect.filter(|suspect| is_remembered(suspect, now)).map_or(0, |suspect| suspect.strikes)
    }

    /// Records that the call ended an instance. How many it has ended by now.
    pub(crate) fn record_strike(&self, fingerprint: u64, now: Instant) -> u32 {
        let mut list = self.list.lock();
        list.retain(|suspect| is_remembered(suspect, now));
        let strikes = match list.iter_mut().find(|suspect| suspect.fingerprint == fingerprint) {
            Some(suspect) => {
                suspect.strikes = suspect.strikes.saturating_add(1);
                suspect.last = now;
                suspect.strikes
            }
            None => {
                if list.len() == SUSPECTS_MAX {
                    list.pop_front();
                }
                list.push_back(Suspect { fingerprint, strikes: 1, last: now });
                1
            }
        };
        self.count.store(list.len(), Ordering::Release);
        strikes
    }

    /// Records that the call was served, so that it is no poison.
    pub(crate) fn record_success(&self, fingerprint: u64) {
        let mut list = self.list.lock();
        list.retain(|suspect| suspect.fingerprint != fingerprint);
        self.count.store(list.len(), Ordering::Release);
    }
}

fn is_remembered(suspect: &Suspect, now: Instant) -> bool {
    now.duration_since(suspect.last) < REMEMBERED_FOR
}

#[cfg(test)]
mod tests {
    use super::{PoisonTracker, REMEMBERED_FOR, SUSPECTS_MAX};
    use std::time::Instant;

    #[test]
    fn strikes_add_up_until_a_success_or_a_timeout() {
        let (tracker, now) = (PoisonTracker::default(), Instant::now());
        assert!(tracker.is_empty());
        assert_eq!(
            (tracker.record_strike(1, now), tracker.record_strike(1, now), tracker.record_strike(2, now)),
            (1, 2, 1)
        );
        assert_eq!((tracker.strikes(1, now), tracker.strikes(3, now)), (2, 0));
        tracker.record_success(1);
        assert_eq!((tracker.strikes(1, now), tracker.strikes(2, now)), (0, 1));
        assert_eq!(tracker.strikes(2, now + REMEMBERED_FOR), 0);
        assert_eq!(tracker.record_strike(2, now + REMEMBERED_FOR), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let (tracker, now) = (PoisonTracker::default(), Instant::now());
        for fingerprint in 0..SUSPECTS_MAX as u64 + 10 {
            tracker.record_strike(fingerprint, now);
        }
        assert_eq!(tracker.list.lock().len(), SUSPECTS_MAX);
        assert_eq!(tracker.strikes(0, now), 0, "the oldest was forgotten");
    }
}
