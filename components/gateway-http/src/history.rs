//! Places in the store with the history that they belong to, as clients see and send them.

use std::fmt;

use crate::problem::{Kind, Member, Problem};
use crate::query::number;
use crate::store::{Direction, Error, HistoryChange, Source, Store, Transaction};

/// The header that names the history of the positions in a response.
pub const HISTORY_HEADER: &str = "exesdb-history";

/// Digits of a history.
const DIGITS: usize = 16;

/// Names a history of the store: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryId(pub u64);

impl HistoryId {
    /// The history that a text names.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex { u64::from_str_radix(text, 16).ok().map(Self) } else { None }
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

/// The position of the last event that a client has seen, as it stands in the id of a message: `41@00f1e2d3c4b5a697`. An id
/// without a history is a position alone.
pub fn parse_event_id(text: &str) -> Option<(u64, Option<HistoryId>)> {
    match text.split_once('@') {
        None => Some((number(text)?, None)),
        Some((position, history)) => Some((number(position)?, Some(HistoryId::parse(history)?))),
    }
}

/// Checks the place that a bounded read of the whole store begins at, if the client has named its history. Otherwise the
/// store looks at its end alone, when it reads.
///
/// # Errors
/// [`Error::HistoryChanged`], and what the store says.
pub fn check_range<S: Store>(
    store: &mut S,
    source: &Source,
    from: Option<u64>,
    direction: Direction,
    history: Option<HistoryId>,
) -> Result<(), Error> {
    if history.is_none() || source.stream().is_some() {
        return Ok(());
    }
    let next = match (direction, from) {
        (_, None) => 0,
        (Direction::Forward, Some(from)) => from,
        // A backward read may begin beyond the end: it starts at the last event.
        (Direction::Backward, Some(from)) => from.saturating_add(1).min(store.history()?.end),
    };
    store.check_history(next, history)
}

/// Checks the positions that the conditions of a transaction name, each with its history.
///
/// # Errors
/// The problem that is the request's answer.
pub fn check_conditions<S: Store>(
    store: &mut S,
    transaction: &Transaction,
    histories: &[Option<HistoryId>],
) -> Result<(), Problem> {
    for (index, (condition, history)) in transaction.conditions.iter().zip(histories).enumerate() {
        let Some(after) = condition.after else { continue };
        store.check_history(after.saturating_add(1), *history).map_err(|error| match error {
            Error::HistoryChanged(change) => {
                let mut changed = changed(&change);
                changed.detail = format!("conditions[{index}].after: {}", changed.detail);
                changed
            }
            error => crate::store_error::problem(error, crate::store_error::Subject::Store),
        })?;
    }
    Ok(())
}

/// The problem of a position that is not of this history.
pub fn changed(change: &HistoryChange) -> Problem {
    let (history, end) = (HistoryId(change.history), change.end);
    let detail = format!(
        "the store is at history {history} and its next event gets position {end}: the position sent is beyond that, or \
         belongs to a history that the store has left because it was restored from a backup; drop what was made of \
         events that are not there, and read again from a position that is known to be good, or from 0"
    );
    Problem::new(Kind::HistoryChanged, detail)
        .with("history", Member::Text(history.to_string()))
        .with("end", Member::Number(end))
}

#[cfg(test)]
mod tests {
    use super::{HistoryId, parse_event_id};

    #[test]
    fn event_ids_are_positions_with_or_without_a_history() {
        for (text, expected) in [
            ("0", Some((0, None))),
            ("18446744073709551615", Some((u64::MAX, None))),
            ("7@00000000000000ab", Some((7, Some(HistoryId(0xab))))),
            ("7@00000000000000AB", Some((7, Some(HistoryId(0xab))))),
            ("", None),
            ("@00000000000000ab", None),
            ("7@", None),
            ("7@ab", None),
            ("7@00000000000000abc", None),
            ("7@+0000000000000ab", None),
            ("7@00000000000000a\u{e9}", None),
            ("7@00000000000000ab@", None),
            ("-1@00000000000000ab", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(parse_event_id(text), expected, "{text}");
        }
    }
}
