//! Loss of power at random times while clients append: the host is killed, and unsynced changes are lost.

use std::time::Duration;

use exesdb_test_support::{Rng, number, random, time_below};
use exesdb_tests::Down;
use exesdb_tests::fault_fs::{CAPACITY_MAX, Cut, Disk};

use crate::lives::Lives;
use crate::witness::{NO_VIOLATIONS, Tally};
use crate::{STORE, Subject};

/// Cuts, unless `EXESDB_CUT_ROUNDS` says otherwise.
const ROUNDS: u64 = 50;

/// Latest moment of a cut after the first acknowledgement: long enough for dozens of commits.
const LATEST: Duration = Duration::from_millis(60);

/// Latest moment of a cut after the start of the process, in rounds that cut the start as well.
const LATEST_IN_START: Duration = Duration::from_millis(120);

/// Longest time of a sync: as on a slow disk, so that there is time to see what should not be seen before its end.
const SYNC: Duration = Duration::from_millis(4);

/// In one of this many rounds, the power fails during the start as well, so that it interrupts the recovery.
const CUT_IN_START_EACH: u64 = 4;

/// Cuts the power `rounds` times, and returns the violations after the first cut that caused any.
pub(crate) fn cuts(rounds: u64, random: &mut Rng, tally: &mut Tally, subject: Subject<'_>) -> Vec<String> {
    let new = || {
        let disk = Disk::new(CAPACITY_MAX);
        let down = Down::on_disk(None, &disk);
        if subject == Subject::LyingDisk {
            disk.lie(STORE);
        }
        down
    };
    let at_rest = |mut down: Down, random: &mut Rng| {
        let cut = Cut::ALL[random.usize(..Cut::ALL.len())];
        let sync = time_below(random, SYNC);
        down.at_rest(|disk| {
            disk.cut(cut, random);
            disk.syncs_take(sync);
        });
        if random.u64(..CUT_IN_START_EACH) == 0 {
            down = subject.prepare(down).crash_while_starting(time_below(random, LATEST_IN_START));
            down.at_rest(|disk| disk.cut(cut, random));
        }
        down
    };
    Lives { latest: LATEST, new: &new, at_rest: &at_rest }.live(rounds, random, tally, subject)
}

#[test]
fn a_loss_of_power_loses_nothing_that_was_acknowledged_or_shown() {
    let (rounds, mut tally) = (number("EXESDB_CUT_ROUNDS", ROUNDS), Tally::default());
    let violations = cuts(rounds, &mut random(), &mut tally, Subject::Binary);
    println!("{}", tally.summary("cuts of power"));
    assert_eq!(violations, NO_VIOLATIONS);
    assert_eq!(tally.rounds(), rounds);
}
