//! The format of exports: lines of JSON.
//!
//! ```text
//! {"exesdb_export":1}                      first: the version of the format, and the options of the export
//! {"event":{..}}                           events in the order of their positions, as the gateway writes them
//! {"stream":{..}}                          streams with retention or deletion
//! {"snapshot":{..}}                        snapshots, as the gateway writes them
//! {"end":{"events":1,"streams":1,"snapshots":1}}    last: the number of lines of each kind
//! ```
//!
//! A file that does not end with its counts is truncated.

use std::io::{self, BufRead, Read as _};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::{Retention, StreamState};

/// The version of this format. The reader refuses any other.
pub const FORMAT_VERSION: u32 = 1;

/// The type of a placeholder: an event in place of hidden ones, so that the stream continues after them.
pub const PLACEHOLDER_TYPE: &str = "$hidden";

/// The id of a placeholder with this version.
pub fn placeholder_id(version: u64) -> String {
    format!("hidden-{version}")
}

/// The beginning of every export.
pub const BEGINNING: &[u8] = b"{\"exesdb_export\":";

/// The longest line, in bytes. An event of 1 MiB takes less, also in base64 and with its metadata.
const LINE_BYTES_MAX: u64 = 8 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT_VERSION`].
    pub exesdb_export: u32,
    /// The option `--from`: the first position of the export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The option `--to`: the last position of the export, which then has no lines of streams and snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// The option `--stream-prefix`; empty for all streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stream_prefixes: Vec<String>,
}

/// Any line after the first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// An event.
    Event(Box<RawValue>),
    /// The state and the retention of a stream.
    Stream(StreamLine),
    /// A snapshot.
    Snapshot(Box<RawValue>),
    /// The last line.
    End(Counts),
}

/// The state and the retention of a stream. An import applies them only to a stream with the same last event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamLine {
    /// The name of the stream.
    pub stream: String,
    /// Whether the stream exists.
    pub state: StreamState,
    /// The version of the oldest event that can be read; none if all are hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_version: Option<u64>,
    /// The version of the last event, hidden or not. The stream continues after it.
    pub last_version: u64,
    /// The first version since the stream was last deleted and started again; none if it never was, and in old exports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_begins: Option<u64>,
    /// The time of the first event, hidden or not: RFC 3339, UTC; none in old exports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The time of the last event. With `last_version`, it identifies the state of the stream.
    pub updated: String,
    /// The limits of what the stream keeps.
    #[serde(default)]
    pub retention: Retention,
}

/// The number of lines of each kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Lines of events.
    pub events: u64,
    /// Lines of streams.
    pub streams: u64,
    /// Lines of snapshots.
    pub snapshots: u64,
}

/// An error in a file.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file could not be read.
    #[error("line {line} cannot be read: {error}")]
    Io {
        /// Its number, from 1.
        line: u64,
        /// The system's error.
        error: io::Error,
    },
    /// The first line is not the header of an export.
    #[error("line 1 is not the first line of an export: {detail}")]
    Header {
        /// What is wrong with it.
        detail: String,
    },
    /// The file has another version of the format.
    #[error(
        "the export has format {found}, this exesdb reads format {FORMAT_VERSION}; use the version that wrote it"
    )]
    Version {
        /// The version of the file.
        found: u32,
    },
    /// A line is not valid.
    #[error("line {line} is damaged: {detail}; copy the file again, or export again")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The last line is missing.
    #[error("the export is cut off after line {line}; copy the file again, or export again")]
    CutOff {
        /// The number of the last complete line, from 1.
        line: u64,
    },
    /// The last line has other counts than the file.
    #[error(
        "the export has {found:?}, and was written with {written:?}; copy the file again, or export again"
    )]
    Counts {
        /// The counts of the file.
        found: Counts,
        /// The counts in the last line.
        written: Counts,
    },
}

/// Reads an export line by line.
#[derive(Debug)]
pub struct ExportReader<R> {
    input: R,
    line: u64,
    found: Counts,
    ended: bool,
}

impl<R: BufRead> ExportReader<R> {
    /// Reads the header.
    pub fn begin(input: R) -> Result<(Header, ExportReader<R>), FormatError> {
        let mut reader = ExportReader { input, line: 0, found: Counts::default(), ended: false };
        let Some(bytes) = reader.read_line()? else {
            return Err(FormatError::Header { detail: "the file is empty or cut off".to_owned() });
        };
        let header: Header = serde_json::from_slice(&bytes)
            .map_err(|error| FormatError::Header { detail: error.to_string() })?;
        match header.exesdb_export {
            FORMAT_VERSION => Ok((header, reader)),
            found => Err(FormatError::Version { found }),
        }
    }

    /// The number of the last line that was read, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next line; none after the last one, whose counts were correct.
    pub fn next_line(&mut self) -> Result<Option<Line>, FormatError> {
        let Some(bytes) = self.read_line()? else {
            return if self.ended { Ok(None) } else { Err(FormatError::CutOff { line: self.line }) };
        };
        let wrong = |detail: String| FormatError::Line { line: self.line, detail };
        if self.ended {
            return Err(wrong("it is after the last line".to_owned()));
        }
        let line = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        match &line {
            Line::Event(_) => self.found.events += 1,
            Line::Stream(_) => self.found.streams += 1,
            Line::Snapshot(_) => self.found.snapshots += 1,
            Line::End(written) if *written == self.found => self.ended = true,
            Line::End(written) => {
                return Err(FormatError::Counts { found: self.found, written: *written });
            }
        }
        Ok(Some(line))
    }

    /// A complete line without its line end; none at the end of the file, or if the last line has no end.
    fn read_line(&mut self) -> Result<Option<Vec<u8>>, FormatError> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
        read.map_err(|error| FormatError::Io { line: self.line + 1, error })?;
        if bytes.last() != Some(&b'\n') {
            if bytes.len() as u64 == LINE_BYTES_MAX {
                let detail = format!("it is longer than {LINE_BYTES_MAX} bytes");
                return Err(FormatError::Line { line: self.line + 1, detail });
            }
            return if bytes.is_empty() || !self.ended {
                Ok(None)
            } else {
                let detail = "it is after the last line".to_owned();
                Err(FormatError::Line { line: self.line + 1, detail })
            };
        }
        bytes.pop();
        self.line += 1;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::{BEGINNING, Counts, ExportReader, FORMAT_VERSION, FormatError, Header, Line};

    const HEADER: &str = "{\"exesdb_export\":1}\n";
    const EVENT: &str = "{\"event\":{\"a\":1.50}}\n";

    fn read(text: &str) -> Result<Vec<Line>, FormatError> {
        let (_, mut reader) = ExportReader::begin(text.as_bytes())?;
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line()? {
            lines.push(line);
        }
        Ok(lines)
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let text = [
            HEADER,
            EVENT,
            "{\"stream\":{\"stream\":\"s\",\"state\":\"deleted\",\"last_version\":3,\"updated\":\"u\",\"retention\":{\"max_count\":1}}}\n",
            "{\"snapshot\":{\"b\": [1e400]}}\n",
            "{\"end\":{\"events\":1,\"streams\":1,\"snapshots\":1}}\n",
        ];
        let lines = read(&text.concat()).unwrap();
        let written: Vec<String> =
            lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        assert_eq!(written, text[1..]);
        let header = Header { exesdb_export: FORMAT_VERSION, from: None, to: None, stream_prefixes: vec![] };
        let header = serde_json::to_string(&header).unwrap() + "\n";
        assert_eq!(header, HEADER);
        assert!(header.as_bytes().starts_with(BEGINNING));
    }

    #[test]
    fn an_incomplete_or_damaged_file_is_refused() {
        let end = |counts: Counts| serde_json::to_string(&Line::End(counts)).unwrap() + "\n";
        let one = end(Counts { events: 1, ..Counts::default() });
        let cases = [
            (String::new(), "line 1"),
            (HEADER.trim_end().to_owned(), "line 1"),
            ("{\"exesdb_export\":2}\n".to_owned(), "format 2"),
            ("{\"exesdb_export\":1,\"x\":1}\n".to_owned(), "line 1"),
            (HEADER.to_owned(), "cut off after line 1"),
            (format!("{HEADER}{EVENT}"), "cut off after line 2"),
            (format!("{HEADER}{EVENT}{}", one.trim_end()), "cut off after line 2"),
            (format!("{HEADER}{EVENT}{EVENT}{one}"), "events: 2"),
            (format!("{HEADER}{one}"), "events: 0"),
            (format!("{HEADER}{EVENT}{one}{EVENT}"), "line 4 is damaged"),
            (format!("{HEADER}{EVENT}{one}x"), "line 4 is damaged"),
            (format!("{HEADER}{{\"event\":}}\n{one}"), "line 2 is damaged"),
            (format!("{HEADER}{{\"evnt\":1}}\n{one}"), "line 2 is damaged"),
            (format!("{HEADER}\n{one}"), "line 2 is damaged"),
        ];
        for (text, expected) in cases {
            let error = read(&text).expect_err(&text).to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let long = "x".repeat(super::LINE_BYTES_MAX as usize + 1);
        assert!(read(&format!("{HEADER}{long}\n")).unwrap_err().to_string().contains("longer than"));
    }
}
