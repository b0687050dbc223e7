//! Stores that live through many deaths of their hosts, one after the other.

use std::time::Duration;

use exesdb_test_support::{Rng, time_below};
use exesdb_tests::{Down, Load, NO_EVENTS, stderr};

use crate::Subject;
use crate::witness::{Tally, Witness};

/// Deaths of one store, which grows with each, before the next begins anew.
const DEATHS: u64 = 15;

/// As [`DEATHS`], of a store with large events: all that is there is read after each.
const DEATHS_LARGE: u64 = 5;

/// One in so many stores gets events that fill memtables and journals, so that flushes and rotations are hit as well.
const LARGE_EACH: u64 = 3;

/// As the latest moment of a death after the first acknowledgement, of a store with large events: long enough for a
/// memtable.
const LATEST_LARGE: Duration = Duration::from_millis(500);

/// Clients that append at a time.
const CLIENTS: usize = 6;

/// How stores live and die.
pub(crate) struct Lives<'a> {
    /// Latest moment of a death after the first acknowledgement.
    pub(crate) latest: Duration,
    /// A new store.
    pub(crate) new: &'a dyn Fn() -> Down,
    /// What happens to a store between the death of a host and the start of the next.
    pub(crate) at_rest: &'a dyn Fn(Down, &mut Rng) -> Down,
}

impl Lives<'_> {
    /// Lets hosts die `rounds` times, and tells what is wrong after the first death after which anything is, or what the
    /// doctor finds in a store at its end.
    pub(crate) fn live(
        &self,
        rounds: u64,
        random: &mut Rng,
        tally: &mut Tally,
        subject: Subject<'_>,
    ) -> Vec<String> {
        let mut left = rounds;
        for store in 1_u64.. {
            if left == 0 {
                break;
            }
            let large = store.is_multiple_of(LARGE_EACH);
            let deaths = left.min(if large { DEATHS_LARGE } else { DEATHS });
            left -= deaths;
            if let Err(violations) = self.live_one(deaths, large, random, tally, subject) {
                return violations;
            }
        }
        Vec::new()
    }

    fn live_one(
        &self,
        deaths: u64,
        large: bool,
        random: &mut Rng,
        tally: &mut Tally,
        subject: Subject<'_>,
    ) -> Result<(), Vec<String>> {
        let mut witness = Witness::default();
        let mut host = subject.prepare((self.new)()).start();
        for death in 0..deaths {
            let name = format!("{}{death}", if large { "large-" } else { "life-" });
            let follower = host.http.follow("/v1/stores/main/events?from=end", None);
            let load = Load::mixed(&host.http, &name, CLIENTS, random.u64(..));
            load.go_on(1);
            std::thread::sleep(time_below(random, if large { LATEST_LARGE } else { self.latest }));
            let down = host.crash();
            let report = load.wait();
            if let Some(response) = report.refusals.iter().find(|response| response.status != 0) {
                return Err(vec![format!("before its death: {}: {}", response.status, response.text)]);
            }
            witness.told(report, tally);
            witness.saw(follower);
            let down = (self.at_rest)(down, random);
            host = witness.reopen(subject.prepare(down), tally).map_err(|mut violations| {
                violations.insert(0, format!("after death {death} of a store, large events: {large}:"));
                violations
            })?;
        }
        tally.looked_at_tables(&host.data());
        let traps = host.traps();
        if traps != NO_EVENTS {
            return Err(vec![format!("components trapped: {traps:?}")]);
        }
        let verdict = host.crash().exesdb(&["doctor"]);
        if !verdict.status.success() {
            return Err(vec![format!("the doctor: {}: {}", verdict.status, stderr(&verdict))]);
        }
        Ok(())
    }
}
