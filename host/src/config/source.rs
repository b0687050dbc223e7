//! The text of a configuration file, the places in it, and errors that point at them.

use std::fmt;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::schema::FILE_BYTES_MAX;

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// Why a configuration cannot be used: where, what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    /// Line and column, from 1, and the text of the line; none when the file could not be read at all.
    place: Option<(usize, usize, String)>,
    message: String,
}

impl ConfigError {
    /// An error that is of the whole file.
    pub(super) fn of_file(file: &Path, message: String) -> Self {
        Self { file: file.to_owned(), place: None, message }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        let Some((line, column, text)) = &self.place else {
            return write!(f, "{file}: {}", self.message);
        };
        let gutter = " ".repeat(line.to_string().len());
        write!(f, "{file}:{line}:{column}: {}\n{gutter} |\n{line} | {text}\n", self.message)?;
        write!(f, "{gutter} | {}^", " ".repeat(column - 1))
    }
}

impl std::error::Error for ConfigError {}

/// A rule that the text breaks, and the bytes of the text that break it.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

impl Violation {
    pub(super) fn at<T>(value: &Spanned<T>, message: impl Into<String>) -> Self {
        Self { span: value.span(), message: message.into() }
    }
}

/// A configuration file and its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct SourceText<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl SourceText<'_> {
    /// A path in the file: it is relative to the file's directory.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let (line, column, _) = line_and_column(self.text, span.start);
        Place { file: self.file.to_owned(), line, column }
    }

    pub(super) fn error(&self, violation: Violation) -> ConfigError {
        let place = line_and_column(self.text, violation.span.start);
        ConfigError { file: self.file.to_owned(), place: Some(place), message: violation.message }
    }
}

/// Line and column, from 1, of a byte of a text, and the text of the line.
fn line_and_column(text: &str, at: usize) -> (usize, usize, String) {
    let start = text.floor_char_boundary(at.min(text.len()));
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = text[line_start..start].chars().count() + 1;
    (line, column, text[line_start..].lines().next().unwrap_or("").to_owned())
}

/// Reads a configuration file.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let fail = |message: String| ConfigError::of_file(path, message);
    let file = std::fs::File::open(path)
        .map_err(|error| fail(format!("cannot be opened ({error}); give --config a readable file")))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(format!("cannot be read ({error}); give --config a readable file")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(format!("is larger than {FILE_BYTES_MAX} bytes; is it a configuration file?")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        fail(format!("is not UTF-8 at byte {offset}; save it as UTF-8"))
    })
}

#[cfg(test)]
mod tests {
    use super::{FILE_BYTES_MAX, read};

    #[test]
    fn an_unreadable_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.toml");
        assert!(read(&missing).unwrap_err().to_string().contains("missing.toml: cannot be opened"));
        let binary = folder.path().join("binary.toml");
        std::fs::write(&binary, [b'a', 0xff]).unwrap();
        assert!(read(&binary).unwrap_err().to_string().contains("not UTF-8 at byte 1"));
        let large = folder.path().join("large.toml");
        std::fs::write(&large, vec![b'#'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]).unwrap();
        assert!(read(&large).unwrap_err().to_string().contains("is larger than"));
    }
}
