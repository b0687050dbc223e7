//! The rows of a file of events: all are found and checked before anything is sent, then they are read again in order.
//!
//! What is kept of a row in between is where it lies and what it says in short ([`Entry`]), and that on the disk, so that
//! a file may have any size.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt as _;

use anyhow::Context as _;
use uuid::Uuid;

use super::order::{By, Disk, Entries, Entry, Place, Sorted, Sorter};
use super::row::{BadFile, Columns, Row};
use super::{Format, csv_file, identity, ndjson_file};
use crate::client::Event;
use crate::command::progress;

/// The longest row, in bytes: four events of the largest size. A longer one is a quote that is not closed.
pub(super) const ROW_BYTES_MAX: usize = 4 << 20;
/// Bytes of the file that are read at a time.
const READ_BYTES: usize = 256 << 10;

/// What stands next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A row: how many lines and bytes it takes, its end of line included.
    Row { lines: u64, bytes: u64 },
    /// Nothing.
    End,
    /// Something that is no row; it was skipped to the end of its line.
    Bad { lines: u64, bytes: u64, line: u64, message: String },
    /// Something that makes no sense of the rest of the file.
    Hopeless { line: u64, message: String },
}

/// Skips to the end of the line, and says how many bytes that are.
pub(super) fn skip_line(input: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = input.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        let is_end = end.is_some() || buffer.is_empty();
        input.consume(taken);
        skipped += taken as u64;
        if is_end {
            return Ok(skipped);
        }
    }
}

/// How the rows of a file are read.
#[derive(Debug)]
enum Reader {
    Csv(csv_file::Header),
    Ndjson,
}

/// A file whose rows are all fit to be events.
#[derive(Debug)]
pub(super) struct Rows {
    file: File,
    reader: Reader,
    columns: Columns,
    /// What the file is called in ids and metadata.
    source: String,
    /// The rows that are still to be sent, in the order in which they are.
    left: Sorted,
    /// All rows by what they say.
    by_content: Entries,
    /// How many there are.
    pub(super) total: u64,
    growth: Growth,
}

/// Where new rows come into a file, and so from which end its rows are counted.
#[derive(Debug, Default)]
struct Growth {
    /// How many rows each stream has.
    rows: HashMap<String, u64>,
    /// The times of the first and the last row.
    times: Option<(i128, i128)>,
}

impl Growth {
    /// Notes the next row of the file. Gives how many of its stream come before it.
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

    /// Of a row with so many of its stream before it in the file, how many had come into the file when it did: a file whose
    /// newest rows are its first ones grows at its beginning.
    fn ordinal(&self, stream: &str, before: u64) -> u64 {
        let is_newest_first = self.times.is_some_and(|(first, last)| first > last);
        match self.rows.get(stream) {
            Some(rows) if is_newest_first => rows.saturating_sub(before).saturating_sub(1),
            _ => before,
        }
    }
}

/// A row that is to be sent.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) row: Row,
    pub(super) id: String,
    pub(super) place: Place,
    /// How many rows of its stream came into the file before it.
    pub(super) ordinal: u64,
    pub(super) line: u64,
}

impl Rows {
    /// Reads the whole file. Its faults are the error, with their lines.
    pub(super) fn check(
        file: File,
        format: Format,
        columns: Columns,
        name: &str,
        source: String,
    ) -> anyhow::Result<Rows> {
        let reading = || format!("{name} cannot be read (nothing was sent)");
        let mut input = BufReader::with_capacity(READ_BYTES, &file);
        let (mut line, mut offset, mut bytes) = (1, 0, Vec::new());
        let mut reader = match format {
            Format::Csv => None,
            Format::Ndjson => Some(Reader::Ndjson),
        };
        let (mut sorter, mut total, mut bad) = (Sorter::new(By::Content), 0, BadFile::default());
        let mut growth = Growth::default();
        let progress = progress::bytes();
        progress.set_message("checked");
        loop {
            let next = match format {
                Format::Csv => csv_file::read_row(&mut input, line, &mut bytes),
                Format::Ndjson => ndjson_file::read_row(&mut input, line, &mut bytes),
            };
            let (lines, length) = match next.with_context(reading)? {
                Next::End => break,
                Next::Hopeless { line, message } => {
                    bad.push(line, message);
                    break;
                }
                Next::Bad { lines, bytes, line: wrong, message } => {
                    bad.push(wrong, message);
                    (lines, bytes)
                }
                Next::Row { lines, bytes: length } => {
                    match &reader {
                        // Blank lines are no rows.
                        _ if bytes.is_empty() => {}
                        None => match csv_file::Header::parse(&bytes, &columns) {
                            Ok(header) => reader = Some(Reader::Csv(header)),
                            Err(message) => {
                                bad.push(line, message);
                                break;
                            }
                        },
                        Some(reader) => match reader.row(&columns, &bytes) {
                            Err(message) => bad.push(line, message),
                            Ok(None) => {}
                            Ok(Some(row)) => {
                                let content = content(&source, &row);
                                let place = (row.nanoseconds(), total);
                                let length = u32::try_from(bytes.len()).expect("rows are bounded");
                                let ordinal = growth.push(&row.stream, place.0);
                                let entry =
                                    Entry { content, place, ordinal, offset, length, line, occurrence: 0 };
                                total += 1;
                                sorter.push(entry).context(NO_ROOM)?;
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
        if reader.is_none() && bad.is_empty() {
            bad.push(1, "there is no header line that names the columns".to_owned());
        }
        if !bad.is_empty() {
            anyhow::bail!("{}", bad.in_file(name));
        }
        let reader = reader.expect("a file without faults has a header, or needs none");
        let (by_content, left) = counted(sorter).context(NO_ROOM)?;
        Ok(Rows { file, reader, columns, source, left, by_content, total, growth })
    }

    /// The next row in the order of sending.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Pending>> {
        let Some(entry) = self.left.next().context(NO_ROOM)? else { return Ok(None) };
        let Entry { content: expected, place, ordinal, offset, length, line, occurrence } = entry;
        let mut bytes = vec![0; length as usize];
        let read = self.file.read_exact_at(&mut bytes, offset);
        let row = read.ok().and_then(|()| self.reader.row(&self.columns, &bytes).ok().flatten());
        let row = row.filter(|row| content(&self.source, row) == expected);
        let changed = || format!("the row on line {line} was changed while the file was imported");
        let row = row.with_context(changed)?;
        let ordinal = self.growth.ordinal(&row.stream, ordinal);
        Ok(Some(Pending { row, id: identity::event_id(expected, occurrence), place, ordinal, line }))
    }

    /// Where the row stands that an event was made of, if it was one of this file.
    pub(super) fn find(&self, event: &Event) -> anyhow::Result<Option<Place>> {
        let Some(data) = &event.data else { return Ok(None) };
        let content = identity::content(&self.source, &event.stream, &event.event_type, data.get());
        for occurrence in 0.. {
            match self.by_content.find(content, occurrence).context(NO_ROOM)? {
                None => break,
                Some(entry) if identity::event_id(content, occurrence) == event.id => {
                    return Ok(Some(entry.place));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// What the file is called in ids and metadata.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether events get the times of their rows.
    pub(super) fn keeps_times(&self) -> bool {
        self.columns.keep_times
    }
}

/// What is wrong where the order of rows cannot be kept on the disk.
const NO_ROOM: &str = "the order of the rows cannot be kept in a temporary file; make room in the folder for such files, or set TMPDIR";

impl Reader {
    fn row(&self, columns: &Columns, bytes: &[u8]) -> Result<Option<Row>, String> {
        match self {
            Reader::Csv(header) => header.row(columns, bytes).map(Some),
            Reader::Ndjson => ndjson_file::row(columns, bytes),
        }
    }
}

fn content(source: &str, row: &Row) -> Uuid {
    identity::content(source, &row.stream, &row.event_type, row.data.get())
}

/// Counts among rows that say the same, and puts all into the order of sending.
fn counted(sorter: Sorter) -> io::Result<(Entries, Sorted)> {
    let mut sorted = sorter.sorted()?;
    let mut by_content = Disk::new()?;
    let mut by_place = Sorter::new(By::Place);
    let mut before: Option<Entry> = None;
    while let Some(mut entry) = sorted.next()? {
        entry.occurrence = match before {
            Some(before) if before.content == entry.content => before.occurrence.saturating_add(1),
            _ => 0,
        };
        by_content.push(&entry)?;
        by_place.push(entry)?;
        before = Some(entry);
    }
    Ok((by_content.finish()?, by_place.sorted()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::Rows;
    use crate::command::import::Format;
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
    fn rows_come_in_the_order_of_time_and_equal_times_in_that_of_the_file() {
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
    fn rows_are_counted_from_the_end_of_the_file_that_does_not_grow() {
        let ordinals = |text: &str, time| {
            let mut rows = check(text.as_bytes(), Format::Csv, time).unwrap();
            let mut found = std::iter::from_fn(|| rows.next().unwrap())
                .map(|pending| (pending.line, pending.ordinal))
                .collect::<Vec<_>>();
            found.sort_unstable();
            found
        };
        let day = |day: u32| format!("2026-01-0{day}T00:00:00Z");
        // One row came late.
        let text = format!("s,t,at\na,x,{}\nb,x,{}\na,x,{}\na,x,{}\n", day(2), day(3), day(1), day(4));
        assert_eq!(ordinals(&text, Some("at")), [(2, 0), (3, 0), (4, 1), (5, 2)]);
        let newest_first = format!("s,t,at\na,x,{}\nb,x,{}\na,x,{}\n", day(3), day(2), day(1));
        assert_eq!(ordinals(&newest_first, Some("at")), [(2, 1), (3, 0), (4, 0)]);
        assert_eq!(ordinals(&newest_first, None), [(2, 0), (3, 0), (4, 1)]);
    }

    #[test]
    fn rows_that_read_the_same_are_rows_of_their_own_and_keep_their_ids_in_a_file_that_has_grown() {
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
    fn a_file_with_faults_is_refused_with_their_lines() {
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
