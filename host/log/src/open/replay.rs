//! What the newest checkpoint and the records after it amount to.

use std::collections::BTreeMap;

use super::scan::Record;
use crate::checkpoint::Groups;
use crate::group::Group;
use crate::held::Held;
use crate::ranges::Ranges;
use crate::record::Op;
use crate::view::Views;

/// The entries in earlier segments, by segment and group. Of several records with one index the last one counts: if a
/// checkpoint has an entry in a segment, it is the one that was written there last.
#[derive(Default)]
pub(super) struct Records(BTreeMap<(u64, u64), Ranges<Held>>);

impl Records {
    pub(super) fn add(&mut self, segment: u64, records: Vec<Record>) {
        for Record { group, op, held } in records {
            if let (Op::Entries(span) | Op::Copied(span), Some(held)) = (op, held) {
                self.0.entry((segment, group)).or_default().cover(span, held);
            }
        }
    }
}

/// All groups, as the writer has them and as readers see them.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) groups: Groups,
    pub(super) views: Views,
}

/// Applies the records of the newest segment to its checkpoint. Entries that a checkpoint names and no segment has are
/// missing, unless they are purged, truncated or copied later. An error says which record does not fit.
pub(super) fn replay(groups: Groups, entries: &Records, records: Vec<Record>) -> Result<Replayed, String> {
    let mut found: BTreeMap<u64, Group<Held>> = BTreeMap::new();
    for (id, group) in &groups {
        found.insert(*id, locate(*id, group, entries));
    }
    let mut groups = groups;
    for Record { group: id, op, held } in records {
        if op == Op::Remove {
            groups.remove(&id);
            found.remove(&id);
            continue;
        }
        let (of_writer, of_readers) = (groups.entry(id).or_default(), found.entry(id).or_default());
        of_writer.check(&op).map_err(|misfit| format!("a record of group {id} does not fit: {misfit:?}"))?;
        let segment = held.as_ref().and_then(Held::place).map_or(0, |place| place.segment);
        of_writer.apply(&op, segment);
        of_readers.apply(&op, held.unwrap_or_else(Held::missing));
    }
    Ok(Replayed { groups, views: Views::of(found) })
}

/// Finds the entries of a group.
fn locate(id: u64, group: &Group<u64>, records: &Records) -> Group<Held> {
    let mut entries = Ranges::default();
    for (span, segment) in group.entries.iter() {
        let there = records.0.get(&(*segment, id));
        entries.cover(span, Held::missing());
        for (part, held) in there.into_iter().flat_map(|there| there.within(span)) {
            entries.cover(part, held.clone());
        }
    }
    let Group { state, purged, committed, next, .. } = group.clone();
    Group { state, purged, committed, next, entries }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bytes::Bytes;

    use super::{Records, replay};
    use crate::checkpoint::Groups;
    use crate::group::{Group, Noted};
    use crate::held::{Held, RecordPlace};
    use crate::open::scan::Record;
    use crate::ranges::Span;
    use crate::record::Op;

    const GROUP: u64 = 5;

    fn span(first: u64, last: u64) -> Span {
        Span { first, last }
    }

    fn at(segment: u64, offset: u64, op: Op) -> Record {
        let place = RecordPlace { segment, offset, before: 0, link: 0 };
        Record { group: GROUP, held: Some(Held::at(100, place)), op }
    }

    fn plain(op: Op) -> Record {
        Record { group: GROUP, op, held: None }
    }

    fn purge(index: u64) -> Op {
        Op::Purge(Noted { index, note: Bytes::new() })
    }

    /// A checkpoint with entries 1 to 9: up to 4 in segment 1, the others in segment 2.
    fn checkpoint() -> Groups {
        let mut group = Group { next: Some(10), ..Group::default() };
        group.entries.cover(span(1, 4), 1);
        group.entries.cover(span(5, 9), 2);
        [(GROUP, group)].into()
    }

    #[test]
    fn groups_are_broken_by_entries_that_are_missing_in_the_end() {
        let entries = |first, last| Op::Entries(span(first, last));
        let first = || at(1, 10, entries(1, 4));
        let second = || at(2, 10, entries(5, 9));
        let table: Vec<(&str, Vec<Record>, Vec<Record>, bool)> = vec![
            ("all there", vec![first(), second()], vec![], false),
            ("one is missing", vec![second()], vec![], true),
            ("a part is missing", vec![first(), at(2, 10, entries(5, 8))], vec![], true),
            ("missing, and purged", vec![second()], vec![plain(purge(4))], false),
            ("missing, and partly purged", vec![second()], vec![plain(purge(3))], true),
            ("missing, and copied", vec![second()], vec![at(3, 90, Op::Copied(span(1, 4)))], false),
            ("missing, and truncated", vec![first()], vec![plain(Op::Truncate { from: 5 })], false),
            ("missing, and removed", vec![], vec![plain(Op::Remove)], false),
            (
                "there, and replaced where it was missing",
                vec![first()],
                vec![plain(Op::Truncate { from: 5 }), at(3, 90, entries(5, 5))],
                false,
            ),
        ];
        for (case, older, newest, is_broken) in table {
            let mut records = Records::default();
            for record in older {
                let segment = record.held.as_ref().unwrap().place().unwrap().segment;
                records.add(segment, vec![record]);
            }
            let replayed = replay(checkpoint(), &records, newest).unwrap();
            assert_eq!(replayed.views.broken() == [GROUP], is_broken, "{case}");
        }
    }

    #[test]
    fn the_last_record_of_a_segment_with_an_index_counts() {
        let mut records = Records::default();
        let (first, second) = (at(1, 10, Op::Entries(span(1, 4))), at(1, 20, Op::Entries(span(3, 4))));
        records.add(1, vec![first, second]);
        records.add(2, vec![at(2, 10, Op::Entries(span(5, 9)))]);
        let replayed = replay(checkpoint(), &records, vec![]).unwrap();
        let group = replayed.views.get(GROUP).unwrap();
        let places: Vec<_> = group
            .group
            .entries
            .iter()
            .map(|(span, held)| (span.first, held.place().map(|place| place.offset)))
            .collect();
        assert_eq!(places, [(1, Some(10)), (3, Some(20)), (5, Some(10))]);
    }

    #[test]
    fn a_record_that_does_not_fit_is_an_error() {
        for op in [Op::Entries(span(11, 11)), Op::Copied(span(9, 10))] {
            let error = replay(checkpoint(), &Records::default(), vec![at(3, 0, op)]).unwrap_err();
            assert!(error.contains("group 5"), "{error}");
        }
    }
}
