//! Structured log records: `exesdb:host/logging`.
//!
//! The host adds the store, the component, the instance and the trace. It truncates, escapes and rate-limits records.

pub use crate::bindings::host::logging::Level;

#[cfg(target_arch = "wasm32")]
use crate::bindings::host::logging;
#[cfg(target_arch = "wasm32")]
use crate::types::Field;

/// Writes one record with fields.
///
/// ```no_run
/// use exesdb_sdk::logging::{self, Level};
///
/// logging::log(Level::Warn, "an entry could not be read", &[("keyspace", "events"), ("key", "00ff")]);
/// ```
///
/// Outside of a component there is no host: with the feature `testing` the record is kept for [`take_records`].
pub fn log(level: Level, message: &str, fields: &[(&str, &str)]) {
    #[cfg(target_arch = "wasm32")]
    {
        let field =
            |(name, value): &(&str, &str)| Field { name: (*name).to_owned(), value: (*value).to_owned() };
        let fields: Vec<Field> = fields.iter().map(field).collect();
        logging::log(level, message, &fields);
    }
    #[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
    records::RECORDS.with_borrow_mut(|records| records.push((level, message.to_owned())));
    #[cfg(not(any(feature = "testing", target_arch = "wasm32")))]
    let _ = level;
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (message, fields);
}

/// Takes the records that this thread has written since the last time.
#[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
#[must_use]
pub fn take_records() -> Vec<(Level, String)> {
    records::RECORDS.take()
}

#[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
mod records {
    use std::cell::RefCell;

    use super::Level;

    thread_local! {
        pub(super) static RECORDS: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
    }
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
