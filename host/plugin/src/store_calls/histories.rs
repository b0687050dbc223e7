//! Whether the positions that a client has seen still mean the same (the rules Q1, Q2 and Q5).

use exesdb_storage::{HistoryChanged, HistoryId, Reader};

use super::{POLL, StoreCalls};
use crate::bindings::store::places::Direction;
use crate::bindings::store::types::{AppendCondition, Error, HistoryChange, Selection, Source};

/// Fails if a condition of a write was decided on positions that are not in the store's history. `histories` has the history
/// of each, or is empty.
pub(super) fn check_conditions(
    reader: &Reader,
    conditions: &[AppendCondition],
    histories: &[Option<u64>],
) -> Result<(), Error> {
    for (index, condition) in conditions.iter().enumerate() {
        let Some(after) = condition.after else { continue };
        let history = histories.get(index).copied().flatten().map(HistoryId);
        check(reader, reader.next_position(), history, after.saturating_add(1))?;
    }
    Ok(())
}

/// Fails if a read of the whole store begins where it has no past.
pub(super) fn check_from(
    reader: &Reader,
    history: Option<HistoryId>,
    selection: &Selection,
) -> Result<(), Error> {
    match seen(selection, history.is_some()) {
        Some(next) => check(reader, reader.next_position(), history, next),
        None => Ok(()),
    }
}

/// The position before which the client of a read has seen all events; none if the read does not say. A backward read without a
/// history may begin anywhere.
fn seen(selection: &Selection, has_history: bool) -> Option<u64> {
    let Source::All(all) = &selection.source else { return None };
    match (selection.direction, all.from) {
        (Direction::Forward, from) => from,
        (Direction::Backward, Some(from)) if has_history => Some(from.saturating_add(1)),
        (Direction::Backward, _) => None,
    }
}

impl StoreCalls {
    /// Waits until everything below `position` is readable. Fails for a position that the store has not given.
    pub(super) async fn readable(&self, history: Option<HistoryId>, position: u64) -> Result<(), Error> {
        loop {
            let access = self.access()?;
            let readable = access.reader().next_position();
            if position <= readable {
                return check(&access.reader(), readable, history, position);
            }
            // What was given and is not readable yet will be, within a sync.
            check(&access.reader(), access.reader().applied().next_position(), history, position)?;
            drop(access);
            // A wake-up only shortens the wait: that the position is readable is read.
            match self.news(None, position - 1) {
                Ok(news) => news.within(POLL).await,
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }
}

fn check(reader: &Reader, end: u64, history: Option<HistoryId>, next: u64) -> Result<(), Error> {
    reader.histories().check(end, history, next).map_err(|HistoryChanged { current, end }| {
        Error::HistoryChanged(HistoryChange { history_id: current.0, end })
    })
}

#[cfg(test)]
mod tests {
    use super::seen;
    use crate::bindings::store::places::Direction;
    use crate::bindings::store::types::{AllSelection, Selection, Source, StreamSelection};

    #[test]
    fn a_read_says_what_its_client_has_seen() {
        let all = |direction, from| Selection {
            source: Source::All(AllSelection { from, until: None }),
            direction,
            count: 1,
            max_bytes: 1,
            options: Vec::new(),
        };
        let stream = Source::OneStream(StreamSelection { stream_id: "s".into(), from: Some(9) });
        // The read, with and without a history.
        for (selection, with, without) in [
            (all(Direction::Forward, Some(7)), Some(7), Some(7)),
            (all(Direction::Forward, None), None, None),
            (all(Direction::Backward, Some(7)), Some(8), None),
            (all(Direction::Backward, Some(u64::MAX)), Some(u64::MAX), None),
            (all(Direction::Backward, None), None, None),
            (Selection { source: stream, ..all(Direction::Forward, None) }, None, None),
        ] {
            assert_eq!((seen(&selection, true), seen(&selection, false)), (with, without), "{selection:?}");
        }
    }
}
