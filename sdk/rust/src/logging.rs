//! Structured log records: `exesdb:host/logging`.
//!
//! The host adds the store, the component, the instance and the trace. It truncates, escapes and rate-limits records.

pub use crate::bindings::host::logging::Level;

use crate::bindings::host::logging;
#[cfg(not(feature = "gateway"))]
use crate::types::Field;
#[cfg(feature = "gateway")]
use logging::Field;

/// Writes one record with fields.
///
/// ```no_run
/// use exesdb_sdk::logging::{self, Level};
///
/// logging::log(Level::Warn, "an entry could not be read", &[("keyspace", "events"), ("key", "00ff")]);
/// ```
pub fn log(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<Field> =
        fields.iter().map(|(name, value)| field((*name).to_owned(), (*value).to_owned())).collect();
    logging::log(level, message, &fields);
}

#[cfg(feature = "gateway")]
fn field(key: String, value: String) -> Field {
    Field { key, value }
}

#[cfg(not(feature = "gateway"))]
fn field(name: String, value: String) -> Field {
    Field { name, value }
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
