//! Decides writes from the heads of their streams: the expected-version rule and idempotency. Pure
//! functions.

use exesdb_sdk::types::{
    Error, ExpectedVersion, IdConflict, StreamState, Version, VersionConflict, too_large,
};

use crate::layout::Head;

/// Whether a stream is at the expected version. A deleted stream counts as one without events, but keeps its last version.
#[must_use]
pub(crate) fn holds(expected: ExpectedVersion, head: Option<&Head>) -> bool {
    let is_live = head.is_some_and(|head| head.state == StreamState::Live);
    match expected {
        ExpectedVersion::Any => true,
        ExpectedVersion::NoStream => !is_live,
        ExpectedVersion::StreamExists => is_live,
        ExpectedVersion::Exact(version) => head.is_some_and(|head| head.last_version == version),
    }
}

/// The error for a stream that is not at the expected version.
#[must_use]
pub(crate) fn conflict(stream_id: &str, expected: ExpectedVersion, head: Option<&Head>) -> Error {
    Error::WrongExpectedVersion(VersionConflict {
        stream_id: stream_id.to_owned(),
        expected,
        last_version: head.map(|head| head.last_version),
        is_deleted: head.is_some_and(|head| head.state != StreamState::Live),
    })
}

/// The error for event ids of which some are in the stream already; with the first of them.
#[must_use]
pub(crate) fn id_conflict(stream_id: &str, id: &str, head: Option<&Head>) -> Error {
    Error::IdConflict(IdConflict {
        stream_id: stream_id.to_owned(),
        id: id.to_owned(),
        last_version: head.map_or(0, |head| head.last_version),
    })
}

/// How far a clock may ordinarily be set back, in microseconds: one minute. A last event's time that is later than now by more
/// than that was wrong, and later events do not adopt it.
pub(crate) const CLOCK_STEP_MAX: u64 = 60_000_000;

/// The time of an append at `now` (microseconds) to a stream with this head.
#[must_use]
pub(crate) fn time_of_append(now: u64, head: Option<&Head>) -> u64 {
    match head {
        Some(head) if head.updated.saturating_sub(now) <= CLOCK_STEP_MAX => now.max(head.updated),
        _ => now,
    }
}

/// The head of a stream after events up to version `last` are added, the first of them at time `first_created` and the last
/// at `created`. A deleted stream becomes live again; hidden events stay hidden.
#[must_use]
pub(crate) fn advance_head(head: Option<&Head>, last: Version, first_created: u64, created: u64) -> Head {
    match head {
        None => Head::new(0, last, first_created, created),
        Some(head) => Head {
            last_version: last,
            updated: created,
            state: StreamState::Live,
            is_unordered: head.is_unordered || created < head.updated,
            truncate_before: head.truncated_before(),
            life_begins: match head.state {
                StreamState::Live | StreamState::Tombstoned => head.life_begins,
                StreamState::Deleted => head.next_version(),
            },
            ..*head
        },
    }
}

/// An append, with the state of its stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// The stream.
    pub(crate) stream_id: &'a str,
    /// The stream's head; none if it never had an event.
    pub(crate) head: Option<&'a Head>,
    /// The expected version.
    pub(crate) expected: ExpectedVersion,
    /// The ids of the append's events (at least 1), each with the version of the stream's visible event that has this id.
    pub(crate) ids: &'a [(&'a str, Option<Version>)],
}

/// The versions of an append's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    /// The version of the first event.
    pub(crate) first: Version,
    /// The version of the last event.
    pub(crate) last: Version,
}

/// The decision about a request, with the versions of each of its appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The events are appended with these versions.
    Append(Vec<Versions>),
    /// All events are in their streams already, consecutively and in this order; the first result is returned again.
    Repeat(Vec<Versions>),
    /// The request is refused.
    Refuse(Error),
}

/// Decides one request without its conditions, which the caller must check before it appends. `checks` are the other
/// streams of the request, with their expected versions.
///
/// Ids take precedence over the expected version: a client that repeats an append after it lost the response cannot know
/// the stream's new version.
#[must_use]
pub(crate) fn decide(appends: &[Attempt<'_>], checks: &[(&str, Option<&Head>, ExpectedVersion)]) -> Verdict {
    let tombstoned =
        |attempt: &&Attempt<'_>| attempt.head.is_some_and(|head| head.state == StreamState::Tombstoned);
    if let Some(attempt) = appends.iter().find(tombstoned) {
        return Verdict::Refuse(Error::StreamDeleted(attempt.stream_id.to_owned()));
    }
    let known: Vec<Repeated<'_>> = appends.iter().map(|attempt| repeated(attempt.ids)).collect();
    let all: Option<Vec<Versions>> = known.iter().map(Repeated::versions).collect();
    if let Some(versions) = all {
        return Verdict::Repeat(versions);
    }
    let some = appends.iter().zip(&known).find_map(|(attempt, known)| Some((attempt, known.id()?)));
    if let Some((Attempt { stream_id, head, .. }, id)) = some {
        return Verdict::Refuse(id_conflict(stream_id, id, *head));
    }
    let expected = appends.iter().map(|attempt| (attempt.stream_id, attempt.head, attempt.expected));
    for (stream_id, head, expected) in expected.chain(checks.iter().copied()) {
        if !holds(expected, head) {
            return Verdict::Refuse(conflict(stream_id, expected, head));
        }
    }
    let versions = appends.iter().map(|attempt| next_versions(attempt.head, attempt.ids.len()));
    match versions.collect() {
        Some(versions) => Verdict::Append(versions),
        None => Verdict::Refuse(too_large(
            "events: the stream they are for has no versions left for them; append them to another stream",
        )),
    }
}

/// The versions of the next `events` events (at least 1) of a stream; none if it has too few versions left.
fn next_versions(head: Option<&Head>, events: usize) -> Option<Versions> {
    let first = head.map_or(Some(0), |head| head.last_version.checked_add(1))?;
    let last = first.checked_add((events as Version).checked_sub(1)?)?;
    Some(Versions { first, last })
}

/// Which of an append's ids are in the stream.
enum Repeated<'a> {
    None,
    /// All ids, consecutively; with the first id.
    All {
        versions: Versions,
        id: &'a str,
    },
    /// Some ids, or all in another order; with the first one that is in the stream.
    Some {
        id: &'a str,
    },
}

impl<'a> Repeated<'a> {
    fn versions(&self) -> Option<Versions> {
        match self {
            Self::All { versions, .. } => Some(*versions),
            Self::None | Self::Some { .. } => None,
        }
    }

    fn id(&self) -> Option<&'a str> {
        match self {
            Self::All { id, .. } | Self::Some { id } => Some(id),
            Self::None => None,
        }
    }
}

fn repeated<'a>(ids: &[(&'a str, Option<Version>)]) -> Repeated<'a> {
    let Some((id, _)) = ids.iter().find(|(_, version)| version.is_some()) else {
        return Repeated::None;
    };
    let Some((_, Some(first))) = ids.first() else {
        return Repeated::Some { id };
    };
    let mut last = *first;
    for (_, version) in &ids[1..] {
        match (last.checked_add(1), version) {
            (Some(next), Some(version)) if next == *version => last = next,
            _ => return Repeated::Some { id },
        }
    }
    Repeated::All { versions: Versions { first: *first, last }, id }
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::types::{Error, ExpectedVersion, StreamState, Version, VersionConflict};

    use super::{
        Attempt, CLOCK_STEP_MAX, Verdict, Versions, advance_head, conflict, decide, holds, id_conflict,
        time_of_append,
    };
    use crate::layout::Head;

    type Ids<'a> = &'a [(&'a str, Option<Version>)];
    type Checks<'a> = &'a [(&'a str, Option<&'a Head>, ExpectedVersion)];

    const NEW: Ids<'_> = &[("a", None), ("b", None)];
    const ALL: [ExpectedVersion; 4] = [
        ExpectedVersion::Any,
        ExpectedVersion::NoStream,
        ExpectedVersion::StreamExists,
        ExpectedVersion::Exact(9),
    ];

    fn live(last: Version) -> Option<Head> {
        Some(Head::new(0, last, 0, 0))
    }

    fn deleted(last: Version) -> Option<Head> {
        Some(Head { state: StreamState::Deleted, truncate_before: last + 1, ..Head::new(0, last, 0, 0) })
    }

    fn tombstoned(last: Version) -> Option<Head> {
        Some(Head { state: StreamState::Tombstoned, ..Head::new(0, last, 0, 0) })
    }

    fn at(head: Option<&Head>, expected: ExpectedVersion, ids: Ids<'_>) -> Verdict {
        decide(&[Attempt { stream_id: "s", head, expected, ids }], &[])
    }

    fn wrong_at(stream_id: &str, expected: ExpectedVersion, head: Option<&Head>) -> Verdict {
        Verdict::Refuse(conflict(stream_id, expected, head))
    }

    #[test]
    fn a_conflict_has_the_expected_and_the_actual_version() {
        let expected = ExpectedVersion::Exact(7);
        for (head, last_version, is_deleted) in [
            (None, None, false),
            (live(4), Some(4), false),
            (deleted(4), Some(4), true),
            (tombstoned(4), Some(4), true),
        ] {
            let stream_id = "s".to_owned();
            let said = VersionConflict { stream_id, expected, last_version, is_deleted };
            assert_eq!(conflict("s", expected, head.as_ref()), Error::WrongExpectedVersion(said));
        }
    }

    #[test]
    fn new_events_need_the_expected_version() {
        use ExpectedVersion::{Any, Exact, NoStream, StreamExists};
        let wrong = |expected, head: Option<Head>| wrong_at("s", expected, head.as_ref());
        let from_0 = Verdict::Append(vec![Versions { first: 0, last: 1 }]);
        let from_5 = Verdict::Append(vec![Versions { first: 5, last: 6 }]);
        let gone = Verdict::Refuse(Error::StreamDeleted("s".into()));
        let table = [
            (None, Any, from_0.clone()),
            (None, NoStream, from_0),
            (None, StreamExists, wrong(StreamExists, None)),
            (None, Exact(0), wrong(Exact(0), None)),
            (None, Exact(Version::MAX), wrong(Exact(Version::MAX), None)),
            (live(4), Any, from_5.clone()),
            (live(4), NoStream, wrong(NoStream, live(4))),
            (live(4), StreamExists, from_5.clone()),
            (live(4), Exact(4), from_5.clone()),
            (live(4), Exact(3), wrong(Exact(3), live(4))),
            (live(4), Exact(5), wrong(Exact(5), live(4))),
            (live(4), Exact(Version::MAX), wrong(Exact(Version::MAX), live(4))),
            (deleted(4), Any, from_5.clone()),
            (deleted(4), NoStream, from_5.clone()),
            (deleted(4), StreamExists, wrong(StreamExists, deleted(4))),
            (deleted(4), Exact(4), from_5),
            (deleted(4), Exact(5), wrong(Exact(5), deleted(4))),
            (tombstoned(4), Any, gone.clone()),
            (tombstoned(4), NoStream, gone.clone()),
            (tombstoned(4), StreamExists, gone.clone()),
            (tombstoned(4), Exact(4), gone),
        ];
        for (head, expected, decision) in table {
            assert_eq!(at(head.as_ref(), expected, NEW), decision, "{expected:?} at {head:?}");
        }
    }

    #[test]
    fn repeated_events_ignore_the_expected_version() {
        let refused = |id: &str| Verdict::Refuse(id_conflict("s", id, live(7).as_ref()));
        let repeat = |first, last| Verdict::Repeat(vec![Versions { first, last }]);
        let table: [(Ids<'_>, Verdict); 9] = [
            (&[("a", Some(3))], repeat(3, 3)),
            (&[("a", Some(3)), ("b", Some(4))], repeat(3, 4)),
            (&[("a", Some(0)), ("b", Some(1)), ("c", Some(2))], repeat(0, 2)),
            (&[("a", Some(4)), ("b", Some(3))], refused("a")),
            (&[("a", Some(3)), ("b", Some(5))], refused("a")),
            (&[("a", Some(3)), ("b", None)], refused("a")),
            (&[("a", None), ("b", Some(3))], refused("b")),
            (&[("a", None), ("b", Some(3)), ("c", Some(4))], refused("b")),
            (&[("a", Some(Version::MAX)), ("b", Some(0))], refused("a")),
        ];
        for (ids, decision) in table {
            for (expected, head) in ALL.into_iter().zip([live(7), deleted(7)].into_iter().cycle()) {
                assert_eq!(at(head.as_ref(), expected, ids), decision, "{ids:?}");
            }
            let gone = Verdict::Refuse(Error::StreamDeleted("s".into()));
            assert_eq!(at(tombstoned(7).as_ref(), ExpectedVersion::Any, ids), gone);
        }
    }

    #[test]
    fn a_stream_ends_before_its_versions_wrap() {
        let any = |last| at(live(last).as_ref(), ExpectedVersion::Any, NEW);
        for last in [Version::MAX, Version::MAX - 1] {
            assert!(
                matches!(any(last), Verdict::Refuse(Error::Problem(it)) if it.message.contains("no versions left"))
            );
        }
        let last = Versions { first: Version::MAX - 1, last: Version::MAX };
        assert_eq!(any(Version::MAX - 2), Verdict::Append(vec![last]));
    }

    #[test]
    fn deleted_streams_count_as_streams_without_events() {
        for head in [None, deleted(9), tombstoned(9)] {
            let said = ALL.map(|expected| holds(expected, head.as_ref()));
            assert_eq!(said, [true, true, false, head.is_some()], "{head:?}");
        }
        assert_eq!(ALL.map(|expected| holds(expected, live(9).as_ref())), [true, false, true, true]);
        assert!(!holds(ExpectedVersion::Exact(8), live(9).as_ref()));
    }

    #[test]
    fn a_request_is_decided_as_a_whole() {
        use ExpectedVersion::{Any, Exact, NoStream, StreamExists};
        let (four, gone, dead) = (live(4), deleted(4), tombstoned(4));
        let one = |expected, ids| Attempt { stream_id: "a", head: four.as_ref(), expected, ids };
        let two = |expected, ids| Attempt { stream_id: "b", head: None, expected, ids };
        let there: Ids<'_> = &[("x", Some(2)), ("y", Some(3))];
        let new: Ids<'_> = &[("n", None)];
        let half: Ids<'_> = &[("m", None), ("y", Some(3))];
        let both = Verdict::Append(vec![Versions { first: 5, last: 5 }, Versions { first: 0, last: 1 }]);
        let again = Verdict::Repeat(vec![Versions { first: 2, last: 3 }, Versions { first: 2, last: 3 }]);
        let refused = |stream_id, id, head| Verdict::Refuse(id_conflict(stream_id, id, head));
        let passes = [("c", four.as_ref(), Exact(4)), ("d", None, NoStream), ("e", gone.as_ref(), NoStream)];
        let fails = [("c", four.as_ref(), StreamExists), ("d", None, Exact(0))];
        let table: [(Vec<Attempt<'_>>, Checks<'_>, Verdict); 10] = [
            (vec![one(Exact(4), new), two(NoStream, NEW)], &[], both.clone()),
            (vec![one(Any, new), two(Any, NEW)], &passes, both),
            (vec![one(Any, new), two(StreamExists, NEW)], &passes, wrong_at("b", StreamExists, None)),
            (
                vec![one(Exact(3), new), two(StreamExists, NEW)],
                &fails,
                wrong_at("a", Exact(3), four.as_ref()),
            ),
            (vec![one(Any, new), two(Any, NEW)], &fails, wrong_at("d", Exact(0), None)),
            (vec![one(Exact(9), there), two(NoStream, there)], &fails, again),
            (vec![one(Any, there), two(Any, new)], &[], refused("a", "x", four.as_ref())),
            (vec![one(Any, new), two(Any, there)], &[], refused("b", "x", None)),
            (vec![one(Any, half), two(StreamExists, NEW)], &fails, refused("a", "y", four.as_ref())),
            (
                vec![one(Any, there), Attempt { stream_id: "t", head: dead.as_ref(), ..one(Any, there) }],
                &[],
                Verdict::Refuse(Error::StreamDeleted("t".into())),
            ),
        ];
        for (row, (appends, checks, decision)) in table.into_iter().enumerate() {
            assert_eq!(decide(&appends, checks), decision, "row {row}");
        }
        let last = live(Version::MAX);
        let full = Attempt { head: last.as_ref(), ..one(Any, new) };
        let refused = decide(&[two(Any, NEW), full], &[]);
        assert!(matches!(refused, Verdict::Refuse(Error::Problem(_))), "{refused:?}");
    }

    #[test]
    fn a_deleted_stream_continues_after_its_hidden_events() {
        let head = deleted(4).map(|head| Head { max_count: 7, ..head });
        let next = advance_head(head.as_ref(), 6, 50, 60);
        let expected = Head { truncate_before: 5, life_begins: 5, max_count: 7, ..Head::new(0, 6, 0, 60) };
        assert_eq!(next, expected);
        assert_eq!(
            advance_head(Some(&next), 9, 70, 70).life_begins,
            5,
            "an append to a live stream begins no life"
        );
        assert_eq!(advance_head(None, 1, 50, 60), Head::new(0, 1, 50, 60));
    }

    #[test]
    fn an_append_has_the_time_of_the_clock_unless_it_was_set_back_a_little() {
        let at = |updated| Some(Head::new(0, 4, 0, updated));
        let table = [
            (None, 5, 5),
            (at(5), 5, 5),
            (at(5), 9, 9),
            (at(9), 5, 9),
            (at(CLOCK_STEP_MAX + 5), 5, CLOCK_STEP_MAX + 5),
            (at(CLOCK_STEP_MAX + 6), 5, 5),
            (at(u64::MAX), 5, 5),
            (at(u64::MAX), u64::MAX - 1, u64::MAX),
        ];
        for (head, now, time) in table {
            assert_eq!(time_of_append(now, head.as_ref()), time, "{now} after {head:?}");
        }
    }

    #[test]
    fn a_head_records_that_times_are_unordered() {
        let head = Head::new(0, 4, 10, 20);
        assert!(!advance_head(Some(&head), 5, 10, 20).is_unordered);
        let back = advance_head(Some(&head), 5, 10, 19);
        assert_eq!(back, Head { is_unordered: true, ..Head::new(0, 5, 10, 19) });
        assert!(advance_head(Some(&back), 6, 10, 30).is_unordered);
    }

    #[test]
    fn a_truncate_point_beyond_the_end_hides_no_later_event() {
        let head = Head { truncate_before: 1_000, ..Head::new(0, 4, 0, 0) };
        assert_eq!(advance_head(Some(&head), 6, 1, 1).truncate_before, 5);
        let head = Head { truncate_before: 1_000, ..Head::new(0, Version::MAX, 0, 0) };
        assert_eq!(advance_head(Some(&head), Version::MAX, 1, 1).truncate_before, 1_000);
    }
}
