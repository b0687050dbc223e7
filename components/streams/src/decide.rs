//! What an append comes to, given what its stream is: a pure rule.

use exesdb_sdk::types::{Error, ExpectedVersion, Version};

/// What an append comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its events get the versions from `first` to `last`.
    Append {
        /// The version of its first event.
        first: Version,
        /// The version of its last event.
        last: Version,
    },
    /// All its events stand in the stream already, in this order: the first answer is given again.
    Repeat {
        /// The version of its first event.
        first: Version,
        /// The version of its last event.
        last: Version,
    },
    /// It is refused.
    Refuse(Error),
}

/// Decides one append. `last_version` is that of the stream's last event, if it has any; `ids` are those of the
/// append's events, 1 at least, each with the version of the event of this id that is in the stream already.
///
/// Ids come before the expected version: a client that repeats an append because the answer was lost cannot know that
/// the stream has moved on, by itself or by others.
#[must_use]
pub fn decide(
    last_version: Option<Version>,
    expected: ExpectedVersion,
    ids: &[(&str, Option<Version>)],
) -> Decision {
    match repeated(ids) {
        Repeated::None => {}
        Repeated::All { first, last } => return Decision::Repeat { first, last },
        Repeated::Some { id } => return Decision::Refuse(Error::IdConflict(id.to_owned())),
    }
    let holds = match (expected, last_version) {
        (ExpectedVersion::Any, _)
        | (ExpectedVersion::NoStream, None)
        | (ExpectedVersion::StreamExists, Some(_)) => true,
        (ExpectedVersion::Exact(expected), Some(last)) => expected == last,
        (ExpectedVersion::NoStream, Some(_))
        | (ExpectedVersion::StreamExists | ExpectedVersion::Exact(_), None) => false,
    };
    if !holds {
        return Decision::Refuse(Error::WrongExpectedVersion(last_version));
    }
    let first = match last_version {
        None => Some(0),
        Some(last) => last.checked_add(1),
    };
    let last = first.and_then(|first| first.checked_add((ids.len() as Version).checked_sub(1)?));
    match (first, last) {
        (Some(first), Some(last)) => Decision::Append { first, last },
        _ => Decision::Refuse(Error::Other("the stream has no versions left".into())),
    }
}

/// How many of an append's ids are in the stream.
enum Repeated<'a> {
    None,
    /// All, one behind the other.
    All {
        first: Version,
        last: Version,
    },
    /// Not all, or not in this order; the first id that is there.
    Some {
        id: &'a str,
    },
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
    Repeated::All { first: *first, last }
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::types::{Error, ExpectedVersion, Version};

    use super::{Decision, decide};

    type Ids<'a> = &'a [(&'a str, Option<Version>)];

    const NEW: Ids<'_> = &[("a", None), ("b", None)];

    fn wrong(last: Option<Version>) -> Decision {
        Decision::Refuse(Error::WrongExpectedVersion(last))
    }

    #[test]
    fn new_events_against_the_expected_version() {
        use ExpectedVersion::{Any, Exact, NoStream, StreamExists};
        let from_0 = Decision::Append { first: 0, last: 1 };
        let from_5 = Decision::Append { first: 5, last: 6 };
        let table = [
            (None, Any, from_0.clone()),
            (None, NoStream, from_0),
            (None, StreamExists, wrong(None)),
            (None, Exact(0), wrong(None)),
            (None, Exact(Version::MAX), wrong(None)),
            (Some(4), Any, from_5.clone()),
            (Some(4), NoStream, wrong(Some(4))),
            (Some(4), StreamExists, from_5.clone()),
            (Some(4), Exact(4), from_5),
            (Some(4), Exact(3), wrong(Some(4))),
            (Some(4), Exact(5), wrong(Some(4))),
            (Some(4), Exact(Version::MAX), wrong(Some(4))),
        ];
        for (last, expected, decision) in table {
            assert_eq!(decide(last, expected, NEW), decision, "{expected:?} at {last:?}");
        }
    }

    #[test]
    fn events_that_are_there_whatever_is_expected() {
        let conflict = |id: &str| Decision::Refuse(Error::IdConflict(id.into()));
        let table: [(Ids<'_>, Decision); 9] = [
            (&[("a", Some(3))], Decision::Repeat { first: 3, last: 3 }),
            (&[("a", Some(3)), ("b", Some(4))], Decision::Repeat { first: 3, last: 4 }),
            (&[("a", Some(0)), ("b", Some(1)), ("c", Some(2))], Decision::Repeat { first: 0, last: 2 }),
            (&[("a", Some(4)), ("b", Some(3))], conflict("a")),
            (&[("a", Some(3)), ("b", Some(5))], conflict("a")),
            (&[("a", Some(3)), ("b", None)], conflict("a")),
            (&[("a", None), ("b", Some(3))], conflict("b")),
            (&[("a", None), ("b", Some(3)), ("c", Some(4))], conflict("b")),
            (&[("a", Some(Version::MAX)), ("b", Some(0))], conflict("a")),
        ];
        for (ids, decision) in table {
            for expected in [
                ExpectedVersion::Any,
                ExpectedVersion::NoStream,
                ExpectedVersion::StreamExists,
                ExpectedVersion::Exact(9),
            ] {
                assert_eq!(decide(Some(7), expected, ids), decision, "{ids:?}");
            }
        }
    }

    #[test]
    fn a_stream_ends_before_its_versions_wrap() {
        let full = Decision::Refuse(Error::Other("the stream has no versions left".into()));
        assert_eq!(decide(Some(Version::MAX), ExpectedVersion::Any, NEW), full);
        assert_eq!(decide(Some(Version::MAX - 1), ExpectedVersion::Any, NEW), full);
        let last = Decision::Append { first: Version::MAX - 1, last: Version::MAX };
        assert_eq!(decide(Some(Version::MAX - 2), ExpectedVersion::Any, NEW), last);
    }
}
