//! What the readers of CSV and NDJSON return for each row, before it is parsed.

use std::io::{self, BufRead};

/// The longest row, in bytes: four events of the largest size. A longer one is probably a quote that is not closed.
pub(super) const ROW_BYTES_MAX: usize = 4 << 20;

/// The next row of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RawRow {
    /// A row, with its number of lines and bytes, including the line end.
    Row { lines: u64, bytes: u64 },
    /// The end of the file.
    End,
    /// Something that is not a row. The rest of its last line was skipped.
    Malformed { lines: u64, bytes: u64, line: u64, message: String },
    /// Something after which the rest of the file cannot be read.
    Unrecoverable { line: u64, message: String },
}

/// Skips the rest of a line. Returns the number of skipped bytes.
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
