//! The memory of a pool for calls that ended its instances.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Calls that are remembered. Older ones are forgotten, so a sender of ever new poison costs memory only up to here.
const SUSPECTS_MAX: usize = 1_024;

/// How long a call is remembered. What ended an instance by bad luck, as on a machine that stood still, gets another
/// chance; true poison costs two instances each time.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// Calls, by fingerprint, that ended an instance while they were alone in its hands. One memory for all partitions
/// of a pool, because reads go to any of them.
#[derive(Default)]
pub(crate) struct Suspects {
    list: Mutex<VecDeque<Suspect>>,
    /// How many there are, to spare everybody else the look.
    count: AtomicUsize,
}

struct Suspect {
    fingerprint: u64,
    strikes: u32,
    last: Instant,
}

impl Suspects {
    /// Whether there are none, as nearly always.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// How often the call ended an instance.
    pub(crate) fn strikes(&self, fingerprint: u64, now: Instant) -> u32 {
        let list = self.list.lock();
        let suspect = list.iter().find(|suspect| suspect.fingerprint == fingerprint);
        suspect.filter(|suspect| remembered(suspect, now)).map_or(0, |suspect| suspect.strikes)
    }

    /// The call ended an instance. How often it has by now.
    pub(crate) fn strike(&self, fingerprint: u64, now: Instant) -> u32 {
        let mut list = self.list.lock();
        list.retain(|suspect| remembered(suspect, now));
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

    /// The call was served: it was not to blame.
    pub(crate) fn clear(&self, fingerprint: u64) {
        let mut list = self.list.lock();
        list.retain(|suspect| suspect.fingerprint != fingerprint);
        self.count.store(list.len(), Ordering::Release);
    }
}

fn remembered(suspect: &Suspect, now: Instant) -> bool {
    now.duration_since(suspect.last) < REMEMBERED_FOR
}

#[cfg(test)]
mod tests {
    use super::{REMEMBERED_FOR, SUSPECTS_MAX, Suspects};
    use std::time::Instant;

    #[test]
    fn strikes_count_up_are_cleared_by_a_success_and_forgotten_in_time() {
        let (suspects, now) = (Suspects::default(), Instant::now());
        assert!(suspects.is_empty());
        assert_eq!((suspects.strike(1, now), suspects.strike(1, now), suspects.strike(2, now)), (1, 2, 1));
        assert_eq!((suspects.strikes(1, now), suspects.strikes(3, now)), (2, 0));
        suspects.clear(1);
        assert_eq!((suspects.strikes(1, now), suspects.strikes(2, now)), (0, 1));
        assert_eq!(suspects.strikes(2, now + REMEMBERED_FOR), 0);
        assert_eq!(suspects.strike(2, now + REMEMBERED_FOR), 1);
    }

    #[test]
    fn the_memory_is_bounded() {
        let (suspects, now) = (Suspects::default(), Instant::now());
        for fingerprint in 0..SUSPECTS_MAX as u64 + 10 {
            suspects.strike(fingerprint, now);
        }
        assert_eq!(suspects.list.lock().len(), SUSPECTS_MAX);
        assert_eq!(suspects.strikes(0, now), 0, "the oldest went first");
    }
}
