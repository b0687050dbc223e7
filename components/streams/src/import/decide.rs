//! What an import comes to, given what its streams are: pure rules.

use std::collections::HashMap;

use exesdb_sdk::arguments::invalid;
use exesdb_sdk::streams::StreamState;
use exesdb_sdk::types::{Error, Position, Version};

use crate::check::within;
use crate::decide::{conflict, moved_on};
use crate::layout::Head;

/// Most positions that one batch takes, which is the storage's limit.
pub const BATCH_POSITIONS_MAX: u32 = 10_000;

/// Most positions that an import leaves empty before its first event: 5,000 batches, so that no import takes long or
/// uses up the positions.
pub const GAP_MAX: u64 = 5_000 * BATCH_POSITIONS_MAX as u64;

/// An event that is to be imported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) stream_id: &'a str,
    pub(super) version: Version,
    pub(super) id: &'a str,
    pub(super) created: u64,
    /// The version of the event of this id that is in the stream already.
    pub(super) known: Option<Version>,
}

/// What becomes of an event that is to be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is added.
    Add,
    /// It is there already.
    Repeat,
}

/// The head of a stream that begins with an event of this version, as far as it is known before the commit.
pub(super) fn begun(version: Version, created: u64) -> Head {
    Head { truncate_before: version, reclaimed_before: version, ..Head::new(0, version, created, created) }
}

/// Decides what becomes of each event.
pub(super) fn settle(
    heads: &HashMap<&str, Option<Head>>,
    candidates: &[Candidate<'_>],
) -> Result<Vec<Fate>, Error> {
    let mut heads = heads.clone();
    // Ids that this import adds, with their versions.
    let mut added: HashMap<(&str, &str), Version> = HashMap::new();
    let mut fates = Vec::with_capacity(candidates.len());
    for (index, candidate) in candidates.iter().enumerate() {
        let Candidate { stream_id, version, id, created, known } = *candidate;
        let head = heads.get_mut(stream_id).expect("the heads of all streams were read");
        if head.is_some_and(|head| head.state == StreamState::Tombstoned) {
            return Err(Error::StreamDeleted(stream_id.to_owned()));
        }
        match known.or_else(|| added.get(&(stream_id, id)).copied()) {
            Some(known) if known == version => {
                // Twice in the same import it is no repetition that the store could show.
                if added.contains_key(&(stream_id, id)) {
                    return Err(Error::IdConflict(id.to_owned()));
                }
                fates.push(Fate::Repeat);
                continue;
            }
            Some(_) => return Err(Error::IdConflict(id.to_owned())),
            None => {}
        }
        let next = match head {
            None => begun(version, created),
            Some(there) => {
                if there.last_version.checked_add(1) != Some(version) {
                    return Err(conflict(stream_id, head.as_ref()));
                }
                if created < there.updated {
                    let message = format!(
                        "is {created}, before that of the event before it in `{stream_id}`, which is {}",
                        there.updated
                    );
                    return Err(within(invalid("created", message), || format!("events[{index}]")));
                }
                moved_on(Some(there), version, there.created, created)
            }
        };
        *head = Some(next);
        added.insert((stream_id, id), version);
        fates.push(Fate::Add);
    }
    Ok(fates)
}

/// Where the added events lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Placed {
    /// The positions that batches of their own leave empty before.
    pub(super) reserved: Vec<u32>,
    /// How many positions the import's own batch leaves empty directly before each added event.
    pub(super) gaps: Vec<u32>,
    /// Positions are given, so that the log has to end where it was read to.
    pub(super) is_fixed: bool,
}

/// Finds the positions of the events that are added, in a log that ends at `end`. For each event of the import its
/// position, if one is given, and what becomes of it.
pub(super) fn place(end: Position, events: &[(Option<Position>, Fate)]) -> Result<Placed, Error> {
    let mut placed = Placed::default();
    let mut next = end;
    // How many positions the import's own batch takes.
    let mut taken = 0_u64;
    for (index, (position, fate)) in events.iter().enumerate() {
        if *fate == Fate::Repeat {
            continue;
        }
        let argument = || format!("events[{index}]");
        let mut gap = match position {
            None => 0,
            Some(position) => {
                placed.is_fixed = true;
                position.checked_sub(next).ok_or_else(|| {
                    let message = format!("is {position}, but the next free one is {next}");
                    within(invalid("position", message), argument)
                })?
            }
        };
        next = next.saturating_add(gap).saturating_add(1);
        if placed.gaps.is_empty() {
            placed.reserved = reserve(gap).map_err(|error| within(error, argument))?;
            gap -= placed.reserved.iter().map(|count| u64::from(*count)).sum::<u64>();
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
        placed.gaps.push(u32::try_from(gap).expect("it is no more than one batch takes"));
    }
    Ok(placed)
}

/// The gap before the first event in parts that batches can take; nothing if the import's own batch can.
fn reserve(gap: u64) -> Result<Vec<u32>, Error> {
    if gap > GAP_MAX {
        return Err(Error::TooLarge(format!(
            "its position would leave {gap} positions empty, over the limit of {GAP_MAX} for one import"
        )));
    }
    // With room for the most events of an import.
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
    use exesdb_sdk::types::{Error, Version};

    use super::{Candidate, Fate, GAP_MAX, Placed, begun, place, settle};
    use crate::decide::conflict;
    use crate::layout::Head;

    /// An event's stream, version, id and time, and the version that the store has for the id.
    type Row<'a> = (&'a str, Version, &'a str, u64, Option<Version>);

    type Fates = Result<Vec<Fate>, Error>;

    fn settled(rows: &[Row<'_>]) -> Fates {
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
            .map(|(stream_id, version, id, created, known)| Candidate {
                stream_id,
                version: *version,
                id,
                created: *created,
                known: *known,
            })
            .collect();
        settle(&heads, &candidates)
    }

    #[test]
    fn what_becomes_of_imported_events() {
        use Fate::{Add, Repeat};
        let wrong = |stream_id, last| Err(conflict(stream_id, Some(&Head::new(0, last, 0, 0))));
        let taken = |id: &str| Err(Error::IdConflict(id.into()));
        let table: [(&[Row<'_>], Fates); 17] = [
            (&[], Ok(vec![])),
            (&[("live", 5, "a", 20, None), ("live", 6, "b", 25, None)], Ok(vec![Add, Add])),
            (&[("live", 4, "a", 0, Some(4)), ("live", 5, "b", 20, None)], Ok(vec![Repeat, Add])),
            (&[("live", 5, "b", 20, None), ("live", 3, "a", 0, Some(3))], Ok(vec![Add, Repeat])),
            (&[("live", 4, "a", 20, None)], wrong("live", 4)),
            (&[("live", 6, "a", 20, None)], wrong("live", 4)),
            (&[("live", 5, "a", 20, None), ("live", 5, "b", 20, None)], wrong("live", 5)),
            (&[("live", 4, "a", 20, Some(3))], taken("a")),
            (&[("live", 5, "a", 20, Some(3))], taken("a")),
            (&[("live", 5, "a", 20, None), ("live", 6, "a", 20, None)], taken("a")),
            (&[("live", 5, "a", 20, None), ("live", 5, "a", 20, None)], taken("a")),
            (&[("deleted", 5, "a", 20, None)], Ok(vec![Add])),
            (&[("dead", 5, "a", 20, None)], Err(Error::StreamDeleted("dead".into()))),
            (&[("full", 0, "a", 20, None)], wrong("full", u64::MAX)),
            (
                &[("new", 7, "a", 3, None), ("live", 5, "a", 20, None), ("new", 8, "b", 3, None)],
                Ok(vec![Add, Add, Add]),
            ),
            (&[("new", 7, "a", 3, None), ("new", 9, "b", 3, None)], wrong("new", 7)),
            (&[("new", u64::MAX, "a", 3, None)], Ok(vec![Add])),
        ];
        for (rows, fates) in table {
            assert_eq!(settled(rows), fates, "{rows:?}");
        }
        let early = settled(&[("new", 0, "a", 3, None), ("live", 5, "b", 19, None)]);
        assert!(matches!(early, Err(Error::Invalid(invalid)) if invalid.argument == "events[1].created"));
        assert!(!begun(0, 5).is_extended());
        assert_eq!((begun(7, 5).truncate_before, begun(7, 5).reclaimed_before), (7, 7));
    }

    #[test]
    fn where_imported_events_lie() {
        use Fate::{Add, Repeat};
        let placed = |reserved: &[u32], gaps: &[u32], is_fixed| {
            Ok(Placed { reserved: reserved.to_vec(), gaps: gaps.to_vec(), is_fixed })
        };
        assert_eq!(place(9, &[]), placed(&[], &[], false));
        assert_eq!(place(9, &[(None, Add), (None, Add)]), placed(&[], &[0, 0], false));
        assert_eq!(place(9, &[(Some(3), Repeat), (None, Add)]), placed(&[], &[0], false));
        let mixed = [(Some(12), Add), (None, Add), (Some(13), Repeat), (Some(20), Add)];
        assert_eq!(place(9, &mixed), placed(&[], &[3, 0, 6], true));
        assert_eq!(place(9, &[(Some(9), Add)]), placed(&[], &[0], true));
        assert_eq!(place(0, &[(Some(5_000), Add)]), placed(&[], &[5_000], true));
        assert_eq!(place(0, &[(Some(5_001), Add)]), placed(&[5_001], &[0], true));
        assert_eq!(place(9, &[(Some(20_010), Add)]), placed(&[10_000, 10_000, 1], &[0], true));
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
