//! What to do about a log, given its mark and its segments. [`decide`] is the rule; it changes nothing.

use crate::mark::{FoundMark, Mark};

/// A segment as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FoundSegment {
    pub(super) id: u64,
    /// The log that its checkpoint names. `None` if it has no whole checkpoint of its own.
    pub(super) incarnation: Option<u64>,
    /// Where its records end.
    pub(super) end: u64,
    /// The link of the record that ends where the mark is, if the mark is in this segment and a record ends there.
    pub(super) link_at_mark: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// There is nothing: create a log with a new incarnation.
    Create,
    /// A creation was interrupted after its mark, and nothing was promised: go on with it.
    Begin(Mark),
    /// Go on after the segment with this index. Those after it hold nothing.
    Continue { mark: Mark, newest: usize },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What was promised is unknown.
    MarkUnusable(&'static str),
    /// This segment belongs to another log.
    OtherLog { segment: u64 },
    /// What was promised is missing.
    Broken(String),
}

/// What to do. The segments ascend by id.
///
/// Only the newest segment that was begun is compared with the mark: its checkpoint says what there is in earlier ones. The
/// mark may be in an earlier one, as it is synced later than the log.
pub(super) fn decide(mark: &FoundMark, segments: &[FoundSegment]) -> Result<Decision, Refusal> {
    let mark = match mark {
        FoundMark::Missing if segments.is_empty() => return Ok(Decision::Create),
        FoundMark::Missing => return Err(Refusal::MarkUnusable("log.mark is missing")),
        FoundMark::Damaged => return Err(Refusal::MarkUnusable("log.mark is damaged in both slots")),
        FoundMark::Whole(mark) => *mark,
    };
    let other = |segment: &&FoundSegment| segment.incarnation.is_some_and(|of| of != mark.incarnation);
    if let Some(segment) = segments.iter().find(other) {
        return Err(Refusal::OtherLog { segment: segment.id });
    }
    let Some(newest) = segments.iter().rposition(|segment| segment.incarnation.is_some()) else {
        if mark.is_of_new() {
            return Ok(Decision::Begin(mark));
        }
        return Err(Refusal::Broken("no segment is there that was begun".into()));
    };
    let (segment, synced) = (&segments[newest], mark.synced);
    if segment.id < synced.segment {
        return Err(Refusal::Broken(format!(
            "segment {} is missing or damaged at its start; it was synced to byte {}",
            synced.segment, synced.offset
        )));
    }
    if segment.id > synced.segment || mark.is_of_new() {
        return Ok(Decision::Continue { mark, newest });
    }
    if segment.end < synced.offset {
        return Err(Refusal::Broken(format!(
            "segment {} ends, or is damaged, at byte {}; it was synced to byte {}",
            segment.id, segment.end, synced.offset
        )));
    }
    if segment.link_at_mark != Some(synced.link) {
        return Err(Refusal::Broken(format!(
            "segment {} has other records before byte {} than those that were synced",
            segment.id, synced.offset
        )));
    }
    Ok(Decision::Continue { mark, newest })
}

#[cfg(test)]
mod tests {
    use super::{Decision, FoundSegment, Refusal, decide};
    use crate::mark::{FoundMark, Mark, Place};

    const LOG: u64 = 7;

    fn mark(segment: u64, offset: u64) -> Mark {
        Mark { turn: 3, incarnation: LOG, synced: Place { segment, offset, link: 99 } }
    }

    /// A segment that ends at `end`. It has the mark's link if the mark is in it.
    fn segment(id: u64, end: u64) -> FoundSegment {
        FoundSegment { id, incarnation: Some(LOG), end, link_at_mark: Some(99) }
    }

    fn not_begun(id: u64) -> FoundSegment {
        FoundSegment { id, incarnation: None, end: 0, link_at_mark: None }
    }

    #[test]
    fn logs_are_created_continued_or_refused_by_the_mark() {
        let whole = |segment, offset| FoundMark::Whole(mark(segment, offset));
        let new = FoundMark::Whole(Mark::of_new(LOG));
        let continues =
            |segment, offset, newest| Ok(Decision::Continue { mark: mark(segment, offset), newest });
        let foreign = FoundSegment { incarnation: Some(LOG + 1), ..segment(2, 100) };
        let differs = FoundSegment { link_at_mark: Some(98), ..segment(2, 100) };
        let astray = FoundSegment { link_at_mark: None, ..segment(2, 100) };
        type Expected = Result<Decision, &'static str>;
        let table: Vec<(&str, FoundMark, Vec<FoundSegment>, Expected)> = vec![
            ("nothing", FoundMark::Missing, vec![], Ok(Decision::Create)),
            ("no mark", FoundMark::Missing, vec![segment(1, 50)], Err("log.mark is missing")),
            ("no mark, not begun", FoundMark::Missing, vec![not_begun(1)], Err("log.mark is missing")),
            ("a damaged mark", FoundMark::Damaged, vec![segment(1, 50)], Err("log.mark is damaged")),
            ("a damaged mark alone", FoundMark::Damaged, vec![], Err("log.mark is damaged")),
            ("an interrupted creation", new, vec![], Ok(Decision::Begin(Mark::of_new(LOG)))),
            ("the same, not begun", new, vec![not_begun(1)], Ok(Decision::Begin(Mark::of_new(LOG)))),
            (
                "created, and the mark not yet synced",
                new,
                vec![segment(1, 50)],
                Ok(Decision::Continue { mark: Mark::of_new(LOG), newest: 0 }),
            ),
            ("gone", whole(2, 100), vec![], Err("no segment is there")),
            ("none begun", whole(2, 100), vec![not_begun(2)], Err("no segment is there")),
            ("another log", whole(2, 100), vec![segment(1, 50), foreign], Err("2")),
            ("as far as the mark", whole(2, 100), vec![segment(2, 100)], continues(2, 100, 0)),
            ("ahead of the mark", whole(2, 100), vec![segment(2, 101)], continues(2, 100, 0)),
            ("a segment ahead", whole(1, 100), vec![segment(1, 100), segment(2, 9)], continues(1, 100, 1)),
            (
                "a segment ahead, the marked one gone",
                whole(1, 100),
                vec![segment(2, 9)],
                continues(1, 100, 0),
            ),
            ("short", whole(2, 100), vec![segment(1, 500), segment(2, 99)], Err("at byte 99")),
            (
                "the newest is gone",
                whole(3, 100),
                vec![segment(1, 500), segment(2, 500)],
                Err("segment 3 is missing"),
            ),
            (
                "the newest has no start",
                whole(3, 100),
                vec![segment(2, 500), not_begun(3)],
                Err("segment 3 is missing or damaged"),
            ),
            (
                "the next one was not begun yet",
                whole(2, 100),
                vec![segment(2, 100), not_begun(3)],
                continues(2, 100, 0),
            ),
            (
                "an old one is damaged",
                whole(2, 100),
                vec![not_begun(1), segment(2, 100)],
                continues(2, 100, 1),
            ),
            ("other records", whole(2, 100), vec![differs], Err("other records")),
            ("no record ends at the mark", whole(2, 90), vec![astray], Err("other records")),
        ];
        for (case, mark, segments, expected) in table {
            match (decide(&mark, &segments), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{case}"),
                (Err(refusal), Err(expected)) => {
                    let text = match refusal {
                        Refusal::MarkUnusable(what) => what.to_owned(),
                        Refusal::OtherLog { segment } => segment.to_string(),
                        Refusal::Broken(what) => what,
                    };
                    assert!(text.contains(expected), "{case}: {text}");
                }
                (found, expected) => panic!("{case}: {found:?} instead of {expected:?}"),
            }
        }
    }
}
