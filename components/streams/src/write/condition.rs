//! Append conditions: events that must not exist.
//!
//! Each condition is searched for in the state in which the request is decided, by the texts of the events. Guards on the
//! index of labels detect events that are added later. They may fail without need, because two labels may have one digest,
//! and only one tag of an item is guarded; then the request is decided again. A condition on any event guards the end of the
//! log.

use std::collections::BTreeMap;

use exesdb_sdk::types::{
    AllSelection, AppendCondition, ConditionFailure, Direction, Error, EventFilter, Position, Selection,
    Source, too_large,
};
use exesdb_sdk::view::View;

use crate::correlation::CorrelationIndex;
use crate::entries::Entries;
use crate::events::events;
use crate::filter::labels_of_query;
use crate::layout::{LabelDigest, label_range};
use crate::read::{PAGE_BYTES_MAX, SCAN_BUDGET_BYTES, SCAN_BUDGET_EVENTS, read_filtered};

/// Maximum number of guards for the conditions of one request; beyond it, a single guard covers all events. Each guard is a
/// lookup for which all other writers wait.
const GUARDS_MAX: usize = 1_000;

/// Searches for events that the conditions forbid.
///
/// # Errors
///
/// [`Error::ConditionFailed`], the problem `too-large` if the search exceeds the scan budget, and those of the storage.
pub(super) fn check_all(view: &impl View, conditions: &[AppendCondition]) -> Result<(), Error> {
    let end = view.end().next_position;
    for (condition, number) in conditions.iter().zip(0..) {
        let Some(from) = first_that_counts(condition).filter(|from| *from < end) else { continue };
        let filter = EventFilter {
            query: condition.query.clone(),
            stream_prefixes: Vec::new(),
            correlation_id: None,
            causation_id: None,
            stream_pattern: None,
            type_pattern: None,
            options: Vec::new(),
        };
        let first = Selection {
            source: Source::All(AllSelection { from: Some(from), until: None }),
            direction: Direction::Forward,
            count: 1,
            max_bytes: PAGE_BYTES_MAX,
            options: Vec::new(),
        };
        let page = read_filtered(view, CorrelationIndex::Off, filter, &first)?;
        if let Some(event) = events(&page.events).next() {
            let position = event?.position;
            return Err(Error::ConditionFailed(ConditionFailure { condition: number, position }));
        }
        if !page.end {
            return Err(too_large(format!(
                "conditions[{number}]: more than {SCAN_BUDGET_EVENTS} events, or {SCAN_BUDGET_BYTES} bytes of them, \
                 would have to be looked at; read first, and set `after` to the position up to which the decision has \
                 read"
            )));
        }
    }
    Ok(())
}

/// The labels by which every event that one of the conditions forbids is found, each with the first position that counts;
/// none if a condition is on any event.
pub(super) fn labels(conditions: &[AppendCondition]) -> Option<BTreeMap<LabelDigest, Position>> {
    let mut labels: BTreeMap<LabelDigest, Position> = BTreeMap::new();
    for condition in conditions {
        let Some(from) = first_that_counts(condition) else { continue };
        for digest in labels_of_query(&condition.query)? {
            let least = labels.entry(digest).or_insert(from);
            *least = from.min(*least);
        }
    }
    (labels.len() <= GUARDS_MAX).then_some(labels)
}

/// Guards that no event which the conditions forbid is added at or after `end`, where the log ends.
pub(super) fn guard(end: Position, conditions: &[AppendCondition], entries: &mut Entries) {
    match labels(conditions) {
        None => entries.require_end(end),
        Some(labels) => {
            for (digest, from) in labels {
                entries.require_empty(label_range(digest, from.max(end)));
            }
        }
    }
}

/// The first position to which a condition applies; none if there is none.
fn first_that_counts(condition: &AppendCondition) -> Option<Position> {
    condition.after.map_or(Some(0), |after| after.checked_add(1))
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::types::{AppendCondition, Guard, QueryItem};

    use super::guard;
    use crate::correlation::CorrelationIndex;
    use crate::entries::Entries;
    use crate::layout::{LabelKind, label_digest, label_range};

    fn condition(items: &[(&[&str], &[&str])], after: Option<u64>) -> AppendCondition {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let item = |(types, tags): &(&[&str], &[&str])| QueryItem { types: texts(types), tags: texts(tags) };
        AppendCondition { query: items.iter().map(item).collect(), after }
    }

    /// The guards of the conditions where the log ends at 9: the end, or the ranges that must be empty.
    fn guards(conditions: &[AppendCondition]) -> Vec<Guard> {
        let mut entries = Entries::new(CorrelationIndex::Off);
        guard(9, conditions, &mut entries);
        entries.build().unwrap().guards
    }

    #[test]
    fn guards_cover_the_labels_of_all_conditions() {
        let label = |kind, text, from| Guard::Empty(label_range(label_digest(kind, text), from));
        let of_type = |text, from| label(LabelKind::Type, text, from);
        let of_tag = |text, from| label(LabelKind::Tag, text, from);
        let table = [
            (vec![], vec![]),
            (vec![condition(&[(&["t", "u"], &[])], None)], vec![of_type("t", 9), of_type("u", 9)]),
            (vec![condition(&[(&["t"], &["g", "h"])], Some(3))], vec![of_tag("g", 9)]),
            (
                vec![condition(&[(&[], &["g"]), (&["t"], &[])], Some(20))],
                vec![of_tag("g", 21), of_type("t", 21)],
            ),
            (vec![condition(&[(&["t"], &[]), (&[], &[])], None)], vec![Guard::LogEndsAt(9)]),
            (
                vec![condition(&[(&["t"], &[])], Some(15)), condition(&[(&["t"], &[])], Some(12))],
                vec![of_type("t", 13)],
            ),
            (
                vec![condition(&[(&["t"], &[])], None), condition(&[(&[], &[])], Some(11))],
                vec![Guard::LogEndsAt(9)],
            ),
            (vec![condition(&[(&[], &[])], Some(u64::MAX))], vec![]),
        ];
        for (row, (conditions, expected)) in table.into_iter().enumerate() {
            let found = guards(&conditions);
            assert_eq!(found.len(), expected.len(), "row {row}");
            assert!(expected.iter().all(|guard| found.contains(guard)), "row {row}: {found:?}");
        }
    }

    #[test]
    fn too_many_guards_are_replaced_by_one() {
        let types: Vec<String> = (0..1_001).map(|at| at.to_string()).collect();
        let conditions: Vec<_> = types
            .chunks(64)
            .map(|types| {
                let types: Vec<&str> = types.iter().map(String::as_str).collect();
                condition(&[(&types, &[])], Some(20))
            })
            .collect();
        assert_eq!(guards(&conditions), [Guard::LogEndsAt(9)]);
    }
}
