//! Output of a command on stdout.

use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};

/// How much of an event's data a line for people shows, in characters. It is about two lines of a wide terminal.
const DATA_CHARS: usize = 200;

/// The reader of stdout went away, so the command has nothing left to do.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
struct Closed;

/// Whether an error only means that the reader of stdout went away.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error.is::<Closed>()
}

/// Stdout, in lines. Writes are buffered until [`Output::flush`] or the end.
pub struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

impl Output {
    /// Locks stdout for the rest of the command.
    pub fn stdout() -> Output {
        Output { stdout: BufWriter::new(io::stdout().lock()) }
    }

    /// Writes a line.
    pub fn line(&mut self, line: impl fmt::Display) -> anyhow::Result<()> {
        checked(writeln!(self.stdout, "{line}"))
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        checked(self.stdout.write_all(bytes))
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        checked(self.stdout.flush())
    }
}

fn checked(result: io::Result<()>) -> anyhow::Result<()> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => anyhow::Error::new(Closed),
        _ => anyhow::Error::new(error).context("stdout cannot be written"),
    })
}

/// Escapes the control characters of a text, which could drive the terminal.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// Escapes the beginning of a text, with an ellipsis where it was cut.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(DATA_CHARS) {
        None => printable(text),
        Some((end, _)) => format!("{}…", printable(&text[..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::{DATA_CHARS, printable, shortened};

    #[test]
    fn control_characters_are_escaped() {
        let cases = [
            ("ä b", "ä b"),
            ("a\x1b[31mb", "a\\u{1b}[31mb"),
            ("a\nb\tc", "a\\nb\\tc"),
            ("\u{9b}1A", "\\u{9b}1A"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(shortened(&"ä".repeat(DATA_CHARS)), "ä".repeat(DATA_CHARS));
        assert_eq!(shortened(&"ä".repeat(DATA_CHARS + 1)), format!("{}…", "ä".repeat(DATA_CHARS)));
    }
}
