//! Rows of a CSV file (RFC 4180): the header names the columns, every value is a string.
//!
//! A row that is not well-formed is an error with its line, and never read as something else: a quote that is not closed
//! would make one value of all rows after it.

use std::io::{self, BufRead};

use serde_json::value::RawValue;

use super::raw_row::{ROW_BYTES_MAX, RawRow, skip_line};
use super::row::{Columns, Row};

/// Some programs write it before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The state of the reader within a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a value.
    Begin,
    /// In a value without quotes.
    Plain,
    /// In quotes.
    Quoted,
    /// After a quote in quotes, which closes them, unless a second quote follows and both are one character.
    Quote,
    /// After a carriage return that ends the row.
    Return,
}

/// The effect of a byte.
enum Step {
    To(State),
    EndOfRow,
    Wrong(&'static str),
}

fn step(state: State, byte: u8) -> Step {
    match (state, byte) {
        (_, 0) => Step::Wrong("it has a NUL byte; the file has to be UTF-8 text"),
        (State::Return, b'\n') => Step::EndOfRow,
        (State::Return, _) => {
            Step::Wrong("a carriage return stands without a line feed; end lines with LF or CRLF")
        }
        (State::Quoted, b'"') => Step::To(State::Quote),
        (State::Quoted, _) => Step::To(State::Quoted),
        (State::Quote | State::Begin, b'"') => Step::To(State::Quoted),
        (State::Plain, b'"') => {
            Step::Wrong("a quote stands inside a value without quotes; quote the value and double the quote")
        }
        (_, b',') => Step::To(State::Begin),
        (_, b'\n') => Step::EndOfRow,
        (_, b'\r') => Step::To(State::Return),
        (State::Quote, _) => Step::Wrong("text follows a closing quote; a quote inside quotes is doubled"),
        (State::Begin | State::Plain, _) => Step::To(State::Plain),
    }
}

/// Reads the row that begins on line `line` into `row`, without its line end.
pub(super) fn read_row(input: &mut impl BufRead, line: u64, row: &mut Vec<u8>) -> io::Result<RawRow> {
    row.clear();
    let mut state = State::Begin;
    let (mut lines, mut bytes) = (0, 0);
    // The line of the last opening quote.
    let mut opened = line;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(match state {
                State::Quoted => {
                    let message = "a quote is opened and never closed".to_owned();
                    RawRow::Unrecoverable { line: opened, message }
                }
                _ if bytes == 0 => RawRow::End,
                _ => {
                    strip_carriage_return(row);
                    RawRow::Row { lines: lines + 1, bytes }
                }
            });
        }
        let mut taken = 0;
        let mut end = None;
        for byte in buffer {
            taken += 1;
            lines += u64::from(*byte == b'\n');
            match step(state, *byte) {
                Step::To(next) => {
                    if state == State::Begin && next == State::Quoted {
                        opened = line + lines;
                    }
                    state = next;
                }
                Step::EndOfRow => {
                    end = Some(Ok(()));
                    break;
                }
                Step::Wrong(message) => {
                    // Also a misplaced line feed ends the line.
                    end = Some(Err((message, *byte == b'\n')));
                    break;
                }
            }
        }
        row.extend_from_slice(&buffer[..taken]);
        input.consume(taken);
        bytes += taken as u64;
        match end {
            None if row.len() > ROW_BYTES_MAX => {
                let message = format!(
                    "the row is longer than {ROW_BYTES_MAX} bytes; is a quote opened and not closed?"
                );
                return Ok(RawRow::Unrecoverable { line: opened, message });
            }
            None => {}
            Some(Ok(())) => {
                row.pop();
                strip_carriage_return(row);
                return Ok(RawRow::Row { lines, bytes });
            }
            Some(Err((message, is_at_end))) => {
                let wrong = line + lines - u64::from(is_at_end);
                if !is_at_end {
                    let rest = skip_line(input)?;
                    bytes += rest;
                    lines += 1;
                }
                return Ok(RawRow::Malformed { lines, bytes, line: wrong, message: message.to_owned() });
            }
        }
    }
}

fn strip_carriage_return(row: &mut Vec<u8>) {
    if row.last() == Some(&b'\r') {
        row.pop();
    }
}

/// The values of a well-formed row.
fn values(row: &[u8]) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    let mut value = Vec::new();
    let mut state = State::Begin;
    for byte in row {
        let Step::To(next) = step(state, *byte) else { continue };
        match (state, next) {
            // Opening and closing quotes, and the first of two.
            (State::Begin, State::Quoted) | (State::Quoted, State::Quote) => {}
            (_, State::Begin) => values.push(std::mem::take(&mut value)),
            _ => value.push(*byte),
        }
        state = next;
    }
    values.push(value);
    values
}

/// The first row of a file, with the names of the columns.
#[derive(Debug)]
pub(super) struct Header {
    names: Vec<String>,
    stream: usize,
    event_type: usize,
    time: Option<usize>,
}

impl Header {
    /// Parses the header, and finds the columns that the options name.
    pub(super) fn parse(row: &[u8], columns: &Columns) -> Result<Header, String> {
        let row = row.strip_prefix(BYTE_ORDER_MARK).unwrap_or(row);
        let mut names: Vec<String> = Vec::new();
        for (index, name) in values(row).into_iter().enumerate() {
            let name = String::from_utf8(name)
                .map_err(|_| format!("the name of column {} is not UTF-8", index + 1))?;
            if names.contains(&name) {
                return Err(format!("two columns are called {name:?}; give each its own name"));
            }
            names.push(name);
        }
        let find = |option: &str, column: &str| {
            names.iter().position(|name| name == column).ok_or_else(|| {
                format!("{option}: there is no column {column:?}; there are: {}", names.join(", "))
            })
        };
        Ok(Header {
            stream: find("--stream-by", &columns.stream)?,
            event_type: find("--type-by", &columns.event_type)?,
            time: columns.time.as_deref().map(|column| find("--time-by", column)).transpose()?,
            names,
        })
    }

    /// Parses a row.
    pub(super) fn row(&self, columns: &Columns, row: &[u8]) -> Result<Row, String> {
        let values = values(row);
        if values.len() != self.names.len() {
            return Err(format!("there are {} values for {} columns", values.len(), self.names.len()));
        }
        let mut texts = Vec::with_capacity(values.len());
        for (name, value) in self.names.iter().zip(&values) {
            let value = std::str::from_utf8(value).map_err(|_| format!("column {name} is not UTF-8"))?;
            texts.push(value);
        }
        let time = self.time.map(|index| texts[index]);
        Row::new(columns, texts[self.stream], texts[self.event_type], time, object(&self.names, &texts))
    }
}

/// A JSON object of all columns, in the order of the file.
fn object(names: &[String], values: &[&str]) -> Box<RawValue> {
    let mut json = String::from("{");
    for (name, value) in names.iter().zip(values) {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&string(name));
        json.push(':');
        json.push_str(&string(value));
    }
    json.push('}');
    RawValue::from_string(json).expect("an object of strings is JSON")
}

fn string(text: &str) -> String {
    serde_json::to_string(text).expect("text is a JSON string")
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::{read_row, values};
    use crate::command::import::raw_row::{ROW_BYTES_MAX, RawRow};

    /// Reads all rows through a buffer of a given size.
    fn read(text: &[u8], buffer: usize) -> Vec<Result<Vec<String>, (u64, String)>> {
        let mut input = BufReader::with_capacity(buffer, text);
        let (mut line, mut row, mut found, mut read) = (1, Vec::new(), Vec::new(), 0);
        loop {
            match read_row(&mut input, line, &mut row).unwrap() {
                RawRow::End => {
                    assert_eq!(read, text.len() as u64);
                    return found;
                }
                RawRow::Unrecoverable { line, message } => {
                    found.push(Err((line, message)));
                    return found;
                }
                RawRow::Row { lines, bytes } => {
                    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
                    found.push(Ok(values(&row).into_iter().map(text).collect()));
                    (line, read) = (line + lines, read + bytes);
                }
                RawRow::Malformed { lines, bytes, line: wrong, message } => {
                    found.push(Err((wrong, message)));
                    (line, read) = (line + lines, read + bytes);
                }
            }
        }
    }

    #[test]
    fn well_formed_rows_are_split_into_values() {
        let cases: [(&str, &[&[&str]]); 9] = [
            ("a,b\nc,d\n", &[&["a", "b"], &["c", "d"]]),
            ("a,b\r\nc,d", &[&["a", "b"], &["c", "d"]]),
            ("a,\n,b\r\n", &[&["a", ""], &["", "b"]]),
            ("\"a,b\",\"c\"\"d\"\n", &[&["a,b", "c\"d"]]),
            ("\"a\r\nb\",\"\"\n", &[&["a\r\nb", ""]]),
            ("\"\"\"\"\n", &[&["\""]]),
            ("\n", &[&[""]]),
            ("a\r", &[&["a"]]),
            ("", &[]),
        ];
        for (text, rows) in cases {
            for buffer in [1, 2, 3, 100] {
                let rows: Vec<Result<Vec<String>, _>> = rows
                    .iter()
                    .map(|row| Ok(row.iter().map(|value| (*value).to_owned()).collect()))
                    .collect();
                assert_eq!(read(text.as_bytes(), buffer), rows, "{text:?}");
            }
        }
    }

    #[test]
    fn malformed_rows_are_errors_with_their_line_and_reading_continues() {
        // The text, the line of the error, its message, and the number of rows that are read.
        let cases: [(&[u8], u64, &str, usize); 10] = [
            (b"a\nb,\"c\"d\ne\n", 2, "text follows a closing quote", 2),
            (b"a\nb\"c\ne\n", 2, "a quote stands inside a value without quotes", 2),
            (b"a\nb,\"c\nd\ne\n", 2, "opened and never closed", 1),
            (b"a\n\"b\nc\",\"d\ne", 3, "opened and never closed", 1),
            (b"a\n\"b\nc\"d\ne\n", 3, "text follows a closing quote", 2),
            (b"a\nb\0\ne\n", 2, "a NUL byte", 2),
            (b"a\n\"b\0\"\ne\n", 2, "a NUL byte", 2),
            (b"a\rb\nc\n", 1, "a carriage return stands without a line feed", 1),
            (b"a\n\"b\"\rc\nd\n", 2, "a carriage return stands without a line feed", 2),
            (b"a\n\"b\" ,c\nd\n", 2, "text follows a closing quote", 2),
        ];
        for (text, line, message, rows) in cases {
            for buffer in [1, 2, 100] {
                let read = read(text, buffer);
                let shown = String::from_utf8_lossy(text);
                let bad: Vec<_> = read.iter().filter_map(|row| row.as_ref().err()).collect();
                assert_eq!(bad.len(), 1, "{shown:?}: {read:?}");
                assert_eq!(bad[0].0, line, "{shown:?}: {read:?}");
                assert!(bad[0].1.contains(message), "{shown:?}: {read:?}");
                assert_eq!(read.len() - 1, rows, "{shown:?}: {read:?}");
            }
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_does_not_read_the_whole_file_into_memory() {
        let text = format!("a\n\"{}", "x\n".repeat(ROW_BYTES_MAX));
        let read = read(text.as_bytes(), 1 << 16);
        assert!(matches!(&read[1], Err((2, message)) if message.contains("not closed?")), "{:?}", read[1]);
    }
}
