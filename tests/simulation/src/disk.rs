//! The log of a simulated node: in memory, synced after a while, and emptied of what was not synced by a loss of power.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use exesdb_cluster::GroupLog;
use exesdb_cluster::log::{LogFailure, LogState, MemoryLog, Noted, Synced, Syncs};
use exesdb_storage::Entry;
use parking_lot::Mutex;

use crate::faults::Fault;

/// The log of one node for its one group.
pub struct Disk {
    log: Mutex<MemoryLog>,
    /// How long a sync takes.
    delay: Mutex<Duration>,
    /// Entries that were purged and are known as committed, because at the end everything committed is checked. A snapshot also
    /// purges entries that it replaces.
    purged: Mutex<BTreeMap<u64, Bytes>>,
    fault: Option<Fault>,
}

impl Disk {
    /// An empty log, whose syncs take so long.
    #[must_use]
    pub fn new(delay: Duration, fault: Option<Fault>) -> Self {
        let log = MemoryLog::new(Syncs::ByHand);
        Self { log: Mutex::new(log), delay: Mutex::new(delay), purged: Mutex::default(), fault }
    }

    /// Lets syncs take so long from now on.
    pub fn set_delay(&self, delay: Duration) {
        *self.delay.lock() = delay;
    }

    /// The process has ended, and what it wrote is there.
    pub fn end(&self) {
        self.current().sync();
    }

    /// The machine has lost power: what was not synced is gone.
    pub fn lose_power(&self) {
        let mut log = self.log.lock();
        *log = log.crash();
    }

    /// The entries up to this index, one that is committed, which were ever in the log and not truncated.
    #[must_use]
    pub fn entries(&self, through: u64) -> BTreeMap<u64, Bytes> {
        let mut entries = self.purged.lock().clone();
        entries.extend(self.kept());
        entries.split_off(&(through + 1));
        entries
    }

    fn kept(&self) -> BTreeMap<u64, Bytes> {
        let log = self.current();
        let state = log.state().expect("the log has not failed");
        let (Some(first), Some(next)) = (state.first, state.next) else { return BTreeMap::new() };
        (first..).zip(log.read(first..next, usize::MAX).expect("the log has not failed")).collect()
    }

    fn current(&self) -> MemoryLog {
        self.log.lock().clone()
    }

    /// Writes a record. Its callback is called after the sync that it waits for, or at once if it is `early`.
    fn write(
        &self,
        synced: Synced,
        early: bool,
        write: impl FnOnce(&MemoryLog, Synced) -> Result<(), LogFailure>,
    ) -> Result<(), LogFailure> {
        let log = self.current();
        let (now, later): (Option<Synced>, Synced) =
            if early { (Some(synced), Box::new(|_| {})) } else { (None, synced) };
        write(&log, later)?;
        if let Some(now) = now {
            now(Ok(()));
        }
        let delay = *self.delay.lock();
        if delay.is_zero() {
            log.sync();
        } else if log.unsynced() == 1 {
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                log.sync();
            });
        }
        Ok(())
    }
}

/// The handle that a group gets.
pub struct Handle(pub Arc<Disk>);

impl GroupLog for Handle {
    fn state(&self) -> Result<LogState, LogFailure> {
        self.0.current().state()
    }

    fn append(&self, first: u64, entries: &[Bytes], synced: Synced) -> Result<(), LogFailure> {
        let early = self.0.fault == Some(Fault::EntriesNotSynced);
        self.0.write(synced, early, |log, synced| log.append(first, entries, synced))
    }

    fn set_state(&self, state: Bytes, synced: Synced) -> Result<(), LogFailure> {
        let early = self.0.fault == Some(Fault::VoteNotSynced);
        self.0.write(synced, early, |log, synced| log.set_state(state, synced))
    }

    fn truncate(&self, from: u64, synced: Synced) -> Result<(), LogFailure> {
        self.0.write(synced, false, |log, synced| log.truncate(from, synced))
    }

    fn purge(&self, through: Noted, synced: Synced) -> Result<(), LogFailure> {
        let mut kept = self.0.kept();
        kept.split_off(&(through.index + 1));
        // Whoever has the last of what is purged has all of it as it was committed. Otherwise a snapshot replaces it.
        let last = kept.get(&through.index).and_then(|entry| Entry::decode(entry).ok());
        if last
            .is_none_or(|last| [last.id.term, last.id.leader].map(u64::to_be_bytes).concat() != through.note)
        {
            let committed = self.state()?.committed.map_or(0, |committed| committed.index);
            kept.split_off(&(committed + 1));
        }
        self.0.purged.lock().extend(kept);
        self.0.write(synced, false, |log, synced| log.purge(through, synced))
    }

    fn set_committed(&self, through: Noted) -> Result<(), LogFailure> {
        self.0.current().set_committed(through)
    }

    fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<Bytes>, LogFailure> {
        self.0.current().read(range, max_bytes)
    }
}
