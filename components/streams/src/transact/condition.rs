//! Append conditions: what must not have happened.
//!
//! They are looked for in the state that the transaction is decided in, by the texts of the events themselves. What is
//! added behind that state is kept out by guards on the index of labels, which may refuse too much: two labels may have
//! one digest, and of an item with several tags only one is guarded. Then the transaction is decided anew.

use std::collections::BTreeMap;

use exesdb_sdk::keyspaces::{Keyspaces, Range};
use exesdb_sdk::streams::{AppendCondition, EventFilter};
use exesdb_sdk::types::{ConditionFailure, Direction, Error, Position};

use crate::correlation::CorrelationIndex;
use crate::filter::labels_of_query;
use crate::layout::{LabelDigest, event_range, label_range};
use crate::read::{LOOKED_AT_BYTES_MAX, LOOKED_AT_EVENTS_MAX, read_filtered};

/// Most guards of the conditions of one transaction; instead of more, one guards all events. Each is a lookup that every
/// other writer waits for.
const GUARDS_MAX: usize = 1_000;

/// Looks for events that the conditions forbid.
///
/// # Errors
///
/// [`Error::ConditionFailed`], [`Error::TooLarge`] if too many events would have to be looked at, and those of the
/// storage.
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
                "conditions[{number}]: more than {LOOKED_AT_EVENTS_MAX} events, or {LOOKED_AT_BYTES_MAX} bytes of them, \
                 would have to be looked at; read first, and set `after` to the position up to which the decision has \
                 read"
            )));
        }
    }
    Ok(())
}

/// Ranges that have to stay empty, so that nothing which the conditions forbid is added at `end` or behind.
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

/// The first position that a condition counts; none if there is no such position.
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
    fn what_has_to_stay_empty() {
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
    fn very_many_guards_are_one() {
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
