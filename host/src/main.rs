//! The `exesdb` command: parse, set up logging, run, and say what went wrong.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use exesdb::cli::{Cli, exit_code};
use exesdb::{logging, output};

/// Requests cross threads and components as many small buffers, which the system's allocator spends much of its time
/// on: see the profile in `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(&cli);
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough (`exesdb read | head`).
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // `{:#}` is the whole chain on one line: where, what, and what to do. A closed stderr is nobody's loss.
            let _ = writeln!(std::io::stderr(), "exesdb: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}
