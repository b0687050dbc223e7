//! What an import does not take: told apart by stream, so that one stream's trouble stops no other's rows.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use crate::client::ClientError;
use crate::output::printable;

/// Troubles that are told one by one; of the others, the number.
const TOLD_MAX: usize = 10;
/// Lines of a stream that are told; of the others, the number.
const LINES_TOLD_MAX: usize = 10;

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

/// What can be refused of an export beside its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// That a stream was deleted.
    Deletion,
    /// That a stream was deleted for good.
    Tombstone,
    /// How long a stream keeps its events.
    Retention,
    /// A snapshot of a stream.
    Snapshot,
}

impl Kind {
    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Deletion => "deletion",
            Kind::Tombstone => "tombstone",
            Kind::Retention => "retention",
            Kind::Snapshot => "snapshot",
        }
    }
}

/// What is not taken, and why.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// The streams from which on nothing is taken.
    streams: HashSet<String>,
    told: Vec<Told>,
    /// How many more there would be to tell.
    untold: u64,
    /// How many rows (events) were not taken.
    pub(super) rows: u64,
    /// How many others of each kind.
    others: BTreeMap<Kind, u64>,
}

/// What is told of a stream.
#[derive(Debug)]
struct Told {
    stream: String,
    lines: Vec<u64>,
    /// How many lines there are beyond these.
    more: u64,
    /// What the store said.
    detail: String,
}

impl Told {
    fn lines(&self) -> String {
        let lines = self.lines.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        match (self.lines.len(), self.more) {
            (1, 0) => format!("line {lines}"),
            (_, 0) => format!("lines {lines}"),
            (_, more) => format!("lines {lines} and {more} more"),
        }
    }
}

impl Troubles {
    /// Notes that nothing more is taken of a stream.
    pub(super) fn refuse(&mut self, stream: &str, line: u64, error: &ClientError) {
        self.refuse_because(stream, line, error.to_string());
    }

    /// The same, for a reason that is not the store's.
    pub(super) fn refuse_because(&mut self, stream: &str, line: u64, detail: String) {
        self.note(stream, line, detail);
        self.streams.insert(stream.to_owned());
    }

    /// Notes something of a stream that is not taken.
    pub(super) fn note(&mut self, stream: &str, line: u64, detail: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(Told { stream: stream.to_owned(), lines: vec![line], more: 0, detail });
        } else {
            self.untold += 1;
        }
    }

    /// Counts a row of a stream of which nothing is taken.
    pub(super) fn also(&mut self, stream: &str, line: u64) {
        self.rows += 1;
        let Some(told) = self.told.iter_mut().find(|told| told.stream == stream) else { return };
        if told.lines.contains(&line) {
            return;
        }
        if told.lines.len() < LINES_TOLD_MAX {
            told.lines.push(line);
        } else {
            told.more += 1;
        }
    }

    /// Counts something of a kind that is not taken.
    pub(super) fn count(&mut self, kind: Kind) {
        *self.others.entry(kind).or_default() += 1;
    }

    /// How many of a kind were not taken.
    pub(super) fn of_kind(&self, kind: Kind) -> u64 {
        self.others.get(&kind).copied().unwrap_or(0)
    }

    /// Whether nothing more is taken of a stream.
    pub(super) fn is_refused(&self, stream: &str) -> bool {
        self.streams.contains(stream)
    }

    /// What is told at the end; none if all was taken. What the rows are, in the plural, is `things`.
    pub(super) fn text(&self, things: &str) -> Option<String> {
        if self.told.is_empty() {
            return None;
        }
        let thing = things.strip_suffix('s').unwrap_or(things);
        let all = std::iter::once((self.rows, thing))
            .chain(self.others.iter().map(|(kind, count)| (*count, kind.name())))
            .filter(|(count, _)| *count > 0);
        let all: Vec<String> =
            all.map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" })).collect();
        let were = if all.len() == 1 && all[0].starts_with("1 ") { "was" } else { "were" };
        let mut text = match all.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, before)) => format!("{} and {last}", before.join(", ")),
            None => format!("0 {things}"),
        };
        let _ = write!(text, " {were} not imported, all others were:");
        for told in &self.told {
            let (lines, stream, detail) = (told.lines(), printable(&told.stream), &told.detail);
            let _ = write!(text, "\n  {lines}, stream {stream}: {detail}");
        }
        if self.untold > 0 {
            let _ = write!(text, "\n  and {} more like these", self.untold);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, TOLD_MAX, Troubles};

    #[test]
    fn what_was_not_taken_is_told_by_stream() {
        assert_eq!(Troubles::default().text("rows"), None);
        let mut troubles = Troubles { rows: 3, ..Troubles::default() };
        troubles.note("a\n", 7, "why".to_owned());
        let text = "3 rows were not imported, all others were:\n  line 7, stream a\\n: why";
        assert_eq!(troubles.text("rows").as_deref(), Some(text));
        for line in 1..TOLD_MAX as u64 + 5 {
            troubles.note("b", line, "why".to_owned());
        }
        let text = troubles.text("rows").unwrap();
        assert!(text.ends_with("and 5 more like these"), "{text}");
        assert_eq!(text.lines().count(), TOLD_MAX + 2);
    }

    #[test]
    fn the_rows_of_a_stream_are_told_with_their_lines_up_to_a_bound() {
        let mut troubles = Troubles::default();
        troubles.note("a", 3, "why".to_owned());
        for line in [3, 7, 8] {
            troubles.also("a", line);
        }
        let text = "3 rows were not imported, all others were:\n  lines 3, 7, 8, stream a: why";
        assert_eq!(troubles.text("rows").as_deref(), Some(text));
        for line in 9..100 {
            troubles.also("a", line);
            troubles.also("untold", line);
        }
        let text = troubles.text("rows").unwrap();
        assert!(text.starts_with("185 rows") && text.contains("14, 15 and 84 more, stream a: why"), "{text}");
    }

    #[test]
    fn each_kind_is_counted() {
        use Kind::{Deletion, Retention, Snapshot, Tombstone};
        let cases: [(u64, &[Kind], &str); 6] = [
            (1, &[], "1 event was"),
            (2, &[], "2 events were"),
            (0, &[Deletion], "1 deletion was"),
            (0, &[Tombstone, Tombstone], "2 tombstones were"),
            (1, &[Retention], "1 event and 1 retention were"),
            (12, &[Snapshot, Deletion, Snapshot], "12 events, 1 deletion and 2 snapshots were"),
        ];
        for (events, kinds, expected) in cases {
            let mut troubles = Troubles { rows: events, ..Troubles::default() };
            troubles.note("s", 2, "why".to_owned());
            for kind in kinds {
                troubles.count(*kind);
            }
            let text = troubles.text("events").unwrap();
            let expected = format!("{expected} not imported, all others were:\n  line 2, stream s: why");
            assert_eq!(text, expected);
        }
        let mut all = Troubles::default();
        all.count(Snapshot);
        all.count(Snapshot);
        assert_eq!((all.of_kind(Snapshot), all.of_kind(Deletion)), (2, 0));
    }
}
