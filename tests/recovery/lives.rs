//! Stores whose hosts die many times, one after the other.

use std::time::Duration;

use exesdb_test_support::{Rng, time_below};
use exesdb_tests::{Down, Host, Load, NO_EVENTS, Report, stderr};

use crate::Subject;
use crate::witness::{Tally, Witness};

/// Deaths per store. A store grows with each, so the next one begins empty.
pub(crate) const DEATHS: u64 = 15;

/// As [`DEATHS`], for a store with large events: every event is read after each death.
pub(crate) const DEATHS_LARGE: u64 = 5;

/// [`Lives::large_each`], usually.
pub(crate) const LARGE_EACH: u64 = 3;

/// Longest time from the first acknowledgement to a death, for a store with large events: enough to fill a memtable.
const LATEST_LARGE: Duration = Duration::from_millis(500);

/// The number of clients that append.
pub(crate) const CLIENTS: usize = 6;

/// The number of clients that append in pipelines besides.
pub(crate) const PIPELINES: usize = 2;

/// How stores live and die.
pub(crate) struct Lives<'a> {
    /// Longest time from the first acknowledgement to a death.
    pub(crate) latest: Duration,
    /// Deaths of a store without large events.
    pub(crate) deaths: u64,
    /// One in this many stores gets large events, so that deaths hit flushes and rotations of journals, too; 0 if none.
    pub(crate) large_each: u64,
    /// Creates a store.
    pub(crate) new: &'a dyn Fn() -> Down,
    /// Acts on a host while clients append, before its death. Gets a name that is new in its store. Returns what it
    /// appended itself.
    pub(crate) under_load: &'a dyn Fn(&Host, &str) -> Option<Report>,
    /// Acts on a store between the death of a host and the start of the next.
    pub(crate) at_rest: &'a dyn Fn(Down, &mut Rng) -> Down,
}

impl Lives<'_> {
    /// Lets hosts die `rounds` times. Returns the violations after the first death that caused any, or the doctor's findings
    /// at the end of a store.
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
            let large = store.is_multiple_of(self.large_each);
            let deaths = left.min(if large { DEATHS_LARGE } else { self.deaths });
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
            let more = (self.under_load)(&host, &name);
            // Their events are small in every store, and begin late: there are many, and all are read after each death.
            let piped = Load::piped(&host.http, &format!("piped-{death}"), PIPELINES, random.u64(..));
            piped.go_on(1);
            std::thread::sleep(time_below(random, if large { LATEST_LARGE } else { self.latest }));
            let down = host.crash();
            let reports = [load.wait(), piped.wait()];
            let mut refusals = reports.iter().flat_map(|report| &report.refusals);
            if let Some(response) = refusals.find(|response| response.status != 0) {
                return Err(vec![format!("before its death: {}: {}", response.status, response.text)]);
            }
            for report in more.into_iter().chain(reports) {
                witness.record(report, tally);
            }
            witness.record_follower(follower);
            let down = (self.at_rest)(down, random);
            host = witness.reopen(subject.prepare(down), tally).map_err(|mut violations| {
                violations.insert(0, format!("after death {death} of a store, large events: {large}:"));
                violations
            })?;
        }
        tally.record_tables(&host.data());
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
