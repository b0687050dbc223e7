//! Seeds, each of which is a cluster in trouble. See the crate's documentation for how to run more of them, or one again.

use std::time::{Duration, Instant};

use exesdb_simulation::{PLAYED_TWICE, run};

/// Seeds that are played if nothing else is asked for: some seconds.
const SEEDS: u64 = 60;

#[test]
fn whatever_happens_every_property_holds() {
    let first = exesdb_test_support::seed();
    let seeds = exesdb_test_support::number("EXESDB_SIMULATION_SEEDS", SEEDS);
    let begin = Instant::now();
    let (mut simulated, mut events, mut appends, mut traces) = (Duration::ZERO, 0, 0, 0);
    for seed in first..first + seeds {
        let played = run(seed, None);
        assert!(played.violations.is_empty(), "{}", played.report());
        if (seed - first).is_multiple_of(PLAYED_TWICE) {
            let again = run(seed, None);
            assert!(
                again.hash == played.hash,
                "seed {seed} is not played the same twice:\n{}\n---\n{}",
                played.tail,
                again.tail
            );
        }
        simulated += played.simulated;
        events += played.events;
        traces ^= played.hash.rotate_left(u32::try_from(seed % 64).unwrap_or(0));
        appends += played.history.appends.len();
    }
    let seconds = begin.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(seeds).unwrap_or(u32::MAX)) / seconds;
    println!(
        "{seeds} seeds in {seconds:.1} s ({rate:.1}/s): {simulated:?} simulated, {events} events, {appends} appends, traces {traces:016x}"
    );
}
