//! The engine's log, on a [`GroupLog`].
//!
//! Entries are in it as [`Entry::encode`](exesdb_storage::Entry::encode) makes them. The group's state is its vote: term
//! `u64`, replica `u64`, and whether a majority has granted it, `u8`; the note of an index is the term of its entry: term
//! `u64`, replica `u64`; all big-endian.

mod recent;

use std::fmt::Debug;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use exesdb_storage::LogId;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState as RaftLogState, OptionalSend, RaftLogReader, StorageIOError};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use self::recent::Recent;
use crate::entry::{LogEntry, LogEntryError};
use crate::limits::{APPEND_BYTES_MAX, PURGE_WAIT, RECENT_BYTES_MAX};
use crate::log::{GroupLog, LogFailure, Noted, Synced};
use crate::retention::Retention;
use crate::types::{RaftLogId, StorageError, Types, Vote, from_raft, to_raft};

/// The engine's log. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    /// The replica whose log it is.
    replica: u64,
    log: Arc<dyn GroupLog>,
    /// Index of the last entry that the replica holds durably. Nothing after it is purged.
    persisted: watch::Receiver<u64>,
    /// Why the replica does not go on.
    stopped: watch::Receiver<Option<String>>,
    retention: Arc<Retention>,
    recent: Arc<Mutex<Recent>>,
    #[cfg(feature = "faults")]
    fault: Option<crate::Fault>,
}

/// What a log has at a start, read and checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

impl LogStore {
    pub(crate) fn new(
        replica: u64,
        log: Arc<dyn GroupLog>,
        persisted: watch::Receiver<u64>,
        stopped: watch::Receiver<Option<String>>,
        retention: Arc<Retention>,
    ) -> Self {
        let recent = Arc::new(Mutex::new(Recent::new(RECENT_BYTES_MAX)));
        Self {
            replica,
            log,
            persisted,
            stopped,
            retention,
            recent,
            #[cfg(feature = "faults")]
            fault: None,
        }
    }

    #[cfg(feature = "faults")]
    pub(crate) fn with_fault(self, fault: Option<crate::Fault>) -> Self {
        Self { fault, ..self }
    }

    /// What the log has.
    pub(crate) fn found(&self) -> Result<Found, LogFailure> {
        let state = self.log.state()?;
        let id = |noted: Option<Noted>| noted.as_ref().map(decode_noted).transpose();
        let purged = id(state.purged)?;
        let last = match (state.first, state.next) {
            (Some(_), Some(next)) => {
                let entries = self.sealed(next - 1..next, usize::MAX)?;
                Some(entries.last().ok_or_else(|| failure("its last entry is missing"))?.id())
            }
            _ => purged,
        };
        let vote = state.state.as_deref().map(decode_vote).transpose()?;
        Ok(Found { vote, purged, committed: id(state.committed)?, last })
    }

    /// Entries to be passed on.
    fn sealed(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<LogEntry>, LogFailure> {
        let recent = self.recent.lock().encoded(&range, max_bytes);
        let entries = match recent {
            Some(entries) => entries,
            None => self.log.read(range.clone(), max_bytes)?,
        };
        let entries = (range.start..).zip(entries);
        entries.map(|(index, bytes)| read(index, bytes, LogEntry::sealed)).collect()
    }

    /// Entries to be read.
    fn entries(&self, range: Range<u64>) -> Result<Vec<LogEntry>, LogFailure> {
        let decode = |(index, bytes): (u64, Bytes)| read(index, bytes, LogEntry::decode);
        let (first_recent, recent) = self.recent.lock().take(&range);
        let mut entries = Vec::new();
        if range.start < first_recent {
            let older = self.log.read(range.start..range.end.min(first_recent), usize::MAX)?;
            entries = (range.start..).zip(older).map(decode).collect::<Result<_, _>>()?;
            if range.start + (entries.len() as u64) < first_recent {
                return Ok(entries);
            }
        }
        for (index, (encoded, entry)) in (range.start.max(first_recent)..).zip(recent) {
            entries.push(entry.map_or_else(|| decode((index, encoded)), Ok)?);
        }
        Ok(entries)
    }

    /// Waits until the replica holds an entry durably. The engine purges what a snapshot replaces before it has installed the
    /// snapshot: after a crash between the two, neither would have the entries.
    async fn durable(&mut self, index: u64) -> Result<(), LogFailure> {
        let Self { persisted, stopped, .. } = self;
        tokio::select! {
            biased;
            Ok(_) = persisted.wait_for(|persisted| *persisted >= index) => return Ok(()),
            Ok(_) = stopped.wait_for(Option::is_some) => {}
            () = tokio::time::sleep(PURGE_WAIT) => {}
        }
        let persisted = *persisted.borrow();
        Err(failure(format!("entry {index} was to be purged, and only {persisted} are durable")))
    }

    /// Waits until a record is synced.
    async fn synced(
        &self,
        write: impl FnOnce(&dyn GroupLog, Synced) -> Result<(), LogFailure>,
    ) -> Result<(), LogFailure> {
        let (tx, rx) = oneshot::channel();
        write(&*self.log, Box::new(move |outcome| drop(tx.send(outcome))))?;
        rx.await.map_err(|_| failure("it is gone"))?
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<LogEntry>, StorageError> {
        self.entries(exclusive(&range)).map_err(|error| read_error(&error))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, StorageError> {
        self.sealed(start..end, APPEND_BYTES_MAX).map_err(|error| read_error(&error))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<RaftLogState<Types>, StorageError> {
        let Found { purged, last, .. } = self.found().map_err(|error| read_error(&error))?;
        Ok(RaftLogState { last_purged_log_id: purged.map(to_raft), last_log_id: last.map(to_raft) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = encode_vote(vote);
        self.synced(|log, synced| log.set_state(vote, synced)).await.map_err(|error| write_error(&error))
    }

    /// What a majority has granted this replica counts as asked for only. The engine would go on leading the term, and it does
    /// not know any more what it had committed in it: the note of that is not synced. It would answer reads that miss what was
    /// acknowledged, and a [`Term`](exesdb_storage::Term) would name two times of leadership.
    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let vote = self.found().map_err(|error| read_error(&error))?.vote;
        #[cfg(feature = "faults")]
        if self.fault == Some(crate::Fault::LeaderGoesOn) {
            return Ok(vote);
        }
        let is_own = |vote: &Vote| vote.leader_id().node_id == self.replica;
        Ok(vote.map(|vote| Vote { committed: vote.committed && !is_own(&vote), ..vote }))
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), StorageError> {
        let Some(committed) = committed else { return Ok(()) };
        self.log.set_committed(encode_noted(&from_raft(&committed))).map_err(|error| write_error(&error))
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, StorageError> {
        let found = self.found().map_err(|error| read_error(&error))?;
        #[cfg(feature = "faults")]
        if self.fault == Some(crate::Fault::ApplyUncommitted) {
            return Ok(found.last.map(to_raft));
        }
        // What was not synced may be gone while the note of its commit is not: nothing after the end is applied.
        Ok(lower(found.committed, found.last).map(to_raft))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        let Some(first) = entries.first().map(|entry| entry.id().index) else {
            callback.log_io_completed(Ok(()));
            return Ok(());
        };
        let encoded: Vec<Bytes> = entries.iter().map(|entry| entry.encoded().clone()).collect();
        let synced = Box::new(move |outcome: Result<(), LogFailure>| {
            callback.log_io_completed(outcome.map_err(std::io::Error::other));
        });
        self.log.append(first, &encoded, synced).map_err(|error| write_error(&error))?;
        let mut recent = self.recent.lock();
        for entry in entries {
            self.retention.appended(entry.id().index, entry.encoded().len());
            recent.appended(entry);
        }
        Ok(())
    }

    async fn truncate(&mut self, since: RaftLogId) -> Result<(), StorageError> {
        self.retention.truncated(since.index);
        self.recent.lock().truncated(since.index);
        let truncated = self.synced(|log, synced| log.truncate(since.index, synced)).await;
        truncated.map_err(|error| write_error(&error))
    }

    async fn purge(&mut self, through: RaftLogId) -> Result<(), StorageError> {
        self.durable(through.index).await.map_err(|error| write_error(&error))?;
        let noted = encode_noted(&from_raft(&through));
        let purged = self.synced(|log, synced| log.purge(noted, synced)).await;
        purged.map_err(|error| write_error(&error))?;
        self.retention.purged(through.index);
        self.recent.lock().purged(through.index);
        Ok(())
    }
}

/// Reads an entry that should have this index.
fn read(
    index: u64,
    bytes: Bytes,
    read: impl FnOnce(Bytes) -> Result<LogEntry, LogEntryError>,
) -> Result<LogEntry, LogFailure> {
    let entry = read(bytes).map_err(|error| failure(format!("entry {index}: {error}")))?;
    let found = entry.id().index;
    if found != index {
        return Err(failure(format!("entry {found} is where {index} was asked for")));
    }
    Ok(entry)
}

/// The lower of two ids, where `None` is lower than any.
fn lower(one: Option<LogId>, other: Option<LogId>) -> Option<LogId> {
    if one.map(|id| id.index) <= other.map(|id| id.index) { one } else { other }
}

fn exclusive(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn encode_vote(vote: &Vote) -> Bytes {
    let leader = vote.leader_id();
    let numbers = [leader.term.to_be_bytes(), leader.node_id.to_be_bytes()];
    [&numbers.concat()[..], &[vote.committed.into()]].concat().into()
}

fn decode_vote(bytes: &[u8]) -> Result<Vote, LogFailure> {
    let (numbers, committed) = bytes.as_chunks::<8>();
    match (numbers, committed) {
        ([term, replica], [committed @ 0..=1]) => {
            let vote = Vote::new(u64::from_be_bytes(*term), u64::from_be_bytes(*replica));
            Ok(Vote { committed: *committed == 1, ..vote })
        }
        _ => Err(failure("its vote is malformed")),
    }
}

fn encode_noted(id: &LogId) -> Noted {
    let LogId { term, leader, index } = *id;
    Noted { index, note: [term.to_be_bytes(), leader.to_be_bytes()].concat().into() }
}

fn decode_noted(noted: &Noted) -> Result<LogId, LogFailure> {
    match noted.note.as_chunks::<8>() {
        ([term, leader], []) => {
            let [term, leader] = [term, leader].map(|bytes| u64::from_be_bytes(*bytes));
            Ok(LogId { term, leader, index: noted.index })
        }
        _ => Err(failure(format!("the note of index {} is malformed", noted.index))),
    }
}

fn failure(reason: impl Into<String>) -> LogFailure {
    LogFailure { reason: reason.into() }
}

fn read_error(failure: &LogFailure) -> StorageError {
    StorageIOError::read_logs(AnyError::new(failure)).into()
}

fn write_error(failure: &LogFailure) -> StorageError {
    StorageIOError::write_logs(AnyError::new(failure)).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use exesdb_storage::LogId;
    use openraft::entry::RaftEntry;
    use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
    use openraft::{LogState, RaftLogReader};
    use tokio::sync::watch;

    use super::{Found, LogStore, decode_noted, decode_vote};
    use crate::entry::LogEntry;
    use crate::log::{GroupLog, MemoryLog, Noted, Syncs};
    use crate::retention::Retention;
    use crate::types::{Vote, to_raft};

    fn id(index: u64) -> LogId {
        LogId { term: 1, leader: 2, index }
    }

    fn store(log: &MemoryLog, persisted: u64) -> LogStore {
        let retention = Arc::new(Retention::new(u64::MAX));
        let persisted = watch::Sender::new(persisted).subscribe();
        let stopped = watch::Sender::new(Some("it is a test".to_owned())).subscribe();
        LogStore::new(4, Arc::new(log.clone()), persisted, stopped, retention)
    }

    fn blanks(indexes: std::ops::Range<u64>) -> Vec<LogEntry> {
        indexes.map(|index| LogEntry::new_blank(to_raft(id(index)))).collect()
    }

    #[tokio::test]
    async fn what_was_written_is_found_again() {
        let log = MemoryLog::new(Syncs::AtOnce);
        let mut store = store(&log, 2);
        store.purge(to_raft(id(1))).await.expect("it is durable");
        store.blocking_append(blanks(2..6)).await.expect("the log takes entries");
        store.save_vote(&Vote::new_committed(3, 4)).await.expect("the log takes votes");
        store.truncate(to_raft(id(5))).await.expect("the log truncates");
        store.purge(to_raft(id(2))).await.expect("it is durable");
        store.save_committed(Some(to_raft(id(3)))).await.expect("the log takes notes");
        let vote = Some(Vote::new_committed(3, 4));
        let expected = Found { vote, purged: Some(id(2)), committed: Some(id(3)), last: Some(id(4)) };
        assert_eq!(store.found(), Ok(expected));
        let state = LogState { last_purged_log_id: Some(to_raft(id(2))), last_log_id: Some(to_raft(id(4))) };
        assert_eq!(store.get_log_state().await, Ok(state));
        let entries = store.try_get_log_entries(3..=4).await.expect("they are there");
        assert_eq!(entries.iter().map(LogEntry::id).collect::<Vec<_>>(), [id(3), id(4)]);
        assert_eq!(store.limited_get_log_entries(3, 9).await.expect("they are there").len(), 2);
    }

    #[tokio::test]
    async fn a_replica_that_starts_again_does_not_go_on_leading() {
        let mut store = store(&MemoryLog::new(Syncs::AtOnce), 0);
        let table = [
            (Vote::new_committed(3, 4), Vote::new(3, 4)),
            (Vote::new(3, 4), Vote::new(3, 4)),
            (Vote::new_committed(3, 5), Vote::new_committed(3, 5)),
        ];
        for (saved, expected) in table {
            store.save_vote(&saved).await.expect("the log takes votes");
            assert_eq!(store.read_vote().await, Ok(Some(expected)), "{saved}");
        }
    }

    #[tokio::test]
    async fn nothing_is_purged_that_the_replica_does_not_hold_durably() {
        let mut store = store(&MemoryLog::new(Syncs::AtOnce), 2);
        store.blocking_append(blanks(2..6)).await.expect("the log takes entries");
        let refused = store.purge(to_raft(id(3))).await.expect_err("3 is not durable");
        assert!(refused.to_string().contains("only 2 are durable"), "{refused}");
    }

    #[tokio::test]
    async fn a_note_of_a_commit_that_outlived_its_entries_counts_up_to_the_last_one() {
        let log = MemoryLog::new(Syncs::AtOnce);
        let mut store = store(&log, 0);
        store.blocking_append(blanks(1..3)).await.expect("the log takes entries");
        store.save_committed(Some(to_raft(id(7)))).await.expect("the log takes notes");
        assert_eq!(store.read_committed().await, Ok(Some(to_raft(id(2)))));
    }

    #[tokio::test]
    async fn entries_are_the_same_whether_they_come_from_memory_or_from_the_log() {
        let log = MemoryLog::new(Syncs::AtOnce);
        store(&log, 0).blocking_append(blanks(1..4)).await.expect("the log takes entries");
        // Another process: it remembers only what it appends itself.
        let mut store = store(&log, 9);
        store.blocking_append(blanks(4..7)).await.expect("the log takes entries");
        let indexes =
            |entries: Vec<LogEntry>| entries.iter().map(|entry| entry.id().index).collect::<Vec<_>>();
        for (range, expected) in
            [(1..7, 1..7), (2..5, 2..5), (4..5, 4..5), (5..99, 5..7), (7..9, 7..7), (2..3, 2..3)]
        {
            let expected: Vec<_> = expected.collect();
            for _ in 0..2 {
                assert_eq!(indexes(store.entries(range.clone()).expect("they are there")), expected);
            }
            assert_eq!(indexes(store.sealed(range, usize::MAX).expect("they are there")), expected);
        }
        store.truncate(to_raft(id(5))).await.expect("the log truncates");
        store.blocking_append(blanks(5..6)).await.expect("the log takes entries");
        assert_eq!(indexes(store.entries(1..9).expect("they are there")), [1, 2, 3, 4, 5]);
        store.purge(to_raft(id(4))).await.expect("it is durable");
        assert!(store.entries(1..9).expect("the log is whole").is_empty(), "its first is gone");
        assert_eq!(indexes(store.entries(5..9).expect("it is there")), [5]);
    }

    #[test]
    fn bytes_of_the_log_that_were_never_written_are_refused() {
        assert!(decode_vote(&[0; 16]).is_err());
        assert!(decode_vote(&[2; 17]).is_err());
        assert!(decode_noted(&Noted { index: 1, note: Bytes::from_static(&[0; 17]) }).is_err());
        let log = MemoryLog::new(Syncs::AtOnce);
        let entry = blanks(4..5)[0].encoded().clone();
        log.append(3, &[entry, Bytes::from("no entry")], Box::new(|_| {})).expect("the log takes bytes");
        let store = store(&log, 0);
        let refused = |range| store.entries(range).err().map(|failure| failure.reason);
        assert_eq!(refused(3..4).as_deref(), Some("entry 4 is where 3 was asked for"));
        assert!(refused(4..5).is_some_and(|reason| reason.starts_with("entry 4: ")));
    }
}
