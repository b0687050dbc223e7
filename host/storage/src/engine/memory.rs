//! The engine in memory: for tests, and for simulations of many replicas in one process.
//!
//! It has no threads, no clock and no chance, so what it does depends on nothing but the calls. It can forget what was not
//! made durable, as a disk does when power is lost, and fail on demand.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Engine, EngineRecord, KeyRange};
use crate::Slice;
use crate::engine_failure::EngineFailure;

/// What a store keeps, in memory. Clones share it, so a clone that is kept is the disk that outlives a replica.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

/// An operation of the engine that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryOperation {
    /// A read of the newest state or of a snapshot.
    Read,
    /// Creating a keyspace, or applying a record.
    Write,
    /// Making durable what was applied.
    Sync,
}

#[derive(Default)]
struct State {
    keyspaces: Vec<Table>,
    /// Number of records that were applied.
    records: u64,
    /// Those of them that are durable.
    synced: u64,
    /// The records that snapshots are of, each with the number of snapshots.
    held: BTreeMap<u64, usize>,
    /// How many more operations of each kind succeed; `None` if none fails.
    left: [Option<u64>; 3],
}

struct Table {
    name: Arc<str>,
    /// The versions of each key, the oldest first.
    entries: BTreeMap<Slice, Vec<Version>>,
}

/// What a record made of a key.
struct Version {
    record: u64,
    /// `None` if it was removed.
    value: Option<Slice>,
}

/// A handle of a keyspace in memory.
#[derive(Clone)]
pub struct MemoryKeyspace {
    name: Arc<str>,
    number: usize,
}

/// A record that is being put together.
#[derive(Default)]
pub struct MemoryRecord {
    changes: Vec<Change>,
    bytes: u64,
}

struct Change {
    keyspace: usize,
    key: Slice,
    value: Option<Slice>,
}

/// Everything as of one record.
pub struct MemorySnapshot {
    memory: Memory,
    record: u64,
}

/// The entries of a range in a snapshot. What was not read yet lies between both bounds.
pub struct MemoryRange {
    snapshot: MemorySnapshot,
    keyspace: usize,
    first: Bound<Slice>,
    last: Bound<Slice>,
}

impl Memory {
    /// An empty engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses power: of the records that are not durable, only the first `kept` are left. Whoever uses the engine must be
    /// gone.
    pub fn lose_power(&self, kept: u64) {
        let mut state = self.0.lock();
        let left = state.synced.saturating_add(kept).min(state.records);
        state.records = left;
        state.synced = left;
        for table in &mut state.keyspaces {
            table.entries.retain(|_, versions| {
                versions.retain(|version| version.record <= left);
                !versions.is_empty()
            });
        }
    }

    /// Makes operations of this kind fail, after the next `successes` of them.
    pub fn fail(&self, operation: MemoryOperation, successes: u64) {
        self.0.lock().left[operation as usize] = Some(successes);
    }

    /// Makes no operation fail any more.
    pub fn mend(&self) {
        self.0.lock().left = [None; 3];
    }

    /// Number of records that are not durable.
    #[must_use]
    pub fn unsynced(&self) -> u64 {
        let state = self.0.lock();
        state.records - state.synced
    }
}

impl State {
    fn pass(&mut self, operation: MemoryOperation) -> Result<(), EngineFailure> {
        match &mut self.left[operation as usize] {
            None => Ok(()),
            Some(0) => {
                let reason = format!("the memory was told to fail ({operation:?})");
                Err(EngineFailure { said: reason.clone(), reason, advice: "", is_damage: false })
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        self.records += 1;
        let record = self.records;
        // Older versions than this one may be asked for again: by a snapshot, or after a loss of power.
        let oldest = self.held.first_key_value().map_or(self.synced, |(held, _)| self.synced.min(*held));
        for Change { keyspace, key, value } in changes {
            let versions = self.keyspaces[keyspace].entries.entry(key).or_default();
            // Of two changes of one key the later counts.
            versions.pop_if(|version| version.record == record);
            let needless = versions.iter().rposition(|version| version.record <= oldest).unwrap_or(0);
            versions.drain(..needless);
            versions.push(Version { record, value });
        }
    }
}

impl Table {
    /// The value of a key as of a record.
    fn get(&self, key: &[u8], record: u64) -> Option<Slice> {
        value_of(self.entries.get(key)?, record)
    }
}

fn value_of(versions: &[Version], record: u64) -> Option<Slice> {
    versions.iter().rev().find(|version| version.record <= record)?.value.clone()
}

impl Engine for Memory {
    type Keyspace = MemoryKeyspace;
    type Snapshot = MemorySnapshot;
    type Range = MemoryRange;
    type Record = MemoryRecord;
    type Error = EngineFailure;

    fn name(keyspace: &MemoryKeyspace) -> &str {
        &keyspace.name
    }

    fn number(keyspace: &MemoryKeyspace) -> u64 {
        keyspace.number as u64
    }

    fn keyspace(&self, name: &str) -> Result<MemoryKeyspace, EngineFailure> {
        let mut state = self.0.lock();
        if let Some(number) = state.keyspaces.iter().position(|table| *table.name == *name) {
            return Ok(MemoryKeyspace { name: Arc::clone(&state.keyspaces[number].name), number });
        }
        state.pass(MemoryOperation::Write)?;
        let name: Arc<str> = name.into();
        let number = state.keyspaces.len();
        state.keyspaces.push(Table { name: Arc::clone(&name), entries: BTreeMap::new() });
        Ok(MemoryKeyspace { name, number })
    }

    fn get(&self, keyspace: &MemoryKeyspace, key: &[u8]) -> Result<Option<Slice>, EngineFailure> {
        let mut state = self.0.lock();
        state.pass(MemoryOperation::Read)?;
        Ok(state.keyspaces[keyspace.number].get(key, state.records))
    }

    fn contains(&self, keyspace: &MemoryKeyspace, key: &[u8]) -> Result<bool, EngineFailure> {
        self.get(keyspace, key).map(|value| value.is_some())
    }

    fn is_empty(&self, keyspace: &MemoryKeyspace, range: KeyRange<'_>) -> Result<bool, EngineFailure> {
        let mut state = self.0.lock();
        state.pass(MemoryOperation::Read)?;
        if is_exhausted(range) {
            return Ok(true);
        }
        let mut entries = state.keyspaces[keyspace.number].entries.range::<[u8], _>(range);
        Ok(!entries.any(|(_, versions)| value_of(versions, state.records).is_some()))
    }

    fn record(&self, _changes: usize) -> MemoryRecord {
        MemoryRecord::default()
    }

    /// Records are numbered by nothing that could be damaged.
    fn floor(&self) -> u64 {
        0
    }

    fn commit(&self, record: MemoryRecord) -> Result<u64, EngineFailure> {
        let mut state = self.0.lock();
        state.pass(MemoryOperation::Write)?;
        state.apply(record.changes);
        Ok(record.bytes)
    }

    fn sync(&self) -> Result<(), EngineFailure> {
        let mut state = self.0.lock();
        state.pass(MemoryOperation::Sync)?;
        state.synced = state.records;
        Ok(())
    }

    fn snapshot(&self) -> MemorySnapshot {
        let mut state = self.0.lock();
        let record = state.records;
        *state.held.entry(record).or_default() += 1;
        MemorySnapshot { memory: self.clone(), record }
    }

    fn get_in(
        snapshot: &MemorySnapshot,
        keyspace: &MemoryKeyspace,
        key: &[u8],
    ) -> Result<Option<Slice>, EngineFailure> {
        let mut state = snapshot.memory.0.lock();
        state.pass(MemoryOperation::Read)?;
        Ok(state.keyspaces[keyspace.number].get(key, snapshot.record))
    }

    fn range_in(snapshot: &MemorySnapshot, keyspace: &MemoryKeyspace, range: KeyRange<'_>) -> MemoryRange {
        let (first, last) = range;
        MemoryRange {
            snapshot: snapshot.clone(),
            keyspace: keyspace.number,
            first: first.map(Slice::from),
            last: last.map(Slice::from),
        }
    }
}

impl EngineRecord<MemoryKeyspace> for MemoryRecord {
    fn insert(&mut self, keyspace: &MemoryKeyspace, key: impl Into<Slice>, value: impl Into<Slice>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += (key.len() + value.len()) as u64;
        self.changes.push(Change { keyspace: keyspace.number, key, value: Some(value) });
    }

    fn remove(&mut self, keyspace: &MemoryKeyspace, key: impl Into<Slice>) {
        let key = key.into();
        self.bytes += key.len() as u64;
        self.changes.push(Change { keyspace: keyspace.number, key, value: None });
    }
}

impl Clone for MemorySnapshot {
    fn clone(&self) -> Self {
        *self.memory.0.lock().held.entry(self.record).or_default() += 1;
        Self { memory: self.memory.clone(), record: self.record }
    }
}

impl Drop for MemorySnapshot {
    fn drop(&mut self) {
        let mut state = self.memory.0.lock();
        if let Some(count) = state.held.get_mut(&self.record) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&self.record);
            }
        }
    }
}

impl MemoryRange {
    fn step(&mut self, from_back: bool) -> Option<Result<(Slice, Slice), EngineFailure>> {
        let bounds = (borrowed(&self.first), borrowed(&self.last));
        if is_exhausted(bounds) {
            return None;
        }
        let mut state = self.snapshot.memory.0.lock();
        if let Err(failure) = state.pass(MemoryOperation::Read) {
            return Some(Err(failure));
        }
        let record = self.snapshot.record;
        let mut entries = state.keyspaces[self.keyspace].entries.range::<[u8], _>(bounds);
        let visible = |(key, versions): (&Slice, &Vec<Version>)| {
            value_of(versions, record).map(|value| (key.clone(), value))
        };
        let found =
            if from_back { entries.rev().find_map(visible) } else { entries.by_ref().find_map(visible) };
        drop(state);
        let (key, value) = found?;
        if from_back {
            self.last = Bound::Excluded(key.clone());
        } else {
            self.first = Bound::Excluded(key.clone());
        }
        Some(Ok((key, value)))
    }
}

fn borrowed(bound: &Bound<Slice>) -> Bound<&[u8]> {
    bound.as_ref().map(|key| &**key)
}

/// Whether no key lies between the bounds. A map panics on bounds that exclude one key twice, or are the wrong way round.
fn is_exhausted((first, last): KeyRange<'_>) -> bool {
    match (first, last) {
        (Bound::Included(first), Bound::Included(last)) => first > last,
        (Bound::Included(first) | Bound::Excluded(first), Bound::Included(last) | Bound::Excluded(last)) => {
            first >= last
        }
        _ => false,
    }
}

impl Iterator for MemoryRange {
    type Item = Result<(Slice, Slice), EngineFailure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(false)
    }
}

impl DoubleEndedIterator for MemoryRange {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(true)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::ops::Bound;

    use super::{Memory, MemoryKeyspace, MemoryOperation};
    use crate::engine::{Engine, EngineRecord};

    fn put(memory: &Memory, keyspace: &MemoryKeyspace, key: &[u8], value: Option<&[u8]>) {
        let mut record = memory.record(1);
        match value {
            Some(value) => record.insert(keyspace, key, value),
            None => record.remove(keyspace, key),
        }
        memory.commit(record).unwrap();
    }

    fn keys(memory: &Memory, keyspace: &MemoryKeyspace) -> Vec<u8> {
        let range = (Bound::Unbounded, Bound::Unbounded);
        let entries = Memory::range_in(&memory.snapshot(), keyspace, range);
        entries.map(|entry| entry.unwrap().0[0]).collect()
    }

    #[test]
    fn a_snapshot_sees_what_was_there_when_it_was_taken() {
        let memory = Memory::new();
        let keyspace = memory.keyspace("a").unwrap();
        put(&memory, &keyspace, b"k", Some(b"1"));
        let before = memory.snapshot();
        for value in [b"2", b"3"] {
            put(&memory, &keyspace, b"k", Some(value));
        }
        put(&memory, &keyspace, b"k", None);
        assert_eq!(Memory::get_in(&before, &keyspace, b"k").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(memory.get(&keyspace, b"k").unwrap(), None);
        drop(before);
        memory.sync().unwrap();
        put(&memory, &keyspace, b"k", Some(b"4"));
        let versions = memory.0.lock().keyspaces[0].entries[&b"k"[..]].len();
        assert_eq!(versions, 2, "nobody can ask for the older ones");
    }

    #[test]
    fn a_range_is_read_from_both_ends_and_ends_in_the_middle() {
        let memory = Memory::new();
        let keyspace = memory.keyspace("a").unwrap();
        for key in 0..6 {
            put(&memory, &keyspace, &[key], Some(b"v"));
        }
        put(&memory, &keyspace, &[3], None);
        let bounds = (Bound::Included(&[1][..]), Bound::Excluded(&[5][..]));
        let mut range = Memory::range_in(&memory.snapshot(), &keyspace, bounds);
        let mut key = |entry: fn(&mut super::MemoryRange) -> Option<_>| {
            entry(&mut range)
                .map(|entry: Result<(crate::Slice, _), crate::EngineFailure>| entry.unwrap().0[0])
        };
        assert_eq!(key(Iterator::next), Some(1));
        assert_eq!(key(DoubleEndedIterator::next_back), Some(4));
        assert_eq!(key(DoubleEndedIterator::next_back), Some(2));
        assert_eq!(key(Iterator::next), None);
        assert_eq!(key(DoubleEndedIterator::next_back), None);
        let nothing = (Bound::Excluded(&[1][..]), Bound::Excluded(&[1][..]));
        assert!(memory.is_empty(&keyspace, nothing).unwrap());
    }

    #[test]
    fn a_loss_of_power_leaves_what_is_durable_and_a_prefix_of_the_rest() {
        for (kept, expected) in [(0, vec![1]), (1, vec![1, 2]), (2, vec![1, 2, 3]), (9, vec![1, 2, 3])] {
            let memory = Memory::new();
            let keyspace = memory.keyspace("a").unwrap();
            put(&memory, &keyspace, &[1], Some(b"v"));
            memory.sync().unwrap();
            put(&memory, &keyspace, &[2], Some(b"v"));
            put(&memory, &keyspace, &[3], Some(b"v"));
            assert_eq!(memory.unsynced(), 2);
            memory.lose_power(kept);
            assert_eq!(keys(&memory, &keyspace), expected);
            assert_eq!(memory.unsynced(), 0);
            put(&memory, &keyspace, &[9], Some(b"v"));
            assert_eq!(keys(&memory, &keyspace), [expected, vec![9]].concat());
        }
    }

    #[test]
    fn operations_fail_on_demand() {
        let memory = Memory::new();
        let keyspace = memory.keyspace("a").unwrap();
        memory.fail(MemoryOperation::Read, 1);
        assert!(memory.get(&keyspace, b"k").is_ok());
        assert!(memory.get(&keyspace, b"k").is_err());
        memory.fail(MemoryOperation::Write, 0);
        memory.fail(MemoryOperation::Sync, 0);
        assert!(memory.keyspace("b").is_err());
        assert!(memory.commit(memory.record(0)).is_err());
        assert!(memory.sync().is_err());
        memory.mend();
        assert!(memory.get(&keyspace, b"k").is_ok() && memory.sync().is_ok());
    }
}
