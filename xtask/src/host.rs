//! Builds and runs the host, through cargo.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

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

/// Builds the host with fail points and faults for the recovery tests, as `exesdb-faults`.
pub(crate) fn build_with_faults() -> Result<()> {
    let host = build(&["--features".into(), "exesdb/faults".into()])?;
    let faulty = host.with_file_name("exesdb-faults");
    // A rename works while an old host still runs from the target file; a copy would fail.
    std::fs::rename(&host, &faulty)
        .with_context(|| format!("cannot rename {} to {}", host.display(), faulty.display()))
}

/// Builds the host and becomes `exesdb serve`, so that signals reach it directly. Returns only on failure.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let host = build(&[])?;
    Err(Command::new(&host).arg("serve").args(arguments).exec())
        .with_context(|| format!("cannot start {}", host.display()))
}
