//! Plays every scenario that real OTP played, and compares the traces byte for byte.

#[path = "player/mod.rs"]
mod player;

use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otp").join(name)
}

/// The first line that differs, with the one that was expected.
fn difference(scenario: &Path) -> Option<String> {
    let name = scenario.file_stem().and_then(|stem| stem.to_str()).expect("a scenario has a name");
    let expected = std::fs::read_to_string(folder("traces").join(format!("{name}.jsonl")))
        .expect("a scenario has a trace");
    let text = std::fs::read_to_string(scenario).expect("it was listed");
    let lines = match player::play_text(&text) {
        Ok(lines) => lines,
        Err(error) => return Some(format!("{name}: {error}")),
    };
    let mut expected = expected.lines();
    for line in &lines {
        let want = expected.next();
        if want != Some(line) {
            return Some(format!("{name}\n  OTP:  {}\n  here: {line}", want.unwrap_or("(nothing more)")));
        }
    }
    expected.next().map(|want| format!("{name}\n  OTP:  {want}\n  here: (nothing more)"))
}

#[test]
fn every_scenario_gives_the_trace_of_real_otp() {
    let mut scenarios: Vec<PathBuf> =
        std::fs::read_dir(folder("scenarios")).unwrap().map(|entry| entry.unwrap().path()).collect();
    scenarios.sort();
    assert_eq!(scenarios.len(), 375, "scenarios in the folder");
    let differences: Vec<String> = scenarios.iter().filter_map(|scenario| difference(scenario)).collect();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
