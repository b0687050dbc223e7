//! Rules, without side effects: versions that an export lacks between two events of a stream, or after the last one.
//!
//! If a clock went back, an event that is too old for the `max_age` of its stream can follow one that is not. An export has
//! only visible events, but a store takes the versions of a stream without gaps. So each gap is filled with events that are
//! too old for any `max_age`, and are hidden like the original ones.

use std::collections::HashMap;
use std::ops::Range;

use jiff::Timestamp;

use crate::client::{StreamInfo, StreamState};
use crate::command::export::format::StreamLine;

/// The time of an event that any `max_age` hides.
pub(super) const LONG_AGO: &str = "1970-01-01T00:00:00.000000Z";

/// Maximum number of versions in a gap, because an export could claim any number, and each costs an event.
const GAP_VERSIONS_MAX: u64 = 100_000;

/// Streams that may have gaps, each with its last event so far, if there was one.
#[derive(Debug, Default)]
pub(super) struct Gaps(HashMap<String, Option<Last>>);

/// The last event of a stream in the export.
#[derive(Debug)]
struct Last {
    version: u64,
    created: String,
}

/// Versions of a stream to be filled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The range has 1 to [`GAP_VERSIONS_MAX`] versions.
    pub(super) versions: Range<u64>,
    /// The time of the last one. Those before it get [`LONG_AGO`].
    pub(super) last_created: String,
}

impl Gaps {
    /// Adds a stream, if its line says that it may have gaps.
    pub(super) fn add(&mut self, line: &StreamLine) {
        if line.state == StreamState::Live && line.retention.max_age_seconds.is_some() {
            self.0.insert(line.stream.clone(), None);
        }
    }

    /// The versions to be filled before the next event of a stream, if any.
    pub(super) fn before(&mut self, stream: &str, version: u64, created: &str) -> Option<Missing> {
        let last = self.0.get_mut(stream)?;
        let before = last.replace(Last { version, created: created.to_owned() })?;
        missing(before.version.saturating_add(1)..version, LONG_AGO)
    }

    /// The versions to be filled after the last event of a stream, if any: the stream here has to end with that event, or with
    /// an event with which an earlier import began to fill the gap.
    pub(super) fn after(&self, line: &StreamLine, there: &StreamInfo, now: Timestamp) -> Option<Missing> {
        let last = self.0.get(&line.stream)?.as_ref()?;
        let is_last = (there.last_version, &there.updated) == (last.version, &last.created);
        let is_begun = there.last_version > last.version && there.updated == LONG_AGO;
        if there.state != StreamState::Live || !(is_last || is_begun) {
            return None;
        }
        let last_created = if is_too_old(line, now) { &line.updated } else { LONG_AGO };
        missing(there.last_version.saturating_add(1)..line.last_version.saturating_add(1), last_created)
    }
}

fn missing(versions: Range<u64>, last_created: &str) -> Option<Missing> {
    let count = versions.end.saturating_sub(versions.start);
    let last_created = last_created.to_owned();
    (1..=GAP_VERSIONS_MAX).contains(&count).then_some(Missing { versions, last_created })
}

/// Whether age hides the original's last event here, too. The clock that hid it may have been ahead.
fn is_too_old(line: &StreamLine, now: Timestamp) -> bool {
    let (Ok(updated), Some(seconds)) = (line.updated.parse::<Timestamp>(), line.retention.max_age_seconds)
    else {
        return false;
    };
    let age = now.as_second().saturating_sub(updated.as_second());
    u64::try_from(age).is_ok_and(|age| age > seconds)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{GAP_VERSIONS_MAX, Gaps, LONG_AGO, Missing};
    use crate::client::{Retention, StreamInfo, StreamState};
    use crate::command::export::format::StreamLine;

    /// A line of a stream that ends with version 9.
    fn line(stream: &str, state: StreamState, max_age_seconds: Option<u64>) -> StreamLine {
        StreamLine {
            stream: stream.to_owned(),
            state,
            first_version: Some(0),
            last_version: 9,
            life_begins: None,
            created: None,
            updated: OLD.to_owned(),
            retention: Retention { max_age_seconds, ..Retention::default() },
        }
    }

    const OLD: &str = "2020-01-01T00:00:00.000000Z";
    const YOUNG: &str = "2020-01-01T00:00:09.000000Z";

    #[test]
    fn gaps_are_filled_only_in_streams_that_hide_by_age() {
        let mut gaps = Gaps::default();
        gaps.add(&line("aged", StreamState::Live, Some(5)));
        gaps.add(&line("kept", StreamState::Live, None));
        gaps.add(&line("deleted", StreamState::Deleted, Some(5)));
        let far = 9 + GAP_VERSIONS_MAX + 1;
        let table = [
            ("aged", 3, None),
            ("aged", 4, None),
            ("aged", 7, Some(5..7)),
            ("aged", 9, Some(8..9)),
            ("aged", far, Some(10..far)),
            ("aged", far + GAP_VERSIONS_MAX + 2, None),
            ("aged", 0, None),
            ("aged", u64::MAX, None),
            ("kept", 3, None),
            ("kept", 5, None),
            ("deleted", 3, None),
            ("deleted", 5, None),
        ];
        for (stream, version, versions) in table {
            let wanted = versions.map(|versions| Missing { versions, last_created: LONG_AGO.to_owned() });
            assert_eq!(gaps.before(stream, version, YOUNG), wanted, "{stream} {version}");
        }
    }

    #[test]
    fn a_gap_at_the_end_is_filled_if_the_stream_ends_as_in_the_export() {
        let now: Timestamp = "2020-01-01T00:00:10Z".parse().unwrap();
        let there = |state, last_version, updated: &str| StreamInfo {
            state,
            first_version: Some(0),
            last_version,
            life_begins: None,
            retention: Retention::default(),
            created: OLD.to_owned(),
            updated: updated.to_owned(),
        };
        let (live, deleted) = (StreamState::Live, StreamState::Deleted);
        let aged = || line("s", live, Some(9));
        let until = |last_version| StreamLine { last_version, ..aged() };
        let some =
            |versions, last_created: &str| Some(Missing { versions, last_created: last_created.to_owned() });
        // The export's last event is of version 6.
        let table = [
            (aged(), there(live, 6, YOUNG), some(7..10, OLD)),
            (until(7), there(live, 6, YOUNG), some(7..8, OLD)),
            (until(6), there(live, 6, YOUNG), None),
            (until(5), there(live, 6, YOUNG), None),
            (until(6 + GAP_VERSIONS_MAX), there(live, 6, YOUNG), some(7..7 + GAP_VERSIONS_MAX, OLD)),
            (until(7 + GAP_VERSIONS_MAX), there(live, 6, YOUNG), None),
            (until(u64::MAX), there(live, 6, YOUNG), None),
            // An interrupted import has filled it in part.
            (aged(), there(live, 7, LONG_AGO), some(8..10, OLD)),
            (aged(), there(live, 9, LONG_AGO), None),
            // Another stream, or one that ends later or earlier.
            (aged(), there(live, 6, OLD), None),
            (aged(), there(live, 5, YOUNG), None),
            (aged(), there(live, 7, YOUNG), None),
            (aged(), there(deleted, 6, YOUNG), None),
            // Hidden by a clock that was ahead of this one.
            (line("s", live, Some(10)), there(live, 6, YOUNG), some(7..10, LONG_AGO)),
            (StreamLine { updated: "?".to_owned(), ..aged() }, there(live, 6, YOUNG), some(7..10, LONG_AGO)),
            (
                StreamLine { updated: "2099-01-01T00:00:00Z".to_owned(), ..aged() },
                there(live, 6, YOUNG),
                some(7..10, LONG_AGO),
            ),
            (line("t", live, Some(9)), there(live, 6, YOUNG), None),
        ];
        for (line, there, wanted) in table {
            let mut gaps = Gaps::default();
            gaps.add(&line);
            assert_eq!(gaps.after(&line, &there, now), None, "the export has no event of {line:?}");
            gaps.before("s", 6, YOUNG);
            assert_eq!(gaps.after(&line, &there, now), wanted, "{line:?} {there:?}");
        }
    }
}
