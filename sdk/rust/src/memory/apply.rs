//! Applying batches.

use std::fmt;

use exesdb_packed::{Envelope, Frames, Record};

use super::{Logged, MemoryStore, State, link_of};
use crate::batch::{BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, STAMP_BYTES};
use crate::types::{Batch, Changes, Guard, Position};

/// Why a batch was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// The guard with this index does not hold.
    GuardFailed(usize),
    /// The batch breaks a rule or a limit.
    Refused(String),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GuardFailed(guard) => write!(out, "guard {guard} does not hold"),
            Self::Refused(reason) => out.write_str(reason),
        }
    }
}

impl std::error::Error for ApplyError {}

/// A put of a batch, where it lies.
struct Put<'a> {
    key: &'a [u8],
    value: &'a [u8],
    /// Offset and index of the stamps of the key, then of the value.
    stamps: [Vec<(usize, u64)>; 2],
}

impl MemoryStore {
    /// Applies a batch. Returns its first position.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; then nothing was applied.
    pub fn apply(&self, batch: &Batch) -> Result<Position, ApplyError> {
        let mut state = self.state.borrow_mut();
        let records = state.check(batch).map_err(ApplyError::Refused)?;
        if let Some(failed) = batch.guards.iter().position(|guard| !state.holds(guard)) {
            return Err(ApplyError::GuardFailed(failed));
        }
        let first = state.next_position;
        for Changes { keyspace, puts, deletes } in &batch.changes {
            let map = state.keyspaces.entry(keyspace.clone()).or_default();
            let mut rest = &puts[..];
            while let Some((put, after)) = split_put(rest) {
                let [in_key, in_value] = &put.stamps;
                map.insert(stamped(put.key, in_key, first), stamped(put.value, in_value, first));
                rest = after;
            }
            for key in deletes {
                map.remove(key);
            }
        }
        for record in records {
            state.append(&record);
        }
        for position in &batch.removes {
            if let Some(Logged::Event { link, .. }) = state.log.get(position) {
                let link = *link;
                state.log.insert(*position, Logged::Removed { link });
            }
        }
        Ok(first)
    }
}

impl State {
    fn append(&mut self, record: &Record<'_>) {
        let position = self.next_position;
        self.chain = link_of(self.chain, position, record);
        let logged = match record {
            Record::Event(envelope) => Logged::Event { envelope: (*envelope).to_owned(), link: self.chain },
            Record::Gap { positions } => Logged::Gap { positions: *positions },
            Record::Removed { .. } => unreachable!("the batch was checked"),
        };
        self.next_position += logged.positions();
        self.log.insert(position, logged);
    }

    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::Absent(location) => self.value(&location.keyspace, &location.key).is_none(),
            Guard::Equals(expected) => self.value(&expected.keyspace, &expected.key) == Some(&expected.value),
            Guard::Empty(range) => self.range(range).is_empty(),
            Guard::LogEndsAt(position) => self.next_position == *position,
        }
    }

    /// Checks a batch as the host does. Returns its records.
    fn check<'a>(&self, batch: &'a Batch) -> Result<Vec<Record<'a>>, String> {
        let mut records = Vec::new();
        let mut positions = 0_u64;
        for frame in Frames::new(&batch.log) {
            let record = frame.map_err(|broken| broken.to_string())?.record;
            positions += match record {
                Record::Event(envelope) => {
                    Envelope::read(envelope).map_err(|broken| broken.to_string())?;
                    1
                }
                Record::Gap { positions } => positions,
                Record::Removed { .. } => return Err("a removed event cannot be appended".into()),
            };
            records.push(record);
        }
        let (mut entries, mut bytes) = (0, batch.log.len());
        for changes in &batch.changes {
            entries += check_changes(changes, positions)?;
            bytes += changes.puts.len();
        }
        if let Some(removed) = batch.removes.iter().find(|position| **position >= self.next_position) {
            return Err(format!("position {removed} has no event that could be removed"));
        }
        if entries > BATCH_ENTRIES_MAX {
            return Err(format!("{entries} entries, over the limit of {BATCH_ENTRIES_MAX}"));
        }
        if bytes > BATCH_BYTES_MAX {
            return Err(format!("{bytes} bytes, over the limit of {BATCH_BYTES_MAX}"));
        }
        Ok(records)
    }
}

/// Checks the changes of one keyspace. Returns their number.
fn check_changes(changes: &Changes, positions: u64) -> Result<usize, String> {
    let mut count = changes.deletes.len();
    let mut rest = &changes.puts[..];
    while !rest.is_empty() {
        let (put, after) = split_put(rest).ok_or("a put is broken")?;
        if put.key.is_empty() {
            return Err("a key is empty".into());
        }
        for (stamps, bytes) in put.stamps.iter().zip([put.key, put.value]) {
            if let Some((at, index)) =
                stamps.iter().find(|(at, index)| at + STAMP_BYTES > bytes.len() || *index >= positions)
            {
                return Err(format!("the stamp of index {index} at {at} leads out of the batch"));
            }
        }
        count += 1;
        rest = after;
    }
    if changes.deletes.iter().any(Vec::is_empty) {
        return Err("a key is empty".into());
    }
    Ok(count)
}

fn split_put(bytes: &[u8]) -> Option<(Put<'_>, &[u8])> {
    let (head, mut rest) = bytes.split_first_chunk::<12>()?;
    let length = |at: usize| {
        usize::try_from(u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"))).ok()
    };
    let count = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let mut stamps = [Vec::new(), Vec::new()];
    for (stamps, count) in stamps.iter_mut().zip([count(8), count(10)]) {
        for _ in 0..count {
            let (stamp, after) = rest.split_first_chunk::<8>()?;
            let [at, index] = [0, 4]
                .map(|from: usize| u32::from_le_bytes(stamp[from..from + 4].try_into().expect("four bytes")));
            stamps.push((usize::try_from(at).ok()?, u64::from(index)));
            rest = after;
        }
    }
    let (key, rest) = rest.split_at_checked(length(0)?)?;
    let (value, rest) = rest.split_at_checked(length(4)?)?;
    Some((Put { key, value, stamps }, rest))
}

fn stamped(bytes: &[u8], stamps: &[(usize, u64)], first: Position) -> Vec<u8> {
    let mut bytes = bytes.to_owned();
    for (at, index) in stamps {
        bytes[*at..*at + STAMP_BYTES].copy_from_slice(&(first + index).to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{ApplyError, MemoryStore};
    use crate::batch::{BatchBuilder, Stamp, Stamped};
    use crate::events::EventData;
    use crate::view::View;

    fn envelope(id: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        EventData { id: id.into(), ..EventData::default() }.parts("s", 0, 0).push(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn stamps_are_positions_of_the_batch() {
        let store = MemoryStore::new();
        for (first, key) in [(0_u64, b"a"), (12, b"b")] {
            let mut batch = BatchBuilder::new();
            batch.append_event(&envelope("x"), 0, 1).unwrap();
            batch.append_gap(10);
            let index = batch.append_event(&envelope("y"), 1, 1).unwrap();
            let value = Stamped { bytes: &[7; 9], stamps: &[Stamp { at: 1, index }] };
            batch.put_stamped("k", Stamped::from(&key[..]), value);
            assert_eq!(store.apply(&batch.build()), Ok(first));
            let value = store.view().get("k", key).unwrap().unwrap();
            assert_eq!(value[1..], (first + 11).to_be_bytes());
        }
        assert_eq!(store.view().end().next_position, 24);
    }

    /// The rule B4.
    #[test]
    fn of_two_writes_to_one_key_the_later_counts() {
        let store = MemoryStore::new();
        let mut batch = BatchBuilder::new();
        batch.put("k", b"a", b"1");
        batch.put("k", b"a", b"2");
        batch.put("k", b"b", b"3");
        batch.delete("k", b"b");
        assert_eq!(store.apply(&batch.build()), Ok(0));
        let view = store.view();
        assert_eq!((view.get("k", b"a"), view.get("k", b"b")), (Ok(Some(b"2".to_vec())), Ok(None)));
    }

    #[test]
    fn a_batch_whose_guard_fails_changes_nothing() {
        let store = MemoryStore::new();
        let put = |guard: &dyn Fn(&mut BatchBuilder)| {
            let mut batch = BatchBuilder::new();
            batch.require("k", b"never", None);
            guard(&mut batch);
            batch.append_event(&envelope("x"), 0, 1).unwrap();
            batch.put("k", b"a", b"1");
            store.apply(&batch.build())
        };
        assert_eq!(put(&|batch| batch.require("k", b"a", None)), Ok(0));
        let failed = Err(ApplyError::GuardFailed(1));
        assert_eq!(put(&|batch| batch.require("k", b"a", None)), failed);
        assert_eq!(put(&|batch| batch.require("k", b"a", Some(b"2"))), failed);
        assert_eq!(put(&|batch| batch.require_empty(crate::view::prefix_range("k", b""))), failed);
        assert_eq!(put(&|batch| batch.require_end(0)), failed);
        assert_eq!(store.view().end().next_position, 1);
        assert_eq!(put(&|batch| batch.require_end(1)), Ok(1));
    }

    #[test]
    fn what_breaks_the_contract_is_refused() {
        let refused = |change: &dyn Fn(&mut BatchBuilder)| {
            let mut batch = BatchBuilder::new();
            change(&mut batch);
            matches!(MemoryStore::new().apply(&batch.build()), Err(ApplyError::Refused(_)))
        };
        assert!(!refused(&|_| ()));
        assert!(refused(&|batch| batch.put("k", b"", b"")));
        assert!(refused(&|batch| batch.delete("k", b"")));
        assert!(refused(&|batch| batch.remove_event(0)));
        let stamp = |at, index| {
            move |batch: &mut BatchBuilder| {
                batch.append_gap(1);
                let key = Stamped { bytes: &[0; 8], stamps: &[Stamp { at, index }] };
                batch.put_stamped("k", key, Stamped::from(&[][..]));
            }
        };
        assert!(!refused(&stamp(0, 0)));
        assert!(refused(&stamp(1, 0)) && refused(&stamp(0, 1)));
    }
}
