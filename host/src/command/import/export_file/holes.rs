//! Versions that an export lacks between two events of a stream: pure rules.
//!
//! Where a clock went back, an event that is too old for its stream's `max_age` can lie after one that is not. An export has
//! only the events that can be read. A store takes the versions of a stream without holes, so that each hole is filled with
//! events that are too old for any `max_age`, and are as hidden as those of the original.

use std::collections::HashMap;
use std::ops::Range;

use crate::client::StreamState;
use crate::command::export::format::StreamLine;

/// Versions of one hole, at most: an export is a claim, and each of them costs an event here.
const HOLE_VERSIONS_MAX: u64 = 100_000;

/// Streams in which there may be holes: the last version of each so far, if there was one.
#[derive(Debug, Default)]
pub(super) struct Holes(HashMap<String, Option<u64>>);

impl Holes {
    /// Notes what an export says of a stream.
    pub(super) fn note(&mut self, line: &StreamLine) {
        if line.state == StreamState::Live && line.retention.max_age_seconds.is_some() {
            self.0.insert(line.stream.clone(), None);
        }
    }

    /// The versions that are missing before the next event of a stream, if they are to be filled.
    pub(super) fn before(&mut self, stream: &str, version: u64) -> Option<Range<u64>> {
        let last = self.0.get_mut(stream)?;
        let missing = last.replace(version)?.saturating_add(1)..version;
        (!missing.is_empty() && missing.end - missing.start <= HOLE_VERSIONS_MAX).then_some(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::{HOLE_VERSIONS_MAX, Holes};
    use crate::client::{Retention, StreamState};
    use crate::command::export::format::StreamLine;

    #[test]
    fn holes_are_filled_only_in_streams_that_hide_by_age() {
        let line = |stream: &str, state, max_age_seconds| StreamLine {
            stream: stream.to_owned(),
            state,
            first_version: Some(0),
            last_version: 9,
            life_begins: None,
            created: None,
            updated: String::new(),
            retention: Retention { max_age_seconds, ..Retention::default() },
        };
        let mut holes = Holes::default();
        holes.note(&line("aged", StreamState::Live, Some(5)));
        holes.note(&line("kept", StreamState::Live, None));
        holes.note(&line("deleted", StreamState::Deleted, Some(5)));
        let far = 9 + HOLE_VERSIONS_MAX + 1;
        let table = [
            ("aged", 3, None),
            ("aged", 4, None),
            ("aged", 7, Some(5..7)),
            ("aged", 9, Some(8..9)),
            ("aged", far, Some(10..far)),
            ("aged", far + HOLE_VERSIONS_MAX + 2, None),
            ("aged", 0, None),
            ("aged", u64::MAX, None),
            ("kept", 3, None),
            ("kept", 5, None),
            ("deleted", 3, None),
            ("deleted", 5, None),
        ];
        for (stream, version, missing) in table {
            assert_eq!(holes.before(stream, version), missing, "{stream} {version}");
        }
    }
}
