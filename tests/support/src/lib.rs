//! What the tests of every package share: numbers from the environment, seeds, and the list of skipped tests.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

pub use fastrand::Rng;

/// The environment variable with the seed of every random test.
const SEED: &str = "EXESDB_TEST_SEED";

/// The environment variable with the file to which skipped tests are added. `cargo xtask test` prints its lines.
const SKIPPED: &str = "EXESDB_SKIPPED_FILE";

/// The number in an environment variable, or `default` when the variable is not set.
///
/// # Panics
///
/// When the variable is set to something else than a number.
#[must_use]
pub fn number(variable: &str, default: u64) -> u64 {
    parse(variable, std::env::var_os(variable).as_deref().map(|text| text.to_string_lossy()).as_deref())
        .unwrap_or_else(|error| panic!("{error}"))
        .unwrap_or(default)
}

fn parse(variable: &str, text: Option<&str>) -> Result<Option<u64>, String> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |error| format!("{variable} must be a whole number, not {text:?}: {error}");
    text.parse().map(Some).map_err(wrong)
}

/// A seed that differs from run to run, unless `EXESDB_TEST_SEED` gives one. It is printed, so that a failed test shows
/// how to repeat its run.
///
/// # Panics
///
/// When `EXESDB_TEST_SEED` is not a number.
#[must_use]
pub fn seed() -> u64 {
    // 32 bits are enough to differ, and easy to copy.
    let seed = number(SEED, fastrand::u32(..).into());
    println!("{SEED}={seed}");
    seed
}

/// A generator of random numbers that starts from [`seed`].
///
/// # Panics
///
/// When `EXESDB_TEST_SEED` is not a number.
#[must_use]
pub fn random() -> Rng {
    Rng::with_seed(seed())
}

/// A random time below `end`, in whole microseconds.
#[must_use]
pub fn time_below(random: &mut Rng, end: Duration) -> Duration {
    Duration::from_micros(random.u64(..u64::try_from(end.as_micros()).unwrap_or(u64::MAX)))
}

/// Reports that a test did nothing, and why. `cargo xtask test` repeats the report at its end.
///
/// # Panics
///
/// When the report cannot be written.
pub fn skip(test: &str, reason: &str) {
    let line = format!("skipped: {test}: {reason}\n");
    print!("{line}");
    let Some(file) = std::env::var_os(SKIPPED) else { return };
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|error| panic!("cannot write {}: {error}", file.to_string_lossy()));
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_value_that_is_not_a_number_is_an_error_with_the_name_of_the_variable() {
        assert_eq!(parse("ROUNDS", None), Ok(None));
        assert_eq!(parse("ROUNDS", Some("7")), Ok(Some(7)));
        for wrong in ["", "seven", "-7", "7.0", "99999999999999999999"] {
            let error = parse("ROUNDS", Some(wrong)).expect_err(wrong);
            assert!(error.contains("ROUNDS") && error.contains(wrong), "{error}");
        }
    }
}
