//! `exesdb:host/logging`: a guest's records in the host's log, marked as the guest's.

use std::time::{Duration, Instant};

use crate::bindings::logging::{Field, Host, Level};
use crate::crash::cut;
use crate::limits::LOG_RECORDS_PER_SECOND_MAX;
use crate::state::State;

/// Bytes of a message, as the interface says.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// Fields of a record, as the interface says.
const FIELDS_MAX: usize = 16;

/// Bytes of a field's key and of its value: fields are for identifiers and numbers.
const FIELD_BYTES_MAX: usize = 256;

/// How many records an instance wrote in this second.
#[derive(Debug, Default)]
pub(crate) struct LogRate {
    second: Option<Instant>,
    written: u32,
    dropped: u32,
}

impl LogRate {
    /// Whether one more record may be written, and how many were dropped since the last that was.
    fn admit(&mut self, now: Instant) -> Option<u32> {
        let fresh = self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1));
        if fresh {
            self.second = Some(now);
            self.written = 0;
        }
        if self.written == LOG_RECORDS_PER_SECOND_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

impl Host for State {
    fn log(&mut self, level: Level, message: String, fields: Vec<Field>) {
        let message = printable(&message, MESSAGE_BYTES_MAX);
        if matches!(level, Level::Error) {
            self.last_words = Some(message.clone());
        }
        let Some(dropped) = self.log_rate.admit(Instant::now()) else { return };
        let fields = printable_fields(&fields);
        let (store, component, path, trace) =
            (&self.tenancy.store, self.tenancy.role, &self.path, self.trace());
        // One call each, because tracing fixes a record's level where it is written.
        match level {
            Level::Trace => {
                tracing::trace!(target: "guest", store, component, %path, trace, fields, dropped, "{message}");
            }
            Level::Debug => {
                tracing::debug!(target: "guest", store, component, %path, trace, fields, dropped, "{message}");
            }
            Level::Info => {
                tracing::info!(target: "guest", store, component, %path, trace, fields, dropped, "{message}")
            }
            Level::Warn => {
                tracing::warn!(target: "guest", store, component, %path, trace, fields, dropped, "{message}")
            }
            Level::Error => {
                tracing::error!(target: "guest", store, component, %path, trace, fields, dropped, "{message}");
            }
        }
    }
}

fn printable_fields(fields: &[Field]) -> String {
    let field = |field: &Field| {
        format!("{}={}", printable(&field.key, FIELD_BYTES_MAX), printable(&field.value, FIELD_BYTES_MAX))
    };
    fields.iter().take(FIELDS_MAX).map(field).collect::<Vec<_>>().join(" ")
}

/// The text without what could forge a line or move a terminal's cursor.
fn printable(text: &str, bytes: usize) -> String {
    let escaped: String = text
        .chars()
        .take(bytes)
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect();
    cut(&escaped, bytes)
}

#[cfg(test)]
mod tests {
    use super::{LogRate, printable};
    use crate::limits::LOG_RECORDS_PER_SECOND_MAX;
    use std::time::{Duration, Instant};

    #[test]
    fn a_record_cannot_forge_a_line_or_steer_a_terminal() {
        assert_eq!(printable("a\nlevel=error b", 100), "a\\nlevel=error b");
        assert_eq!(printable("\u{1b}[2J", 100), "\\u{1b}[2J");
        assert_eq!(printable(&"x".repeat(10), 4), "xxxx");
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let mut rate = LogRate::default();
        let start = Instant::now();
        for _ in 0..LOG_RECORDS_PER_SECOND_MAX {
            assert_eq!(rate.admit(start), Some(0));
        }
        assert_eq!(rate.admit(start), None);
        assert_eq!(rate.admit(start), None);
        assert_eq!(rate.admit(start + Duration::from_secs(1)), Some(2));
    }
}
