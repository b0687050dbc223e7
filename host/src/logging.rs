//! Logs, on stderr: for people on a terminal, for machines (JSON lines) otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The records of `serve`. At level info the database engine logs each of its files, which says nothing to an operator.
/// The implementation of WASI warns of a component's wrong requests, as often as the component makes them; the component
/// gets an error. The replication engine reports each step of an election; what an operator needs of it, the groups say themselves.
pub const SERVE_FILTER: &str = "info,fjall=warn,lsm_tree=warn,openraft=off,wasmtime_wasi_http=error";

/// The records of other commands, which print their results and errors themselves.
pub const COMMAND_FILTER: &str = "warn";

/// The records of `doctor`, which prints what the database engine finds damaged, with its place.
pub const DOCTOR_FILTER: &str = "warn,fjall=off,lsm_tree=off,exesdb_storage::engine=off";

/// Checks a filter such as `info` or `warn,exesdb_plugin=debug`.
pub fn parse_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; write a level such as info, or target=level pairs with commas"))
}

/// Sends this process's log records to stderr. To be called once.
pub fn init(filter: &str) {
    let filter = EnvFilter::new(filter);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
