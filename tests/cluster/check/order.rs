//! Real time: what begins after an answer comes after what was answered.

use exesdb_tests::Outcome;

use super::{Stored, StoredCall};

/// Appends that are stored before one that had been answered when they began.
pub(super) fn out_of_order(stored: &Stored<'_>) -> Vec<String> {
    let mut by_begin: Vec<&StoredCall<'_>> = stored.calls.iter().collect();
    by_begin.sort_by_key(|stored| stored.call.begun);
    let is_answered =
        |stored: &&StoredCall<'_>| matches!(stored.call.append.outcome, Outcome::Acknowledged { .. });
    let mut answered: Vec<&StoredCall<'_>> = stored.calls.iter().filter(is_answered).collect();
    answered.sort_by_key(|stored| stored.call.ended);
    let mut answered = answered.into_iter().peekable();
    let mut furthest: Option<&StoredCall<'_>> = None;
    let mut violations = Vec::new();
    for next in by_begin {
        while let Some(earlier) = answered.next_if(|earlier| earlier.call.ended < next.call.begun) {
            if furthest.is_none_or(|furthest| furthest.last < earlier.last) {
                furthest = Some(earlier);
            }
        }
        if let Some(earlier) = furthest.filter(|earlier| earlier.last >= next.first) {
            let (call, before) = (next.call, earlier.call);
            violations
                .push(format!("{before:?} was answered before it began, and is not before it: {call:?}"));
        }
    }
    violations
}
