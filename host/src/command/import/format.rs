//! The formats of files of rows.

use std::path::Path;

use anyhow::bail;
use clap::ValueEnum;

/// The format of a file of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated values with a header line (RFC 4180).
    Csv,
    /// One JSON object per line.
    #[value(alias = "jsonl")]
    Ndjson,
}

/// The given format, or else the one that the extension of the file names.
pub(super) fn format(path: &Path, given: Option<Format>) -> anyhow::Result<Format> {
    if let Some(format) = given {
        return Ok(format);
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "csv" => Ok(Format::Csv),
        "ndjson" | "jsonl" => Ok(Format::Ndjson),
        _ => bail!("the format of {} is not known; give --format csv or --format ndjson", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Format, format};

    #[test]
    fn the_extension_names_the_format() {
        let cases = [
            ("a.csv", None, Some(Format::Csv)),
            ("a.b.CSV", None, Some(Format::Csv)),
            ("a.ndjson", None, Some(Format::Ndjson)),
            ("a.jsonl", None, Some(Format::Ndjson)),
            ("a.json", None, None),
            ("-", None, None),
            ("csv", None, None),
            ("a.csv", Some(Format::Ndjson), Some(Format::Ndjson)),
        ];
        for (path, given, expected) in cases {
            assert_eq!(format(Path::new(path), given).ok(), expected, "{path}");
        }
    }
}
