//! Scenarios that nobody has seen before: the oracle makes them, real OTP plays them, and so do we.
//!
//! Needs `escript` (Debian: erlang-base); without it the test is reported as skipped. `EXESDB_OTP_SCENARIOS` says
//! how many (8 if it is not set), `EXESDB_TEST_SEED` repeats a run. Where we differ, OTP is asked again:
//! a scenario about which it does not agree with itself is listed, and is no failure.

#[path = "player/mod.rs"]
mod player;

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};

use exesdb_test_support::{number, seed, skip};

/// Scenarios of one seed. The oracle numbers them with three digits: from 1,000 on they would share one name.
const BATCH: usize = 500;

/// Between the seeds of two batches: those close to each other give the same scenarios under other numbers.
const SEED_STEP: u64 = 1_000_000;

#[test]
fn fresh_scenarios_give_the_traces_of_real_otp() {
    let there =
        Command::new("escript").arg("/nonexistent").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_err() {
        skip("random scenarios of real OTP", "`escript` is not installed (Debian: erlang-base)");
        return;
    }
    let count = usize::try_from(number("EXESDB_OTP_SCENARIOS", 8)).expect("a number of scenarios");
    let seed = seed();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("otp-random-{seed}"));
    let mut played = HashSet::new();
    let (mut differ, mut open) = (Vec::new(), Vec::new());
    for seed in (seed..).step_by(SEED_STEP as usize) {
        if played.len() == count {
            break;
        }
        let batch = folder.join(seed.to_string());
        make(seed, BATCH.min(count - played.len()), &batch);
        for entry in std::fs::read_dir(batch.join("scenarios")).unwrap() {
            let scenario = entry.unwrap().path();
            let text = std::fs::read_to_string(&scenario).unwrap();
            if !played.insert(what_happens(&text)) {
                continue; // played already, under another name
            }
            let trace = batch.join("traces").join(scenario.file_name().unwrap()).with_extension("jsonl");
            let expected = std::fs::read_to_string(trace).unwrap();
            let lines = player::play_text(&text).unwrap();
            if !expected.lines().eq(lines.iter().map(String::as_str)) {
                let list = if is_open_in_otp(&batch, &scenario) { &mut open } else { &mut differ };
                list.push(scenario.display().to_string());
            }
        }
    }
    println!("{} scenarios; no fixed trace in OTP itself: {open:?}", played.len());
    assert!(differ.is_empty(), "seed {seed}, {} of {count} differ: {differ:?}", differ.len());
    std::fs::remove_dir_all(&folder).unwrap();
}

fn oracle() -> Command {
    let mut oracle = Command::new("escript");
    oracle.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otp/otp_oracle.escript"));
    oracle
}

/// The oracle makes scenarios and has OTP play them.
fn make(seed: u64, count: usize, out: &Path) {
    std::fs::create_dir_all(out).expect("a folder of the target directory can be made");
    let made = oracle()
        .args(["gen", "--seed", &seed.to_string(), "--count", &count.to_string(), "--repeat", "2"])
        .args(["--prefix", "fresh", "--out"])
        .arg(out)
        .output()
        .expect("escript is installed");
    assert!(made.status.success(), "the oracle: {}", String::from_utf8_lossy(&made.stderr));
}

/// A scenario without its name.
fn what_happens(text: &str) -> String {
    let scenario: serde_json::Value = serde_json::from_str(text).expect("a scenario is JSON");
    format!("{}{}", scenario["root"], scenario["steps"])
}

/// Whether OTP does not agree with itself about this scenario: with small delays in starts and ends two of its own
/// plays differ. Such an order is luck and not cause and effect, and the recorded scenarios were tested for it.
fn is_open_in_otp(batch: &Path, scenario: &Path) -> bool {
    let name = scenario.file_stem().and_then(|name| name.to_str()).expect("the oracle names its files");
    let verified = oracle()
        .arg("verify")
        .arg(batch)
        .args(["--only", name, "--jitter", "--repeat", "20"])
        .output()
        .expect("escript is installed");
    let said = [verified.stdout, verified.stderr].concat();
    String::from_utf8_lossy(&said).contains("two plays differ")
}
