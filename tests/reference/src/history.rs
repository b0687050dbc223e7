//! Positions beyond the end of the store. The host refuses them for gateways, because their client has seen events that no
//! longer exist; a streams component does not.

use exesdb_sdk::types::{Direction, Error, HistoryChange, Position};

use crate::Reference;
use crate::requests::Transaction;

impl Reference {
    /// Checks where a read of the whole store begins.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryChanged`] for a forward read from beyond the end. The model has no histories: the error's is 0.
    pub fn check_from(&self, from: Option<Position>, direction: Direction) -> Result<(), Error> {
        let reached = from.filter(|_| direction == Direction::Forward);
        if reached.is_some_and(|next| next > self.end) { Err(self.history_changed()) } else { Ok(()) }
    }

    /// Checks the positions in the conditions of a transaction.
    ///
    /// # Errors
    ///
    /// [`Error::HistoryChanged`] if no event has reached one of them. The model has no histories: the error's is 0.
    pub fn check_conditions(&self, transaction: &Transaction) -> Result<(), Error> {
        let mut positions = transaction.conditions.iter().filter_map(|condition| condition.after);
        if positions.any(|after| after >= self.end) { Err(self.history_changed()) } else { Ok(()) }
    }

    fn history_changed(&self) -> Error {
        Error::HistoryChanged(HistoryChange { history_id: 0, end: self.end })
    }
}
