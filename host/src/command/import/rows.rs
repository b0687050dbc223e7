//! The rows of a file. All of them are checked before anything is sent, then they are read again in the order of sending.
//!
//! In between, an [`Entry`] is kept for each row, on disk, so that a file may have any size.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt as _;

use anyhow::Context as _;
use uuid::Uuid;

use super::format::Format;
use super::raw_row::RawRow;
use super::row::{Columns, FileErrors, Row};
use super::sort::{By, Entry, EntryFile, EntryWriter, RowKey, Sorted, Sorter};
use super::{csv_file, ndjson_file, row_id};
use crate::client::Event;
use crate::command::progress;

/// Size of the read buffer, in bytes.
const READ_BYTES: usize = 256 << 10;

/// Parses the rows of a file.
#[derive(Debug)]
enum RowParser {
    Csv(csv_file::Header),
    Ndjson,
}

/// A file whose rows can all become events.
#[derive(Debug)]
pub(super) struct Rows {
    file: File,
    parser: RowParser,
    columns: Columns,
    /// The name of the source, for ids and metadata.
    source: String,
    /// The remaining rows in the order of sending.
    remaining: Sorted,
    /// All rows, sorted by digest.
    by_content: EntryFile,
    /// Number of rows.
    pub(super) total: u64,
    growth: Growth,
}

/// Determines at which end a file grows, and so from which end its rows are counted.
#[derive(Debug, Default)]
struct Growth {
    /// Number of rows of each stream.
    rows: HashMap<String, u64>,
    /// The times of the first and the last row.
    times: Option<(i128, i128)>,
}

impl Growth {
    /// Adds the next row of the file. Returns how many rows of its stream come before it.
    fn push(&mut self, stream: &str, time: i128) -> u64 {
        self.times = Some((self.times.map_or(time, |(first, _)| first), time));
        match self.rows.get_mut(stream) {
            Some(rows) => {
                *rows += 1;
                *rows - 1
            }
            None => {
                self.rows.insert(stream.to_owned(), 1);
                0
            }
        }
    }

    /// The number of rows of the stream that were older than a row when it was added to the file. A file whose first row is
    /// newer than its last one grows at its beginning.
    fn ordinal(&self, stream: &str, before: u64) -> u64 {
        let is_newest_first = self.times.is_some_and(|(first, last)| first > last);
        match self.rows.get(stream) {
            Some(rows) if is_newest_first => rows.saturating_sub(before).saturating_sub(1),
            _ => before,
        }
    }
}

/// The rows of a file so far.
struct Index {
    sorter: Sorter,
    growth: Growth,
    total: u64,
}

impl Index {
    fn new() -> Index {
        Index { sorter: Sorter::new(By::Content), growth: Growth::default(), total: 0 }
    }

    /// Adds the next row of the file, with its digest and its place in the file.
    fn push(&mut self, row: &Row, content: Uuid, offset: u64, length: u32, line: u64) -> io::Result<()> {
        let key = (row.nanoseconds(), self.total);
        let ordinal = self.growth.push(&row.stream, key.0);
        self.total += 1;
        self.sorter.push(Entry { content, key, ordinal, offset, length, line, occurrence: 0 })
    }
}

/// A row to be sent.
#[derive(Debug)]
pub(super) struct PendingRow {
    pub(super) row: Row,
    pub(super) id: String,
    pub(super) key: RowKey,
    /// Number of rows of its stream that were added to the file before it.
    pub(super) ordinal: u64,
    pub(super) line: u64,
}

impl Rows {
    /// Checks the whole file. The error lists what is wrong, with lines.
    pub(super) fn check(
        file: File,
        format: Format,
        columns: Columns,
        name: &str,
        source: String,
    ) -> anyhow::Result<Rows> {
        let message = || format!("{name} cannot be read (nothing was sent)");
        let mut input = BufReader::with_capacity(READ_BYTES, &file);
        let (mut line, mut offset, mut bytes) = (1, 0, Vec::new());
        let mut parser = match format {
            Format::Csv => None,
            Format::Ndjson => Some(RowParser::Ndjson),
        };
        let (mut index, mut errors) = (Index::new(), FileErrors::default());
        let progress = progress::bytes();
        progress.set_message("checked");
        loop {
            let raw = match format {
                Format::Csv => csv_file::read_row(&mut input, line, &mut bytes),
                Format::Ndjson => ndjson_file::read_row(&mut input, line, &mut bytes),
            };
            let (lines, length) = match raw.with_context(message)? {
                RawRow::End => break,
                RawRow::Unrecoverable { line, message } => {
                    errors.push(line, message);
                    break;
                }
                RawRow::Malformed { lines, bytes, line: wrong, message } => {
                    errors.push(wrong, message);
                    (lines, bytes)
                }
                RawRow::Row { lines, bytes: length } => {
                    match &parser {
                        // Blank lines are no rows.
                        _ if bytes.is_empty() => {}
                        None => match csv_file::Header::parse(&bytes, &columns) {
                            Ok(header) => parser = Some(RowParser::Csv(header)),
                            Err(message) => {
                                errors.push(line, message);
                                break;
                            }
                        },
                        Some(parser) => match parser.parse(&columns, &bytes) {
                            Err(message) => errors.push(line, message),
                            Ok(None) => {}
                            Ok(Some(row)) => {
                                let length = u32::try_from(bytes.len()).expect("rows are bounded");
                                let content = content(&source, &row);
                                index.push(&row, content, offset, length, line).context(TEMPORARY_FILE)?;
                            }
                        },
                    }
                    (lines, length)
                }
            };
            line += lines;
            offset += length;
            progress.inc(length);
        }
        progress.finish_and_clear();
        if parser.is_none() && errors.is_empty() {
            errors.push(1, "there is no header line that names the columns".to_owned());
        }
        if !errors.is_empty() {
            anyhow::bail!("{}", errors.in_file(name));
        }
        let parser = parser.expect("a file without errors has a header, or needs none");
        let Index { sorter, growth, total } = index;
        let (by_content, remaining) = count_equal(sorter).context(TEMPORARY_FILE)?;
        Ok(Rows { file, parser, columns, source, remaining, by_content, total, growth })
    }

    /// The next row in the order of sending.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<PendingRow>> {
        let Some(entry) = self.remaining.next().context(TEMPORARY_FILE)? else { return Ok(None) };
        let Entry { content: expected, key, ordinal, offset, length, line, occurrence } = entry;
        let mut bytes = vec![0; length as usize];
        let read = self.file.read_exact_at(&mut bytes, offset);
        let row = read.ok().and_then(|()| self.parser.parse(&self.columns, &bytes).ok().flatten());
        let row = row.filter(|row| content(&self.source, row) == expected);
        let changed = || format!("the row on line {line} was changed while the file was imported");
        let row = row.with_context(changed)?;
        let ordinal = self.growth.ordinal(&row.stream, ordinal);
        Ok(Some(PendingRow { row, id: row_id::event_id(expected, occurrence), key, ordinal, line }))
    }

    /// The key of the row of this file from which an event was made, if there is one.
    pub(super) fn find(&self, event: &Event) -> anyhow::Result<Option<RowKey>> {
        let Some(data) = &event.data else { return Ok(None) };
        let content = row_id::content(&self.source, &event.stream, &event.event_type, data.get());
        for occurrence in 0.. {
            match self.by_content.find(content, occurrence).context(TEMPORARY_FILE)? {
                None => break,
                Some(entry) if row_id::event_id(content, occurrence) == event.id => {
                    return Ok(Some(entry.key));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// The name of the source, for ids and metadata.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether events get the times of their rows.
    pub(super) fn keeps_times(&self) -> bool {
        self.columns.keep_times
    }
}

/// Error of writing or reading the temporary files.
const TEMPORARY_FILE: &str = "the order of the rows cannot be kept in a temporary file; make room in the folder for such files, or set TMPDIR";

impl RowParser {
    fn parse(&self, columns: &Columns, bytes: &[u8]) -> Result<Option<Row>, String> {
        match self {
            RowParser::Csv(header) => header.row(columns, bytes).map(Some),
            RowParser::Ndjson => ndjson_file::row(columns, bytes),
        }
    }
}

fn content(source: &str, row: &Row) -> Uuid {
    row_id::content(source, &row.stream, &row.event_type, row.data.get())
}

/// Numbers equal rows, and sorts all rows by digest and for sending.
fn count_equal(sorter: Sorter) -> io::Result<(EntryFile, Sorted)> {
    let mut sorted = sorter.sorted()?;
    let mut by_content = EntryWriter::new()?;
    let mut by_key = Sorter::new(By::Key);
    let mut before: Option<Entry> = None;
    while let Some(mut entry) = sorted.next()? {
        entry.occurrence = match before {
            Some(before) if before.content == entry.content => before.occurrence.saturating_add(1),
            _ => 0,
        };
        by_content.push(&entry)?;
        by_key.push(entry)?;
        before = Some(entry);
    }
    Ok((by_content.finish()?, by_key.sorted()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::Rows;
    use crate::command::import::format::Format;
    use crate::command::import::row::Columns;

    fn check(text: &[u8], format: Format, time: Option<&str>) -> anyhow::Result<Rows> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file.rewind().unwrap();
        let time = time.map(str::to_owned);
        let columns = Columns { stream: "s".into(), event_type: "t".into(), time, keep_times: false };
        Rows::check(file, format, columns, "f", "f".into())
    }

    fn all(rows: &mut Rows) -> Vec<(u64, String, String)> {
        let next = |rows: &mut Rows| rows.next().unwrap();
        let mut found = Vec::new();
        while let Some(pending) = next(rows) {
            found.push((pending.line, pending.row.data.get().to_owned(), pending.id));
        }
        found
    }

    #[test]
    fn rows_are_sorted_by_time_then_by_line() {
        let text = "\u{feff}s,t,at,n\r\na,x,2026-01-02T00:00:00Z,1\r\n\r\nb,x,2026-01-01T00:00:00Z,\"2\r\n\"\r\na,x,2026-01-02T00:00:00Z,3";
        let mut rows = check(text.as_bytes(), Format::Csv, Some("at")).unwrap();
        assert_eq!(rows.total, 3);
        let found = all(&mut rows);
        let lines: Vec<u64> = found.iter().map(|(line, ..)| *line).collect();
        assert_eq!(lines, [4, 2, 6]);
        assert_eq!(found[0].1, r#"{"s":"b","t":"x","at":"2026-01-01T00:00:00Z","n":"2\r\n"}"#);
        let mut rows = check(text.as_bytes(), Format::Csv, None).unwrap();
        let lines: Vec<u64> = all(&mut rows).iter().map(|(line, ..)| *line).collect();
        assert_eq!(lines, [2, 4, 6]);
    }

    #[test]
    fn rows_are_counted_from_the_end_that_does_not_grow() {
        let ordinals = |text: &str, time| {
            let mut rows = check(text.as_bytes(), Format::Csv, time).unwrap();
            let mut found = std::iter::from_fn(|| rows.next().unwrap())
                .map(|pending| (pending.line, pending.ordinal))
                .collect::<Vec<_>>();
            found.sort_unstable();
            found
        };
        let day = |day: u32| format!("2026-01-0{day}T00:00:00Z");
        // One row has an earlier time than those before it.
        let text = format!("s,t,at\na,x,{}\nb,x,{}\na,x,{}\na,x,{}\n", day(2), day(3), day(1), day(4));
        assert_eq!(ordinals(&text, Some("at")), [(2, 0), (3, 0), (4, 1), (5, 2)]);
        let newest_first = format!("s,t,at\na,x,{}\nb,x,{}\na,x,{}\n", day(3), day(2), day(1));
        assert_eq!(ordinals(&newest_first, Some("at")), [(2, 1), (3, 0), (4, 0)]);
        assert_eq!(ordinals(&newest_first, None), [(2, 0), (3, 0), (4, 1)]);
    }

    #[test]
    fn equal_rows_have_ids_of_their_own_and_keep_them_when_the_file_grows() {
        let text = "s,t\na,x\na,x\nb,x\n";
        let ids = |text: &str| {
            let rows = all(&mut check(text.as_bytes(), Format::Csv, None).unwrap());
            rows.into_iter().map(|(_, _, id)| id).collect::<Vec<_>>()
        };
        let base = ids(text);
        assert_eq!(base.iter().collect::<std::collections::HashSet<_>>().len(), 3);
        assert_eq!(ids(&format!("{text}a,x\n"))[..3], base[..]);
        // Also if the new rows are not at the end.
        assert_eq!(ids("s,t\nc,x\na,x\na,x\nb,x\n")[1..], base[..]);
    }

    #[test]
    fn errors_are_listed_with_their_lines() {
        let at = Some("at");
        let good = "a,x,2026-01-01T00:00:00Z\n";
        let cases: [(String, Format, Option<&str>, &[&str]); 11] = [
            (String::new(), Format::Csv, None, &["f:1: there is no header"]),
            ("\n\n\"s\n\",t\n".into(), Format::Csv, None, &["f:3: --stream-by"]),
            (
                "s,t\n".into(),
                Format::Csv,
                at,
                &["f:1: --time-by: there is no column \"at\"; there are: s, t"],
            ),
            ("s,t,s\n".into(), Format::Csv, None, &["f:1: two columns are called \"s\""]),
            (format!("s,t,at\n{good}b,y\n"), Format::Csv, at, &["f:3: there are 2 values for 3 columns"]),
            (format!("s,t,at\n{good}b,y,now\n"), Format::Csv, at, &["f:3: column at is \"now\""]),
            (
                "s,t\r\n\r\na\r\nb,c,d\r\n".into(),
                Format::Csv,
                None,
                &["f:3: there are 1", "f:4: there are 3"],
            ),
            ("s,t\na,\"b\"c\nd\n".into(), Format::Csv, None, &["f:2: text follows", "f:3: there are 1"]),
            (
                "s,t\na,\"b\nc,d\ne,f\n".into(),
                Format::Csv,
                None,
                &["f:2: a quote is opened and never closed"],
            ),
            ("s,t\n\"a\nb\",x\nc,d\n".into(), Format::Csv, None, &["f:2: column s contains the control"]),
            ("\n{\n".into(), Format::Ndjson, None, &["f:2: the line is not one JSON object"]),
        ];
        for (text, format, time, expected) in cases {
            let error = check(text.as_bytes(), format, time).unwrap_err().to_string();
            assert!(error.starts_with("nothing was sent"), "{error}");
            for expected in expected {
                assert!(error.contains(expected), "{text:?}: {error}\nexpected {expected}");
            }
        }
        let error = check(b"s,t,\xff\n", Format::Csv, None).unwrap_err().to_string();
        assert!(error.contains("f:1: the name of column 3 is not UTF-8"), "{error}");
        let error = check(b"s,t\na,b\n\xff,c\n", Format::Csv, None).unwrap_err().to_string();
        assert!(error.contains("f:3: column s is not UTF-8"), "{error}");
    }
}
