//! Runs the tests: all of them, or the long ones. Each run ends with a table of times and a line for each skipped test.

mod long;
mod simulation;
mod times;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{fs, io};

use anyhow::{Context, Result};

use self::times::Times;
use crate::{host, workspace};

pub(crate) use self::long::long;

/// Where nextest writes the results of a run; `.config/nextest.toml` turns that on.
const RESULTS: &str = "target/nextest/default/junit.xml";

/// Runs every test, the examples in the documentation, the simulation of clusters, and the faults of storage and log. `arguments` go to the test runner.
pub(crate) fn all(arguments: &[String]) -> Result<()> {
    build_hosts()?;
    let skipped = Skipped::new()?;
    let mut times = Times::default();
    let tests = run_tests(arguments, &skipped, &mut times);
    let rest = if arguments.is_empty() {
        let examples = run_examples(&mut times);
        let simulation = simulation::run(&mut times);
        run_fault_tests(&mut times).and(examples).and(simulation)
    } else {
        Ok(())
    };
    times.print();
    if !arguments.is_empty() {
        eprintln!(
            "xtask: skipped: the documentation's examples, the simulation of clusters, and the faults of storage and log, because \
             arguments chose other tests"
        );
    }
    skipped.print()?;
    tests.and(rest)
}

/// Runs the tests with cargo-nextest where it is installed. Without it there are no times per suite, and no limit on the
/// time of a test.
fn run_tests(arguments: &[String], skipped: &Skipped, times: &mut Times) -> Result<()> {
    let mut command = workspace::cargo();
    if !has_nextest() {
        eprintln!(
            "xtask: cargo-nextest is not installed: no times per suite, and no limit on the time of a test"
        );
        command.args(["test", "--lib", "--bins", "--tests", "--no-fail-fast", "--workspace", "--release"]);
        return workspace::run(skipped.collect(command.args(arguments)));
    }
    let results = workspace::root().join(RESULTS);
    // A run that does not get as far as the tests would leave the results of an earlier one.
    remove(&results)?;
    command.args(["nextest", "run", "--workspace", "--release"]).args(arguments);
    let tests = workspace::run(skipped.collect(&mut command));
    if results.exists() {
        times.add_results(&results)?;
    }
    tests
}

fn run_examples(times: &mut Times) -> Result<()> {
    let begun = Instant::now();
    let examples = workspace::run(workspace::cargo().args(["test", "--workspace", "--release", "--doc"]));
    times.add("the documentation's examples", begun.elapsed(), String::new());
    examples
}

/// Runs the tests that the injected faults of storage and log are found. Only those that are built with faults have them.
fn run_fault_tests(times: &mut Times) -> Result<()> {
    let begun = Instant::now();
    let mut command = workspace::cargo();
    // The features of the faulty host, so that nothing is compiled for these tests alone but themselves.
    command.args(["test", "--workspace", "--release", "--features", "exesdb/faults,exesdb-log/faults"]);
    let faults = workspace::run(command.args(["--test", "faults", "--test", "applied"]));
    times.add("the faults of storage and log", begun.elapsed(), String::new());
    faults
}

/// The end-to-end tests run the host's binary. Cargo does not build it for them, as it belongs to another package.
fn build_hosts() -> Result<()> {
    host::build_with_faults()?;
    host::build(&[])?;
    Ok(())
}

fn has_nextest() -> bool {
    let version = workspace::cargo()
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// The tests that report themselves as skipped, one line each. Their own output is hidden, because they pass.
struct Skipped {
    file: PathBuf,
}

impl Skipped {
    fn new() -> Result<Self> {
        let file = workspace::target().join("tmp/skipped-tests");
        remove(&file)?;
        fs::create_dir_all(file.parent().expect("the file lies in a folder"))?;
        Ok(Self { file })
    }

    /// Has the tests of a command report here.
    fn collect<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("EXESDB_SKIPPED_FILE", &self.file)
    }

    fn print(&self) -> Result<()> {
        match fs::read_to_string(&self.file) {
            Ok(lines) => lines.lines().for_each(|line| eprintln!("xtask: {line}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.file.display())),
        }
        Ok(())
    }
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}
