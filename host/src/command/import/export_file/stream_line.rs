//! Rules, without side effects: how the line of a stream in an export is applied to a store.
//!
//! A line hides events, so it is applied only to the stream that it describes: one whose last event has the same version and
//! time. Any other stream with that name keeps its events.

use std::fmt::Write as _;

use crate::client::{Retention, StreamInfo, StreamState};
use crate::command::export::format::StreamLine;
use crate::command::import::rejections::Kind;
use crate::output::printable;

/// The action for a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing: the stream is as the line says.
    Done,
    /// Nothing: the stream was deleted here, and stays deleted.
    KeepDeleted,
    /// Create the stream with one event in place of the hidden ones. It never existed here, and all its events are hidden.
    Create,
    /// Change the stream.
    Change(Change),
    /// Reject the line: it describes another stream, or another state of it.
    Reject(Mismatch),
}

/// A change of a stream. The deletion comes first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Delete the stream: `true` is for good.
    pub(super) delete: Option<bool>,
    /// Set the retention.
    pub(super) retention: Option<Retention>,
}

/// How a stream here differs from the stream of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// The stream does not exist here.
    Absent,
    /// The stream here ends at this version, later than the line's stream.
    Ahead(u64),
    /// The stream here ends at this version, earlier than the line's stream.
    Behind(u64),
    /// The stream here has another event at this version.
    Other(u64),
    /// The stream here ends at this version, and the export has no event to compare it with.
    Unknown(u64),
}

/// What has to be done before the first new event of a stream is sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Preparation {
    /// Delete the stream, which the event starts again.
    pub(super) delete: bool,
    /// Set a wider retention for now, so that no event is hidden that the line keeps.
    pub(super) retention: Option<Retention>,
}

/// Decides on a line, after the export's events were imported. `there` is the stream here; none if it does not exist.
pub(super) fn decide(line: &StreamLine, there: Option<&StreamInfo>) -> Action {
    use StreamState::{Deleted, Live, Tombstoned};
    let Some(there) = there else {
        return match line.first_version {
            None => Action::Create,
            Some(_) => Action::Reject(Mismatch::Absent),
        };
    };
    let mismatch = mismatch(line, there);
    let has_limits = has_limits(there, &line.retention);
    let limits = Retention { truncate_before: None, ..line.retention.clone() };
    let change = match (line.state, there.state) {
        (Tombstoned, Tombstoned) => return Action::Done,
        (Live, Deleted) | (Live | Deleted, Tombstoned) => return Action::KeepDeleted,
        // The stream was deleted here by somebody else, so there is nothing left to hide.
        (Deleted, Deleted) if has_limits || mismatch.is_some() => return Action::Done,
        (Live, Live) if has_limits && hidden_by(line) <= hidden_in(there) => return Action::Done,
        (Tombstoned, Live | Deleted) => Change { delete: Some(true), retention: None },
        (Deleted, Live) => Change { delete: Some(false), retention: Some(limits).filter(|_| !has_limits) },
        (Deleted, Deleted) => Change { delete: None, retention: Some(limits) },
        (Live, Live) => {
            let truncate_before = Some(hidden_by(line)).filter(|before| *before > 0);
            Change { delete: None, retention: Some(Retention { truncate_before, ..limits }) }
        }
    };
    match mismatch {
        None => Action::Change(change),
        Some(mismatch) => Action::Reject(mismatch),
    }
}

/// Decides whether a new event of version `next` can continue the stream here, and what has to be done before. `at_last` is the
/// time of the export's event at the last version of the stream here, if the export has that event.
pub(super) fn continue_stream(
    line: &StreamLine,
    there: &StreamInfo,
    at_last: Option<&str>,
    next: u64,
) -> Result<Preparation, Mismatch> {
    let last = there.last_version;
    if there.state == StreamState::Tombstoned {
        return Ok(Preparation::default());
    }
    // If no event is visible, none can be hidden by mistake.
    if there.first_version.is_some() {
        if at_last.is_some_and(|time| time != there.updated) {
            return Err(Mismatch::Other(last));
        }
        // The line would hide all events here.
        let is_all_hidden = line.first_version.is_none_or(|first| first > last);
        if is_all_hidden && line.created.as_ref() != Some(&there.created) {
            return Err(Mismatch::Unknown(last));
        }
    }
    let begins = line.life_begins == Some(next) && last.checked_add(1) == Some(next);
    let wider = |here: Option<u64>, there: Option<u64>| Some(here?.max(there?));
    let (old, new) = (&there.retention, &line.retention);
    let max_count = wider(old.max_count, new.max_count);
    let max_age_seconds = wider(old.max_age_seconds, new.max_age_seconds);
    let retention = Retention { max_count, max_age_seconds, truncate_before: None };
    Ok(Preparation {
        delete: begins && there.state == StreamState::Live,
        retention: Some(retention).filter(|retention| !has_limits(there, retention)),
    })
}

/// How the end of the stream differs from that of the line's stream, if it does.
fn mismatch(line: &StreamLine, there: &StreamInfo) -> Option<Mismatch> {
    let here = there.last_version;
    match here.cmp(&line.last_version) {
        std::cmp::Ordering::Less => Some(Mismatch::Behind(here)),
        std::cmp::Ordering::Greater => Some(Mismatch::Ahead(here)),
        std::cmp::Ordering::Equal => (there.updated != line.updated).then_some(Mismatch::Other(here)),
    }
}

/// Whether a stream has these limits of count and age.
fn has_limits(there: &StreamInfo, retention: &Retention) -> bool {
    let Retention { max_count, max_age_seconds, .. } = &there.retention;
    (*max_count, *max_age_seconds) == (retention.max_count, retention.max_age_seconds)
}

/// The version before which the line hides everything, whatever its limits of count and age.
fn hidden_by(line: &StreamLine) -> u64 {
    let all = line.first_version.is_none().then(|| line.last_version.saturating_add(1));
    line.retention.truncate_before.max(all).unwrap_or(0)
}

/// The version before which the stream hides everything.
fn hidden_in(there: &StreamInfo) -> u64 {
    let first = there.first_version.unwrap_or_else(|| there.last_version.saturating_add(1));
    there.retention.truncate_before.unwrap_or(0).max(first)
}

/// The kind of what a line says about its stream.
pub(super) fn kind(line: &StreamLine) -> Kind {
    match line.state {
        StreamState::Live => Kind::Retention,
        StreamState::Deleted => Kind::Deletion,
        StreamState::Tombstoned => Kind::Tombstone,
    }
}

/// Says why a line is not applied to the stream here, and what to do.
pub(super) fn rejection(line: &StreamLine, mismatch: Mismatch, store: &str) -> String {
    let last = line.last_version;
    let mut text = match mismatch {
        Mismatch::Unknown(_) => String::new(),
        _ => format!("its {} was not applied: ", kind(line).name()),
    };
    let by_hand = "if it is a copy all the same, do it by hand";
    let _ = match mismatch {
        Mismatch::Absent => write!(
            text,
            "the store has none of its events; import the earlier parts of the export first, then this one again"
        ),
        Mismatch::Ahead(here) => write!(
            text,
            "the stream has gone on to version {here} here, the export's ends at version {last}; {by_hand}: {}",
            by_command(line, store)
        ),
        Mismatch::Behind(here) => write!(
            text,
            "the stream has only come to version {here} of {last} here, not everything was imported before; {by_hand}: {}",
            by_command(line, store)
        ),
        Mismatch::Other(here) => write!(
            text,
            "the store has another event at version {here}, so it is another stream of the same name; import the export into \
             another store"
        ),
        Mismatch::Unknown(here) => write!(
            text,
            "nothing tells whether it is the export's stream: it ends at version {here} here, and of the export's stream \
             everything up to there is hidden; if it is a copy, delete it by hand and import again: exesdb delete {}",
            arguments(&line.stream, "", store)
        ),
    };
    text
}

/// The command that has the effect of a line.
fn by_command(line: &StreamLine, store: &str) -> String {
    match line.state {
        StreamState::Deleted => format!("exesdb delete {}", arguments(&line.stream, "", store)),
        StreamState::Tombstoned => {
            format!("exesdb delete {}", arguments(&line.stream, " --tombstone", store))
        }
        StreamState::Live => {
            let mut options = String::new();
            if let Some(count) = line.retention.max_count {
                let _ = write!(options, " --max-count {count}");
            }
            if let Some(seconds) = line.retention.max_age_seconds {
                let _ = write!(options, " --max-age {seconds}s");
            }
            if hidden_by(line) > 0 {
                let _ = write!(options, " --truncate-before {}", hidden_by(line));
            }
            format!("exesdb retention {}", arguments(&line.stream, &options, store))
        }
    }
}

/// Arguments for a shell: a stream, options and a store.
fn arguments(stream: &str, options: &str, store: &str) -> String {
    let stream = quoted(stream);
    if stream.starts_with('-') {
        return format!("{} --store {store} -- {stream}", options.trim_start()).trim_start().to_owned();
    }
    format!("{stream}{options} --store {store}")
}

/// A word, quoted for a shell if necessary.
fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:@%+,".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", printable(word).replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::Mismatch::{Absent, Ahead, Behind, Other, Unknown};
    use super::{Action, Change, Preparation, continue_stream, decide, rejection};
    use crate::client::{Retention, StreamInfo, StreamState};
    use crate::command::export::format::StreamLine;
    use StreamState::{Deleted, Live, Tombstoned};

    /// A retention of `max_count`, `max_age_seconds` and `truncate_before`; 0 is none.
    fn keep(max_count: u64, max_age_seconds: u64, truncate_before: u64) -> Retention {
        let some = |limit: u64| Some(limit).filter(|limit| *limit > 0);
        Retention {
            max_count: some(max_count),
            max_age_seconds: some(max_age_seconds),
            truncate_before: some(truncate_before),
        }
    }

    /// The line of a stream that ends with version 9 at time `u`.
    fn line(state: StreamState, first_version: Option<u64>, retention: Retention) -> StreamLine {
        StreamLine {
            stream: "s".to_owned(),
            state,
            first_version,
            last_version: 9,
            life_begins: None,
            created: Some("c".to_owned()),
            updated: "u".to_owned(),
            retention,
        }
    }

    fn there(state: StreamState, first: Option<u64>, last_version: u64, retention: Retention) -> StreamInfo {
        StreamInfo {
            state,
            first_version: first,
            last_version,
            life_begins: None,
            retention,
            created: "c".to_owned(),
            updated: "u".to_owned(),
        }
    }

    #[test]
    fn a_line_is_applied_only_to_the_same_stream() {
        let all = || keep(0, 0, 0);
        let set = |retention| Action::Change(Change { delete: None, retention: Some(retention) });
        let delete = |for_good| Action::Change(Change { delete: Some(for_good), retention: None });
        let truncated = || line(Live, Some(4), keep(0, 0, 4));
        let emptied = || line(Live, None, all());
        let deleted = || line(Deleted, None, keep(0, 0, 10));
        let limited = || line(Deleted, None, keep(7, 0, 10));
        let tombstoned = || line(Tombstoned, None, keep(0, 0, 10));
        let table = [
            (truncated(), None, Action::Reject(Absent)),
            (emptied(), None, Action::Create),
            (deleted(), None, Action::Create),
            (tombstoned(), None, Action::Create),
            // Retention.
            (truncated(), Some(there(Live, Some(0), 9, all())), set(keep(0, 0, 4))),
            (truncated(), Some(there(Live, Some(0), 8, all())), Action::Reject(Behind(8))),
            (truncated(), Some(there(Live, Some(0), 10, all())), Action::Reject(Ahead(10))),
            (truncated(), Some(there(Live, Some(4), 9, all())), Action::Done),
            (truncated(), Some(there(Live, Some(4), 12, keep(0, 0, 4))), Action::Done),
            (truncated(), Some(there(Live, Some(4), 9, keep(3, 0, 4))), set(keep(0, 0, 4))),
            (truncated(), Some(there(Live, Some(4), 12, keep(3, 0, 4))), Action::Reject(Ahead(12))),
            (truncated(), Some(there(Deleted, None, 9, all())), Action::KeepDeleted),
            (truncated(), Some(there(Tombstoned, None, 12, all())), Action::KeepDeleted),
            (emptied(), Some(there(Live, Some(9), 9, all())), set(keep(0, 0, 10))),
            (emptied(), Some(there(Live, None, 9, all())), Action::Done),
            (emptied(), Some(there(Live, Some(8), 8, all())), Action::Reject(Behind(8))),
            // `max_count` hides as many events as the copy's additional `truncate_before`.
            (line(Live, Some(8), keep(2, 0, 0)), Some(there(Live, Some(8), 9, keep(2, 0, 8))), Action::Done),
            // The copy hides the same events by `max_age`.
            (
                line(Live, Some(8), keep(0, 60, 8)),
                Some(there(Live, Some(9), 9, keep(0, 60, 0))),
                Action::Done,
            ),
            (line(Live, None, keep(0, 60, 10)), Some(there(Live, None, 9, keep(0, 60, 0))), Action::Done),
            // Deletion.
            (deleted(), Some(there(Live, Some(0), 9, all())), delete(false)),
            (deleted(), Some(there(Live, Some(0), 8, all())), Action::Reject(Behind(8))),
            (deleted(), Some(there(Live, Some(0), 10, all())), Action::Reject(Ahead(10))),
            (deleted(), Some(there(Deleted, None, 9, all())), Action::Done),
            (deleted(), Some(there(Deleted, None, 10, keep(1, 0, 0))), Action::Done),
            (deleted(), Some(there(Tombstoned, None, 9, all())), Action::KeepDeleted),
            (limited(), Some(there(Deleted, None, 9, all())), set(keep(7, 0, 0))),
            (
                limited(),
                Some(there(Live, Some(0), 9, all())),
                Action::Change(Change { delete: Some(false), retention: Some(keep(7, 0, 0)) }),
            ),
            // A tombstone.
            (tombstoned(), Some(there(Live, Some(0), 9, keep(1, 0, 0))), delete(true)),
            (tombstoned(), Some(there(Deleted, None, 9, all())), delete(true)),
            (tombstoned(), Some(there(Deleted, None, 11, all())), Action::Reject(Ahead(11))),
            (tombstoned(), Some(there(Live, Some(0), 2, all())), Action::Reject(Behind(2))),
            (tombstoned(), Some(there(Tombstoned, None, 2, all())), Action::Done),
        ];
        for (line, there, expected) in table {
            assert_eq!(decide(&line, there.as_ref()), expected, "{line:?}\n{there:?}");
            let Some(there) = there else { continue };
            let later = StreamInfo { updated: "v".to_owned(), ..there };
            let expected = match expected {
                Action::Change(Change { delete: None, .. }) if later.state == Deleted => Action::Done,
                Action::Change(_) => Action::Reject(Other(9)),
                as_before => as_before,
            };
            assert_eq!(decide(&line, Some(&later)), expected, "{line:?}\n{later:?}");
        }
    }

    #[test]
    fn new_events_continue_only_the_same_stream() {
        let all = || keep(0, 0, 0);
        let truncated = |first| line(Live, Some(first), keep(0, 0, first));
        let here = |retention| there(Live, Some(1), 3, retention);
        let wider = |retention| Ok(Preparation { delete: false, retention: Some(retention) });
        let nothing = || Ok(Preparation::default());
        let begins = |version| StreamLine { life_begins: Some(version), ..truncated(version) };
        let start_again = || Ok(Preparation { delete: true, retention: None });
        let late = |there| StreamInfo { created: "d".to_owned(), ..there };
        let old = |line| StreamLine { created: None, ..line };
        let table = [
            (truncated(2), here(all()), Some("u"), 4, nothing()),
            (truncated(2), here(all()), None, 4, nothing()),
            (truncated(2), here(all()), Some("v"), 4, Err(Other(3))),
            // Events that cannot be compared are not hidden.
            (truncated(4), here(all()), None, 4, nothing()),
            (truncated(4), late(here(all())), None, 4, Err(Unknown(3))),
            (old(truncated(4)), here(all()), None, 4, Err(Unknown(3))),
            (truncated(3), late(here(all())), None, 4, nothing()),
            (truncated(4), late(there(Live, None, 3, all())), None, 4, nothing()),
            (truncated(4), late(there(Deleted, None, 3, all())), None, 4, nothing()),
            // A retention that keeps less than the line is widened.
            (line(Live, Some(1), keep(0, 0, 1)), here(keep(3, 0, 1)), Some("u"), 4, wider(all())),
            (line(Live, Some(1), keep(9, 0, 1)), here(keep(3, 5, 1)), Some("u"), 4, wider(keep(9, 0, 0))),
            (line(Live, Some(1), keep(2, 8, 1)), here(keep(3, 5, 1)), Some("u"), 4, wider(keep(3, 8, 0))),
            (line(Live, Some(1), keep(2, 4, 1)), here(keep(3, 5, 1)), Some("u"), 4, nothing()),
            (line(Live, Some(1), keep(2, 4, 1)), here(all()), Some("u"), 4, nothing()),
            (truncated(4), there(Deleted, None, 3, keep(3, 0, 0)), None, 4, wider(all())),
            (truncated(4), there(Tombstoned, None, 3, keep(3, 0, 0)), None, 4, nothing()),
            // The stream was deleted and started again.
            (begins(4), here(all()), None, 4, start_again()),
            (begins(4), late(here(all())), None, 4, Err(Unknown(3))),
            (begins(4), there(Deleted, None, 3, all()), None, 4, nothing()),
            (begins(5), here(all()), None, 5, nothing()),
            (StreamLine { first_version: Some(6), ..begins(4) }, here(all()), None, 6, nothing()),
            (begins(2), here(all()), Some("u"), 4, nothing()),
        ];
        for (line, there, at_last, next, expected) in table {
            let found = continue_stream(&line, &there, at_last, next);
            assert_eq!(found, expected, "{line:?}\n{there:?}\n{at_last:?}");
        }
    }

    #[test]
    fn a_rejection_says_what_why_and_what_to_do() {
        let deleted = line(Deleted, None, keep(0, 0, 10));
        let tombstoned = StreamLine { stream: "a 'b'".to_owned(), ..line(Tombstoned, None, keep(0, 0, 10)) };
        let truncated = StreamLine { stream: "-x".to_owned(), ..line(Live, Some(8), keep(3, 60, 8)) };
        let table = [
            (&deleted, Ahead(12), "its deletion was not applied: the stream has gone on to version 12 here"),
            (&deleted, Ahead(12), "do it by hand: exesdb delete s --store c"),
            (&deleted, Behind(2), "has only come to version 2 of 9 here"),
            (&deleted, Other(9), "another event at version 9"),
            (&tombstoned, Ahead(12), "its tombstone was not applied"),
            (&tombstoned, Behind(2), "exesdb delete 'a '\\''b'\\''' --tombstone --store c"),
            (&truncated, Absent, "its retention was not applied: the store has none of its events"),
            (
                &truncated,
                Ahead(12),
                "exesdb retention --max-count 3 --max-age 60s --truncate-before 8 --store c -- -x",
            ),
            (
                &truncated,
                Unknown(7),
                "nothing tells whether it is the export's stream: it ends at version 7 here",
            ),
            (&truncated, Unknown(7), "import again: exesdb delete --store c -- -x"),
        ];
        for (line, mismatch, expected) in table {
            let text = rejection(line, mismatch, "c");
            assert!(text.contains(expected), "{text}");
        }
    }
}
