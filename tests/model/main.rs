//! The whole store, through the real gateway and components, against the reference model: random calls, and every response is
//! compared. A sequence that fails is shrunk.
//!
//! There are `EXESDB_MODEL_CASES` (default: 12) sequences of up to 1,000 calls each.

mod json;
mod operation;
mod run;
mod subscriptions;

use std::cell::{Cell, RefCell};

use exesdb_test_support::{number, seed};
use exesdb_tests::Host;
use proptest::collection;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

/// The number of sequences, unless `EXESDB_MODEL_CASES` is set.
const CASES: u32 = 12;

/// The number of calls of a sequence.
const CALLS: std::ops::RangeInclusive<usize> = 800..=1_000;

/// Most attempts to shrink a failing sequence. Each needs a store of its own.
const SHRINKS_MAX: u32 = 30;

/// The number of stores of one host. Each may have many open files.
const STORES: u32 = 12;

/// The least number of compared calls per sequence, so that the test cannot pass by doing nothing.
const CALLS_MIN: u64 = 800;

/// A supply of empty stores, and their host.
struct Stores {
    host: Host,
    given: u32,
}

impl Stores {
    fn new() -> Self {
        let store = |number| {
            format!(
                "[[store]]\nname = \"s{number}\"\nwriters = 1\nreaders = 1\nsnapshot_workers = 1\n\
                 gateway_pool_size = 1\n\n"
            )
        };
        Self { host: Host::with_config(&(0..STORES).map(store).collect::<String>()), given: 0 }
    }

    fn next(&mut self) -> (&Host, String) {
        if self.given == STORES {
            *self = Self::new();
        }
        self.given += 1;
        (&self.host, format!("s{}", self.given - 1))
    }
}

#[test]
fn the_store_agrees_with_a_model() {
    let cases =
        u32::try_from(number("EXESDB_MODEL_CASES", CASES.into())).expect("a reasonable number of cases");
    let (stores, calls) = (RefCell::new(Stores::new()), Cell::new(0));
    let config = Config {
        cases,
        max_shrink_iters: SHRINKS_MAX,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed()),
        ..Config::default()
    };
    let outcome =
        TestRunner::new(config).run(&collection::vec(operation::operation(), CALLS), |operations| {
            let mut stores = stores.borrow_mut();
            let (host, store) = stores.next();
            calls.set(calls.get() + run::run(host, &store, &operations).map_err(TestCaseError::fail)?);
            Ok(())
        });
    match outcome {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{reason}"),
        Err(TestError::Fail(reason, operations)) => {
            for (number, operation) in operations.iter().enumerate() {
                println!("{number}: {operation:?}");
            }
            panic!("{reason}");
        }
    }
    assert!(calls.get() >= CALLS_MIN * u64::from(cases), "only {} calls were compared", calls.get());
    println!("{} calls compared in {cases} sequences", calls.get());
}
