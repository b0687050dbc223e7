//! Logs, on stderr: for people on a terminal, for machines (JSON lines) otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};

/// What `serve` logs: the database engine tells each of its files at level info, which says nothing to an operator. The
/// implementation of WASI warns of requests that a component got wrong: as often as the component likes, and it is told.
const SERVE_FILTER: &str = "info,fjall=warn,lsm_tree=warn,wasmtime_wasi_http=error";
/// What the other commands log: they tell their results and errors themselves.
const COMMAND_FILTER: &str = "warn";

/// What `doctor` logs: what the database engine finds damaged is a finding, with its place.
const DOCTOR_FILTER: &str = "warn,fjall=off,lsm_tree=off,exesdb_storage::engine=off";

/// Checks a filter such as `info` or `warn,exesdb_plugin=debug`.
pub fn parse_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; write a level such as info, or target=level pairs with commas"))
}

/// Sends this process's log records to stderr. To be called once.
pub fn init(cli: &Cli) {
    let default = match cli.command {
        Command::Serve(_) => SERVE_FILTER,
        Command::Doctor(_) => DOCTOR_FILTER,
        _ => COMMAND_FILTER,
    };
    let filter = EnvFilter::new(cli.log.as_deref().unwrap_or(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
