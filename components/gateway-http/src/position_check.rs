//! Checks that the positions which clients send belong to the store's history.

use crate::history::HistoryId;
use crate::problem::Problem;
use crate::store::{Direction, Error, EventScope, StoreApi, Transaction};
use crate::store_error::{Subject, history_changed, problem};

/// Checks the start of a bounded read of the whole store if the client names its history. Without a history, the read
/// itself checks only that the start is not beyond the store's end.
///
/// # Errors
/// [`Error::HistoryChanged`], and the store's errors.
pub(crate) fn check_range<S: StoreApi>(
    store: &mut S,
    scope: &EventScope,
    from: Option<u64>,
    direction: Direction,
    history: Option<HistoryId>,
) -> Result<(), Error> {
    if history.is_none() || scope.stream().is_some() {
        return Ok(());
    }
    let next = match (direction, from) {
        (_, None) => 0,
        (Direction::Forward, Some(from)) => from,
        // A backward read may start beyond the end; it begins with the last event.
        (Direction::Backward, Some(from)) => from.saturating_add(1).min(store.history()?.end),
    };
    store.check_history(next, history)
}

/// Checks the position of each condition of a transaction against its history.
///
/// # Errors
/// The problem to respond with.
pub(crate) fn check_conditions<S: StoreApi>(
    store: &mut S,
    transaction: &Transaction,
    histories: &[Option<HistoryId>],
) -> Result<(), Problem> {
    for (index, (condition, history)) in transaction.conditions.iter().zip(histories).enumerate() {
        let Some(after) = condition.after else { continue };
        store.check_history(after.saturating_add(1), *history).map_err(|error| match error {
            Error::HistoryChanged(change) => {
                let mut changed = history_changed(&change);
                changed.detail = format!("conditions[{index}].after: {}", changed.detail);
                changed
            }
            error => problem(error, Subject::Store),
        })?;
    }
    Ok(())
}
