//! What is left of a host that was killed, stopped, cut off from power or given a bad disk under load.
//!
//! Each test owns a ledger: what writers were told and followers were shown. After each death the store is read as a
//! whole and held against it. Nothing acknowledged or shown may be missing or elsewhere, nothing may be there twice, in
//! part or without having been sent; positions and versions are dense; what was refused is not there, and what no writer
//! knows the end of is there once or not, and once after it was sent again. `exesdb doctor` agrees: it finds nothing wrong
//! with what was killed or cut, and whatever damage does harm.
//!
//! | module | what happens to the host | how often, unless the variable says otherwise |
//! |---|---|---|
//! | `crash` | `kill -9` at random times | 50, `EXESDB_CRASH_ROUNDS` |
//! | `crash` | death at each fail point of a commit, with and without a loss of power | 24 |
//! | `power` | loss of power at random times, also while the host starts | 50, `EXESDB_CUT_ROUNDS` |
//! | `errors` | `EIO` and `ENOSPC` from a write or a sync; a disk that is full | 20, `EXESDB_ERROR_ROUNDS` |
//! | `flips` | one byte flipped, or a file cut off, while no host runs | 40, `EXESDB_FLIP_ROUNDS` |
//! | `damage` | blocks of tables overwritten while no host runs: what is said, and what can still be read | 3 |
//! | `import`, `stop` | `kill -9` during an import, SIGTERM under load | 12, `EXESDB_IMPORT_ROUNDS` times three; 10 |
//! | `faults` | a promise broken on purpose, which the checks of `crash` and `power` must find | up to 30 each |
//!
//! `EXESDB_TEST_SEED` sets the moments; each test prints the one that it took. The threads of host and kernel have their
//! own moments, so that a seed makes a failure likely to come again, not certain.
//!
//! `cargo xtask test --long` runs most of them with many more rounds. Each test prints a line with the number of rounds, the
//! number of acknowledged events, and the time until the host served again.
//!
//! `power`, `errors`, `flips`, `faults` and one test of `crash` need `/dev/fuse` and the right to mount; fail points and
//! `faults` need the binary with the feature `faults`, as `target/release/exesdb-faults` or where
//! `EXESDB_TEST_FAULTS_BINARY` says. `EXESDB_TEST_BINARY` names another binary under test. What is missing fails the
//! test, with a message that says what it is.

mod crash;
mod damage;
mod errors;
mod faults;
mod flips;
mod import;
mod lives;
mod power;
mod stop;
mod witness;

use exesdb_tests::Down;

/// The store's folder in the data directory.
const STORE: &str = "main";

/// What a check is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject<'a> {
    /// The binary under test.
    Binary,
    /// The binary with faults built in, and the one of this name put in, if any.
    Fault(Option<&'a str>),
    /// The binary under test on a disk that takes no sync seriously. Only power shows that.
    LyingDisk,
}

impl Subject<'_> {
    /// Makes a host ready to start.
    fn prepare(self, down: Down) -> Down {
        match self {
            Self::Binary | Self::LyingDisk => down,
            Self::Fault(None) => down.with_faults(&[]),
            Self::Fault(Some(fault)) => down.with_faults(&[("EXESDB_FAULT", fault)]),
        }
    }
}
