//! A disk that returns errors, one that hangs, and one that is full.

use std::time::Duration;

use exesdb_test_support::{Rng, number, random, time_below};
use exesdb_tests::fault_fs::{CAPACITY_MAX, Cut, Disk, Errno, Fault, Operation};
use exesdb_tests::{Append, Down, Host, Load, NO_EVENTS, Outcome, Response, eventually};
use serde_json::json;

use crate::STORE;
use crate::witness::{NO_VIOLATIONS, Tally, Witness};

/// The number of errors, unless `EXESDB_ERROR_ROUNDS` is set.
const ROUNDS: u64 = 20;

/// Most operations that succeed before one fails.
const SUCCESSES: u64 = 80;

/// Free space that a store keeps in reserve, in bytes.
const RESERVE: u64 = 256 << 20;

/// Space above the reserve, in bytes: enough for some dozens of the largest events.
const ROOM: u64 = 24 << 20;

/// A read of the second event of a store.
const EVENT: &str = "/v1/stores/main/events?from=1";

fn is_ready(host: &Host) -> bool {
    host.http.get("/health/ready").status == 200
}

#[test]
fn an_error_of_the_disk_loses_nothing_that_was_acknowledged() {
    let (mut random, mut tally) = (random(), Tally::default());
    let rounds = number("EXESDB_ERROR_ROUNDS", ROUNDS);
    for round in 0..rounds {
        let disk = Disk::new(CAPACITY_MAX);
        let mut witness = Witness::default();
        let host = Down::on_disk(None, &disk).start();
        let fault = Fault {
            operation: if round % 2 == 0 { Operation::Write } else { Operation::Sync },
            errno: if round % 4 < 2 { Errno::Io } else { Errno::NoSpace },
            after: random.u64(..SUCCESSES),
            times: 1 + random.u64(..2),
        };
        disk.fail(STORE, fault.clone());
        let load = Load::mixed(&host.http, "before", 6, random.u64(..));
        eventually("an operation fails", || (disk.failed() > 0).then_some(()));
        // Acknowledgements after the failure count as well.
        std::thread::sleep(time_below(&mut random, Duration::from_millis(20)));
        disk.heal();
        eventually("the store serves again", || is_ready(&host).then_some(()));
        let again = Load::mixed(&host.http, "after", 2, random.u64(..));
        again.go_on(5);
        witness.record(again.finish(), &mut tally);
        witness.record(load.finish(), &mut tally);
        if let Err(violations) = witness.check(&host) {
            assert_eq!(violations, NO_VIOLATIONS, "round {round}, {fault:?}, before the cut");
        }
        let down = host.crash();
        down.at_rest(|disk| disk.cut(Cut::Unsynced, &mut random));
        if let Err(violations) = witness.reopen(down, &mut tally) {
            assert_eq!(violations, NO_VIOLATIONS, "round {round}, {fault:?}");
        }
    }
    println!("{}", tally.summary("errors"));
    assert_eq!(tally.rounds(), rounds);
}

#[test]
fn a_store_on_a_full_disk_is_readable_reports_it_and_recovers() {
    let (mut witness, mut tally, mut random) = (Witness::default(), Tally::default(), Rng::with_seed(1));
    let disk = Disk::new(RESERVE + ROOM);
    let host = Down::on_disk(None, &disk).start();
    assert!(is_ready(&host));
    let mut appends = Vec::new();
    let append = |name: &str, number: u64| {
        let stream = format!("stream-{}", number % 3);
        let ids = (0..5).map(|event| format!("large-{name}-{number}-{event}")).collect();
        let mut append = Append { stream, ids, outcome: Outcome::Unknown };
        let response = append.send(&host.http);
        (append, response)
    };
    let refused = (0..).find_map(|number| {
        let (append, response) = append("filling", number);
        let acknowledged = append.outcome != Outcome::Unknown;
        appends.push(append);
        (!acknowledged).then_some(response)
    });
    let refused = refused.expect("the disk is not endless");
    let refused = refused.expect_problem(503, "read-only");
    assert!(refused.detail().contains("free"), "the response does not mention free space: {}", refused.text);
    assert!(disk.used() > ROOM / 2, "it was refused with {} bytes in use", disk.used());
    // Reads continue, and the health check reports the full disk.
    assert!(!host.http.read_all().is_empty());
    let health = eventually("the health check fails", || {
        let health = host.http.get("/health/ready");
        (health.status == 503).then_some(health)
    });
    assert!(health.json["stores"]["main"].as_str().is_some_and(|said| said != "ready"), "{}", health.text);
    for number in 0..3 {
        let (refused_too, response) = append("while-full", number);
        response.expect_problem(503, "read-only");
        appends.push(refused_too);
    }
    disk.set_capacity(2 * (RESERVE + ROOM));
    eventually("the store is writable again", || is_ready(&host).then_some(()));
    for number in 0..10 {
        let (append, response) = append("with-room", number);
        response.expect(200);
        appends.push(append);
    }
    assert!(host.http.get("/health/live").status == 200);
    witness.record(exesdb_tests::Report { appends, ..Default::default() }, &mut tally);
    witness.check(&host).unwrap_or_else(|violations| assert_eq!(violations, NO_VIOLATIONS));
    let down = host.crash();
    down.at_rest(|disk| disk.cut(Cut::Unsynced, &mut random));
    witness.reopen(down, &mut tally).map_or_else(|violations| assert_eq!(violations, NO_VIOLATIONS), drop);
    assert_eq!(json!(tally.rounds()), 1);
}

#[test]
fn a_disk_that_hangs_is_reported_until_it_goes_on() {
    let disk = Disk::new(CAPACITY_MAX);
    let host = Down::on_disk(None, &disk).start();
    assert!(is_ready(&host));
    disk.syncs_take(Duration::from_secs(13));
    std::thread::scope(|scope| {
        // Its response may come before the commit ends, and then says that the outcome is unknown.
        scope.spawn(|| host.http.append_one("s"));
        let said = eventually("the health reports the disk", || {
            let health = host.http.get("/health/ready");
            (health.status == 503)
                .then(|| health.json["stores"]["main"].as_str().unwrap_or_default().to_owned())
        });
        assert!(said.contains("a write has been running for"), "{said}");
        disk.syncs_take(Duration::ZERO);
        eventually("the store is ready again", || is_ready(&host).then_some(()));
    });
    host.http.append_one("other").expect(200);
}

/// Appends an event to a store that has one, on a disk that hangs, and returns the first response to a read up to that event
/// which is no refusal of a position that the store has not given; and whether the event was readable before.
fn read_while_a_sync_hangs(host: &Host, disk: &Disk, hangs: Duration) -> (Response, bool) {
    disk.syncs_take(hangs);
    let found = std::thread::scope(|scope| {
        scope.spawn(|| host.http.append_one("s"));
        let found = eventually("the store gives the position", || {
            let is_readable = !host.http.get(EVENT).json["events"][0].is_null();
            let read = host.http.get(&format!("{EVENT}&at_least=1"));
            (read.problem() != "history-changed").then_some((read, is_readable))
        });
        disk.syncs_take(Duration::ZERO);
        found
    });
    let later = eventually("the sync ends", || {
        let read = host.http.get(&format!("{EVENT}&at_least=1"));
        (read.status == 200).then_some(read)
    });
    assert_eq!(later.json["events"][0]["position"], 1);
    found
}

#[test]
fn a_read_up_to_a_position_waits_until_it_is_on_the_disk() {
    let disk = Disk::new(CAPACITY_MAX);
    let host = Down::on_disk(None, &disk).start();
    host.http.append_one("s").expect(200);
    host.http.get(&format!("{EVENT}&at_least=1")).expect_problem(409, "history-changed");
    let (read, is_readable) = read_while_a_sync_hangs(&host, &disk, Duration::from_secs(5));
    assert_eq!(read.expect(200).json["events"][0]["position"], 1);
    assert!(!is_readable, "the read has waited for the event");
}

#[test]
fn a_read_up_to_a_position_waits_no_longer_than_a_response_may_take() {
    let disk = Disk::new(CAPACITY_MAX);
    let config = "[[store]]\nname = \"main\"\n[store.limits.gateway]\nresponse_wall_ms = 1000\n";
    let host = Down::on_disk(Some(config), &disk).start();
    host.http.append_one("s").expect(200);
    let (read, _) = read_while_a_sync_hangs(&host, &disk, Duration::from_secs(13));
    read.expect_problem(503, "timeout");
    assert_eq!(host.traps(), NO_EVENTS);
}

/// Appends large events to a stream until the store is read-only.
fn fill(host: &Host, stream: &str) {
    let data = "x".repeat(512 << 10);
    let refused = (0..10_000).find_map(|_| {
        let response = host.http.append(stream, "any", &[json!({ "type": "large", "data": data })]);
        (response.status != 200).then_some(response)
    });
    refused.expect("the disk is not endless").expect_problem(503, "read-only");
}

#[test]
fn deleting_frees_space_on_a_full_disk() {
    let disk = Disk::new(RESERVE + ROOM);
    let host = Down::on_disk(None, &disk).start();
    host.http.append_one("small").expect(200);
    fill(&host, "large");
    // Operations that free space may use the reserve.
    host.ok(&["retention", "small", "--max-count", "5"]);
    host.ok(&["delete", "large"]);
    let scavenged = host.ok(&["scavenge"]);
    assert!(!scavenged.is_empty());
    assert_eq!(host.http.read("small").len(), 1);
    host.http.get(&format!("{}/events", host.http.stream("large"))).expect(404);
    // Below a quarter of the reserve every write is refused immediately, even while replaced tables are being removed.
    disk.set_capacity(disk.used() + RESERVE / 32);
    let mut counts = 6..;
    eventually("the store has checked its disk again", || {
        // Another count each time: setting the same one again writes nothing.
        let count = counts.next()?.to_string();
        let retention = host.exesdb(&["retention", "small", "--max-count", &count]);
        (!retention.status.success()).then_some(())
    });
    for command in [&["scavenge"][..], &["compact"], &["delete", "small"]] {
        let begun = std::time::Instant::now();
        let output = host.exesdb(command);
        let said = exesdb_tests::stderr(&output);
        assert!(!output.status.success() && said.contains("bytes are free"), "{command:?}: {said}");
        assert!(said.contains("disk_reserve_mib") && !said.contains("flush"), "{command:?}: {said}");
        // A wait for flushes would take 30 s.
        assert!(begun.elapsed() < Duration::from_secs(20), "{command:?} took {:?}", begun.elapsed());
    }
    disk.set_capacity(2 * (RESERVE + ROOM));
    eventually("the store is writable again", || is_ready(&host).then_some(()));
    host.http.append_one("small").expect(200);
}

#[test]
fn a_disk_smaller_than_the_reserve_is_reported_at_the_start() {
    let disk = Disk::new(RESERVE / 2);
    let host = Down::on_disk(None, &disk).start();
    let health = host.http.get("/health/ready").expect(503);
    let said = health.json["stores"]["main"].as_str().unwrap_or_default();
    assert!(said.contains("bytes in all") && said.contains("disk_reserve_mib"), "{said}");
    host.http.append_one("s").expect_problem(503, "read-only");
    // The host serves before it logs that it has started.
    let log = eventually("the start is logged", || {
        let log = host.log();
        let says_why =
            |line: &String| line.contains("not all of its stores are ready") && line.contains("bytes in all");
        log.iter().any(says_why).then_some(log)
    });
    assert!(!log.iter().any(|line| line.contains("exesdb is ready")), "{log:?}");
    // With a smaller reserve the store starts.
    let disk = Disk::new(RESERVE / 2);
    let config = "[[store]]\nname = \"main\"\ndisk_reserve_mib = 64\n";
    let host = Down::on_disk(Some(config), &disk).start();
    assert!(is_ready(&host));
    host.http.append_one("s").expect(200);
}
