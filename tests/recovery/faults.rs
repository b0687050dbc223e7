//! Tests of the checks: they must detect a host that deliberately breaks a promise.
//!
//! The environment variable `EXESDB_FAULT` enables a fault in a binary that was built with the feature `faults`.

use exesdb_test_support::{Rng, random};

use crate::Subject;
use crate::crash::{kills, kills_of_many_writers};
use crate::power::{cuts, cuts_in_zeroes};
use crate::witness::{NO_VIOLATIONS, Tally};

/// Most rounds until a fault must be found.
const ROUNDS: u64 = 30;

/// The checks that must find a fault.
type Checks = fn(u64, &mut Rng, &mut Tally, Subject<'_>) -> Vec<String>;

#[track_caller]
fn found(subject: Subject<'_>, checks: Checks, expected: &[&str]) {
    let mut tally = Tally::default();
    let violations = checks(ROUNDS, &mut random(), &mut tally, subject);
    println!("{}", tally.summary(&format!("{subject:?}")));
    for violation in violations.iter().take(4) {
        println!("  {}", violation.chars().take(300).collect::<String>());
    }
    assert_ne!(violations, NO_VIOLATIONS, "{subject:?} was not found in {ROUNDS} rounds");
    let of_its_kind = |violation: &String| expected.iter().any(|kind| violation.contains(kind));
    assert!(
        violations.iter().any(of_its_kind),
        "{subject:?} was not found, but something else: {violations:#?}"
    );
}

#[test]
fn the_binary_without_a_fault_passes() {
    let mut random = Rng::with_seed(1);
    for checks in [kills as Checks, cuts] {
        assert_eq!(checks(5, &mut random, &mut Tally::default(), Subject::Fault(None)), NO_VIOLATIONS);
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_found() {
    let expected = ["events of Append", "did not start", "was shown as", "is stored from"];
    found(Subject::LyingDisk, cuts, &expected);
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    let expected = ["events of Append", "did not start", "was shown as", "is stored from"];
    found(Subject::Fault(Some("acknowledge-before-sync")), cuts, &expected);
}

#[test]
fn a_publication_before_the_sync_is_found() {
    found(Subject::Fault(Some("publish-before-durable")), cuts, &["was shown as", "did not start"]);
}

#[test]
fn versions_that_are_checked_before_the_queue_are_found() {
    let expected = ["version", "is stored from", "is stored twice", "events of Append", "expected version"];
    found(Subject::Fault(Some("check-before-queue")), kills_of_many_writers, &expected);
}

#[test]
fn an_event_that_is_dropped_on_replay_is_found() {
    found(
        Subject::Fault(Some("drop-one-on-replay")),
        kills,
        &["not all can be read: 500", "events of Append", "is stored in part", "did not start"],
    );
}

#[test]
fn zeroes_from_one_record_too_low_are_found() {
    let expected = ["events of Append", "did not start", "is stored in part"];
    found(Subject::Fault(Some("zero-last-record")), cuts_in_zeroes, &expected);
}
