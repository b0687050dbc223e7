//! Builds and runs the host, through cargo.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace;

/// Builds the host in release, and returns its path.
///
/// The whole workspace is selected, although only the host is built: cargo unites the features of the selected packages,
/// and if only the host were selected, the tests would compile wasmtime again with other features.
pub(crate) fn build(arguments: &[String]) -> Result<PathBuf> {
    workspace::run(
        workspace::cargo().args(["build", "--release", "--workspace", "--bin", "exesdb"]).args(arguments),
    )?;
    let metadata = workspace::metadata()?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(folder).join("release/exesdb"))
}

/// Builds the host with fail points and faults for the recovery tests, as `exesdb-faults`.
pub(crate) fn build_with_faults() -> Result<()> {
    let host = build(&["--features".into(), "exesdb/faults".into()])?;
    let faulty = host.with_file_name("exesdb-faults");
    // A rename works while an old host still runs from the target file; a copy would fail.
    std::fs::rename(&host, &faulty)
        .with_context(|| format!("cannot rename {} to {}", host.display(), faulty.display()))
}

/// Builds the host, and replaces this process by `exesdb serve`, so that signals reach it. Returns only on failure.
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
