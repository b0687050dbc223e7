//! `kill -9` at random times while clients append.

use std::time::Duration;

use exesdb_tests::{Append, Host, Load, NO_EVENTS, NO_FAULTS, Outcome, Random, faults};

/// Latest moment of a kill after the first acknowledgement: long enough for hundreds of commits.
const LATEST: Duration = Duration::from_millis(200);

/// Kills in the tests that count them.
pub(crate) fn rounds() -> u64 {
    match std::env::var("EXESDB_CRASH_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("EXESDB_CRASH_ROUNDS is a number"),
        Err(_) => 10,
    }
}

#[test]
fn a_killed_host_has_lost_nothing_and_halved_nothing() {
    let seed = Random::seed();
    println!("EXESDB_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let mut host = Host::start();
    let mut ledger: Vec<Append> = Vec::new();
    for round in 0..rounds() {
        let load = Load::until_refused(&host.http, &format!("round-{round}"), 6);
        load.go_on(1);
        std::thread::sleep(random.time_below(LATEST));
        let down = host.crash();
        let report = load.wait();
        assert!(report.refusals.iter().all(|answer| answer.status == 0), "{:#?}", report.refusals);
        ledger.extend(report.appends);
        host = down.start();
        assert_eq!(faults(&host.http.read_all(), &ledger), NO_FAULTS, "round {round}");
        // What was left open is sent again: then it is there, and once.
        for append in ledger.iter_mut().filter(|append| append.outcome == Outcome::Unknown) {
            append.send(&host.http).expect(200);
        }
        assert_eq!(faults(&host.http.read_all(), &ledger), NO_FAULTS, "round {round}");
    }
    assert!(ledger.len() as u64 >= rounds());
    assert_eq!(host.traps(), NO_EVENTS);
}

#[test]
fn a_follower_that_comes_back_has_missed_nothing() {
    let mut host = Host::start();
    let mut seen: Vec<(u64, serde_json::Value)> = Vec::new();
    for round in 0..rounds().min(5) {
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
