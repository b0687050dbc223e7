//! The log as its callers have it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::disk::{Folder, RealFolder};
use crate::error::{LogError, OpenError, ReadError};
use crate::group::Noted;
use crate::held::Held;
use crate::limits::{ENTRIES_MAX, INDEX_MAX, NOTE_BYTES_MAX, STATE_BYTES_MAX, record_bytes_max};
use crate::open::{self, Recovery};
use crate::options::Options;
use crate::ranges::Span;
use crate::read::{self, Entry};
use crate::record::{self, OVERHEAD_BYTES, Op};
use crate::shared::{Request, Shared};
use crate::writer::{PoisonReason, Writer};

/// The log of a node, open. When it is dropped, its thread has ended, its files are closed and its lock is free.
///
/// Every change is accepted or refused at once, and can be read at once. Its callback is called on the log's thread when it
/// is synced, in the order of acceptance over all groups, and must not wait for the log.
pub struct Log {
    shared: Arc<Shared>,
    incarnation: u64,
    lock: Mutex<Option<Arc<dyn Send + Sync>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a group has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its state, if it ever had one.
    pub state: Option<Bytes>,
    /// The last entry that was purged.
    pub purged: Option<Noted>,
    /// The last entry that was noted as committed. After a crash it may be an earlier one, or none.
    pub committed: Option<Noted>,
    /// Index of the first entry that is there.
    pub first: Option<u64>,
    /// Index of the next entry; `None` if it may have any.
    pub next: Option<u64>,
    /// Bytes of its entries, as [`Options::group_bytes`] counts them: at least
    /// [`RECORD_COUNTS_MIN`](crate::limits::RECORD_COUNTS_MIN) for each append.
    pub held_bytes: u64,
    /// Whether it lost entries that were synced.
    pub is_broken: bool,
}

/// How large the log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Number of segments.
    pub segments: u64,
    /// Bytes of entries that each group holds.
    pub held_bytes: Vec<(u64, u64)>,
    /// Groups because of which the oldest segment cannot be used again, although the log has used half of
    /// [`Options::node_bytes`].
    pub holding_back: Vec<u64>,
}

impl Log {
    /// Opens the log in the folder `path`, or creates it.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. A log that lost what some groups need opens all the same; [`Recovery::broken`] lists them.
    pub fn open(path: &Path, options: Options) -> Result<(Self, Recovery), OpenError> {
        let folder = RealFolder::create(path).map_err(|source| OpenError::Io {
            action: "creating",
            path: path.display().to_string(),
            source,
        })?;
        Self::open_in(Arc::new(folder), options)
    }

    /// [`open`](Self::open) in any folder.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_in(folder: Arc<dyn Folder>, options: Options) -> Result<(Self, Recovery), OpenError> {
        let mut opened = open::open(Arc::clone(&folder), &options)?;
        let (recovery, incarnation, lock) =
            (opened.recovery.clone(), opened.mark.incarnation, Arc::clone(&opened.lock));
        let (views, segments) = (std::mem::take(&mut opened.views), std::mem::take(&mut opened.segments));
        let shared = Arc::new(Shared::new(views, segments, options));
        let failed = |source| OpenError::Io { action: "beginning to write", path: folder.describe(), source };
        let writer = Writer::begin(opened, Arc::clone(&shared))
            .map_err(|PoisonReason(reason)| failed(std::io::Error::other(reason)))?;
        let thread = std::thread::Builder::new().name("log-writer".into()).spawn(|| writer.run());
        let thread = Mutex::new(Some(thread.map_err(failed)?));
        Ok((Self { shared, incarnation, lock: Mutex::new(Some(lock)), thread }, recovery))
    }

    /// A random number that was made with the log. A log with another one is another log, even in the same folder.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Appends entries to a group, the first of them with the index `first`, as one record: after a crash all of them are
    /// there, or none.
    ///
    /// # Errors
    ///
    /// See [`LogError`]. Then nothing was done, and `callback` is not called.
    pub fn append(
        &self,
        group: u64,
        first: u64,
        entries: &[Bytes],
        callback: impl FnOnce(Result<(), LogError>) + Send + 'static,
    ) -> Result<(), LogError> {
        let invalid = |what: String| Err(LogError::Invalid { what });
        if !(1..=ENTRIES_MAX).contains(&entries.len()) {
            return invalid(format!("an append has 1 to {ENTRIES_MAX} entries, not {}", entries.len()));
        }
        let last = first.checked_add(entries.len() as u64 - 1).filter(|last| *last <= INDEX_MAX);
        let Some(last) = last else { return invalid(format!("indexes go to {INDEX_MAX}")) };
        let (len, max) = (
            record::entries_len(entries) + OVERHEAD_BYTES as u64,
            record_bytes_max(self.shared.options().segment_bytes),
        );
        if len > max {
            return invalid(format!("an append has at most {max} bytes, not {len}"));
        }
        let payload = Bytes::from(record::encode_entries(first, entries));
        let held = Held::pending(payload.len() + OVERHEAD_BYTES, payload.clone());
        let op = Op::Entries(Span { first, last });
        let callback = Some(Box::new(callback) as _);
        self.shared.submit(Request { group, op, payload, held: Some(held), callback })
    }

    /// Whether entries of so many bytes, as one append, would be taken now: a question for whoever can still refuse them. The
    /// queue counts as full when it is half full, so that appends that were asked about at the same time find room.
    ///
    /// # Errors
    ///
    /// The [`LogError`] that an append would give.
    pub fn check_room(&self, group: u64, bytes: usize) -> Result<(), LogError> {
        self.shared.lock().check_room_early(group, bytes, self.shared.options())
    }

    /// Replaces the state of a group, for example its vote.
    ///
    /// # Errors
    ///
    /// See [`LogError`]. Then nothing was done, and `callback` is not called.
    pub fn set_state(
        &self,
        group: u64,
        state: Bytes,
        callback: impl FnOnce(Result<(), LogError>) + Send + 'static,
    ) -> Result<(), LogError> {
        if state.len() > STATE_BYTES_MAX {
            let what = format!("a state has at most {STATE_BYTES_MAX} bytes, not {}", state.len());
            return Err(LogError::Invalid { what });
        }
        self.submit(group, Op::State(state), Some(Box::new(callback)))
    }

    /// Removes the entries of a group from the index `from` on. The next one has that index then.
    ///
    /// # Errors
    ///
    /// See [`LogError`]. Then nothing was done, and `callback` is not called.
    pub fn truncate(
        &self,
        group: u64,
        from: u64,
        callback: impl FnOnce(Result<(), LogError>) + Send + 'static,
    ) -> Result<(), LogError> {
        if from > INDEX_MAX {
            return Err(LogError::Invalid { what: format!("indexes go to {INDEX_MAX}") });
        }
        self.submit(group, Op::Truncate { from }, Some(Box::new(callback)))
    }

    /// Removes the entries of a group up to an index, which may be beyond the last one: the next one follows it then. An
    /// earlier index than the last purge's changes nothing.
    ///
    /// # Errors
    ///
    /// See [`LogError`]. Then nothing was done, and `callback` is not called.
    pub fn purge(
        &self,
        group: u64,
        through: Noted,
        callback: impl FnOnce(Result<(), LogError>) + Send + 'static,
    ) -> Result<(), LogError> {
        check_noted(&through)?;
        self.submit(group, Op::Purge(through), Some(Box::new(callback)))
    }

    /// Notes how far the entries of a group are committed. It is not synced for its own sake, and may be lost in a crash.
    ///
    /// # Errors
    ///
    /// See [`LogError`]. Then nothing was done.
    pub fn note_committed(&self, group: u64, through: Noted) -> Result<(), LogError> {
        check_noted(&through)?;
        self.submit(group, Op::Committed(through), None)
    }

    /// Removes a group, with everything that it has. This is also allowed if it is broken.
    ///
    /// # Errors
    ///
    /// See [`LogError`]. Then nothing was done, and `callback` is not called.
    pub fn remove(
        &self,
        group: u64,
        callback: impl FnOnce(Result<(), LogError>) + Send + 'static,
    ) -> Result<(), LogError> {
        self.submit(group, Op::Remove, Some(Box::new(callback)))
    }

    fn submit(&self, group: u64, op: Op, callback: Option<crate::shared::Callback>) -> Result<(), LogError> {
        let payload = op.payload();
        self.shared.submit(Request { group, op, payload, held: None, callback })
    }

    /// Reads entries of a group, in order, from `range.start` on: at least one if it is there, and more while they have at
    /// most `bytes_max` bytes in all. The list ends early at the end of the group's entries.
    ///
    /// # Errors
    ///
    /// See [`ReadError`]. A damaged entry is never served.
    pub fn read(&self, group: u64, range: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, ReadError> {
        read::read(&self.shared, group, range, bytes_max)
    }

    /// What a group has. `None` if there is no such group.
    #[must_use]
    pub fn group(&self, group: u64) -> Option<GroupInfo> {
        let inner = self.shared.lock();
        let view = inner.views.get(group)?;
        Some(GroupInfo {
            state: view.group.state.clone(),
            purged: view.group.purged.clone(),
            committed: view.group.committed.clone(),
            first: view.group.entries.hull().map(|hull| hull.first),
            next: view.group.next,
            held_bytes: view.held,
            is_broken: view.is_broken,
        })
    }

    /// The ids of all groups, ascending.
    #[must_use]
    pub fn groups(&self) -> Vec<u64> {
        self.shared.lock().views.iter().map(|(id, _)| id).collect()
    }

    /// How large the log is, and who keeps it from getting smaller.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let inner = self.shared.lock();
        Sizes {
            segments: inner.segments.len() as u64,
            held_bytes: inner.views.iter().map(|(id, view)| (id, view.held)).collect(),
            holding_back: inner.holding_back.clone(),
        }
    }

    /// Since when the log's thread has been writing and syncing what it took last, and calling back; `None` while it waits. A
    /// disk that hangs shows here.
    #[must_use]
    pub fn writing_since(&self) -> Option<Instant> {
        self.shared.lock().writing_since
    }

    /// The first failure to write or sync, after which nothing is written any more.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        self.shared.lock().poisoned().map(str::to_owned)
    }

    /// Writes what was accepted, syncs it, ends the thread, and frees the lock. Called twice, it does nothing.
    pub fn close(&self) {
        self.shared.close();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of the writer was caught and poisoned the log.
            drop(thread.join());
        }
        self.shared.lock().segments.clear();
        *self.lock.lock() = None;
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

fn check_noted(noted: &Noted) -> Result<(), LogError> {
    if noted.index > INDEX_MAX {
        return Err(LogError::Invalid { what: format!("indexes go to {INDEX_MAX}") });
    }
    if noted.note.len() > NOTE_BYTES_MAX {
        let what = format!("a note has at most {NOTE_BYTES_MAX} bytes, not {}", noted.note.len());
        return Err(LogError::Invalid { what });
    }
    Ok(())
}
