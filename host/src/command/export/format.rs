//! The format of an export: lines of JSON.
//!
//! ```text
//! {"exesdb_export":1}                      first: the format's version, and what was asked for
//! {"event":{..}}                           events in the order of their positions, as the gateway writes them
//! {"stream":{..}}                          streams of which there is more to say than their events
//! {"snapshot":{..}}                        snapshots, as the gateway writes them
//! {"end":{"events":1,"streams":1,"snapshots":1}}    last: how many lines of each kind there were
//! ```
//!
//! A file that does not end with its counts is cut off.

use std::io::{self, BufRead, Read as _};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::{Retention, StreamState};

/// This format. A reader refuses any other.
pub const FORMAT_VERSION: u32 = 1;

/// The type of the event that stands for hidden ones: a stream can be made to count on from there.
pub const PLACEHOLDER_TYPE: &str = "$hidden";

/// The id of the event that stands for hidden ones, the last of which has this version.
pub fn placeholder_id(version: u64) -> String {
    format!("hidden-{version}")
}

/// How every export begins.
pub const BEGINNING: &[u8] = b"{\"exesdb_export\":";

/// The longest line, in bytes: an event of 1 MiB in base64, its metadata and JSON fit well.
const LINE_BYTES_MAX: u64 = 8 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT_VERSION`].
    pub exesdb_export: u32,
    /// The first position that was asked for, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The last position that was asked for, if one was: there are no lines of streams and snapshots then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Only streams that begin with one of these; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stream_prefixes: Vec<String>,
}

/// Any line behind the first.
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

/// The state and the retention of a stream. An import applies them only to a stream whose last event is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamLine {
    /// Its name.
    pub stream: String,
    /// Whether it is there.
    pub state: StreamState,
    /// The oldest event that can be read; none if all are hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_version: Option<u64>,
    /// The last event, hidden or not: the stream goes on counting behind it.
    pub last_version: u64,
    /// The first event of its present life, if it was deleted and begun again. Exports of before do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_begins: Option<u64>,
    /// When its first event was appended, hidden or not: RFC 3339, UTC. Exports of before do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When the last event was appended. With `last_version` it tells whether a stream is where this one was.
    pub updated: String,
    /// How long its events are kept.
    #[serde(default)]
    pub retention: Retention,
}

/// How many lines there are of each kind.
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

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file could not be read.
    #[error("line {line} cannot be read: {error}")]
    Io {
        /// From 1.
        line: u64,
        /// What the system said.
        error: io::Error,
    },
    /// The first line is not that of an export.
    #[error("line 1 is not the first line of an export: {detail}")]
    Header {
        /// What does not fit.
        detail: String,
    },
    /// It was written by another version.
    #[error(
        "the export has format {found}, this exesdb reads format {FORMAT_VERSION}; use the version that wrote it"
    )]
    Version {
        /// The file's.
        found: u32,
    },
    /// A line is none of an export.
    #[error("line {line} is damaged: {detail}; copy the file again, or export again")]
    Line {
        /// From 1.
        line: u64,
        /// What does not fit.
        detail: String,
    },
    /// The last line is missing.
    #[error("the export is cut off behind line {line}; copy the file again, or export again")]
    CutOff {
        /// The last whole line, from 1.
        line: u64,
    },
    /// The last line counts other lines than there are.
    #[error(
        "the export has {found:?}, and was written with {written:?}; copy the file again, or export again"
    )]
    Counts {
        /// Lines that are there.
        found: Counts,
        /// Lines that there should be.
        written: Counts,
    },
}

/// An export, line by line.
#[derive(Debug)]
pub struct ExportReader<R> {
    input: R,
    line: u64,
    found: Counts,
    ended: bool,
}

impl<R: BufRead> ExportReader<R> {
    /// Reads the first line.
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

    /// The number of the line that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next line; none behind the last one, which was found to be right.
    pub fn next_line(&mut self) -> Result<Option<Line>, FormatError> {
        let Some(bytes) = self.read_line()? else {
            return if self.ended { Ok(None) } else { Err(FormatError::CutOff { line: self.line }) };
        };
        let wrong = |detail: String| FormatError::Line { line: self.line, detail };
        if self.ended {
            return Err(wrong("it stands behind the last line".to_owned()));
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

    /// A whole line without its end; none at the end of the file, or where it breaks off in a line.
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
                let detail = "it stands behind the last line".to_owned();
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
    fn what_is_written_is_read_as_it_was() {
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
    fn a_file_that_is_not_whole_is_refused() {
        let end = |counts: Counts| serde_json::to_string(&Line::End(counts)).unwrap() + "\n";
        let one = end(Counts { events: 1, ..Counts::default() });
        let cases = [
            (String::new(), "line 1"),
            (HEADER.trim_end().to_owned(), "line 1"),
            ("{\"exesdb_export\":2}\n".to_owned(), "format 2"),
            ("{\"exesdb_export\":1,\"x\":1}\n".to_owned(), "line 1"),
            (HEADER.to_owned(), "cut off behind line 1"),
            (format!("{HEADER}{EVENT}"), "cut off behind line 2"),
            (format!("{HEADER}{EVENT}{}", one.trim_end()), "cut off behind line 2"),
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
