//! Structured log records: `exesdb:host/logging`.
//!
//! The host adds the store, the component, the instance and the trace. It truncates, escapes and rate-limits records.

pub use crate::bindings::common::exesdb::host::logging::{Field, Level};

use crate::bindings::common::exesdb::host::logging;

/// Writes one record with fields.
///
/// ```no_run
/// use exesdb_sdk::logging::{self, Level};
///
/// logging::log(Level::Warn, "an entry could not be read", &[("keyspace", "events"), ("key", "00ff")]);
/// ```
pub fn log(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<Field> = fields
        .iter()
        .map(|(key, value)| Field { key: (*key).to_owned(), value: (*value).to_owned() })
        .collect();
    logging::log(level, message, &fields);
}

/// Writes one record at level `error`.
pub fn error(message: &str) {
    log(Level::Error, message, &[]);
}

/// Writes one record at level `warn`.
pub fn warn(message: &str) {
    log(Level::Warn, message, &[]);
}

/// Writes one record at level `info`.
pub fn info(message: &str) {
    log(Level::Info, message, &[]);
}

/// Writes one record at level `debug`.
pub fn debug(message: &str) {
    log(Level::Debug, message, &[]);
}

/// Writes one record at level `trace`.
pub fn trace(message: &str) {
    log(Level::Trace, message, &[]);
}
