//! Rows of a CSV file: the header names the columns, every value is a string.

use std::io::Read;

use csv::{ByteRecord, Position, ReaderBuilder};
use serde_json::value::RawValue;

use super::row::{BadFile, Columns, Row};

/// What some programs put before UTF-8 text.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Where the columns are that say what.
struct Places {
    stream: usize,
    event_type: usize,
    time: Option<usize>,
}

/// All rows of the file.
pub(super) fn read(mut input: impl Read, columns: Columns<'_>) -> Result<Vec<Row>, BadFile> {
    let mut text = Vec::new();
    input.read_to_end(&mut text).map_err(|error| BadFile::at(1, format!("cannot be read: {error}")))?;
    // Lengths are checked here: the reader would stop at the first row that differs.
    let mut reader = ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_slice());
    let mut lines = Lines { text: &text, byte: 0, line: 1 };
    let mut record = ByteRecord::new();
    let mut next = |record: &mut ByteRecord| match reader.read_byte_record(record) {
        Ok(found) => Ok(found.then(|| lines.at(record.position()))),
        Err(error) => Err(BadFile::at(lines.line, format!("cannot be read: {error}"))),
    };
    let Some(line) = next(&mut record)? else {
        return Err(BadFile::at(1, "there is no header line that names the columns".to_owned()));
    };
    let header = parse_header(&record).map_err(|message| BadFile::at(line, message))?;
    let places = find_columns(&header, columns).map_err(|message| BadFile::at(line, message))?;
    let (mut rows, mut bad) = (Vec::new(), BadFile::default());
    while let Some(line) = next(&mut record)? {
        match parse_row(line, &header, &places, columns, &record) {
            Ok(row) => rows.push(row),
            Err(message) => bad.push(line, message),
        }
    }
    bad.or_rows(rows)
}

/// Counts lines up to where records begin. The reader's own count is of where it stood before it skipped blank
/// lines and the second half of a CRLF.
struct Lines<'a> {
    text: &'a [u8],
    byte: usize,
    line: u64,
}

impl Lines<'_> {
    fn at(&mut self, position: Option<&Position>) -> u64 {
        let byte = position.map_or(self.byte, |position| {
            usize::try_from(position.byte()).expect("a place in memory fits usize")
        });
        let skipped = |text: &[u8]| text.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let start = byte + self.text.get(byte..).map_or(0, skipped);
        let passed = self.text.get(self.byte..start).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.byte = start;
        self.line
    }
}

fn parse_header(record: &ByteRecord) -> Result<Vec<String>, String> {
    let mut header: Vec<String> = Vec::with_capacity(record.len());
    for (index, name) in record.iter().enumerate() {
        let name = std::str::from_utf8(name)
            .map_err(|_| format!("the name of column {} is not UTF-8", index + 1))?;
        let name = if index == 0 { name.trim_start_matches(BYTE_ORDER_MARK) } else { name };
        if header.iter().any(|earlier| earlier == name) {
            return Err(format!("two columns are called {name:?}; give each its own name"));
        }
        header.push(name.to_owned());
    }
    Ok(header)
}

fn find_columns(header: &[String], columns: Columns<'_>) -> Result<Places, String> {
    let find = |option: &str, column: &str| {
        header.iter().position(|name| name == column).ok_or_else(|| {
            format!("{option}: there is no column {column:?}; there are: {}", header.join(", "))
        })
    };
    Ok(Places {
        stream: find("--stream-by", columns.stream)?,
        event_type: find("--type-by", columns.event_type)?,
        time: columns.time.map(|column| find("--time-by", column)).transpose()?,
    })
}

fn parse_row(
    line: u64,
    header: &[String],
    places: &Places,
    columns: Columns<'_>,
    record: &ByteRecord,
) -> Result<Row, String> {
    if record.len() != header.len() {
        return Err(format!("there are {} values for {} columns", record.len(), header.len()));
    }
    let mut values = Vec::with_capacity(record.len());
    for (name, value) in header.iter().zip(record) {
        let value = std::str::from_utf8(value).map_err(|_| format!("column {name} is not UTF-8"))?;
        values.push(value);
    }
    let time = places.time.map(|place| values[place]);
    let data = object(header, &values);
    Row::new(line, columns, values[places.stream], values[places.event_type], time, data)
}

/// A JSON object with the columns in the file's order.
fn object(header: &[String], values: &[&str]) -> Box<RawValue> {
    let mut json = String::from("{");
    for (name, value) in header.iter().zip(values) {
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
    use super::read;
    use crate::command::import::row::Columns;

    const COLUMNS: Columns<'static> = Columns { stream: "s", event_type: "t", time: Some("at") };

    #[test]
    fn rows_become_objects_in_column_order() {
        let text =
            "\u{feff}t,s,z,at,a\nx,1,,2011-01-01T00:00:00Z,\"q\"\"\n,ä\"\n\ny,2,\\,2011-01-01 00:00:01Z,b\n";
        let rows = read(text.as_bytes(), COLUMNS).unwrap();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.line, row.stream.as_str(), row.event_type.as_str(), row.data.get()))
            .collect();
        assert_eq!(
            seen,
            [
                (2, "1", "x", r#"{"t":"x","s":"1","z":"","at":"2011-01-01T00:00:00Z","a":"q\"\n,ä"}"#),
                (5, "2", "y", r#"{"t":"y","s":"2","z":"\\","at":"2011-01-01 00:00:01Z","a":"b"}"#),
            ]
        );
    }

    #[test]
    fn faults_are_named_with_their_line() {
        let good = "a,x,2011-01-01T00:00:00Z\n";
        let cases: [(Vec<u8>, &str); 12] = [
            (b"".to_vec(), "f:1: there is no header"),
            (b"s,t\n".to_vec(), "f:1: --time-by: there is no column \"at\"; there are: s, t"),
            (b"t,at\n".to_vec(), "f:1: --stream-by: there is no column \"s\""),
            (b"s,t,at,s\n".to_vec(), "f:1: two columns are called \"s\""),
            (b"s,t,at,\xff\n".to_vec(), "f:1: the name of column 4 is not UTF-8"),
            (format!("s,t,at\n{good}b,y\n").into_bytes(), "f:3: there are 2 values for 3 columns"),
            (format!("s,t,at\n{good}b,y,now\n").into_bytes(), "f:3: column at is \"now\""),
            (format!("s,t,at\n\"a\nb\",x,y\n{good}").into_bytes(), "f:2: column s contains the control"),
            ([b"s,t,at\n", good.as_bytes(), b"\xff,y,z\n"].concat(), "f:3: column s is not UTF-8"),
            (format!("s,t,at\n,x,y\n{good},x,y\n").into_bytes(), "f:4: column s is empty"),
            (
                b"s,t,at\r\n\r\nb,x\r\nc\r\n".to_vec(),
                "f:3: there are 2 values for 3 columns\n  f:4: there are 1 values",
            ),
            (b"\n\n\"s\n\",t\n".to_vec(), "f:3: --stream-by"),
        ];
        for (text, expected) in cases {
            let error = read(text.as_slice(), COLUMNS).unwrap_err().in_file("f");
            assert!(error.contains(expected), "{error}\nexpected {expected}");
        }
    }
}
