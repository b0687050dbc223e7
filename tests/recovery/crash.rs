//! `kill -9` while clients append: at random times, and at each step of a commit.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use exesdb_test_support::{Rng, number, random};
use exesdb_tests::fault_fs::{CAPACITY_MAX, Cut, Disk};
use exesdb_tests::{Down, Host, Load};

use crate::Subject;
use crate::lives::{DEATHS, LARGE_EACH, Lives, PIPELINES};
use crate::witness::{NO_VIOLATIONS, Tally, Witness};

/// The number of kills, unless `EXESDB_CRASH_ROUNDS` is set.
const ROUNDS: u64 = 50;

/// Longest time from the first acknowledgement to the kill: enough for hundreds of commits.
const LATEST: Duration = Duration::from_millis(200);

/// The points of a commit at which the host can be made to die.
const COMMIT_POINTS: [&str; 8] = [
    "before-write",
    "after-write",
    "before-sync",
    "after-sync",
    "before-publish",
    "after-publish",
    "before-reply",
    "after-reply",
];

/// The points after a commit, where zeroes are written ahead in a journal that was begun while the store was open.
const ZEROES_POINTS: [&str; 2] = ["before-zeroes", "after-zeroes"];

/// The host dies when it reaches a fail point for the nth time; n is random, below this.
const PASSINGS: u64 = 100;

/// The same for zeroes. This often they are written after small commits; later they take a mebibyte of records each.
const PASSINGS_OF_ZEROES: u64 = 4;

/// How often a new host may reach a fail point before it is ready: its first commits store the format and the owners of
/// its data.
const PASSINGS_AT_START: u64 = 10;

/// Kills the host `rounds` times, and returns the violations after the first kill that caused any.
pub(crate) fn kills(rounds: u64, random: &mut Rng, tally: &mut Tally, subject: Subject<'_>) -> Vec<String> {
    kills_of(&|| Down::new(None), rounds, random, tally, subject)
}

/// As [`kills`], with several instances that decide side by side.
pub(crate) fn kills_of_many_writers(
    rounds: u64,
    random: &mut Rng,
    tally: &mut Tally,
    subject: Subject<'_>,
) -> Vec<String> {
    let new = || Down::new(Some("[[store]]\nname = \"main\"\nwriters = 4\n"));
    kills_of(&new, rounds, random, tally, subject)
}

fn kills_of(
    new: &dyn Fn() -> Down,
    rounds: u64,
    random: &mut Rng,
    tally: &mut Tally,
    subject: Subject<'_>,
) -> Vec<String> {
    let lives = Lives {
        latest: LATEST,
        deaths: DEATHS,
        large_each: LARGE_EACH,
        new,
        under_load: &|_, _| None,
        at_rest: &|down, _| down,
    };
    lives.live(rounds, random, tally, subject)
}

#[test]
fn a_killed_host_loses_nothing_and_stores_nothing_in_part() {
    let (rounds, mut tally) = (number("EXESDB_CRASH_ROUNDS", ROUNDS), Tally::default());
    let violations = kills(rounds, &mut random(), &mut tally, Subject::Binary);
    println!("{}", tally.summary("kills"));
    assert_eq!(violations, NO_VIOLATIONS);
    assert_eq!(tally.rounds(), rounds);
    assert!(tally.piped() >= rounds, "each host had pipelines");
}

#[test]
fn a_killed_host_with_many_writers_loses_nothing_and_stores_nothing_in_part() {
    let (rounds, mut tally) = (number("EXESDB_CRASH_ROUNDS", ROUNDS), Tally::default());
    let violations = kills_of_many_writers(rounds, &mut random(), &mut tally, Subject::Binary);
    println!("{}", tally.summary("kills with four writers"));
    assert_eq!(violations, NO_VIOLATIONS);
    assert_eq!(tally.rounds(), rounds);
    assert!(tally.piped() >= rounds, "each host had pipelines");
}

/// Lets the host die at each fail point, after a random number of passes, and calls `then` with the stopped host.
fn die_at_each_fail_point(new: impl Fn() -> Down, mut then: impl FnMut(&Down, &mut Rng)) {
    let (mut random, mut tally) = (random(), Tally::default());
    for point in COMMIT_POINTS.into_iter().chain(ZEROES_POINTS) {
        let in_zeroes = ZEROES_POINTS.contains(&point);
        let passing = if in_zeroes {
            1 + random.u64(..PASSINGS_OF_ZEROES)
        } else {
            PASSINGS_AT_START + random.u64(..PASSINGS)
        };
        let mut witness = Witness::default();
        let host = new().with_faults(&[("EXESDB_FAIL_POINT", &format!("{point}:{passing}"))]).start();
        let follower = host.http.follow("/v1/stores/main/events?from=end", None);
        let load = Load::mixed(&host.http, "load", 6, random.u64(..));
        let piped = Load::piped(&host.http, "piped", PIPELINES, random.u64(..));
        if in_zeroes {
            // It begins another journal, in which the clients go on. The host may die before it ends.
            load.go_on(1);
            drop(host.exesdb(&["scavenge"]));
        }
        let stopped = host.ended();
        assert!(stopped.status.signal().is_some(), "{point}:{passing}: {}", stopped.log.join("\n"));
        witness.record(load.wait(), &mut tally);
        witness.record(piped.wait(), &mut tally);
        witness.record_follower(follower);
        then(&stopped.down, &mut random);
        if let Err(violations) = witness.reopen(stopped.down, &mut tally) {
            assert_eq!(violations, NO_VIOLATIONS, "{point}:{passing}");
        }
    }
    println!("{}", tally.summary("deaths at fail points"));
    assert_eq!(tally.rounds(), (COMMIT_POINTS.len() + ZEROES_POINTS.len()) as u64);
    assert_ne!(tally.piped(), 0, "the hosts had pipelines");
}

#[test]
fn a_host_that_dies_at_a_fail_point_loses_nothing_and_stores_nothing_in_part() {
    die_at_each_fail_point(|| Down::new(None), |_, _| ());
}

#[test]
fn a_host_that_loses_power_at_a_fail_point_loses_nothing_and_stores_nothing_in_part() {
    for cut in [Cut::Unsynced, Cut::Torn] {
        die_at_each_fail_point(
            || Down::on_disk(None, &Disk::new(CAPACITY_MAX)),
            |down, random| down.at_rest(|disk| disk.cut(cut, random)),
        );
    }
}

#[test]
fn a_follower_that_reconnects_misses_nothing() {
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
    // Every event that was shown was durable: it has the same position now.
    let events = host.http.read_all();
    assert!(seen.len() <= events.len());
    for (index, ((position, shown), event)) in seen.iter().zip(&events).enumerate() {
        assert_eq!((*position, shown), (index as u64, event));
    }
}
