//! A row of a file, checked against the rules for events.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::value::RawValue;

/// Maximum length of a stream's name or an event's type, in bytes: the limit of the store.
const NAME_BYTES_MAX: usize = 256;
/// Maximum size of an event's data, in bytes. The store takes 1 MiB with the metadata, which here is below 4 KiB.
const DATA_BYTES_MAX: usize = (1 << 20) - (4 << 10);
/// Number of errors that are listed; the others are counted.
const ERRORS_LISTED: usize = 10;

/// The columns that the options name.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub(super) stream: String,
    pub(super) event_type: String,
    pub(super) time: Option<String>,
    /// Whether the events get the times of their rows.
    pub(super) keep_times: bool,
}

/// A row that can become an event.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) stream: String,
    pub(super) event_type: String,
    pub(super) time: Option<Timestamp>,
    /// The whole row as JSON.
    pub(super) data: Box<RawValue>,
}

impl Row {
    /// Checks a row. `stream`, `event_type` and `time` are the values of its columns.
    pub(super) fn new(
        columns: &Columns,
        stream: &str,
        event_type: &str,
        time: Option<&str>,
        data: Box<RawValue>,
    ) -> Result<Row, String> {
        check_name(&columns.stream, stream)?;
        check_name(&columns.event_type, event_type)?;
        let time = match (&columns.time, time) {
            (Some(column), Some(text)) => Some(parse_time(column, text, columns.keep_times)?),
            _ => None,
        };
        if data.get().len() > DATA_BYTES_MAX {
            let bytes = data.get().len();
            return Err(format!("the row is {bytes} bytes of JSON; an event holds at most {DATA_BYTES_MAX}"));
        }
        Ok(Row { stream: stream.to_owned(), event_type: event_type.to_owned(), time, data })
    }

    /// The time of the row in nanoseconds since 1970, which may be negative; 0 without a time.
    pub(super) fn nanoseconds(&self) -> i128 {
        self.time.map_or(0, Timestamp::as_nanosecond)
    }
}

/// Checks a stream name or event type: 1 to 256 bytes without control characters.
fn check_name(column: &str, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("column {column} is empty; it must be 1 to {NAME_BYTES_MAX} bytes"));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(format!(
            "column {column} has {} bytes; at most {NAME_BYTES_MAX} are allowed",
            text.len()
        ));
    }
    match text.chars().find(|character| character.is_control()) {
        Some(control) => Err(format!("column {column} contains the control character {control:?}")),
        None => Ok(()),
    }
}

fn parse_time(column: &str, text: &str, keep: bool) -> Result<Timestamp, String> {
    let shown = || text.chars().take(40).collect::<String>();
    let time: Timestamp = text.parse().map_err(|_| {
        let shown = shown();
        format!("column {column} is {shown:?}; it must be a time with an offset, such as 2011-10-11T13:45:40.276+02:00")
    })?;
    if keep && time < Timestamp::UNIX_EPOCH {
        let shown = shown();
        return Err(format!(
            "column {column} is {shown:?}; with --keep-times no time may be before 1970-01-01T00:00:00Z"
        ));
    }
    Ok(time)
}

/// The errors of a file, of which nothing is sent then.
#[derive(Debug, Default)]
pub(super) struct FileErrors {
    listed: Vec<(u64, String)>,
    more: u64,
}

impl FileErrors {
    /// Adds an error with its line.
    pub(super) fn push(&mut self, line: u64, message: String) {
        if self.listed.len() < ERRORS_LISTED {
            self.listed.push((line, message));
        } else {
            self.more += 1;
        }
    }

    /// Whether there are no errors.
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// The errors as text.
    pub(super) fn in_file(&self, name: &str) -> String {
        let mut text = "nothing was sent, because the file has faults:".to_owned();
        for (line, message) in &self.listed {
            let _ = write!(text, "\n  {name}:{line}: {message}");
        }
        if self.more > 0 {
            let _ = write!(text, "\n  and {} more", self.more);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Columns, DATA_BYTES_MAX, ERRORS_LISTED, FileErrors, Row};
    use serde_json::value::RawValue;

    fn columns(keep_times: bool) -> Columns {
        Columns { stream: "s".into(), event_type: "t".into(), time: Some("at".into()), keep_times }
    }

    fn row(stream: &str, event_type: &str, time: &str, data_bytes: usize) -> Result<Row, String> {
        let data = RawValue::from_string(format!("\"{}\"", "x".repeat(data_bytes - 2))).unwrap();
        Row::new(&columns(false), stream, event_type, Some(time), data)
    }

    #[test]
    fn kept_times_must_not_precede_1970() {
        let row = |time: &str, keep| {
            let data = RawValue::from_string("1".to_owned()).unwrap();
            Row::new(&columns(keep), "s", "t", Some(time), data)
        };
        assert!(row("1969-12-31T23:59:59Z", false).is_ok());
        assert!(row("1970-01-01T00:00:00Z", true).is_ok());
        assert!(row("1969-12-31T23:59:59Z", true).unwrap_err().contains("--keep-times"));
    }

    #[test]
    fn times_need_an_offset() {
        let cases = [
            ("2011-10-11 13:45:40.276000+02:00", Some("2011-10-11T11:45:40.276Z")),
            ("2011-10-11T13:45:40Z", Some("2011-10-11T13:45:40Z")),
            ("2011-12-06 01:06:40+01:00", Some("2011-12-06T00:06:40Z")),
            ("2011-12-06T01:06:40.123456789-0330", Some("2011-12-06T04:36:40.123456789Z")),
            ("2012-02-30T00:00:00Z", None),
            ("2011-12-06 01:06:40", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let time = row("s", "t", text, 2).map(|row| row.time.unwrap().to_string());
            match expected {
                Some(expected) => assert_eq!(time.as_deref(), Ok(expected)),
                None => assert!(time.unwrap_err().contains("column at is"), "{text}"),
            }
        }
    }

    #[test]
    fn rows_beyond_the_rules_are_errors() {
        let now = "2011-10-11T13:45:40Z";
        let long = "ä".repeat(129);
        let cases = [
            (row("", "t", now, 2), "column s is empty"),
            (row("s", "", now, 2), "column t is empty"),
            (row(&long, "t", now, 2), "column s has 258 bytes"),
            (row("s", "a\nb", now, 2), "column t contains the control character '\\n'"),
            (row("s", "t", now, DATA_BYTES_MAX + 1), "the row is"),
        ];
        for (row, expected) in cases {
            let error = row.unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(row(&long[..256], "t", now, DATA_BYTES_MAX).is_ok());
    }

    #[test]
    fn errors_beyond_the_list_are_counted() {
        let mut errors = FileErrors::default();
        for line in 0..ERRORS_LISTED as u64 + 2 {
            errors.push(line, "m".to_owned());
        }
        let text = errors.in_file("f");
        assert!(text.contains("\n  f:0: m\n") && text.ends_with("and 2 more"), "{text}");
    }
}
