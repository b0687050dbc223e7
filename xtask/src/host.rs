//! Builds, runs and tests the host, through cargo.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::workspace;

/// Builds the host in release, and says where it is.
///
/// The whole workspace is selected, although only the host is built: cargo gives shared dependencies the features that
/// the selected packages want together, and with the host alone selected the tests would compile wasmtime once more.
pub(crate) fn build(arguments: &[String]) -> Result<PathBuf> {
    workspace::run(
        workspace::cargo().args(["build", "--release", "--workspace", "--bin", "exesdb"]).args(arguments),
    )?;
    let metadata = workspace::metadata()?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(folder).join("release/exesdb"))
}

/// Builds the host that the tests of recovery make fail on purpose, under a name of its own beside the one that users
/// run.
fn build_with_faults() -> Result<()> {
    let host = build(&["--features".into(), "exesdb/faults".into()])?;
    let faulty = host.with_file_name("exesdb-faults");
    // Not a copy, which a host that still runs from there would be in the way of.
    std::fs::rename(&host, &faulty)
        .with_context(|| format!("cannot rename {} to {}", host.display(), faulty.display()))
}

/// Builds the host and becomes `exesdb serve`, so that signals reach it directly. Returns only on failure.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let host = build(&[])?;
    Err(Command::new(&host).arg("serve").args(arguments).exec())
        .with_context(|| format!("cannot start {}", host.display()))
}

/// Builds the host with its benchmark, and becomes `exesdb-bench`. Returns only on failure.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let bench = build(&["--bin".into(), "exesdb-bench".into()])?.with_file_name("exesdb-bench");
    Err(Command::new(&bench).args(arguments).exec())
        .with_context(|| format!("cannot start {}", bench.display()))
}

/// Runs every test: with cargo-nextest where it is installed, and the examples in the documentation. The host is built
/// before, because the end-to-end tests run its binary and cargo does not build one package's binary for another's tests.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    build_with_faults()?;
    build(&[])?;
    let nextest = workspace::cargo()
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let mut command = workspace::cargo();
    if nextest {
        command.args(["nextest", "run"]);
    } else {
        command.args(["test", "--lib", "--bins", "--tests"]);
    }
    workspace::run(command.args(["--workspace", "--release"]).args(arguments))?;
    if !arguments.is_empty() {
        eprintln!("xtask: the documentation's examples are left out, because arguments chose other tests");
        return Ok(());
    }
    workspace::run(workspace::cargo().args(["test", "--workspace", "--release", "--doc"]))
}
