//! What an import does not take: told apart by stream, so that one stream's trouble stops no other's rows.

use std::collections::HashSet;
use std::fmt::Write as _;

use crate::client::ClientError;
use crate::output::printable;

/// Streams whose trouble is told one by one; of the others, the number.
const TOLD_MAX: usize = 10;

/// Whether the store refused a request because of what is in it, and would take other events.
pub(super) fn is_about_events(error: &ClientError) -> bool {
    matches!(
        error.problem_kind(),
        "wrong-expected-version"
            | "event-id-conflict"
            | "no-such-version"
            | "stream-deleted"
            | "invalid-argument"
            | "malformed-body"
            | "too-large"
    )
}

/// Rows that are not taken, and why.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// The streams from which on nothing is taken.
    streams: HashSet<String>,
    /// What is told: the line, the stream, and what the store said.
    told: Vec<(u64, String, String)>,
    /// How many rows (events) were not taken.
    pub(super) rows: u64,
}

impl Troubles {
    /// That many rows of streams whose trouble is known.
    pub(super) fn of_rows(rows: u64) -> Troubles {
        Troubles { rows, ..Troubles::default() }
    }

    /// Notes that nothing more is taken of a stream.
    pub(super) fn refuse(&mut self, stream: &str, line: u64, error: &ClientError) {
        self.note(stream, line, error.to_string());
        self.streams.insert(stream.to_owned());
    }

    /// Notes something of a stream that is not taken.
    pub(super) fn note(&mut self, stream: &str, line: u64, detail: String) {
        if self.told.len() <= TOLD_MAX {
            self.told.push((line, stream.to_owned(), detail));
        }
    }

    /// Whether nothing more is taken of a stream.
    pub(super) fn is_refused(&self, stream: &str) -> bool {
        self.streams.contains(stream)
    }

    /// The same with those of a part.
    pub(super) fn add(&mut self, part: Troubles) {
        self.rows += part.rows;
        self.streams.extend(part.streams);
        self.told.extend(part.told);
    }

    /// What is told at the end; none if all was taken. What the rows are, in the plural, is `things`.
    pub(super) fn text(&self, things: &str) -> Option<String> {
        if self.told.is_empty() {
            return None;
        }
        let mut text = format!("{} {things} were not imported, all others were:", self.rows);
        for (line, stream, detail) in self.told.iter().take(TOLD_MAX) {
            let _ = write!(text, "\n  line {line}, stream {}: {detail}", printable(stream));
        }
        if self.told.len() > TOLD_MAX {
            let _ = write!(text, "\n  and other streams; {} in all", self.streams.len());
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{TOLD_MAX, Troubles};

    #[test]
    fn what_was_not_taken_is_told_by_stream() {
        assert_eq!(Troubles::of_rows(0).text("rows"), None);
        let mut troubles = Troubles::of_rows(3);
        troubles.note("a\n", 7, "why".to_owned());
        let text = "3 rows were not imported, all others were:\n  line 7, stream a\\n: why";
        assert_eq!(troubles.text("rows").as_deref(), Some(text));
        for line in 0..TOLD_MAX as u64 + 5 {
            troubles.note("b", line, "why".to_owned());
        }
        let text = troubles.text("rows").unwrap();
        assert!(text.ends_with("and other streams; 0 in all"), "{text}");
        assert_eq!(text.lines().count(), TOLD_MAX + 2);
    }
}
