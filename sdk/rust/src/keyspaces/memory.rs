//! Keyspaces in memory with the host's semantics, for tests of components.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::{
    Batch, BatchError, ChainHash, Committed, Direction, EndOfLog, Entry, Error, GET_MANY_KEYS_MAX, Guard,
    Keyspaces, Operation, Page, Position, Put, READ_BYTES_MAX, Range, STAMP_BYTES, Stamp, chain_link,
};

/// The host's limit for the bytes of keys and values of one batch.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// The host's limit for the number of operations of one batch.
const BATCH_OPERATIONS_MAX: usize = 40_000;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keyspaces in memory. Commits are durable at once.
#[derive(Debug, Default)]
pub struct MemoryKeyspaces {
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    keyspaces: BTreeMap<String, Map>,
    /// The position of the next event.
    position: Position,
    /// The link of the last chained value.
    chain: ChainHash,
}

impl MemoryKeyspaces {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a value without a commit, for tests of damaged data.
    pub fn overwrite(&self, keyspace: &str, key: &[u8], value: &[u8]) {
        self.state
            .borrow_mut()
            .keyspaces
            .entry(keyspace.to_owned())
            .or_default()
            .insert(key.to_owned(), value.to_owned());
    }

    /// Removes a key without a commit, for tests of damaged data.
    pub fn remove(&self, keyspace: &str, key: &[u8]) {
        if let Some(map) = self.state.borrow_mut().keyspaces.get_mut(keyspace) {
            map.remove(key);
        }
    }

    /// The entries of a keyspace in order.
    #[must_use]
    pub fn entries(&self, keyspace: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let state = self.state.borrow();
        state
            .keyspaces
            .get(keyspace)
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

impl Keyspaces for MemoryKeyspaces {
    fn get(&self, keyspace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.state.borrow().value(keyspace, key).cloned())
    }

    fn get_many(
        &self,
        keyspace: &str,
        keys: &[Vec<u8>],
        max_bytes: u32,
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        if keys.len() > GET_MANY_KEYS_MAX {
            return Err(Error::Invalid(format!(
                "{} keys, over the limit of {GET_MANY_KEYS_MAX}",
                keys.len()
            )));
        }
        let state = self.state.borrow();
        let mut room = Room::new(max_bytes);
        let values = keys.iter().map(|key| state.value(keyspace, key).cloned());
        Ok(values.take_while(|value| room.takes(value.as_ref().map_or(0, Vec::len))).collect())
    }

    fn scan(&self, range: &Range, direction: Direction, limit: u32, max_bytes: u32) -> Result<Page, Error> {
        if limit == 0 {
            return Err(Error::Invalid("a limit of 0 entries".into()));
        }
        let state = self.state.borrow();
        let mut all = state.range(range);
        if direction == Direction::Backward {
            all.reverse();
        }
        let mut room = Room::new(max_bytes);
        let entries: Vec<Entry> = all
            .iter()
            .take(limit as usize)
            .take_while(|(key, value)| room.takes(key.len() + value.len()))
            .map(|(key, value)| Entry { key: (*key).clone(), value: (*value).clone() })
            .collect();
        let more = entries.len() < all.len();
        Ok(Page { entries, more })
    }

    fn commit(&self, batches: &[Batch]) -> Result<Vec<Result<Committed, BatchError>>, Error> {
        let mut state = self.state.borrow_mut();
        Ok(batches.iter().map(|batch| state.apply(batch)).collect())
    }

    fn durable_position(&self) -> Result<Position, Error> {
        Ok(self.state.borrow().position)
    }

    fn log_end(&self) -> Result<EndOfLog, Error> {
        let state = self.state.borrow();
        Ok(EndOfLog { next_position: state.position, chain: state.chain })
    }
}

impl State {
    fn value(&self, keyspace: &str, key: &[u8]) -> Option<&Vec<u8>> {
        self.keyspaces.get(keyspace)?.get(key)
    }

    fn range(&self, range: &Range) -> Vec<(&Vec<u8>, &Vec<u8>)> {
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Vec::new();
        }
        let end = range.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.keyspaces
            .get(&range.keyspace)
            .into_iter()
            .flat_map(|map| map.range::<Vec<u8>, _>((Bound::Included(&range.start), end)))
            .collect()
    }

    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::Absent(location) => self.value(&location.keyspace, &location.key).is_none(),
            Guard::Equals(expected) => self.value(&expected.keyspace, &expected.key) == Some(&expected.value),
            Guard::Empty(range) => self.range(range).is_empty(),
        }
    }

    fn apply(&mut self, batch: &Batch) -> Result<Committed, BatchError> {
        check(batch)?;
        if let Some(failed) = batch.guards.iter().position(|guard| !self.holds(guard)) {
            return Err(BatchError::GuardFailed(u32::try_from(failed).expect("guards are few")));
        }
        let first_position = self.position;
        for operation in &batch.operations {
            match operation {
                Operation::Put(put) => {
                    let key = stamped(&put.key, &put.key_stamps, first_position);
                    let mut value = stamped(&put.value, &put.value_stamps, first_position);
                    if let Some(Stamp { at, .. }) = put.chain {
                        let at = at as usize;
                        self.chain = chain_link(self.chain, &key, &value, at).expect("the hole was checked");
                        value[at..at + STAMP_BYTES].copy_from_slice(&self.chain.to_be_bytes());
                    }
                    self.keyspaces.entry(put.keyspace.clone()).or_default().insert(key, value);
                }
                Operation::Delete(location) => {
                    if let Some(map) = self.keyspaces.get_mut(&location.keyspace) {
                        map.remove(&location.key);
                    }
                }
            }
        }
        self.position += u64::from(batch.events);
        Ok(Committed { first_position })
    }
}

fn check(batch: &Batch) -> Result<(), BatchError> {
    if batch.operations.len() > BATCH_OPERATIONS_MAX {
        return Err(BatchError::TooLarge(format!(
            "{} operations, over the limit of {BATCH_OPERATIONS_MAX}",
            batch.operations.len()
        )));
    }
    let mut bytes = 0;
    let mut next_chained = 0;
    for operation in &batch.operations {
        let Operation::Put(Put { key, value, key_stamps, value_stamps, chain, .. }) = operation else {
            continue;
        };
        bytes += key.len() + value.len();
        if key.is_empty() {
            return Err(BatchError::Invalid("a key is empty".into()));
        }
        let in_value = value_stamps.iter().chain(chain).map(|stamp| (value, stamp));
        for (bytes, stamp) in key_stamps.iter().map(|stamp| (key, stamp)).chain(in_value) {
            if stamp.event >= batch.events || stamp.at as usize + STAMP_BYTES > bytes.len() {
                return Err(BatchError::Invalid(format!("{stamp:?} lies outside of {} bytes", bytes.len())));
            }
        }
        if let Some(Stamp { event, .. }) = chain {
            if *event < next_chained {
                return Err(BatchError::Invalid(format!("event {event} is chained out of order")));
            }
            next_chained = event + 1;
        }
    }
    if bytes > BATCH_BYTES_MAX {
        return Err(BatchError::TooLarge(format!("{bytes} bytes, over the limit of {BATCH_BYTES_MAX}")));
    }
    Ok(())
}

fn stamped(bytes: &[u8], stamps: &[Stamp], first_position: Position) -> Vec<u8> {
    let mut bytes = bytes.to_owned();
    for stamp in stamps {
        let at = stamp.at as usize;
        let position = first_position + u64::from(stamp.event);
        bytes[at..at + STAMP_BYTES].copy_from_slice(&position.to_be_bytes());
    }
    bytes
}

/// The bytes that still fit into a page.
struct Room {
    left: usize,
    empty: bool,
}

impl Room {
    fn new(max_bytes: u32) -> Self {
        Self { left: max_bytes.min(READ_BYTES_MAX) as usize, empty: true }
    }

    /// Whether the next entry fits. The first one always does.
    fn takes(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.left || self.empty;
        self.empty = false;
        self.left = self.left.saturating_sub(bytes);
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        BatchBuilder, BatchError, Direction, EndOfLog, Keyspaces, Put, chain_link, prefix_range, stamp,
    };
    use super::MemoryKeyspaces;

    #[test]
    fn stamps_are_filled_and_positions_are_dense() {
        let store = MemoryKeyspaces::new();
        let batch = |tag: u8| {
            let mut batch = BatchBuilder::new();
            for _ in 0..2 {
                let event = batch.add_event();
                batch.put_stamped(Put {
                    keyspace: "events".into(),
                    key: vec![0; 8],
                    value: vec![tag; 9],
                    key_stamps: vec![stamp(0, event)],
                    value_stamps: vec![stamp(1, event)],
                    chain: None,
                });
            }
            batch.build()
        };
        let outcome = store.commit(&[batch(7), batch(8)]).unwrap();
        assert_eq!(outcome[1].as_ref().unwrap().first_position, 2);
        let (key, value) = store.entries("events").pop().unwrap();
        assert_eq!(key, 3_u64.to_be_bytes());
        assert_eq!(value, [8, 0, 0, 0, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn each_link_can_be_verified_from_the_previous_one() {
        let store = MemoryKeyspaces::new();
        for text in [b"one", b"two"] {
            let mut batch = BatchBuilder::new();
            let event = batch.add_event();
            batch.put_stamped(Put {
                keyspace: "events".into(),
                key: vec![0; 8],
                value: [&text[..], &[7; 8]].concat(),
                key_stamps: vec![stamp(0, event)],
                value_stamps: Vec::new(),
                chain: Some(stamp(3, event)),
            });
            store.commit(&[batch.build()]).unwrap()[0].as_ref().unwrap();
        }
        let mut link = 0;
        for (key, value) in store.entries("events") {
            link = chain_link(link, &key, &value, 3).unwrap();
            assert_eq!(value[3..], link.to_be_bytes());
        }
        assert_eq!(store.log_end().unwrap(), EndOfLog { next_position: 2, chain: link });
        assert_eq!(chain_link(0, b"", &[0; 8], 1), None);
        assert_eq!(chain_link(0, b"", &[0; 8], usize::MAX), None);
    }

    #[test]
    fn a_failed_guard_stops_only_its_batch() {
        let store = MemoryKeyspaces::new();
        let put = |key: &[u8], old: Option<&[u8]>| {
            let mut batch = BatchBuilder::new();
            batch.require("a", key, old);
            batch.put("a", key, *b"x");
            batch.build()
        };
        let outcome =
            store.commit(&[put(b"1", None), put(b"1", None), put(b"1", Some(b"x")), put(b"2", Some(b"x"))]);
        let outcome = outcome.unwrap();
        assert!(outcome[0].is_ok() && outcome[2].is_ok());
        assert_eq!(outcome[1], Err(BatchError::GuardFailed(0)));
        assert_eq!(outcome[3], Err(BatchError::GuardFailed(0)));
        assert_eq!(store.entries("a").len(), 1);
    }

    #[test]
    fn a_page_has_at_least_one_entry_and_no_more_than_fit() {
        let store = MemoryKeyspaces::new();
        for key in [b"p1", b"p2", b"p3", b"q1"] {
            store.overwrite("a", key, &[0; 10]);
        }
        let range = prefix_range("a", b"p");
        let keys = |direction, limit, max_bytes| {
            let page = store.scan(&range, direction, limit, max_bytes).unwrap();
            let keys: Vec<_> =
                page.entries.into_iter().map(|entry| String::from_utf8(entry.key).unwrap()).collect();
            (keys.join(" "), page.more)
        };
        assert_eq!(keys(Direction::Forward, 9, 99), ("p1 p2 p3".into(), false));
        assert_eq!(keys(Direction::Forward, 2, 99), ("p1 p2".into(), true));
        assert_eq!(keys(Direction::Forward, 9, 1), ("p1".into(), true));
        assert_eq!(keys(Direction::Backward, 9, 24), ("p3 p2".into(), true));
        let all = store.get_many("a", &[b"p1".to_vec(), b"no".to_vec(), b"p2".to_vec()], 15).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(store.get_all("a", &[b"p1".to_vec(), b"no".to_vec(), b"p2".to_vec()]).unwrap().len(), 3);
    }
}
