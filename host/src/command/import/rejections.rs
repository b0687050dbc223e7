//! What the store refused of an import, by stream, so that a problem of one stream does not stop the others.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use crate::client::ClientError;
use crate::output::printable;

/// Number of rejections that are listed; the others are counted.
const LISTED_MAX: usize = 10;
/// Number of lines that are listed for a stream; the others are counted.
const LINES_MAX: usize = 10;

/// Whether the store refused a request because of its content, and would accept other events.
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

/// What the store can refuse of an export apart from events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The deletion of a stream.
    Deletion,
    /// The deletion of a stream for good.
    Tombstone,
    /// The retention of a stream.
    Retention,
    /// A snapshot of a stream.
    Snapshot,
}

impl Kind {
    /// The name in messages, in the singular.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Deletion => "deletion",
            Kind::Tombstone => "tombstone",
            Kind::Retention => "retention",
            Kind::Snapshot => "snapshot",
        }
    }
}

/// What the store refused, and why.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    /// The streams of which nothing more is imported.
    streams: HashSet<String>,
    listed: Vec<Rejection>,
    /// Number of rejections that are not listed.
    more: u64,
    /// Number of rows (of an export: events) that were refused.
    pub(super) rows: u64,
    /// Number of other refused things, by kind.
    others: BTreeMap<Kind, u64>,
}

/// A rejection of something of a stream.
#[derive(Debug)]
struct Rejection {
    stream: String,
    lines: Vec<u64>,
    /// Number of lines that are not listed.
    more: u64,
    /// The reason.
    detail: String,
}

impl Rejection {
    fn lines(&self) -> String {
        let lines = self.lines.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        match (self.lines.len(), self.more) {
            (1, 0) => format!("line {lines}"),
            (_, 0) => format!("lines {lines}"),
            (_, more) => format!("lines {lines} and {more} more"),
        }
    }
}

impl Rejections {
    /// Rejects a stream because of an error of the store: nothing more of it is imported.
    pub(super) fn reject(&mut self, stream: &str, line: u64, error: &ClientError) {
        self.reject_because(stream, line, error.to_string());
    }

    /// Rejects a stream for a reason in words.
    pub(super) fn reject_because(&mut self, stream: &str, line: u64, detail: String) {
        self.add(stream, line, detail);
        self.streams.insert(stream.to_owned());
    }

    /// Adds a rejection, after which more of the stream may be imported.
    pub(super) fn add(&mut self, stream: &str, line: u64, detail: String) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push(Rejection { stream: stream.to_owned(), lines: vec![line], more: 0, detail });
        } else {
            self.more += 1;
        }
    }

    /// Counts a row of a rejected stream, and lists its line.
    pub(super) fn add_row(&mut self, stream: &str, line: u64) {
        self.rows += 1;
        let Some(rejection) = self.listed.iter_mut().find(|rejection| rejection.stream == stream) else {
            return;
        };
        if rejection.lines.contains(&line) {
            return;
        }
        if rejection.lines.len() < LINES_MAX {
            rejection.lines.push(line);
        } else {
            rejection.more += 1;
        }
    }

    /// Counts a refused thing of a kind.
    pub(super) fn count(&mut self, kind: Kind) {
        *self.others.entry(kind).or_default() += 1;
    }

    /// Number of refused things of a kind.
    pub(super) fn of_kind(&self, kind: Kind) -> u64 {
        self.others.get(&kind).copied().unwrap_or(0)
    }

    /// Whether nothing more of a stream is imported.
    pub(super) fn is_rejected(&self, stream: &str) -> bool {
        self.streams.contains(stream)
    }

    /// Whether there is a stream of which nothing more is imported.
    pub(super) fn rejects_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// The text for the end of the import; none if everything was accepted. `things` names the rows, in the plural.
    pub(super) fn text(&self, things: &str) -> Option<String> {
        if self.listed.is_empty() {
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
        for rejection in &self.listed {
            let (lines, stream, detail) =
                (rejection.lines(), printable(&rejection.stream), &rejection.detail);
            let _ = write!(text, "\n  {lines}, stream {stream}: {detail}");
        }
        if self.more > 0 {
            let _ = write!(text, "\n  and {} more like these", self.more);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, LISTED_MAX, Rejections};

    #[test]
    fn rejections_are_listed_by_stream_up_to_a_limit() {
        assert_eq!(Rejections::default().text("rows"), None);
        let mut rejections = Rejections { rows: 3, ..Rejections::default() };
        rejections.add("a\n", 7, "why".to_owned());
        let text = "3 rows were not imported, all others were:\n  line 7, stream a\\n: why";
        assert_eq!(rejections.text("rows").as_deref(), Some(text));
        for line in 1..LISTED_MAX as u64 + 5 {
            rejections.add("b", line, "why".to_owned());
        }
        let text = rejections.text("rows").unwrap();
        assert!(text.ends_with("and 5 more like these"), "{text}");
        assert_eq!(text.lines().count(), LISTED_MAX + 2);
    }

    #[test]
    fn lines_of_a_stream_are_listed_up_to_a_limit() {
        let mut rejections = Rejections::default();
        rejections.add("a", 3, "why".to_owned());
        for line in [3, 7, 8] {
            rejections.add_row("a", line);
        }
        let text = "3 rows were not imported, all others were:\n  lines 3, 7, 8, stream a: why";
        assert_eq!(rejections.text("rows").as_deref(), Some(text));
        for line in 9..100 {
            rejections.add_row("a", line);
            rejections.add_row("unlisted", line);
        }
        let text = rejections.text("rows").unwrap();
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
            let mut rejections = Rejections { rows: events, ..Rejections::default() };
            rejections.add("s", 2, "why".to_owned());
            for kind in kinds {
                rejections.count(*kind);
            }
            let text = rejections.text("events").unwrap();
            let expected = format!("{expected} not imported, all others were:\n  line 2, stream s: why");
            assert_eq!(text, expected);
        }
        let mut all = Rejections::default();
        all.count(Snapshot);
        all.count(Snapshot);
        assert_eq!((all.of_kind(Snapshot), all.of_kind(Deletion)), (2, 0));
    }
}
