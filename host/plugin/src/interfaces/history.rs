//! `exesdb:store/history`: the history that a position belongs to, and the end that no position may exceed.

use std::sync::Arc;

use exesdb_storage::{HistoryChanged, HistoryId, Reader};

use crate::access::StoreAccess;
use crate::bindings::history::{Host, StoreHistory};
use crate::bindings::streams::Transaction;
use crate::bindings::types::{Direction, Error, HistoryChange};
use crate::names;
use crate::state::State;

impl Host for State {
    fn current(&mut self) -> Result<StoreHistory, Error> {
        let access = self.store_access()?;
        let reader = &access.reader;
        Ok(StoreHistory { id: reader.histories().current().id.0, end: reader.next_position() })
    }

    fn check(&mut self, next: u64, of: Option<u64>) -> Result<(), Error> {
        check(&self.store_access()?.reader, of.map(HistoryId), next)
    }
}

impl State {
    /// The access to the store's database.
    pub(super) fn store_access(&self) -> Result<Arc<StoreAccess>, Error> {
        let access = self.context.registry.get(&names::store(&self.context.store));
        access.ok_or_else(|| Error::Restarting("the store is being restarted".into()))
    }

    /// Fails if a forward read of the whole store begins beyond its end. A backward read may begin anywhere.
    pub(super) fn check_from(&self, from: Option<u64>, direction: Direction) -> Result<(), Error> {
        match (from, direction) {
            (Some(from), Direction::Forward) => check(&self.store_access()?.reader, None, from),
            (None, _) | (_, Direction::Backward) => Ok(()),
        }
    }

    /// Fails if a condition of a transaction names a position beyond the store's end.
    pub(super) fn check_conditions(&self, transaction: &Transaction) -> Result<(), Error> {
        let Some(after) = transaction.conditions.iter().filter_map(|condition| condition.after).max() else {
            return Ok(());
        };
        check(&self.store_access()?.reader, None, after.saturating_add(1))
    }
}

fn check(reader: &Reader, history: Option<HistoryId>, next: u64) -> Result<(), Error> {
    reader.histories().check(reader.next_position(), history, next).map_err(|changed| {
        let HistoryChanged { current, end } = changed;
        Error::HistoryChanged(HistoryChange { history: current.0, end })
    })
}
