//! Rows of an NDJSON file: one JSON object per line, which becomes the event's data byte for byte.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead, Read as _};

use serde_json::value::RawValue;

use super::raw_row::{ROW_BYTES_MAX, RawRow, skip_line};
use super::row::{Columns, Row};

/// Reads the line with the number `line` into `row`.
pub(super) fn read_row(input: &mut impl BufRead, line: u64, row: &mut Vec<u8>) -> io::Result<RawRow> {
    row.clear();
    let read = (&mut *input).take(ROW_BYTES_MAX as u64).read_until(b'\n', row)?;
    let bytes = read as u64;
    if read == ROW_BYTES_MAX && row.last() != Some(&b'\n') {
        let bytes = bytes + skip_line(input)?;
        let message = format!("the line is longer than {ROW_BYTES_MAX} bytes");
        return Ok(RawRow::Malformed { lines: 1, bytes, line, message });
    }
    Ok(if read == 0 { RawRow::End } else { RawRow::Row { lines: 1, bytes } })
}

/// Parses a line; a blank one is no row.
pub(super) fn row(columns: &Columns, bytes: &[u8]) -> Result<Option<Row>, String> {
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
    let stream = value(&columns.stream)?;
    let event_type = value(&columns.event_type)?;
    let time = columns.time.as_deref().map(value).transpose()?;
    let data = RawValue::from_string(text.to_owned()).map_err(|error| error.to_string())?;
    Row::new(columns, &stream, &event_type, time.as_deref(), data).map(Some)
}

/// The content of a string, or the digits of a number.
fn scalar(column: &str, value: &RawValue) -> Result<String, String> {
    match value.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str(value.get()).map_err(|error| format!("column {column}: {error}")),
        Some(b'-' | b'0'..=b'9') => Ok(value.get().to_owned()),
        _ => Err(format!("column {column} is neither a string nor a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::{read_row, row};
    use crate::command::import::raw_row::{ROW_BYTES_MAX, RawRow};
    use crate::command::import::row::Columns;

    fn columns() -> Columns {
        Columns { stream: "s".into(), event_type: "t".into(), time: None, keep_times: false }
    }

    #[test]
    fn data_is_the_line_byte_for_byte() {
        let cases = [
            ("{\"t\": \"x\", \"s\":17, \"n\": 1e400}\r\n", "17", "{\"t\": \"x\", \"s\":17, \"n\": 1e400}"),
            (
                "  {\"s\":\"\\u00e4\",\"t\":\"y\",\"o\":{\"s\":1}}",
                "ä",
                "{\"s\":\"\\u00e4\",\"t\":\"y\",\"o\":{\"s\":1}}",
            ),
        ];
        for (text, stream, data) in cases {
            let row = row(&columns(), text.as_bytes()).unwrap().unwrap();
            assert_eq!((row.stream.as_str(), row.data.get()), (stream, data));
        }
        assert!(row(&columns(), b" \r\n").unwrap().is_none());
    }

    #[test]
    fn invalid_lines_are_errors() {
        let cases: [(&[u8], &str); 8] = [
            (b"[]\n", "the line is not one JSON object"),
            (b"{\"s\":1,\"t\":2} {}\n", "the line is not one JSON object"),
            (b"\xff\n", "the line is not UTF-8"),
            (b"{\"t\":\"x\"}\n", "there is no key \"s\""),
            (b"{\"s\":null,\"t\":\"x\"}\n", "column s is neither"),
            (b"{\"s\":[],\"t\":\"x\"}\n", "column s is neither"),
            (b"{\"s\":\"\\ud800\",\"t\":\"x\"}\n", "column s"),
            (b"{\"s\":\"\",\"t\":\"x\"}\n", "column s is empty"),
        ];
        for (text, expected) in cases {
            let error = row(&columns(), text).unwrap_err();
            assert!(error.contains(expected), "{error}\nexpected {expected}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let text = format!("a\n{}\nb", "x".repeat(ROW_BYTES_MAX));
        let (mut input, mut row) = (text.as_bytes(), Vec::new());
        assert_eq!(read_row(&mut input, 1, &mut row).unwrap(), RawRow::Row { lines: 1, bytes: 2 });
        let bytes = ROW_BYTES_MAX as u64 + 1;
        let long = read_row(&mut input, 2, &mut row).unwrap();
        assert!(
            matches!(long, RawRow::Malformed { lines: 1, bytes: found, line: 2, .. } if found == bytes),
            "{long:?}"
        );
        assert_eq!(read_row(&mut input, 3, &mut row).unwrap(), RawRow::Row { lines: 1, bytes: 1 });
        assert_eq!(read_row(&mut input, 3, &mut row).unwrap(), RawRow::End);
    }
}
