//! Append conditions: events that must not exist.
//!
//! Each condition is searched for in the state in which the transaction is decided, by the texts of the events. Guards on
//! the index of labels detect events that are added later. They may fail without need, because two labels may have one
//! digest, and only one tag of an item is guarded; then the transaction is decided again.

use std::collections::BTreeMap;

use exesdb_sdk::keyspaces::{Keyspaces, Range};
use exesdb_sdk::streams::{AppendCondition, EventFilter};
use exesdb_sdk::types::{ConditionFailure, Direction, Error, Position};

use crate::correlation::CorrelationIndex;
use crate::filter::labels_of_query;
use crate::layout::{LabelDigest, event_range, label_range};
use crate::read::{SCAN_BUDGET_BYTES, SCAN_BUDGET_EVENTS, read_filtered};

/// Maximum number of guards for the conditions of one transaction; beyond it, a single guard covers all events. Each guard
/// is a lookup for which all other writers wait.
const GUARDS_MAX: usize = 1_000;

/// Searches for events that the conditions forbid.
///
/// # Errors
///
/// [`Error::ConditionFailed`], [`Error::TooLarge`] if the search exceeds the scan budget, and those of the storage.
pub(super) fn check_all(
    store: &impl Keyspaces,
    now: u64,
    end: Position,
    conditions: &[AppendCondition],
) -> Result<(), Error> {
    for (condition, number) in conditions.iter().zip(0..) {
        let Some(from) = first_that_counts(condition).filter(|from| *from < end) else { continue };
        let filter = EventFilter {
            query: condition.query.clone(),
            stream_prefixes: Vec::new(),
            correlation_id: None,
            causation_id: None,
            stream_pattern: None,
            type_pattern: None,
        };
        let page =
            read_filtered(store, now, CorrelationIndex::Off, filter, Some(from), 1, Direction::Forward)?;
        if let Some(event) = page.events.first() {
            return Err(Error::ConditionFailed(ConditionFailure {
                condition: number,
                position: event.position,
            }));
        }
        if !page.end {
            return Err(Error::TooLarge(format!(
                "conditions[{number}]: more than {SCAN_BUDGET_EVENTS} events, or {SCAN_BUDGET_BYTES} bytes of them, \
                 would have to be looked at; read first, and set `after` to the position up to which the decision has \
                 read"
            )));
        }
    }
    Ok(())
}

/// The ranges that must stay empty, so that no event which the conditions forbid is added at or after `end`.
pub(super) fn guards(end: Position, conditions: &[AppendCondition]) -> Vec<Range> {
    let mut labels: BTreeMap<LabelDigest, Position> = BTreeMap::new();
    let mut events: Option<Position> = None;
    for condition in conditions {
        let Some(from) = first_that_counts(condition) else { continue };
        let from = from.max(end);
        match labels_of_query(&condition.query) {
            Some(digests) => {
                for digest in digests {
                    let least = labels.entry(digest).or_insert(from);
                    *least = from.min(*least);
                }
            }
            None => events = Some(events.map_or(from, |least| least.min(from))),
        }
    }
    if labels.len() > GUARDS_MAX {
        let least = labels.into_values().chain(events).min();
        return least.map(event_range).into_iter().collect();
    }
    let events = events.map(event_range);
    labels.into_iter().map(|(digest, from)| label_range(digest, from)).chain(events).collect()
}

/// The first position to which a condition applies; none if there is none.
fn first_that_counts(condition: &AppendCondition) -> Option<Position> {
    condition.after.map_or(Some(0), |after| after.checked_add(1))
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::streams::{AppendCondition, QueryItem};

    use super::guards;
    use crate::layout::{LabelKind, event_range, label_digest, label_range};

    fn condition(items: &[(&[&str], &[&str])], after: Option<u64>) -> AppendCondition {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let item = |(types, tags): &(&[&str], &[&str])| QueryItem { types: texts(types), tags: texts(tags) };
        AppendCondition { query: items.iter().map(item).collect(), after }
    }

    #[test]
    fn guards_cover_the_labels_of_all_conditions() {
        let label = |kind, text, from| label_range(label_digest(kind, text), from);
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
            (vec![condition(&[(&["t"], &[]), (&[], &[])], None)], vec![event_range(9)]),
            (
                vec![condition(&[(&["t"], &[])], Some(15)), condition(&[(&["t"], &[])], Some(12))],
                vec![of_type("t", 13)],
            ),
            (
                vec![condition(&[(&["t"], &[])], None), condition(&[(&[], &[])], Some(11))],
                vec![of_type("t", 9), event_range(12)],
            ),
            (vec![condition(&[(&[], &[])], Some(u64::MAX))], vec![]),
        ];
        for (row, (conditions, mut expected)) in table.into_iter().enumerate() {
            let mut ranges = guards(9, &conditions);
            ranges.sort_by(|one, other| one.start.cmp(&other.start));
            expected.sort_by(|one, other| one.start.cmp(&other.start));
            assert_eq!(ranges, expected, "row {row}");
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
        assert_eq!(guards(9, &conditions), [event_range(21)]);
    }
}
