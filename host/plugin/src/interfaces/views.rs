//! `exesdb:storage/views`: one state of the store, as a resource that lives as long as the call that it is given to.

use exesdb_storage as storage;
use wasmtime::component::Resource;

use crate::bindings::store::places::{Direction, EndOfLog, Range};
use crate::bindings::store::views::{Error, Host, HostView, LogPage, Page};
use crate::state::State;
use crate::view::View;

/// Bytes that one read may return, as the interface says.
const PAGE_BYTES_MAX: u32 = 8 << 20;

/// Keys of one `get-many`, and positions of one `log-get`: two for each of a list's thousand requests.
const KEYS_MAX: usize = 2_000;

impl State {
    /// Reads of a view; off the runtime's threads while the disk is slow.
    fn read_view<T>(
        &mut self,
        view: &Resource<View>,
        read: impl FnOnce(&storage::Snapshot, &str) -> Result<T, storage::ReadError>,
    ) -> Result<T, Error> {
        let owner = self.context.role;
        let mut reads = std::mem::take(&mut self.reads);
        let snapshot = self.view(view).snapshot.clone();
        let found = reads.read(|| read(&snapshot, owner));
        self.reads = reads;
        found.map_err(|error| match error {
            storage::ReadError::Invalid(reason) => Error::Invalid(reason),
            storage::ReadError::Engine { owner, keyspace, failure } if failure.is_damage => {
                Error::Damaged(self.context.report_damage(&format!("{owner}.{keyspace}"), &failure))
            }
            storage::ReadError::Closed => Error::Unavailable(error.to_string()),
            storage::ReadError::Engine { .. } => Error::Other(error.to_string()),
        })
    }
}

impl Host for State {}

impl HostView for State {
    fn get(
        &mut self,
        view: Resource<View>,
        keyspace: String,
        key: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let value = self.read_view(&view, |snapshot, owner| snapshot.get(owner, &keyspace, &key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn get_many(
        &mut self,
        view: Resource<View>,
        keyspace: String,
        keys: Vec<Vec<u8>>,
        max_bytes: u32,
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        check_count("keys", keys.len())?;
        let max_bytes = max_bytes.min(PAGE_BYTES_MAX) as usize;
        let values =
            self.read_view(&view, |snapshot, owner| snapshot.get_many(owner, &keyspace, &keys, max_bytes))?;
        Ok(values.into_iter().map(|value| value.map(|value| value.to_vec())).collect())
    }

    fn scan(
        &mut self,
        view: Resource<View>,
        range: Range,
        direction: Direction,
        limit: u32,
        max_bytes: u32,
    ) -> Result<Page, Error> {
        let scan = storage::Scan {
            keyspace: range.keyspace,
            start: range.start,
            end: range.end,
            direction: direction_of(direction),
            limit: limit as usize,
            max_bytes: max_bytes.min(PAGE_BYTES_MAX) as usize,
        };
        let page = self.read_view(&view, |snapshot, owner| snapshot.scan(owner, &scan))?;
        Ok(Page { entries: packed(&page.entries), more: page.more })
    }

    fn log_read(
        &mut self,
        view: Resource<View>,
        from: Option<u64>,
        direction: Direction,
        limit: u32,
        max_bytes: u32,
    ) -> Result<LogPage, Error> {
        let read = storage::LogRead {
            from,
            direction: direction_of(direction),
            limit: limit as usize,
            max_bytes: max_bytes.min(PAGE_BYTES_MAX) as usize,
        };
        let page = self.read_view(&view, |snapshot, _| snapshot.log_read(&read))?;
        Ok(LogPage { frames: page.frames, next: page.next })
    }

    fn log_get(
        &mut self,
        view: Resource<View>,
        positions: Vec<u64>,
        max_bytes: u32,
    ) -> Result<Vec<u8>, Error> {
        check_count("positions", positions.len())?;
        let max_bytes = max_bytes.min(PAGE_BYTES_MAX) as usize;
        self.read_view(&view, |snapshot, _| snapshot.log_get(&positions, max_bytes))
    }

    fn end(&mut self, view: Resource<View>) -> EndOfLog {
        let snapshot = &self.view(&view).snapshot;
        let head = snapshot.head();
        EndOfLog {
            next_position: head.next_position,
            chain: head.chain,
            history_id: snapshot.histories().current().id.0,
        }
    }

    fn now(&mut self, view: Resource<View>) -> u64 {
        self.view(&view).now
    }

    fn drop(&mut self, view: Resource<View>) -> wasmtime::Result<()> {
        self.drop_view(view)
    }
}

fn check_count(what: &str, count: usize) -> Result<(), Error> {
    if count <= KEYS_MAX {
        return Ok(());
    }
    Err(Error::Invalid(format!("{count} {what}, over the limit of {KEYS_MAX}; ask in parts")))
}

fn direction_of(direction: Direction) -> storage::Direction {
    match direction {
        Direction::Forward => storage::Direction::Forward,
        Direction::Backward => storage::Direction::Backward,
    }
}

/// Entries as one list of bytes.
fn packed(entries: &[(storage::Slice, storage::Slice)]) -> Vec<u8> {
    let bytes = entries.iter().map(|(key, value)| 8 + key.len() + value.len()).sum();
    let mut packed = Vec::with_capacity(bytes);
    for (key, value) in entries {
        for length in [key.len(), value.len()] {
            let length = u32::try_from(length).expect("the storage bounds keys and values");
            packed.extend_from_slice(&length.to_le_bytes());
        }
        packed.extend_from_slice(key);
        packed.extend_from_slice(value);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::packed;

    #[test]
    fn entries_are_packed_with_their_lengths() {
        let entries = [(b"k".into(), b"value".into()), (b"key".into(), b"".into())];
        assert_eq!(packed(&entries), b"\x01\0\0\0\x05\0\0\0kvalue\x03\0\0\0\0\0\0\0key");
        assert!(packed(&[]).is_empty());
    }
}
