//! The committer: the one thread that writes.
//!
//! It takes the first commit that waits and whatever else waits by then, up to the limits of a group, writes their
//! batches without syncing, syncs once, publishes the new snapshot, and only then replies. Being the only writer, it
//! may read the newest state, unsynced batches of the same group included: that is what guards are checked against, and
//! nobody can come between a check and its write.
//!
//! Any failure to write or sync, and any panic on the way, poisons the store: the group is answered with the reason,
//! the published snapshot stays where the last fsync put it, and nothing more is written by this incarnation. What was
//! written and not synced may be there after the next open; nobody was told that it is, or read it.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode};

use crate::batch::{Batch, BatchError, Committed, Guard, Operation, STAMP_BYTES, stamp};
use crate::commit::queue::Next;
use crate::commit::writer::{CommitError, Health, Outcomes, Queue, Reply, Request, contain};
use crate::engine_failure::EngineFailure;
use crate::engine_files::journal;
use crate::engine_files::recovery;
use crate::fail_point::FailPoint;
#[cfg(feature = "faults")]
use crate::fault::Fault;
use crate::format;
use crate::head::{Head, Recorded, chain};
use crate::limits;
use crate::mark::MarkFile;
use crate::name;
use crate::open::{Opened, panic_message, sync_keyspace_folder};
use crate::options::Options;
use crate::read::snapshot::{self as read, Published, View, contained};
use crate::space::{CHECK_INTERVAL, Purpose, Space};
use crate::stall;

/// Longest time that closing waits for memtables to be flushed. 10 s: two full memtables of every keyspace in use take a
/// slow disk less, and what is not flushed by then is replayed at the next open.
const CLOSE_FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// Bytes in a journal above which fjall may begin another. It does at 64,000,000; compressed values count for less there,
/// and those that cannot be compressed for a little more.
const JOURNAL_ROTATES_BYTES: u64 = 32_000_000;

/// Bytes of one operation in the journal beside its key and value.
const OPERATION_BYTES: usize = 21;

/// Bytes of one record in the journal beside its operations: start, end, and head.
const RECORD_BYTES: usize = 83;

/// Bytes written after which memtables and tables are counted again. 1 MiB: a memtable is no less than
/// [`limits::MEMTABLE_BYTES_MIN`], so that one more fills up within 32 such counts at the earliest.
const CROWDED_CHECK_BYTES: u64 = 1024 * 1024;

/// The committer's state. The fields are dropped in order: every handle before the database, then the journal is emptied
/// if it can be, the lock last.
pub(crate) struct Committer {
    queue: Arc<Queue>,
    published: Arc<Published>,
    options: Options,
    /// How far the store has come; ahead of the published head while a group is being written.
    head: Head,
    mark: MarkFile,
    space: Space,
    read_only: bool,
    journal: ActiveJournal,
    /// Bytes written since memtables and tables were counted; `None` before the first count.
    uncounted: Option<u64>,
    /// Keyspaces that were created and are not listed in `meta` yet.
    unlisted: Vec<Keyspace>,
    /// A group was acknowledged, and is synced next.
    #[cfg(feature = "faults")]
    owes_sync: bool,
    meta: Keyspace,
    database: Database,
    emptied: EmptiedJournal,
    _lock: File,
}

/// Which journal the engine writes to: this one, or one that it has begun since this was last looked at.
struct ActiveJournal {
    data: PathBuf,
    id: u64,
    /// At least the bytes in it.
    bytes: u64,
    /// Bytes written since it was looked at.
    unseen: u64,
}

/// Empties the newest journal when it is dropped, if all that it holds is in tables.
struct EmptiedJournal {
    data: PathBuf,
    may: bool,
}

/// Why the store is poisoned.
struct Failure(String);

/// The keyspaces of one batch by name. There are a few at most, so comparing beats hashing.
type Handles = Vec<(String, Keyspace)>;

/// One commit of a group, apart from its reply: a panic while writing must not lose the replies.
struct Work {
    owner: String,
    batches: Vec<Result<Batch, BatchError>>,
}

/// The commits of a group.
struct Group {
    work: Vec<Work>,
    replies: Vec<Reply>,
    bytes: u64,
    purpose: Purpose,
}

impl Committer {
    /// A committer over an open database, and what readers share with it.
    pub(crate) fn new(
        dir: &Path,
        opened: Opened,
        options: Options,
        queue: Arc<Queue>,
    ) -> (Self, Arc<Published>) {
        let Opened { meta, keyspaces, head, histories, mark, journal: (id, bytes), data, database, lock } =
            opened;
        let views = Arc::default();
        let view = View::new(database.snapshot(), head, &views);
        let published = Arc::new(Published {
            view: arc_swap::ArcSwap::from_pointee(view),
            histories,
            keyspaces: parking_lot::RwLock::new(Some(keyspaces)),
            compacting: AtomicBool::new(false),
            views,
            meta: parking_lot::RwLock::new(Some(meta.clone())),
            erased: AtomicU64::new(0),
        });
        #[cfg(feature = "faults")]
        if options.breaks(Fault::CheckBeforeQueue) {
            queue.checks_before_queue.get_or_init(|| Arc::clone(&published));
        }
        let committer = Self {
            queue,
            published: Arc::clone(&published),
            space: Space::new(dir, options.reserve_bytes, options.free_space.clone()),
            options,
            head,
            mark,
            read_only: false,
            journal: ActiveJournal { data: data.clone(), id, bytes, unseen: 0 },
            uncounted: None,
            unlisted: Vec::new(),
            #[cfg(feature = "faults")]
            owes_sync: false,
            meta,
            database,
            emptied: EmptiedJournal { data, may: false },
            _lock: lock,
        };
        (committer, published)
    }

    /// Commits until the store is closed and everything it has taken is answered; then closes the database.
    pub(crate) fn run(mut self) {
        while let Some(first) = self.next() {
            let Group { work, replies, bytes, purpose } = self.gather(first);
            self.queue.group_begins();
            let before = self.head.next_position;
            let outcomes = self.answer(work, bytes, purpose);
            Self::reply(replies, outcomes);
            self.behind_replies();
            self.queue.group_ends();
            let durable = self.published.view.load().head.next_position;
            if durable > before {
                self.queue.announce(durable);
            }
        }
        self.close();
    }

    /// The next commit; `None` when the store is closed and there is none. Meanwhile sees to what is due.
    fn next(&mut self) -> Option<Request> {
        loop {
            match self.queue.waiting.next(self.due()) {
                Next::Request(request) => return Some(request),
                Next::Closed => return None,
                Next::Due => self.see_to_what_is_due(),
            }
        }
    }

    /// When there is something to do even if nobody commits.
    fn due(&self) -> Option<Instant> {
        if self.is_poisoned() {
            return None;
        }
        let look_for_room = self.read_only.then(|| Instant::now() + CHECK_INTERVAL);
        self.mark.sync_due().into_iter().chain(look_for_room).min()
    }

    fn see_to_what_is_due(&mut self) {
        let now = Instant::now();
        if self.mark.sync_due().is_some_and(|due| due <= now)
            && let Err(error) = self.mark.sync()
        {
            self.queue.poison(&format!("the durable mark could not be synced: {error}"));
        }
        if self.read_only {
            // The answer says whether commits are taken; there is nobody to tell it to.
            let _ = self.has_room(0, Purpose::Ordinary);
        }
    }

    /// What comes behind the replies of a group.
    fn behind_replies(&mut self) {
        #[cfg(feature = "faults")]
        if std::mem::take(&mut self.owes_sync)
            && let Err(Failure(reason)) = self.make_durable()
        {
            self.queue.poison(&reason);
        }
        if let Err(Failure(reason)) = self.pass(FailPoint::AfterReply) {
            self.queue.poison(&reason);
        }
        if !self.is_poisoned() && self.mark.sync_due().is_some_and(|due| due <= Instant::now()) {
            self.see_to_what_is_due();
        }
    }

    fn is_poisoned(&self) -> bool {
        matches!(self.queue.health(), Health::Poisoned { .. })
    }

    /// Commits a group, unless the store takes none.
    fn answer(
        &mut self,
        work: Vec<Work>,
        bytes: u64,
        purpose: Purpose,
    ) -> Result<Vec<Outcomes>, CommitError> {
        if let Health::Poisoned { reason } = self.queue.health() {
            return Err(CommitError::Poisoned { reason });
        }
        self.has_room(bytes, purpose)?;
        catch_unwind(AssertUnwindSafe(|| self.commit_group(work)))
            .unwrap_or_else(|panic| {
                Err(Failure(format!("the committer panicked: {}", panic_message(&*panic))))
            })
            .map_err(|Failure(reason)| {
                self.queue.poison(&reason);
                CommitError::Poisoned { reason }
            })
    }

    /// Finds out whether there is room before anybody commits, so that the store's health says so from the beginning.
    pub(crate) fn look_for_room(&mut self) {
        // As when it is due.
        let _ = self.has_room(0, Purpose::Ordinary);
    }

    /// Whether the disk has room for `bytes` more of this purpose; the store is read-only for as long as it has none for
    /// ordinary commits.
    fn has_room(&mut self, bytes: u64, purpose: Purpose) -> Result<(), CommitError> {
        let now = Instant::now();
        let refusal = self.space.refuses(bytes, now, Purpose::Ordinary);
        if self.read_only || refusal.is_some() {
            self.read_only = refusal.is_some();
            self.queue.set_read_only(refusal.clone());
        }
        let refusal = match purpose {
            Purpose::Ordinary => refusal,
            Purpose::MakesRoom => self.space.refuses(0, now, purpose),
        };
        refusal.map_or(Ok(()), |reason| Err(CommitError::ReadOnly { reason }))
    }

    /// The first commit, and what waits behind it, up to the limits of a group.
    fn gather(&self, first: Request) -> Group {
        let mut bytes = 0;
        let mut work = Vec::new();
        let mut replies = Vec::new();
        let purpose = first.purpose;
        let mut next = Some(first);
        while let Some(request) = next {
            bytes += request.bytes;
            work.push(Work { owner: request.owner, batches: request.batches });
            replies.push(request.reply);
            let full = bytes >= self.options.group_bytes || work.len() >= self.options.group_commits;
            next = if full { None } else { self.queue.waiting.take(purpose) };
        }
        Group { work, replies, bytes: bytes as u64, purpose }
    }

    /// Writes a group, syncs once if anything was written, and publishes it.
    fn commit_group(&mut self, group: Vec<Work>) -> Result<Vec<Outcomes>, Failure> {
        self.wait_for_room()?;
        self.journal.look();
        let before = self.head.sequence;
        let mut all = Vec::with_capacity(group.len());
        for work in group {
            let mut outcomes = Vec::with_capacity(work.batches.len());
            for batch in work.batches {
                let outcome = match batch {
                    Ok(batch) => self.apply(&work.owner, batch)?,
                    Err(error) => Err(error),
                };
                outcomes.push(outcome);
            }
            all.push(outcomes);
        }
        if self.head.sequence > before {
            self.finish_group()?;
        }
        self.pass(FailPoint::BeforeReply)?;
        Ok(all)
    }

    /// Makes what was written durable, then readable.
    fn finish_group(&mut self) -> Result<(), Failure> {
        #[cfg(feature = "faults")]
        {
            if self.options.breaks(Fault::AcknowledgeBeforeSync) {
                self.owes_sync = true;
                return self.publish();
            }
            if self.options.breaks(Fault::PublishBeforeDurable) {
                self.publish()?;
            }
        }
        self.make_durable()?;
        self.publish()
    }

    fn make_durable(&mut self) -> Result<(), Failure> {
        self.pass(FailPoint::BeforeSync)?;
        self.database.persist(PersistMode::SyncData).map_err(failure("the fsync failed"))?;
        self.pass(FailPoint::AfterSync)?;
        self.mark.advance(self.head, self.journal.id).map_err(failure("writing the durable mark failed"))
    }

    fn publish(&self) -> Result<(), Failure> {
        self.pass(FailPoint::BeforePublish)?;
        let view = View::new(self.database.snapshot(), self.head, &self.published.views);
        self.published.view.store(Arc::new(view));
        self.pass(FailPoint::AfterPublish)
    }

    /// Applies one batch, if its guards hold: its operations and the head behind it are one journal record.
    fn apply(&mut self, owner: &str, batch: Batch) -> Result<Result<Committed, BatchError>, Failure> {
        if let Err(error) = self.check_guards(owner, &batch.guards) {
            return Ok(Err(error));
        }
        let first_position = self.head.next_position;
        let Some(next_position) = first_position.checked_add(u64::from(batch.events)) else {
            return Ok(Err(BatchError::Invalid("there are no positions left".into())));
        };
        let handles = match self.resolve(owner, &batch.operations)? {
            Ok(handles) => handles,
            Err(error) => return Ok(Err(error)),
        };
        let mut record = OwnedWriteBatch::with_capacity(self.database.clone(), batch.operations.len() + 1);
        let mut head = Head { sequence: self.head.sequence + 1, next_position, chain: self.head.chain };
        let mut bytes = RECORD_BYTES;
        for operation in batch.operations {
            bytes += add(&mut record, &handles, operation, first_position, &mut head.chain);
        }
        if record.is_empty() && batch.events == 0 {
            return Ok(Ok(Committed { first_position }));
        }
        for keyspace in self.unlisted.drain(..) {
            let key = format!("{}{}", format::KEYSPACE_KEY_PREFIX, &**keyspace.name());
            record.insert(&self.meta, key, keyspace.id().to_be_bytes());
        }
        let recorded = Recorded { head, engine_floor: self.database.seqno() }.encode();
        record.insert(&self.meta, &format::HEAD_KEY[..], recorded);
        self.pass(FailPoint::BeforeWrite)?;
        record.commit().map_err(failure("writing a batch failed"))?;
        self.journal.wrote(bytes as u64);
        self.uncounted = self.uncounted.map(|uncounted| uncounted + bytes as u64);
        self.head = head;
        self.pass(FailPoint::AfterWrite)?;
        Ok(Ok(Committed { first_position }))
    }

    fn check_guards(&self, owner: &str, guards: &[Guard]) -> Result<(), BatchError> {
        for (index, guard) in (0u32..).zip(guards) {
            match self.holds(owner, guard) {
                Ok(true) => {}
                Ok(false) => return Err(BatchError::GuardFailed { index }),
                Err(failure) => return Err(BatchError::GuardUnreadable { index, failure }),
            }
        }
        Ok(())
    }

    /// Whether a guard holds, reading the newest state: this thread is the only one that may.
    fn holds(&self, owner: &str, guard: &Guard) -> Result<bool, EngineFailure> {
        let Some(handle) = self.keyspace(owner, guard.keyspace()) else {
            return Ok(!matches!(guard, Guard::Equals { .. }));
        };
        contained(|| match guard {
            Guard::Absent { key, .. } => Ok(!handle.contains_key(key)?),
            Guard::Equals { key, value, .. } => Ok(handle.get(key)?.is_some_and(|found| *found == **value)),
            Guard::RangeEmpty { start, end, .. } => {
                let Some(range) = read::range(start, end.as_deref()) else { return Ok(true) };
                match handle.range::<&[u8], _>(range).next() {
                    None => Ok(true),
                    Some(entry) => entry.key().map(|_| false),
                }
            }
        })
    }

    fn keyspace(&self, owner: &str, keyspace: &str) -> Option<Keyspace> {
        self.published.keyspaces.read().as_ref()?.get(owner)?.get(keyspace).cloned()
    }

    /// The keyspaces that a batch writes to, each looked up once. Those that are missing are created, unless the owner
    /// would get more than the limit: then none is.
    fn resolve(
        &mut self,
        owner: &str,
        operations: &[Operation],
    ) -> Result<Result<Handles, BatchError>, Failure> {
        let mut handles = Handles::new();
        let mut missing: Vec<&str> = Vec::new();
        for operation in operations {
            let name = operation.keyspace();
            if handles.iter().any(|(known, _)| known == name) || missing.contains(&name) {
                continue;
            }
            match self.keyspace(owner, name) {
                Some(handle) => handles.push((name.to_owned(), handle)),
                // There is nothing to delete in a keyspace that does not exist.
                None if matches!(operation, Operation::Delete { .. }) => {}
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            let owned = self.published.keyspaces.read();
            let owned = owned.as_ref().and_then(|keyspaces| keyspaces.get(owner)).map_or(0, HashMap::len);
            let count = owned + missing.len();
            if count > limits::OWNER_KEYSPACES_MAX {
                return Ok(Err(BatchError::TooLarge {
                    what: "the number of the owner's keyspaces",
                    actual: count as u64,
                    limit: limits::OWNER_KEYSPACES_MAX as u64,
                }));
            }
        }
        for name in missing {
            handles.push((name.to_owned(), self.create_keyspace(owner, name)?));
        }
        Ok(Ok(handles))
    }

    /// Creates a keyspace, durably: a journal record that names a keyspace which does not exist is dropped at replay.
    fn create_keyspace(&mut self, owner: &str, keyspace: &str) -> Result<Keyspace, Failure> {
        let full = name::join(owner, keyspace);
        let handle = self
            .database
            .keyspace(&full, || self.options.keyspace())
            .map_err(failure(format!("creating keyspace {full} failed")))?;
        sync_keyspace_folder(&handle).map_err(failure(format!("syncing keyspace {full} failed")))?;
        let mut keyspaces = self.published.keyspaces.write();
        let keyspaces = keyspaces.as_mut().expect("only this thread takes the keyspaces away, when it ends");
        keyspaces.entry(owner.to_owned()).or_default().insert(keyspace.to_owned(), handle.clone());
        self.unlisted.push(handle.clone());
        Ok(handle)
    }

    /// Waits while flushing or compaction is behind. fjall would wait as well, but without end.
    fn wait_for_room(&mut self) -> Result<(), Failure> {
        if self.uncounted.is_some_and(|bytes| bytes < CROWDED_CHECK_BYTES) {
            return Ok(());
        }
        let limit = Duration::from_millis(self.options.stall_limit_ms);
        let busy = || self.find(stall::is_crowded);
        let excused = || self.published.compacting.load(Ordering::Acquire);
        stall::wait(&self.database, limit, busy, excused).map_err(Failure)?;
        self.uncounted = Some(0);
        Ok(())
    }

    /// The name of a keyspace that is as asked for.
    fn find(&self, which: fn(&Keyspace) -> bool) -> Option<String> {
        let keyspaces = self.published.keyspaces.read();
        let owned =
            keyspaces.iter().flat_map(|keyspaces| keyspaces.values()).flat_map(|owned| owned.values());
        owned.chain([&self.meta]).find(|handle| which(handle)).map(|handle| handle.name().to_string())
    }

    /// Brings everything into tables, so that the next open has nothing to replay. A store that is poisoned is left as
    /// it is, and so is one whose disk does not do it in time: the journal has it all.
    fn close(&mut self) {
        if self.is_poisoned() {
            return;
        }
        let flushed = catch_unwind(AssertUnwindSafe(|| self.flush()))
            .unwrap_or_else(|panic| Err(Failure(format!("the engine gave up: {}", panic_message(&*panic)))));
        match flushed {
            Ok(()) => self.emptied.may = true,
            Err(Failure(reason)) => {
                tracing::warn!(
                    reason,
                    "the store was closed without a flush; the next open replays its journal"
                );
            }
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        // A worker that has failed flushes nothing, and this is how fjall says so.
        self.database.persist(PersistMode::SyncData).map_err(failure("syncing the journal failed"))?;
        let handles: Vec<Keyspace> = {
            let keyspaces = self.published.keyspaces.read();
            keyspaces.iter().flatten().flat_map(|(_, owned)| owned.values().cloned()).collect()
        };
        for handle in handles.iter().chain([&self.meta]) {
            handle.rotate_memtable().map_err(failure("sealing a memtable failed"))?;
        }
        let busy = || self.find(|handle| handle.sealed_memtable_count() > 0);
        stall::wait(&self.database, CLOSE_FLUSH_LIMIT, busy, || false).map_err(Failure)?;
        self.mark.flushed().map_err(failure("writing the durable mark failed"))
    }

    fn reply(replies: Vec<Reply>, outcomes: Result<Vec<Outcomes>, CommitError>) {
        match outcomes {
            Ok(all) => {
                for (reply, outcomes) in replies.into_iter().zip(all) {
                    contain("a reply", || reply(Ok(outcomes)));
                }
            }
            Err(error) => {
                for reply in replies {
                    contain("a reply", || reply(Err(error.clone())));
                }
            }
        }
    }

    fn pass(&self, point: FailPoint) -> Result<(), Failure> {
        match &self.options.fail_points {
            None => Ok(()),
            Some(hook) => hook(point).map_err(failure(format!("failed at {point:?}"))),
        }
    }
}

impl ActiveJournal {
    /// Finds out whether the engine has begun another. Asked before a group is written, so that the group is in this one
    /// or behind it.
    fn look(&mut self) {
        while self.bytes > JOURNAL_ROTATES_BYTES && journal::path(&self.data, self.id + 1).exists() {
            self.id += 1;
            self.bytes = self.unseen;
        }
        self.unseen = 0;
    }

    fn wrote(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.unseen += bytes;
    }
}

impl Drop for EmptiedJournal {
    fn drop(&mut self) {
        if !self.may {
            return;
        }
        if let Err(error) = recovery::empty_newest(&self.data) {
            tracing::warn!(%error, "the journal could not be emptied; the next open reads it");
        }
    }
}

/// Adds an operation to a record, its stamps and its chain filled in. The bytes that it takes there, about.
fn add(
    record: &mut OwnedWriteBatch,
    handles: &Handles,
    operation: Operation,
    first_position: u64,
    last_chain: &mut u64,
) -> usize {
    let handle = handles.iter().find(|(name, _)| name == operation.keyspace()).map(|(_, handle)| handle);
    match operation {
        Operation::Put { mut key, mut value, key_stamps, value_stamps, chain: hole, .. } => {
            stamp(&mut key, &key_stamps, first_position);
            stamp(&mut value, &value_stamps, first_position);
            if let Some(hole) = hole {
                *last_chain = chain(*last_chain, &key, &value, hole.at);
                let at = hole.at as usize;
                value[at..at + STAMP_BYTES].copy_from_slice(&last_chain.to_be_bytes());
            }
            let bytes = OPERATION_BYTES + key.len() + value.len();
            record.insert(handle.expect("a keyspace that is put to was resolved"), key, value);
            bytes
        }
        Operation::Delete { key, .. } => {
            let bytes = OPERATION_BYTES + key.len();
            if let Some(handle) = handle {
                record.remove(handle, key);
            }
            bytes
        }
    }
}

impl Drop for Committer {
    /// Waits for reads in progress, then leaves no handle of the database in any reader: the fields can close it.
    fn drop(&mut self) {
        self.published.keyspaces.write().take();
        self.published.meta.write().take();
    }
}

fn failure<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Failure {
    let what = what.into();
    move |error| Failure(format!("{what}: {error}"))
}
