//! `kill -9` while clients append: at random times, and where it hurts most.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use exesdb_test_support::{Rng, number, random};
use exesdb_tests::fault_fs::{CAPACITY_MAX, Cut, Disk};
use exesdb_tests::{Down, Host, Load};

use crate::Subject;
use crate::lives::Lives;
use crate::witness::{NO_VIOLATIONS, Tally, Witness};

/// Kills, unless `EXESDB_CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 50;

/// Latest moment of a kill after the first acknowledgement: long enough for hundreds of commits.
const LATEST: Duration = Duration::from_millis(200);

/// Where the committer can be made to die.
const FAIL_POINTS: [&str; 8] = [
    "before-write",
    "after-write",
    "before-sync",
    "after-sync",
    "before-publish",
    "after-publish",
    "before-reply",
    "after-reply",
];

/// Latest passing of a fail point at which the host dies.
const PASSINGS: u64 = 100;

/// Passings of a fail point that a new host may have before it is ready: it notes what it is and which components keep its data.
const PASSINGS_AT_START: u64 = 10;

/// Kills the host `rounds` times, and tells what is wrong after the first kill after which anything is.
pub(crate) fn kills(rounds: u64, random: &mut Rng, tally: &mut Tally, subject: Subject<'_>) -> Vec<String> {
    let lives = Lives { latest: LATEST, new: &|| Down::new(None), at_rest: &|down, _| down };
    lives.live(rounds, random, tally, subject)
}

#[test]
fn a_killed_host_has_lost_nothing_and_halved_nothing() {
    let (rounds, mut tally) = (number("EXESDB_CRASH_ROUNDS", ROUNDS), Tally::default());
    let violations = kills(rounds, &mut random(), &mut tally, Subject::Binary);
    println!("{}", tally.summary("kills"));
    assert_eq!(violations, NO_VIOLATIONS);
    assert_eq!(tally.rounds(), rounds);
}

/// Lets the host die at each fail point, at a random passing of it, and does `then` to what it left.
fn die_at_each_fail_point(new: impl Fn() -> Down, mut then: impl FnMut(&Down, &mut Rng)) {
    let (mut random, mut tally) = (random(), Tally::default());
    for point in FAIL_POINTS {
        let mut witness = Witness::default();
        let passing = PASSINGS_AT_START + random.u64(..PASSINGS);
        let host = new().with_faults(&[("EXESDB_FAIL_POINT", &format!("{point}:{passing}"))]).start();
        let follower = host.http.follow("/v1/stores/main/events?from=end", None);
        let load = Load::mixed(&host.http, "load", 6, random.u64(..));
        let stopped = host.ended();
        assert!(stopped.status.signal().is_some(), "{point}:{passing}: {}", stopped.log.join("\n"));
        witness.told(load.wait(), &mut tally);
        witness.saw(follower);
        then(&stopped.down, &mut random);
        if let Err(violations) = witness.reopen(stopped.down, &mut tally) {
            assert_eq!(violations, NO_VIOLATIONS, "{point}:{passing}");
        }
    }
    println!("{}", tally.summary("deaths at fail points"));
    assert_eq!(tally.rounds(), FAIL_POINTS.len() as u64);
}

#[test]
fn a_host_that_dies_at_a_fail_point_has_lost_nothing_and_halved_nothing() {
    die_at_each_fail_point(|| Down::new(None), |_, _| ());
}

#[test]
fn a_host_that_loses_power_at_a_fail_point_has_lost_nothing_and_halved_nothing() {
    for cut in [Cut::Unsynced, Cut::Torn] {
        die_at_each_fail_point(
            || Down::on_disk(None, &Disk::new(CAPACITY_MAX)),
            |down, random| down.at_rest(|disk| disk.cut(cut, random)),
        );
    }
}

#[test]
fn a_follower_that_comes_back_has_missed_nothing() {
    let mut host = Host::start();
    let mut seen: Vec<(u64, serde_json::Value)> = Vec::new();
    for round in 0..5 {
        let follower = host.http.follow("/v1/stores/main/events", seen.last().map(|(position, _)| *position));
        let load = Load::until_refused(&host.http, &format!("round-{round}"), 3);
        load.go_on(30);
        let down = host.crash();
        load.wait();
        seen.extend(follower.rest());
        host = down.start();
    }
    // Whatever was shown was durable: it is still there, at the same place.
    let events = host.http.read_all();
    assert!(seen.len() <= events.len());
    for (index, ((position, shown), event)) in seen.iter().zip(&events).enumerate() {
        assert_eq!((*position, shown), (index as u64, event));
    }
}
