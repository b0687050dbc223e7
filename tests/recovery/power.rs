//! Loss of power at random times while clients append: the host is killed, and what it had not synced is gone.

use std::time::Duration;

use exesdb_tests::fault_fs::{CAPACITY_MAX, Cut, Disk};
use exesdb_tests::{Down, Load, Random};

use crate::witness::{NO_VIOLATIONS, Tally, Witness};
use crate::{Faults, rounds};

/// Cuts, unless `EXESDB_CUT_ROUNDS` says otherwise.
const ROUNDS: u64 = 50;

/// Cuts of one store, which grows with each, before the next begins anew.
const ROUNDS_PER_STORE: u64 = 10;

/// One in so many stores gets events that fill memtables and journals, so that flushes and rotations are cut as well.
const LARGE_EACH: u64 = 5;

/// Latest moment of a cut after the first acknowledgement: long enough for dozens of commits.
const LATEST: Duration = Duration::from_millis(60);

/// As [`LATEST`], of a store with large events: long enough for a memtable.
const LATEST_LARGE: Duration = Duration::from_millis(600);

/// Latest moment of a cut after the start of the process, in rounds that cut the start as well.
const LATEST_IN_START: Duration = Duration::from_millis(120);

/// Cuts the power `rounds` times, under the host that `start` starts, and tells what is wrong after the first cut after
/// which anything is.
pub(crate) fn cuts(rounds: u64, random: &mut Random, tally: &mut Tally, faults: Faults<'_>) -> Vec<String> {
    let prepare = |down: Down| match faults {
        None => down,
        Some(environment) => down.with_faults(environment),
    };
    let mut round = 0;
    let mut store = 0;
    while round < rounds {
        let large = store % LARGE_EACH == LARGE_EACH - 1;
        store += 1;
        let mut witness = Witness::default();
        let mut host = prepare(Down::on_disk(None, &Disk::new(CAPACITY_MAX))).start();
        for _ in 0..ROUNDS_PER_STORE.min(rounds - round) {
            let name = format!("{}{round}", if large { "large-" } else { "round-" });
            let follower = host.http.follow("/v1/stores/main/events?from=end", None);
            let load = Load::mixed(&host.http, &name, 6, random.below(u64::MAX));
            load.go_on(1);
            std::thread::sleep(random.time_below(if large { LATEST_LARGE } else { LATEST }));
            let mut down = host.crash();
            witness.told(load.wait(), tally);
            witness.saw(follower);
            let cut = Cut::ALL[random.below(Cut::ALL.len() as u64) as usize];
            down.at_rest(|disk| disk.cut(cut, random));
            // What recovery does can be cut off, too.
            if random.below(4) == 0 {
                down = prepare(down).crash_while_starting(random.time_below(LATEST_IN_START));
                down.at_rest(|disk| disk.cut(cut, random));
            }
            host = match witness.reopen(prepare(down), tally) {
                Ok(host) => host,
                Err(mut violations) => {
                    violations.insert(0, format!("after cut {round}, of which stays {cut:?}:"));
                    return violations;
                }
            };
            round += 1;
        }
    }
    Vec::new()
}

#[test]
fn a_loss_of_power_loses_nothing_that_was_acknowledged_or_shown() {
    let seed = Random::seed();
    println!("EXESDB_TEST_SEED={seed}");
    let (rounds, mut tally) = (rounds("EXESDB_CUT_ROUNDS", ROUNDS), Tally::default());
    let violations = cuts(rounds, &mut Random::new(seed), &mut tally, None);
    println!("{}", tally.summary("cuts of power"));
    assert_eq!(violations, NO_VIOLATIONS);
    assert_eq!(tally.rounds(), rounds);
}
