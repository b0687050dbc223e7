//! Durable subscriptions, through the real gateway, host and component, against a model of what a consumer may get. A sequence that
//! fails is shrunk.
//!
//! The model knows what each subscription selects, and of each event whether it waits, is with a consumer, is settled or is
//! parked. After a restart it takes over what is stored, once that was checked against what it may be.
//!
//! There are `EXESDB_SUBSCRIPTION_CASES` (default: 8) sequences of up to 120 operations each.

mod model;
mod operation;
mod pace;
mod run;

use std::cell::{Cell, RefCell};

use exesdb_test_support::{number, seed};
use exesdb_tests::Host;
use proptest::collection;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

/// The number of sequences, unless `EXESDB_SUBSCRIPTION_CASES` is set.
const CASES: u32 = 8;

/// The number of operations of a sequence.
const OPERATIONS: std::ops::RangeInclusive<usize> = 60..=120;

/// Most attempts to shrink a failing sequence.
const SHRINKS_MAX: u32 = 20;

/// The least number of deliveries per sequence, so that the test cannot pass by doing nothing.
const DELIVERIES_MIN: u64 = 20;

#[test]
fn subscriptions_agree_with_a_model() {
    let cases = u32::try_from(number("EXESDB_SUBSCRIPTION_CASES", CASES.into()))
        .expect("a reasonable number of cases");
    let (host, runs, deliveries) = (Host::start(), Cell::new(0), Cell::new(0));
    let pace = RefCell::new(pace::Pace::default());
    let config = Config {
        cases,
        max_shrink_iters: SHRINKS_MAX,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed()),
        ..Config::default()
    };
    let operations = collection::vec(operation::operation(), OPERATIONS);
    let outcome = TestRunner::new(config).run(&operations, |operations| {
        runs.set(runs.get() + 1);
        let delivered = run::run(&host, &mut pace.borrow_mut(), runs.get(), &operations);
        let delivered = delivered.map_err(TestCaseError::fail)?;
        deliveries.set(deliveries.get() + delivered);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{reason}"),
        Err(TestError::Fail(reason, operations)) => {
            let calls: String = operations.iter().map(|operation| format!("  {operation:?}\n")).collect();
            panic!("{reason}\nseed {}, after these operations:\n{calls}", seed());
        }
    }
    assert!(deliveries.get() >= DELIVERIES_MIN * u64::from(cases), "{} deliveries", deliveries.get());
    println!("{cases} sequences, {} deliveries", deliveries.get());
}
