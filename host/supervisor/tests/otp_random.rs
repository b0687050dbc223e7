//! Scenarios that nobody has seen before: the oracle makes them, real OTP plays them, and so do we.
//!
//! Needs `escript` (Debian: erlang-base); without it the test says so and passes. `EXESDB_OTP_SCENARIOS` says
//! how many (8 if it is not set; CI makes 200), `EXESDB_OTP_SEED` repeats a run.

#[path = "player/mod.rs"]
mod player;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn fresh_scenarios_give_the_traces_of_real_otp() {
    let there =
        Command::new("escript").arg("/nonexistent").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_err() {
        println!("skipped: escript is not installed");
        return;
    }
    let count = number("EXESDB_OTP_SCENARIOS").unwrap_or(8);
    let seed = number("EXESDB_OTP_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(since.subsec_micros())
    });
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otp/otp_oracle.escript");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("otp-random-{seed}"));
    std::fs::create_dir_all(&out).unwrap();
    let made = Command::new("escript")
        .arg(oracle)
        .args(["gen", "--seed", &seed.to_string(), "--count", &count.to_string(), "--repeat", "2"])
        .args(["--prefix", "fresh", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(made.status.success(), "the oracle: {}", String::from_utf8_lossy(&made.stderr));
    let mut differences = Vec::new();
    let mut played = 0;
    for entry in std::fs::read_dir(out.join("scenarios")).unwrap() {
        let scenario = entry.unwrap().path();
        let trace = out.join("traces").join(scenario.file_name().unwrap()).with_extension("jsonl");
        let expected = std::fs::read_to_string(trace).unwrap();
        let lines = player::play_text(&std::fs::read_to_string(&scenario).unwrap()).unwrap();
        played += 1;
        if !expected.lines().eq(lines.iter().map(String::as_str)) {
            differences.push(scenario.display().to_string());
        }
    }
    assert!(played > 0, "the oracle made no scenario");
    assert!(differences.is_empty(), "seed {seed}, {} of {played} differ: {differences:?}", differences.len());
    std::fs::remove_dir_all(&out).unwrap();
}
