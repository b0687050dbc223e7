//! A log in memory, for tests and simulations. It forgets in a crash what was not synced.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{GroupLog, LogFailure, LogState, Noted, Synced};

/// When records are synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syncs {
    /// At once.
    #[default]
    AtOnce,
    /// So long after the first record that waits, on the runtime's clock.
    After(Duration),
    /// Only by [`MemoryLog::sync`].
    ByHand,
}

/// The part of one group in a log in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryLog {
    syncs: Syncs,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// What the disk has.
    durable: Contents,
    /// What was accepted.
    accepted: Contents,
    /// What was accepted since the last sync.
    unsynced: Vec<Change>,
    waiting: Vec<Synced>,
    failed: Option<LogFailure>,
    /// It takes no entries.
    is_full: bool,
}

#[derive(Clone, Default)]
struct Contents {
    state: Option<Bytes>,
    purged: Option<Noted>,
    committed: Option<Noted>,
    next: Option<u64>,
    entries: BTreeMap<u64, Bytes>,
}

enum Change {
    Append { first: u64, entries: Vec<Bytes> },
    State(Bytes),
    Truncate { from: u64 },
    Purge(Noted),
    Committed(Noted),
}

impl Contents {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Append { first, entries } => {
                self.next = Some(first + entries.len() as u64);
                self.entries.extend((*first..).zip(entries.iter().cloned()));
            }
            Change::State(state) => self.state = Some(state.clone()),
            Change::Truncate { from } => {
                self.entries.split_off(from);
                self.next = self.next.map(|next| next.min(*from));
            }
            Change::Purge(through) => {
                let next = through.index + 1;
                self.entries = self.entries.split_off(&next);
                self.next = Some(self.next.unwrap_or(0).max(next));
                self.purged = Some(through.clone());
            }
            Change::Committed(through) => self.committed = Some(through.clone()),
        }
    }
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new(syncs: Syncs) -> Self {
        Self { syncs, shared: Arc::default() }
    }

    /// Syncs what waits.
    pub fn sync(&self) {
        let waiting = {
            let mut shared = self.shared.lock();
            if shared.failed.is_some() {
                return;
            }
            let Shared { durable, unsynced, waiting, .. } = &mut *shared;
            unsynced.drain(..).for_each(|change| durable.apply(&change));
            std::mem::take(waiting)
        };
        waiting.into_iter().for_each(|synced| synced(Ok(())));
    }

    /// Number of records that are not synced, apart from those that nobody waits for.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.shared.lock().waiting.len()
    }

    /// Loses power: the log as the disk has it. This one fails from now on.
    #[must_use]
    pub fn crash(&self) -> Self {
        let durable = self.shared.lock().durable.clone();
        self.fail("the machine has no power");
        let shared = Shared { durable: durable.clone(), accepted: durable, ..Shared::default() };
        Self { syncs: self.syncs, shared: Arc::new(Mutex::new(shared)) }
    }

    /// Loses the entries from this index on, synced or not, as a disk does that does not keep its word.
    pub fn lose(&self, from: u64) {
        let mut shared = self.shared.lock();
        let Shared { durable, accepted, unsynced, .. } = &mut *shared;
        unsynced.clear();
        for contents in [durable, accepted] {
            contents.apply(&Change::Truncate { from });
        }
    }

    /// Takes no entries from now on, or takes them again.
    pub fn fill(&self, is_full: bool) {
        self.shared.lock().is_full = is_full;
    }

    /// Fails from now on, and all that waits.
    pub fn fail(&self, reason: &str) {
        let failure = LogFailure { reason: reason.to_owned() };
        let waiting = {
            let mut shared = self.shared.lock();
            shared.failed.get_or_insert_with(|| failure.clone());
            std::mem::take(&mut shared.waiting)
        };
        waiting.into_iter().for_each(|synced| synced(Err(failure.clone())));
    }

    fn write(&self, change: Change, synced: Option<Synced>) -> Result<(), LogFailure> {
        let is_first = {
            let mut shared = self.shared.lock();
            if let Some(failure) = &shared.failed {
                return Err(failure.clone());
            }
            if let (Change::Append { first, .. }, Some(next)) = (&change, shared.accepted.next)
                && *first != next
            {
                let reason = format!("entry {first} is appended where {next} is next");
                return Err(LogFailure { reason });
            }
            shared.accepted.apply(&change);
            shared.unsynced.push(change);
            let Some(synced) = synced else { return Ok(()) };
            shared.waiting.push(synced);
            shared.waiting.len() == 1
        };
        match self.syncs {
            Syncs::AtOnce => self.sync(),
            Syncs::After(pause) if is_first => {
                let log = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    log.sync();
                });
            }
            Syncs::After(_) | Syncs::ByHand => {}
        }
        Ok(())
    }
}

impl GroupLog for MemoryLog {
    fn state(&self) -> Result<LogState, LogFailure> {
        let shared = self.shared.lock();
        if let Some(failure) = &shared.failed {
            return Err(failure.clone());
        }
        let Contents { state, purged, committed, next, entries } = &shared.accepted;
        Ok(LogState {
            state: state.clone(),
            purged: purged.clone(),
            committed: committed.clone(),
            first: entries.first_key_value().map(|(index, _)| *index),
            next: *next,
        })
    }

    fn failed(&self) -> Option<LogFailure> {
        self.shared.lock().failed.clone()
    }

    fn refuses(&self, _bytes: usize) -> Option<String> {
        self.shared.lock().is_full.then(|| "the log is full".to_owned())
    }

    fn append(&self, first: u64, entries: &[Bytes], synced: Synced) -> Result<(), LogFailure> {
        self.write(Change::Append { first, entries: entries.to_vec() }, Some(synced))
    }

    fn set_state(&self, state: Bytes, synced: Synced) -> Result<(), LogFailure> {
        self.write(Change::State(state), Some(synced))
    }

    fn truncate(&self, from: u64, synced: Synced) -> Result<(), LogFailure> {
        self.write(Change::Truncate { from }, Some(synced))
    }

    fn purge(&self, through: Noted, synced: Synced) -> Result<(), LogFailure> {
        self.write(Change::Purge(through), Some(synced))
    }

    fn set_committed(&self, through: Noted) -> Result<(), LogFailure> {
        self.write(Change::Committed(through), None)
    }

    fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<Bytes>, LogFailure> {
        let shared = self.shared.lock();
        if let Some(failure) = &shared.failed {
            return Err(failure.clone());
        }
        let mut bytes = 0;
        let mut read = Vec::new();
        for index in range {
            let Some(entry) = shared.accepted.entries.get(&index) else { break };
            bytes += entry.len();
            if bytes > max_bytes && !read.is_empty() {
                break;
            }
            read.push(entry.clone());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::{MemoryLog, Syncs};
    use crate::log::{GroupLog, LogState, Noted, Synced};

    fn counted() -> (Arc<AtomicUsize>, impl Fn() -> Synced) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        (count, move || {
            let counter = Arc::clone(&counter);
            Box::new(move |outcome| {
                counter.fetch_add(if outcome.is_ok() { 1 } else { 100 }, Ordering::SeqCst);
            })
        })
    }

    #[test]
    fn a_crash_forgets_what_was_not_synced_and_calls_it_failed() {
        let log = MemoryLog::new(Syncs::ByHand);
        let (count, synced) = counted();
        let entries = [Bytes::from("a"), Bytes::from("b")];
        log.append(5, &entries, synced()).expect("it is open");
        log.set_state("vote".into(), synced()).expect("it is open");
        assert_eq!((log.unsynced(), count.load(Ordering::SeqCst)), (2, 0));
        assert_eq!(log.read(5..9, 1).expect("it is open"), ["a"]);
        log.sync();
        assert_eq!(count.load(Ordering::SeqCst), 2);
        log.truncate(6, synced()).expect("it is open");
        log.purge(Noted { index: 5, note: Bytes::new() }, synced()).expect("it is open");
        let after = log.crash();
        assert_eq!(count.load(Ordering::SeqCst), 202);
        assert!(log.read(5..9, 9).is_err());
        assert_eq!(after.read(5..9, 9).expect("it is open"), ["a", "b"]);
        let state =
            LogState { state: Some("vote".into()), first: Some(5), next: Some(7), ..LogState::default() };
        assert_eq!(after.state(), Ok(state));
        assert!(after.append(6, &entries, synced()).is_err(), "7 is next");
    }
}
