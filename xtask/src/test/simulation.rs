//! Runs the simulation of clusters, which is no member of the workspace: all of it is compiled with `tokio_unstable`.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::times::Times;
use crate::workspace;

/// The variable that says how many seeds are played.
pub(super) const SEEDS: &str = "EXESDB_SIMULATION_SEEDS";

/// Its name among the long tests, and how many seeds these play.
pub(super) const NAME: &str = "simulation";
pub(super) const LONG_SEEDS: &str = "10000";

/// Plays seeds, and shows that the seeded faults are found.
pub(super) fn run(times: &mut Times) -> Result<()> {
    let begun = Instant::now();
    let outcome = workspace::run(cargo().args(["test", "--release"]));
    times.add("the simulation of clusters", begun.elapsed(), String::new());
    outcome
}

/// Plays many seeds.
pub(super) fn run_long(times: &mut Times) -> Result<()> {
    let begun = Instant::now();
    let seeds = std::env::var(SEEDS).unwrap_or_else(|_| LONG_SEEDS.to_owned());
    let mut command = cargo();
    command.args(["test", "--release", "--test", "seeds", "--", "--nocapture"]).env(SEEDS, &seeds);
    let outcome = workspace::run(&mut command);
    let word = if outcome.is_ok() { "passed" } else { "FAILED" };
    times.add(NAME, begun.elapsed(), format!("{word} with {SEEDS}={seeds}"));
    outcome
}

/// Cargo, in the folder whose flags are needed. What it builds lies beside what the workspace builds.
fn cargo() -> Command {
    let mut command = workspace::cargo();
    command.current_dir(workspace::root().join("tests/simulation"));
    command.env("CARGO_TARGET_DIR", workspace::target().join("simulation"));
    command
}
