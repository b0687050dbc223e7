//! The state of a store after its host was killed, stopped, lost power or had disk errors under load.
//!
//! Each test keeps a ledger of what writers were told and followers were shown. After each death the whole store is read
//! and compared with it. No acknowledged or shown event may be missing or moved, and none may be stored twice, in part or
//! without having been sent. Positions and versions are dense. A refused append is not stored. An append with an unknown
//! outcome is stored at most once, and exactly once after it was sent again. Of the appends of a pipeline to one stream,
//! none is stored before or without those that were sent before it. `exesdb doctor` agrees: it finds no fault after a kill
//! or a loss of power, and finds every damage that does harm.
//!
//! | module | what happens to the host | how often by default, and the variable that changes it |
//! |---|---|---|
//! | `crash` | `kill -9` at random times | 50, `EXESDB_CRASH_ROUNDS` |
//! | `crash` | death at each fail point of a commit and of the zeroes after it, with and without a loss of power | 30 |
//! | `power` | loss of power at random times, also while the host starts | 50, `EXESDB_CUT_ROUNDS` |
//! | `power` | the same after the store has begun another journal, in which zeroes are written ahead | 5, `EXESDB_CUT_ZEROES_ROUNDS` |
//! | `errors` | `EIO` and `ENOSPC` from a write or a sync; a full disk | 20, `EXESDB_ERROR_ROUNDS` |
//! | `flips` | one byte flipped, or a file cut off, while no host runs | 40, `EXESDB_FLIP_ROUNDS` |
//! | `damage` | blocks of tables overwritten while no host runs: the messages, and what is still readable | 3 |
//! | `import`, `stop` | `kill -9` during an import, SIGTERM under load | 12, `EXESDB_IMPORT_ROUNDS` times three; 10 |
//! | `faults` | a deliberately broken promise, which the checks of `crash` and `power` must find | up to 30 each |
//!
//! `EXESDB_TEST_SEED` sets the random times; each test prints its seed. The schedules of the host's and the kernel's
//! threads differ from run to run, so a seed makes a failure likely to recur, not certain.
//!
//! `cargo xtask test --long` runs most of them with many more rounds. Each test prints a line with the number of rounds, the
//! number of acknowledged events, and the time until the host served again.
//!
//! `power`, `errors`, `flips`, `faults` and one test of `crash` need `/dev/fuse` and the right to mount; fail points and
//! `faults` need the binary with the feature `faults`, as `target/release/exesdb-faults` or where
//! `EXESDB_TEST_FAULTS_BINARY` says. `EXESDB_TEST_BINARY` names another binary under test. A test fails when something of
//! this is missing, and says what.

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

/// The host that a check runs against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject<'a> {
    /// The binary under test.
    Binary,
    /// The binary with faults built in, with the fault of this name enabled, if any.
    Fault(Option<&'a str>),
    /// The binary under test on a disk that ignores syncs. Only a loss of power reveals that.
    LyingDisk,
}

impl Subject<'_> {
    /// Prepares the next start of a host.
    fn prepare(self, down: Down) -> Down {
        match self {
            Self::Binary | Self::LyingDisk => down,
            Self::Fault(None) => down.with_faults(&[]),
            Self::Fault(Some(fault)) => down.with_faults(&[("EXESDB_FAULT", fault)]),
        }
    }
}
