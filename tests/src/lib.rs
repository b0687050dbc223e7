//! What the end-to-end tests share: a host in a process of its own, its clients, and a record of acknowledged events.
//!
//! `cargo xtask test` builds the binary and the components before the tests run. A failed test prints the host's log.
#![allow(clippy::print_stderr)] // the log of a host whose test failed

mod api;
mod client;
mod compiled;
mod connection;
mod consumer;
mod control;
pub mod fault_fs;
mod follower;
mod host;
mod ledger;
mod listener;
mod live;
mod load;
mod memory;
mod piped;
mod strategies;
mod telemetry;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub use client::{Client, Response, encoded};
pub use compiled::{keep_compiled, shared_compiled, take_compiled};
pub use connection::Connection;
pub use consumer::Consumer;
pub use control::Control;
pub use exesdb_api_document::{Frame, take_frame};
pub use follower::Follower;
pub use host::{Down, Host, Stopped, own_loopback};
pub use ledger::{Append, NO_FAULTS, Outcome, Transaction, disorder, faults, halves};
pub use listener::Listener;
pub use load::{Load, Report};
pub use memory::allocated_bytes;
pub use strategies::{paths, restarted, runs};
pub use telemetry::{NO_EVENTS, after, last_seq, of_kind, path_of};

/// How long a test waits for an expected result, on a machine that may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The interval between two checks for an expected result.
const POLL: Duration = Duration::from_millis(10);

/// The binary under test: `target/release/exesdb`, unless `EXESDB_TEST_BINARY` names another.
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

/// A component built for the tests: `streams-probe`, `snapshots-probe`, `subscriptions-probe`, `gateway-probe`, `sink-probe`, `wasi-http-probe`, `bare-streams`, `misfit`, `other-exports`, `other-imports`.
pub fn probe(name: &str) -> PathBuf {
    let probe = root().join(format!("target/components/tests/{name}.wasm"));
    assert!(probe.is_file(), "{} is missing; run the tests with `cargo xtask test`", probe.display());
    probe
}

/// The root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// Runs `exesdb` with these environment variables, and without the `EXESDB_` variables of the caller.
pub fn exesdb(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    exesdb_in(Path::new("."), arguments, environment)
}

/// As [`exesdb`], in a working directory.
pub fn exesdb_in(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = command(environment);
    command.args(arguments).current_dir(folder).output().expect("the binary can be run")
}

/// A command that runs `exesdb`; the caller adds the arguments.
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

/// What a command printed to stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Calls `check` until it returns a value. `what` describes the expectation.
///
/// # Panics
///
/// When there is no value within [`PATIENCE`].
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

/// A temporary folder, removed with its content on drop.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room for a test's folder")
}
