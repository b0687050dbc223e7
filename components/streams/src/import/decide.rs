//! Decides imports from the state of their streams. Pure functions.

use std::collections::{HashMap, HashSet};

use exesdb_sdk::types::{Error, ExpectedVersion, Position, StreamState, Version, invalid, too_large};

use crate::check::within;
use crate::decide::{advance_head, conflict, id_conflict};
use crate::layout::Head;

/// Maximum number of positions that an import leaves empty, which bounds what a mistake can use up.
pub const GAP_MAX: u64 = 50_000_000;

/// An event to import.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) stream_id: &'a str,
    pub(super) version: Version,
    pub(super) id: &'a str,
    pub(super) created: u64,
    /// What its stream has at its version.
    pub(super) present: Present,
    /// The version of the stream's visible event with this id.
    pub(super) known: Option<Version>,
}

/// What a stream has at the version of an event to import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Present {
    /// Nothing: the stream ends before the version.
    Nothing,
    /// A hidden event, whose id can no longer be compared.
    Hidden,
    /// A visible event with the same id.
    Same,
    /// Another visible event.
    Other,
}

/// The decision about an event to import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventDecision {
    /// The event is added.
    Add,
    /// The event is present already.
    Repeat,
    /// The stream has the version already, and hides it.
    Hidden,
}

/// The head of a stream that begins with an event of this version, without its origin, which the host writes.
pub(super) fn begun(version: Version, created: u64) -> Head {
    Head { truncate_before: version, reclaimed_before: version, ..Head::new(0, version, created, created) }
}

/// Decides about each event.
pub(super) fn decide_events(
    heads: &HashMap<&str, Option<Head>>,
    candidates: &[Candidate<'_>],
) -> Result<Vec<EventDecision>, Error> {
    let mut heads = heads.clone();
    // Ids that this import adds.
    let mut added: HashSet<(&str, &str)> = HashSet::new();
    let mut decisions = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let Candidate { stream_id, version, id, created, present, known } = *candidate;
        match present {
            Present::Hidden => {
                decisions.push(EventDecision::Hidden);
                continue;
            }
            Present::Same => {
                decisions.push(EventDecision::Repeat);
                continue;
            }
            Present::Nothing | Present::Other => {}
        }
        let head = heads.get_mut(stream_id).expect("the heads of all streams were read");
        if head.is_some_and(|head| head.state == StreamState::Tombstoned) {
            return Err(Error::StreamDeleted(stream_id.to_owned()));
        }
        if known.is_some() || added.contains(&(stream_id, id)) {
            return Err(id_conflict(stream_id, id, head.as_ref()));
        }
        let next = match head {
            None => begun(version, created),
            Some(head) if head.last_version.checked_add(1) == Some(version) => {
                advance_head(Some(head), version, head.created, created)
            }
            Some(_) => {
                // Version 0 is the first version of a stream.
                let expected =
                    version.checked_sub(1).map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact);
                return Err(conflict(stream_id, expected, head.as_ref()));
            }
        };
        *head = Some(next);
        added.insert((stream_id, id));
        decisions.push(EventDecision::Add);
    }
    Ok(decisions)
}

/// Places the added events in a log that ends at `end`. `events` has each event's position, if given, and the decision
/// about it. Returns the number of positions that are left empty directly before each added event.
pub(super) fn place(end: Position, events: &[(Option<Position>, EventDecision)]) -> Result<Vec<u64>, Error> {
    let mut gaps = Vec::new();
    let mut next = end;
    let mut empty = 0_u64;
    for (index, (position, decision)) in events.iter().enumerate() {
        if *decision != EventDecision::Add {
            continue;
        }
        let argument = || format!("events[{index}]");
        let gap = match position {
            None => 0,
            Some(position) => position.checked_sub(next).ok_or_else(|| {
                let message = format!("is {position}, but the next free one is {next}");
                within(invalid("position", message), argument)
            })?,
        };
        empty = empty.saturating_add(gap);
        if empty > GAP_MAX {
            let message = format!(
                "its position would leave {empty} positions empty, over the limit of {GAP_MAX} for one import"
            );
            return Err(within(too_large(message), argument));
        }
        next = next.saturating_add(gap).saturating_add(1);
        gaps.push(gap);
    }
    Ok(gaps)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use exesdb_sdk::types::{Error, ExpectedVersion, StreamState, Version};

    use super::Present::{self, Hidden, Nothing, Other, Same};
    use super::{Candidate, EventDecision, GAP_MAX, begun, decide_events, place};
    use crate::decide::{conflict, id_conflict};
    use crate::layout::Head;

    /// An event's stream, version and id, what is at its version, and the version that the store has for the id.
    type Row<'a> = (&'a str, Version, &'a str, Present, Option<Version>);

    type Decisions = Result<Vec<EventDecision>, Error>;

    fn settled(rows: &[Row<'_>]) -> Decisions {
        let live = Head::new(0, 4, 10, 20);
        let heads = HashMap::from([
            ("live", Some(live)),
            ("deleted", Some(Head { state: StreamState::Deleted, truncate_before: 5, ..live })),
            ("dead", Some(Head { state: StreamState::Tombstoned, ..live })),
            ("full", Some(Head::new(0, u64::MAX, 0, 0))),
            ("new", None),
        ]);
        let candidates: Vec<_> = rows
            .iter()
            .map(|(stream_id, version, id, present, known)| Candidate {
                stream_id,
                version: *version,
                id,
                created: 0,
                present: *present,
                known: *known,
            })
            .collect();
        decide_events(&heads, &candidates)
    }

    #[test]
    fn imported_events_are_added_repeated_or_hidden() {
        use ExpectedVersion::{Exact, NoStream};
        let wrong =
            |stream_id, expected, last| Err(conflict(stream_id, expected, Some(&Head::new(0, last, 0, 0))));
        let deleted = Head { state: StreamState::Deleted, ..Head::new(0, 4, 0, 0) };
        let taken = |last| Err(id_conflict("live", "a", Some(&Head::new(0, last, 0, 0))));
        let (add, repeat, hidden) = (EventDecision::Add, EventDecision::Repeat, EventDecision::Hidden);
        let table: [(&[Row<'_>], Decisions); 22] = [
            (&[], Ok(vec![])),
            (&[("live", 5, "a", Nothing, None), ("live", 6, "b", Nothing, None)], Ok(vec![add, add])),
            (&[("live", 4, "a", Same, Some(4)), ("live", 5, "b", Nothing, None)], Ok(vec![repeat, add])),
            (&[("live", 5, "b", Nothing, None), ("live", 3, "a", Same, Some(3))], Ok(vec![add, repeat])),
            (&[("live", 2, "a", Hidden, None), ("live", 5, "b", Nothing, None)], Ok(vec![hidden, add])),
            (&[("live", 4, "a", Other, None)], wrong("live", Exact(3), 4)),
            (&[("live", 6, "a", Nothing, None)], wrong("live", Exact(5), 4)),
            (&[("live", 5, "a", Nothing, None), ("live", 5, "b", Nothing, None)], wrong("live", Exact(4), 5)),
            (&[("live", 4, "a", Other, Some(3))], taken(4)),
            (&[("live", 5, "a", Nothing, Some(3))], taken(4)),
            (&[("live", 5, "a", Nothing, None), ("live", 6, "a", Nothing, None)], taken(5)),
            (&[("live", 5, "a", Nothing, None), ("live", 5, "a", Nothing, None)], taken(5)),
            // The event with this id is hidden, so its id is unknown.
            (&[("live", 2, "a", Hidden, Some(3))], Ok(vec![hidden])),
            (&[("deleted", 5, "a", Nothing, None)], Ok(vec![add])),
            (&[("deleted", 4, "a", Hidden, None), ("deleted", 5, "a", Nothing, None)], Ok(vec![hidden, add])),
            (&[("deleted", 6, "a", Nothing, None)], Err(conflict("deleted", Exact(5), Some(&deleted)))),
            (&[("dead", 5, "a", Nothing, None)], Err(Error::StreamDeleted("dead".into()))),
            (&[("dead", 4, "a", Hidden, None)], Ok(vec![hidden])),
            (&[("full", 0, "a", Other, None)], wrong("full", NoStream, u64::MAX)),
            (
                &[
                    ("new", 7, "a", Nothing, None),
                    ("live", 5, "a", Nothing, None),
                    ("new", 8, "b", Nothing, None),
                ],
                Ok(vec![add, add, add]),
            ),
            (&[("new", 7, "a", Nothing, None), ("new", 9, "b", Nothing, None)], wrong("new", Exact(8), 7)),
            (&[("new", u64::MAX, "a", Nothing, None)], Ok(vec![add])),
        ];
        for (rows, decisions) in table {
            assert_eq!(settled(rows), decisions, "{rows:?}");
        }
        assert!(!begun(0, 5).is_extended());
        assert_eq!((begun(7, 5).truncate_before, begun(7, 5).reclaimed_before), (7, 7));
    }

    #[test]
    fn imported_events_keep_their_positions() {
        use EventDecision::{Add, Repeat};
        let hidden = EventDecision::Hidden;
        assert_eq!(place(9, &[]), Ok(vec![]));
        assert_eq!(place(9, &[(None, Add), (None, Add)]), Ok(vec![0, 0]));
        assert_eq!(place(9, &[(Some(3), Repeat), (None, Add)]), Ok(vec![0]));
        assert_eq!(place(9, &[(Some(3), hidden), (None, Add)]), Ok(vec![0]));
        let mixed = [(Some(12), Add), (None, Add), (Some(13), Repeat), (Some(20), Add)];
        assert_eq!(place(9, &mixed), Ok(vec![3, 0, 6]));
        assert_eq!(place(9, &[(Some(9), Add)]), Ok(vec![0]));
        assert_eq!(place(0, &[(Some(GAP_MAX), Add)]), Ok(vec![GAP_MAX]));

        let complaint = |end, events: &[_]| match place(end, events) {
            Err(Error::Invalid(invalid)) => invalid.argument,
            Err(Error::Problem(problem)) => problem.message,
            other => panic!("{other:?}"),
        };
        assert_eq!(complaint(9, &[(Some(8), Add)]), "events[0].position");
        assert_eq!(complaint(9, &[(Some(9), Add), (None, Add), (Some(10), Add)]), "events[2].position");
        let too_far: [&[_]; 3] = [
            &[(Some(GAP_MAX + 1), Add)],
            &[(Some(u64::MAX), Add)],
            &[(Some(GAP_MAX), Add), (Some(GAP_MAX + 2), Add)],
        ];
        for events in too_far {
            let text = complaint(0, events);
            let last = format!("events[{}]:", events.len() - 1);
            assert!(text.starts_with(&last) && text.contains("50000000"), "{text}");
        }
    }
}
