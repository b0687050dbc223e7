//! Plays a scenario of the OTP oracle on this crate's supervisors and prints the trace.
//!
//! ```text
//! cargo run -q -p exesdb-supervisor --example otp_trace -- SCENARIO.json      the trace to stdout
//! cargo run -q -p exesdb-supervisor --example otp_trace -- --out DIR FILE..   one trace file for each scenario
//! ```

#[path = "../tests/player/mod.rs"]
mod player;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((flag, [out, files @ ..])) if flag == "--out" && !files.is_empty() => {
            files.iter().try_for_each(|file| {
                let name = Path::new(file).with_extension("jsonl");
                let name = name.file_name().ok_or_else(|| format!("{file} is not a file"))?;
                let path = Path::new(out).join(name);
                std::fs::write(&path, trace(file)?).map_err(|error| format!("{}: {error}", path.display()))
            })
        }
        Some((file, [])) => trace(file).map(|text| print!("{text}")),
        _ => Err("usage: otp_trace SCENARIO.json | otp_trace --out DIR SCENARIO.json ..".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            #[expect(clippy::print_stderr, reason = "a program's complaint")]
            {
                eprintln!("{why}");
            }
            ExitCode::from(2)
        }
    }
}

fn trace(file: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let lines = player::play_text(&text).map_err(|error| format!("{file}: {error}"))?;
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}
