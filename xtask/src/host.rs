//! Builds, runs and tests the host, through cargo.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::workspace;

/// Builds the host in release.
pub(crate) fn build(arguments: &[String]) -> Result<()> {
    workspace::run(workspace::cargo().args(["build", "--release", "--package", "exesdb"]).args(arguments))
}

/// Builds the host and becomes `exesdb serve`, so that signals reach it directly. Returns only on failure.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let mut command: Command = workspace::cargo();
    command.args(["run", "--release", "--package", "exesdb", "--", "serve"]).args(arguments);
    // The store's data belongs where the person stands.
    command.current_dir(std::env::current_dir().context("the current folder is gone")?);
    Err(command.exec()).context("cannot start cargo")
}

/// Runs every test: with cargo-nextest where it is installed, and the examples in the documentation.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
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
