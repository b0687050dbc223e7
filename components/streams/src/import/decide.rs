//! Decides imports from the state of their streams. Pure functions.

use std::collections::{HashMap, HashSet};

use exesdb_sdk::arguments::invalid;
use exesdb_sdk::streams::StreamState;
use exesdb_sdk::types::{Error, ExpectedVersion, Position, Version};

use crate::check::within;
use crate::decide::{advance_head, conflict};
use crate::layout::Head;

/// Maximum number of positions of one batch, which is the storage's limit.
pub const BATCH_POSITIONS_MAX: u32 = 10_000;

/// Maximum number of positions that an import leaves empty before its first event: 5,000 batches, which bounds the
/// duration of an import and the positions it uses up.
pub const GAP_MAX: u64 = 5_000 * BATCH_POSITIONS_MAX as u64;

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

/// The head of a stream that begins with an event of this version, without its origin, which the commit writes.
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
            return Err(Error::IdConflict(id.to_owned()));
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

/// The positions of the added events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Placement {
    /// The number of positions that each of the preceding batches leaves empty.
    pub(super) reserved: Vec<u32>,
    /// The number of positions that the import's own batch leaves empty directly before each added event.
    pub(super) gaps: Vec<u32>,
    /// Whether positions are given, so that the log must still end where it ended when it was read.
    pub(super) is_fixed: bool,
}

/// Places the added events in a log that ends at `end`. `events` has each event's position, if given, and the decision
/// about it.
pub(super) fn place(end: Position, events: &[(Option<Position>, EventDecision)]) -> Result<Placement, Error> {
    let mut placement = Placement::default();
    let mut next = end;
    // The number of positions that the import's own batch takes.
    let mut taken = 0_u64;
    for (index, (position, decision)) in events.iter().enumerate() {
        if *decision != EventDecision::Add {
            continue;
        }
        let argument = || format!("events[{index}]");
        let mut gap = match position {
            None => 0,
            Some(position) => {
                placement.is_fixed = true;
                position.checked_sub(next).ok_or_else(|| {
                    let message = format!("is {position}, but the next free one is {next}");
                    within(invalid("position", message), argument)
                })?
            }
        };
        next = next.saturating_add(gap).saturating_add(1);
        if placement.gaps.is_empty() {
            placement.reserved = reserve(gap).map_err(|error| within(error, argument))?;
            gap -= placement.reserved.iter().map(|count| u64::from(*count)).sum::<u64>();
        }
        taken = taken.saturating_add(gap).saturating_add(1);
        if taken > BATCH_POSITIONS_MAX.into() {
            return Err(within(
                Error::TooLarge(format!(
                    "the import takes more than {BATCH_POSITIONS_MAX} positions up to here, empty ones included; begin \
                     another one with this event"
                )),
                argument,
            ));
        }
        placement.gaps.push(u32::try_from(gap).expect("it is no more than one batch takes"));
    }
    Ok(placement)
}

/// Divides the gap before the first event among preceding batches; none if the import's own batch can take it.
fn reserve(gap: u64) -> Result<Vec<u32>, Error> {
    if gap > GAP_MAX {
        return Err(Error::TooLarge(format!(
            "its position would leave {gap} positions empty, over the limit of {GAP_MAX} for one import"
        )));
    }
    // This leaves enough positions for the maximum number of events.
    if gap <= u64::from(BATCH_POSITIONS_MAX) / 2 {
        return Ok(Vec::new());
    }
    let part = |left: u64| {
        u32::try_from(left.min(BATCH_POSITIONS_MAX.into())).expect("it is no more than its limit")
    };
    let mut parts = Vec::new();
    let mut left = gap;
    while left > 0 {
        parts.push(part(left));
        left -= u64::from(part(left));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use exesdb_sdk::streams::StreamState;
    use exesdb_sdk::types::{Error, ExpectedVersion, Version};

    use super::Present::{self, Hidden, Nothing, Other, Same};
    use super::{Candidate, EventDecision, GAP_MAX, Placement, begun, decide_events, place};
    use crate::decide::conflict;
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
        let taken = |id: &str| Err(Error::IdConflict(id.into()));
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
            (&[("live", 4, "a", Other, Some(3))], taken("a")),
            (&[("live", 5, "a", Nothing, Some(3))], taken("a")),
            (&[("live", 5, "a", Nothing, None), ("live", 6, "a", Nothing, None)], taken("a")),
            (&[("live", 5, "a", Nothing, None), ("live", 5, "a", Nothing, None)], taken("a")),
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
        let placement = |reserved: &[u32], gaps: &[u32], is_fixed| {
            Ok(Placement { reserved: reserved.to_vec(), gaps: gaps.to_vec(), is_fixed })
        };
        assert_eq!(place(9, &[]), placement(&[], &[], false));
        assert_eq!(place(9, &[(None, Add), (None, Add)]), placement(&[], &[0, 0], false));
        assert_eq!(place(9, &[(Some(3), Repeat), (None, Add)]), placement(&[], &[0], false));
        assert_eq!(place(9, &[(Some(3), hidden), (None, Add)]), placement(&[], &[0], false));
        let mixed = [(Some(12), Add), (None, Add), (Some(13), Repeat), (Some(20), Add)];
        assert_eq!(place(9, &mixed), placement(&[], &[3, 0, 6], true));
        assert_eq!(place(9, &[(Some(9), Add)]), placement(&[], &[0], true));
        assert_eq!(place(0, &[(Some(5_000), Add)]), placement(&[], &[5_000], true));
        assert_eq!(place(0, &[(Some(5_001), Add)]), placement(&[5_001], &[0], true));
        assert_eq!(place(9, &[(Some(20_010), Add)]), placement(&[10_000, 10_000, 1], &[0], true));
        assert_eq!(place(0, &[(Some(GAP_MAX), Add)]).unwrap().reserved.len(), 5_000);

        let complaint = |end, events: &[_]| match place(end, events) {
            Err(Error::Invalid(invalid)) => invalid.argument,
            Err(Error::TooLarge(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(complaint(9, &[(Some(8), Add)]), "events[0].position");
        assert_eq!(complaint(9, &[(Some(9), Add), (None, Add), (Some(10), Add)]), "events[2].position");
        let text = complaint(0, &[(Some(GAP_MAX + 1), Add)]);
        assert!(text.starts_with("events[0]:") && text.contains("50000000"), "{text}");
        let text = complaint(0, &[(Some(u64::MAX), Add)]);
        assert!(text.contains("50000000"), "{text}");
        let text = complaint(0, &[(Some(0), Add), (Some(u64::MAX), Add)]);
        assert!(text.starts_with("events[1]:") && text.contains("10000"), "{text}");
        assert!(place(0, &[(Some(0), Add), (Some(9_999), Add)]).is_ok());
        assert!(place(0, &[(Some(0), Add), (Some(10_000), Add)]).is_err());
    }
}
