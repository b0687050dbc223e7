//! Rows of an NDJSON file: one JSON object a line, which becomes the event's data as it is written.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::BufRead;

use serde_json::value::RawValue;

use super::row::{BadFile, Columns, Row};

/// All rows of the file; blank lines are none.
pub(super) fn read(mut input: impl BufRead, columns: Columns<'_>) -> Result<Vec<Row>, BadFile> {
    let (mut rows, mut bad) = (Vec::new(), BadFile::default());
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let length = input
            .read_until(b'\n', &mut bytes)
            .map_err(|error| BadFile::at(line, format!("cannot be read: {error}")))?;
        if length == 0 {
            break;
        }
        match parse_line(line, columns, &bytes) {
            Ok(row) => rows.extend(row),
            Err(message) => bad.push(line, message),
        }
    }
    bad.or_rows(rows)
}

fn parse_line(line: u64, columns: Columns<'_>, bytes: &[u8]) -> Result<Option<Row>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the line is not UTF-8".to_owned())?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(None);
    }
    let object: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(text).map_err(|error| format!("the line is not one JSON object: {error}"))?;
    let value = |column: &str| match object.get(column) {
        Some(value) => scalar(column, value),
        None => Err(format!("there is no key {column:?} in the object")),
    };
    let stream = value(columns.stream)?;
    let event_type = value(columns.event_type)?;
    let time = columns.time.map(value).transpose()?;
    let data = RawValue::from_string(text.to_owned()).map_err(|error| error.to_string())?;
    Row::new(line, columns, &stream, &event_type, time.as_deref(), data).map(Some)
}

/// The text that a string holds, or that a number is written with.
fn scalar(column: &str, value: &RawValue) -> Result<String, String> {
    match value.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str(value.get()).map_err(|error| format!("column {column}: {error}")),
        Some(b'-' | b'0'..=b'9') => Ok(value.get().to_owned()),
        _ => Err(format!("column {column} is neither a string nor a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::command::import::row::Columns;

    const COLUMNS: Columns<'static> = Columns { stream: "s", event_type: "t", time: None };

    #[test]
    fn rows_stay_as_they_are_written() {
        let text =
            "{\"t\": \"x\", \"s\":17, \"n\": 1e400}\r\n\n  {\"s\":\"\\u00e4\",\"t\":\"y\",\"o\":{\"s\":1}}";
        let rows = read(text.as_bytes(), COLUMNS).unwrap();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.line, row.stream.as_str(), row.event_type.as_str(), row.data.get()))
            .collect();
        assert_eq!(
            seen,
            [
                (1, "17", "x", "{\"t\": \"x\", \"s\":17, \"n\": 1e400}"),
                (3, "ä", "y", "{\"s\":\"\\u00e4\",\"t\":\"y\",\"o\":{\"s\":1}}"),
            ]
        );
    }

    #[test]
    fn faults_are_named_with_their_line() {
        let cases: [(&[u8], &str); 9] = [
            (b"[]\n", "f:1: the line is not one JSON object"),
            (b"\n{\n", "f:2: the line is not one JSON object"),
            (b"{\"s\":1,\"t\":2} {}\n", "f:1: the line is not one JSON object"),
            (b"\xff\n", "f:1: the line is not UTF-8"),
            (b"{\"t\":\"x\"}\n", "f:1: there is no key \"s\""),
            (b"{\"s\":null,\"t\":\"x\"}\n", "f:1: column s is neither"),
            (b"{\"s\":[],\"t\":\"x\"}\n", "f:1: column s is neither"),
            (b"{\"s\":\"\\ud800\",\"t\":\"x\"}\n", "f:1: column s"),
            (b"{\"s\":\"\",\"t\":\"x\"}\n", "f:1: column s is empty"),
        ];
        for (text, expected) in cases {
            let error = read(text, COLUMNS).unwrap_err().in_file("f");
            assert!(error.contains(expected), "{error}\nexpected {expected}");
        }
    }
}
