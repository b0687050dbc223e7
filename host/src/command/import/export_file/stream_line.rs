//! What the line of a stream in an export comes to in a store: pure rules.
//!
//! A line hides events, so it is applied only to the stream that it is about: one that is where the export's stream was,
//! with an event of the same version and time at its end. Whatever else has that name keeps its events.

use std::fmt::Write as _;

use super::super::trouble::Kind;
use crate::client::{Retention, StreamInfo, StreamState};
use crate::command::export::format::StreamLine;
use crate::output::printable;

/// What a line comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The stream is as the line says.
    Done,
    /// The stream was deleted here, and stays so.
    StaysDeleted,
    /// The stream never was here, and none of its events can be read: one event is put in place of them.
    Place,
    /// The stream has to be changed.
    Change(Change),
    /// The stream is another one, or is not where the line's stream was.
    Refuse(Elsewhere),
}

/// What has to be changed of a stream, the deletion first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// It is deleted; for good if so.
    pub(super) delete: Option<bool>,
    /// How long its events are kept.
    pub(super) retention: Option<Retention>,
}

/// Where a stream is that is not where the line's stream was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// The stream does not exist here.
    Nowhere,
    /// The stream here ends at this version, after the original's last event.
    Ahead(u64),
    /// The stream here ends at this version, before the original's last event.
    Behind(u64),
    /// It has another event at the version where the two can be compared.
    Other(u64),
    /// It ends at this version, and the export has no event that both have, to compare it with.
    Unknown(u64),
}

/// What has to be done before the first event that is new to a stream is sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Preparation {
    /// The stream is deleted: the event begins it again.
    pub(super) delete: bool,
    /// More is kept for now, so that nothing is hidden that the line keeps.
    pub(super) retention: Option<Retention>,
}

/// Decides what a line comes to, once the export's events are here.
pub(super) fn judge(line: &StreamLine, there: Option<&StreamInfo>) -> Verdict {
    use StreamState::{Deleted, Live, Tombstoned};
    let Some(there) = there else {
        return match line.first_version {
            None => Verdict::Place,
            Some(_) => Verdict::Refuse(Elsewhere::Nowhere),
        };
    };
    let elsewhere = elsewhere(line, there);
    let has_limits = has_limits(there, &line.retention);
    let limits = Retention { truncate_before: None, ..line.retention.clone() };
    let change = match (line.state, there.state) {
        (Tombstoned, Tombstoned) => return Verdict::Done,
        (Live, Deleted) | (Live | Deleted, Tombstoned) => return Verdict::StaysDeleted,
        // Somebody has deleted it here; there is nothing left to hide.
        (Deleted, Deleted) if has_limits || elsewhere.is_some() => return Verdict::Done,
        (Live, Live) if has_limits && cut(line) <= kept(there) => return Verdict::Done,
        (Tombstoned, Live | Deleted) => Change { delete: Some(true), retention: None },
        (Deleted, Live) => Change { delete: Some(false), retention: Some(limits).filter(|_| !has_limits) },
        (Deleted, Deleted) => Change { delete: None, retention: Some(limits) },
        (Live, Live) => {
            let truncate_before = Some(cut(line)).filter(|before| *before > 0);
            Change { delete: None, retention: Some(Retention { truncate_before, ..limits }) }
        }
    };
    match elsewhere {
        None => Verdict::Change(change),
        Some(elsewhere) => Verdict::Refuse(elsewhere),
    }
}

/// Decides whether the first event of version `next` that is new to the stream goes on with it, and what has to be done
/// before. `at_last` is the time of the export's event at the stream's last version, if the export has that.
pub(super) fn go_on(
    line: &StreamLine,
    there: &StreamInfo,
    at_last: Option<&str>,
    next: u64,
) -> Result<Preparation, Elsewhere> {
    let last = there.last_version;
    if there.state == StreamState::Tombstoned {
        return Ok(Preparation::default());
    }
    // Where nothing can be read any more, nothing can be lost.
    if there.first_version.is_some() {
        if at_last.is_some_and(|time| time != there.updated) {
            return Err(Elsewhere::Other(last));
        }
        // Then the line hides all that is here.
        let is_all_hidden = line.first_version.is_none_or(|first| first > last);
        if is_all_hidden && line.created.as_ref() != Some(&there.created) {
            return Err(Elsewhere::Unknown(last));
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

/// Where the stream is, if not where the line's stream was.
fn elsewhere(line: &StreamLine, there: &StreamInfo) -> Option<Elsewhere> {
    let here = there.last_version;
    match here.cmp(&line.last_version) {
        std::cmp::Ordering::Less => Some(Elsewhere::Behind(here)),
        std::cmp::Ordering::Greater => Some(Elsewhere::Ahead(here)),
        std::cmp::Ordering::Equal => (there.updated != line.updated).then_some(Elsewhere::Other(here)),
    }
}

/// Whether a stream keeps as many and as old events.
fn has_limits(there: &StreamInfo, retention: &Retention) -> bool {
    let Retention { max_count, max_age_seconds, .. } = &there.retention;
    (*max_count, *max_age_seconds) == (retention.max_count, retention.max_age_seconds)
}

/// The version before which the line hides everything, whatever the counts and ages.
fn cut(line: &StreamLine) -> u64 {
    let all = line.first_version.is_none().then(|| line.last_version.saturating_add(1));
    line.retention.truncate_before.max(all).unwrap_or(0)
}

/// The version before which the stream hides everything.
fn kept(there: &StreamInfo) -> u64 {
    let first = there.first_version.unwrap_or_else(|| there.last_version.saturating_add(1));
    there.retention.truncate_before.unwrap_or(0).max(first)
}

/// What a line says of its stream.
pub(super) fn kind(line: &StreamLine) -> Kind {
    match line.state {
        StreamState::Live => Kind::Retention,
        StreamState::Deleted => Kind::Deletion,
        StreamState::Tombstoned => Kind::Tombstone,
    }
}

/// Why a line is not applied to this store's stream, and what to do.
pub(super) fn refusal(line: &StreamLine, elsewhere: Elsewhere, store: &str) -> String {
    let last = line.last_version;
    let mut text = match elsewhere {
        Elsewhere::Unknown(_) => String::new(),
        _ => format!("its {} was not applied: ", kind(line).name()),
    };
    let by_hand = "if it is a copy all the same, do it by hand";
    let _ = match elsewhere {
        Elsewhere::Nowhere => write!(
            text,
            "the store has none of its events; import the earlier parts of the export first, then this one again"
        ),
        Elsewhere::Ahead(here) => write!(
            text,
            "the stream has gone on to version {here} here, the export's ends at version {last}; {by_hand}: {}",
            by_command(line, store)
        ),
        Elsewhere::Behind(here) => write!(
            text,
            "the stream has only come to version {here} of {last} here, not everything was imported before; {by_hand}: {}",
            by_command(line, store)
        ),
        Elsewhere::Other(here) => write!(
            text,
            "the store has another event at version {here}, so it is another stream of the same name; import the export into \
             another store"
        ),
        Elsewhere::Unknown(here) => write!(
            text,
            "nothing tells whether it is the export's stream: it ends at version {here} here, and of the export's stream \
             everything up to there is hidden; if it is a copy, delete it by hand and import again: exesdb delete {}",
            arguments(&line.stream, "", store)
        ),
    };
    text
}

/// The command that does by hand what a line says.
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
            if cut(line) > 0 {
                let _ = write!(options, " --truncate-before {}", cut(line));
            }
            format!("exesdb retention {}", arguments(&line.stream, &options, store))
        }
    }
}

/// A stream, options and a store as a shell takes them.
fn arguments(stream: &str, options: &str, store: &str) -> String {
    let stream = quoted(stream);
    if stream.starts_with('-') {
        return format!("{} --store {store} -- {stream}", options.trim_start()).trim_start().to_owned();
    }
    format!("{stream}{options} --store {store}")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:@%+,".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", printable(word).replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::Elsewhere::{Ahead, Behind, Nowhere, Other, Unknown};
    use super::{Change, Preparation, Verdict, go_on, judge, refusal};
    use crate::client::{Retention, StreamInfo, StreamState};
    use crate::command::export::format::StreamLine;
    use StreamState::{Deleted, Live, Tombstoned};

    /// Limits: how many, how old, from where on.
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
    fn a_line_holds_of_a_stream_that_is_where_its_stream_was() {
        let all = || keep(0, 0, 0);
        let set = |retention| Verdict::Change(Change { delete: None, retention: Some(retention) });
        let delete = |for_good| Verdict::Change(Change { delete: Some(for_good), retention: None });
        let cut = || line(Live, Some(4), keep(0, 0, 4));
        let emptied = || line(Live, None, all());
        let deleted = || line(Deleted, None, keep(0, 0, 10));
        let limited = || line(Deleted, None, keep(7, 0, 10));
        let buried = || line(Tombstoned, None, keep(0, 0, 10));
        let table = [
            (cut(), None, Verdict::Refuse(Nowhere)),
            (emptied(), None, Verdict::Place),
            (deleted(), None, Verdict::Place),
            (buried(), None, Verdict::Place),
            // Retention.
            (cut(), Some(there(Live, Some(0), 9, all())), set(keep(0, 0, 4))),
            (cut(), Some(there(Live, Some(0), 8, all())), Verdict::Refuse(Behind(8))),
            (cut(), Some(there(Live, Some(0), 10, all())), Verdict::Refuse(Ahead(10))),
            (cut(), Some(there(Live, Some(4), 9, all())), Verdict::Done),
            (cut(), Some(there(Live, Some(4), 12, keep(0, 0, 4))), Verdict::Done),
            (cut(), Some(there(Live, Some(4), 9, keep(3, 0, 4))), set(keep(0, 0, 4))),
            (cut(), Some(there(Live, Some(4), 12, keep(3, 0, 4))), Verdict::Refuse(Ahead(12))),
            (cut(), Some(there(Deleted, None, 9, all())), Verdict::StaysDeleted),
            (cut(), Some(there(Tombstoned, None, 12, all())), Verdict::StaysDeleted),
            (emptied(), Some(there(Live, Some(9), 9, all())), set(keep(0, 0, 10))),
            (emptied(), Some(there(Live, None, 9, all())), Verdict::Done),
            (emptied(), Some(there(Live, Some(8), 8, all())), Verdict::Refuse(Behind(8))),
            // `max_count` hides as many events as the copy's additional `truncate_before`.
            (line(Live, Some(8), keep(2, 0, 0)), Some(there(Live, Some(8), 9, keep(2, 0, 8))), Verdict::Done),
            // The copy hides the same events by `max_age`.
            (
                line(Live, Some(8), keep(0, 60, 8)),
                Some(there(Live, Some(9), 9, keep(0, 60, 0))),
                Verdict::Done,
            ),
            (line(Live, None, keep(0, 60, 10)), Some(there(Live, None, 9, keep(0, 60, 0))), Verdict::Done),
            // Deletion.
            (deleted(), Some(there(Live, Some(0), 9, all())), delete(false)),
            (deleted(), Some(there(Live, Some(0), 8, all())), Verdict::Refuse(Behind(8))),
            (deleted(), Some(there(Live, Some(0), 10, all())), Verdict::Refuse(Ahead(10))),
            (deleted(), Some(there(Deleted, None, 9, all())), Verdict::Done),
            (deleted(), Some(there(Deleted, None, 10, keep(1, 0, 0))), Verdict::Done),
            (deleted(), Some(there(Tombstoned, None, 9, all())), Verdict::StaysDeleted),
            (limited(), Some(there(Deleted, None, 9, all())), set(keep(7, 0, 0))),
            (
                limited(),
                Some(there(Live, Some(0), 9, all())),
                Verdict::Change(Change { delete: Some(false), retention: Some(keep(7, 0, 0)) }),
            ),
            // A tombstone.
            (buried(), Some(there(Live, Some(0), 9, keep(1, 0, 0))), delete(true)),
            (buried(), Some(there(Deleted, None, 9, all())), delete(true)),
            (buried(), Some(there(Deleted, None, 11, all())), Verdict::Refuse(Ahead(11))),
            (buried(), Some(there(Live, Some(0), 2, all())), Verdict::Refuse(Behind(2))),
            (buried(), Some(there(Tombstoned, None, 2, all())), Verdict::Done),
        ];
        for (line, there, expected) in table {
            assert_eq!(judge(&line, there.as_ref()), expected, "{line:?}\n{there:?}");
            let Some(there) = there else { continue };
            let later = StreamInfo { updated: "v".to_owned(), ..there };
            let expected = match expected {
                Verdict::Change(Change { delete: None, .. }) if later.state == Deleted => Verdict::Done,
                Verdict::Change(_) => Verdict::Refuse(Other(9)),
                as_before => as_before,
            };
            assert_eq!(judge(&line, Some(&later)), expected, "{line:?}\n{later:?}");
        }
    }

    #[test]
    fn new_events_go_on_with_the_stream_that_they_belong_to() {
        let all = || keep(0, 0, 0);
        let cut = |first| line(Live, Some(first), keep(0, 0, first));
        let here = |retention| there(Live, Some(1), 3, retention);
        let wider = |retention| Ok(Preparation { delete: false, retention: Some(retention) });
        let nothing = || Ok(Preparation::default());
        let begins = |version| StreamLine { life_begins: Some(version), ..cut(version) };
        let begin = || Ok(Preparation { delete: true, retention: None });
        let late = |there| StreamInfo { created: "d".to_owned(), ..there };
        let old = |line| StreamLine { created: None, ..line };
        let table = [
            (cut(2), here(all()), Some("u"), 4, nothing()),
            (cut(2), here(all()), None, 4, nothing()),
            (cut(2), here(all()), Some("v"), 4, Err(Other(3))),
            // Nothing is hidden that could not be compared.
            (cut(4), here(all()), None, 4, nothing()),
            (cut(4), late(here(all())), None, 4, Err(Unknown(3))),
            (old(cut(4)), here(all()), None, 4, Err(Unknown(3))),
            (cut(3), late(here(all())), None, 4, nothing()),
            (cut(4), late(there(Live, None, 3, all())), None, 4, nothing()),
            (cut(4), late(there(Deleted, None, 3, all())), None, 4, nothing()),
            // What keeps less than the line is widened.
            (line(Live, Some(1), keep(0, 0, 1)), here(keep(3, 0, 1)), Some("u"), 4, wider(all())),
            (line(Live, Some(1), keep(9, 0, 1)), here(keep(3, 5, 1)), Some("u"), 4, wider(keep(9, 0, 0))),
            (line(Live, Some(1), keep(2, 8, 1)), here(keep(3, 5, 1)), Some("u"), 4, wider(keep(3, 8, 0))),
            (line(Live, Some(1), keep(2, 4, 1)), here(keep(3, 5, 1)), Some("u"), 4, nothing()),
            (line(Live, Some(1), keep(2, 4, 1)), here(all()), Some("u"), 4, nothing()),
            (cut(4), there(Deleted, None, 3, keep(3, 0, 0)), None, 4, wider(all())),
            (cut(4), there(Tombstoned, None, 3, keep(3, 0, 0)), None, 4, nothing()),
            // Another life.
            (begins(4), here(all()), None, 4, begin()),
            (begins(4), late(here(all())), None, 4, Err(Unknown(3))),
            (begins(4), there(Deleted, None, 3, all()), None, 4, nothing()),
            (begins(5), here(all()), None, 5, nothing()),
            (StreamLine { first_version: Some(6), ..begins(4) }, here(all()), None, 6, nothing()),
            (begins(2), here(all()), Some("u"), 4, nothing()),
        ];
        for (line, there, at_last, next, expected) in table {
            let found = go_on(&line, &there, at_last, next);
            assert_eq!(found, expected, "{line:?}\n{there:?}\n{at_last:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_why_and_what_to_do() {
        let deleted = line(Deleted, None, keep(0, 0, 10));
        let buried = StreamLine { stream: "a 'b'".to_owned(), ..line(Tombstoned, None, keep(0, 0, 10)) };
        let cut = StreamLine { stream: "-x".to_owned(), ..line(Live, Some(8), keep(3, 60, 8)) };
        let table = [
            (&deleted, Ahead(12), "its deletion was not applied: the stream has gone on to version 12 here"),
            (&deleted, Ahead(12), "do it by hand: exesdb delete s --store c"),
            (&deleted, Behind(2), "has only come to version 2 of 9 here"),
            (&deleted, Other(9), "another event at version 9"),
            (&buried, Ahead(12), "its tombstone was not applied"),
            (&buried, Behind(2), "exesdb delete 'a '\\''b'\\''' --tombstone --store c"),
            (&cut, Nowhere, "its retention was not applied: the store has none of its events"),
            (
                &cut,
                Ahead(12),
                "exesdb retention --max-count 3 --max-age 60s --truncate-before 8 --store c -- -x",
            ),
            (&cut, Unknown(7), "nothing tells whether it is the export's stream: it ends at version 7 here"),
            (&cut, Unknown(7), "import again: exesdb delete --store c -- -x"),
        ];
        for (line, elsewhere, expected) in table {
            let text = refusal(line, elsewhere, "c");
            assert!(text.contains(expected), "{text}");
        }
    }
}
