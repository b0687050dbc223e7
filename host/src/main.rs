//! The `exesdb` command: parses the command line, sets up logging, runs the subcommand, and prints its error.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use exesdb::cli::{Cli, Command, exit_code};
use exesdb::logging::{self, COMMAND_FILTER, DOCTOR_FILTER, SERVE_FILTER};
use exesdb::output;

/// Requests cross threads and components as many small buffers, on which the system's allocator spends much time: see the
/// profile in `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let default = match cli.command {
        Command::Serve(_) => SERVE_FILTER,
        Command::Doctor(_) => DOCTOR_FILTER,
        _ => COMMAND_FILTER,
    };
    logging::init(cli.log.as_deref().unwrap_or(default));
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output went away, as in `exesdb read | head`.
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // `{:#}` is the whole chain on one line. If stderr is closed, nobody reads it.
            let _ = writeln!(std::io::stderr(), "exesdb: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}
