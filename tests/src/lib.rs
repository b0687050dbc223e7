//! What the end-to-end tests share: a host as a process of its own, its clients, and what is known of its events.
//!
//! `cargo xtask test` builds the binary and the components before the tests run. A test that fails shows the
//! host's log.
#![allow(clippy::print_stderr)] // the log of a host whose test failed

mod api;
mod client;
mod connection;
pub mod fault_fs;
mod host;
mod ledger;
mod load;
mod random;
mod telemetry;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub use client::{Answer, Client, Follower, encoded};
pub use connection::Connection;
pub use exesdb_api_document::Frame;
pub use host::{Down, Host, Stopped, keep_compiled, own_loopback, take_compiled};
pub use ledger::{Append, NO_FAULTS, Outcome, Transaction, faults, halves};
pub use load::{Load, Report};
pub use random::Random;
pub use telemetry::{NO_EVENTS, after, last_seq, of_kind, path_of};

/// How long anything that is expected may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that is expected.
const POLL: Duration = Duration::from_millis(10);

/// The binary under test: the one that was built, unless `EXESDB_TEST_BINARY` names another.
pub fn binary() -> PathBuf {
    let named = std::env::var_os("EXESDB_TEST_BINARY").map(PathBuf::from);
    let binary = named.unwrap_or_else(|| root().join("target/release/exesdb"));
    assert!(binary.is_file(), "{} is missing; run the tests with `cargo xtask test`", binary.display());
    binary
}

/// The binary with fail points and faults built in, unless `EXESDB_TEST_FAULTS_BINARY` names another.
pub fn binary_with_faults() -> PathBuf {
    let named = std::env::var_os("EXESDB_TEST_FAULTS_BINARY").map(PathBuf::from);
    let binary = named.unwrap_or_else(|| root().join("target/release/exesdb-faults"));
    assert!(binary.is_file(), "{} is missing; run the tests with `cargo xtask test`", binary.display());
    binary
}

/// A component built for the tests: `streams-probe`, `snapshots-probe`, `gateway-probe`, `misfit`, `other-exports`, `other-imports`.
pub fn probe(name: &str) -> PathBuf {
    let probe = root().join(format!("target/components/tests/{name}.wasm"));
    assert!(probe.is_file(), "{} is missing; run the tests with `cargo xtask test`", probe.display());
    probe
}

/// The workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// Runs the command line, with these environment variables and none of the tester's own.
pub fn exesdb(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    exesdb_in(Path::new("."), arguments, environment)
}

/// As [`exesdb`], in a folder.
pub fn exesdb_in(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = command(environment);
    command.args(arguments).current_dir(folder).output().expect("the binary can be run")
}

/// The command line, to be run with arguments.
pub fn command(environment: &[(&str, &str)]) -> Command {
    command_of(&binary(), environment)
}

/// As [`command`], of another binary.
fn command_of(binary: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary);
    for variable in ["EXESDB_URL", "EXESDB_DATA", "EXESDB_STORE", "EXESDB_LOG"] {
        command.env_remove(variable);
    }
    command.envs(environment.iter().copied()).stdin(Stdio::null());
    command
}

/// What a command said on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until something holds.
///
/// # Panics
///
/// When it does not within [`PATIENCE`].
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// A folder that is removed with its content when dropped.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room for a test's folder")
}
