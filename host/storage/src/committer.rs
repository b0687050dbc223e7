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
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode};

use crate::batch::{Batch, BatchError, Committed, Guard, Operation, stamp};
use crate::commit::{CommitError, Health, Outcomes, Queue, Reply, Request, contain};
use crate::fail_point::FailPoint;
use crate::format;
use crate::limits;
use crate::name;
use crate::open::{Opened, Options, panic_message, sync_keyspace_folder};
use crate::read::{self, Published, View};

/// Sealed memtables of one keyspace at which a group waits. fjall halts at 4, inside the write and without end; a group
/// adds at most one.
const SEALED_MEMTABLES_MAX: usize = 3;

/// Tables in level 0 of one keyspace at which a group waits. fjall halts at 30 runs, likewise without end.
const LEVEL_0_TABLES_MAX: usize = 28;

/// How often a waiting group looks again. fjall's own waits are 10 to 100 ms.
const STALL_POLL: Duration = Duration::from_millis(5);

/// The committer's state. The fields are dropped in order: every handle before the database, the lock last.
pub(crate) struct Committer {
    receiver: Receiver<Request>,
    queue: Arc<Queue>,
    published: Arc<Published>,
    options: Options,
    /// The position that the next event gets; ahead of the published one while a group is being written.
    next_position: u64,
    meta: Keyspace,
    database: Database,
    _lock: File,
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

impl Committer {
    /// A committer over an open database, and what readers share with it.
    pub(crate) fn new(
        opened: Opened,
        options: Options,
        queue: Arc<Queue>,
        receiver: Receiver<Request>,
    ) -> (Self, Arc<Published>) {
        let Opened { meta, keyspaces, next_position, database, lock } = opened;
        let view = View { snapshot: database.snapshot(), next_position };
        let published = Arc::new(Published {
            view: arc_swap::ArcSwap::from_pointee(view),
            keyspaces: parking_lot::RwLock::new(Some(keyspaces)),
        });
        let committer = Self {
            receiver,
            queue,
            published: Arc::clone(&published),
            options,
            next_position,
            meta,
            database,
            _lock: lock,
        };
        (committer, published)
    }

    /// Commits until the store is closed and everything it has taken is answered; then closes the database.
    pub(crate) fn run(mut self) {
        while let Ok(first) = self.receiver.recv() {
            let (group, replies) = self.gather(first);
            self.queue.group_begins();
            let before = self.next_position;
            let outcomes = match self.queue.health() {
                Health::Poisoned { reason } => Err(reason),
                Health::Ok => catch_unwind(AssertUnwindSafe(|| self.commit_group(group)))
                    .unwrap_or_else(|panic| {
                        Err(Failure(format!("the committer panicked: {}", panic_message(&*panic))))
                    })
                    .map_err(|Failure(reason)| {
                        self.queue.poison(&reason);
                        reason
                    }),
            };
            Self::reply(replies, outcomes);
            self.queue.group_ends();
            let durable = self.published.view.load().next_position;
            if durable > before {
                self.queue.announce(durable);
            }
        }
    }

    /// The first commit, and what waits behind it, up to the limits of a group.
    fn gather(&self, first: Request) -> (Vec<Work>, Vec<Reply>) {
        let mut bytes = 0;
        let mut group = Vec::new();
        let mut replies = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            self.queue.taken(&request);
            bytes += request.bytes;
            group.push(Work { owner: request.owner, batches: request.batches });
            replies.push(request.reply);
            let full = bytes >= self.options.group_bytes || group.len() >= self.options.group_commits;
            next = if full { None } else { self.receiver.try_recv().ok() };
        }
        (group, replies)
    }

    /// Writes a group, syncs once if anything was written, and publishes it.
    fn commit_group(&mut self, group: Vec<Work>) -> Result<Vec<Outcomes>, Failure> {
        self.wait_for_room()?;
        let mut written = false;
        let mut all = Vec::with_capacity(group.len());
        for work in group {
            let mut outcomes = Vec::with_capacity(work.batches.len());
            for batch in work.batches {
                let outcome = match batch {
                    Ok(batch) => self.apply(&work.owner, batch, &mut written)?,
                    Err(error) => Err(error),
                };
                outcomes.push(outcome);
            }
            all.push(outcomes);
        }
        if written {
            self.pass(FailPoint::BeforeSync)?;
            self.database.persist(PersistMode::SyncData).map_err(failure("the fsync failed"))?;
            self.pass(FailPoint::AfterSync)?;
            let view = View { snapshot: self.database.snapshot(), next_position: self.next_position };
            self.published.view.store(Arc::new(view));
        }
        self.pass(FailPoint::BeforeReply)?;
        Ok(all)
    }

    /// Applies one batch, if its guards hold: its operations and the position behind it are one journal record.
    fn apply(
        &mut self,
        owner: &str,
        batch: Batch,
        written: &mut bool,
    ) -> Result<Result<Committed, BatchError>, Failure> {
        if let Err(error) = self.check_guards(owner, &batch.guards) {
            return Ok(Err(error));
        }
        let first_position = self.next_position;
        let Some(next_position) = first_position.checked_add(u64::from(batch.events)) else {
            return Ok(Err(BatchError::Invalid("there are no positions left".into())));
        };
        let handles = match self.resolve(owner, &batch.operations)? {
            Ok(handles) => handles,
            Err(error) => return Ok(Err(error)),
        };
        let mut record = OwnedWriteBatch::with_capacity(self.database.clone(), batch.operations.len() + 1);
        for operation in batch.operations {
            add(&mut record, &handles, operation, first_position);
        }
        if batch.events > 0 {
            record.insert(&self.meta, format::NEXT_POSITION_KEY, next_position.to_be_bytes());
        }
        if !record.is_empty() {
            self.pass(FailPoint::BeforeWrite)?;
            record.commit().map_err(failure("writing a batch failed"))?;
            *written = true;
            self.next_position = next_position;
            self.pass(FailPoint::AfterWrite)?;
        }
        Ok(Ok(Committed { first_position }))
    }

    fn check_guards(&self, owner: &str, guards: &[Guard]) -> Result<(), BatchError> {
        for (index, guard) in (0u32..).zip(guards) {
            match self.holds(owner, guard) {
                Ok(true) => {}
                Ok(false) => return Err(BatchError::GuardFailed { index }),
                Err(error) => {
                    return Err(BatchError::GuardUnreadable { index, reason: error.to_string() });
                }
            }
        }
        Ok(())
    }

    /// Whether a guard holds, reading the newest state: this thread is the only one that may.
    fn holds(&self, owner: &str, guard: &Guard) -> fjall::Result<bool> {
        let Some(handle) = self.keyspace(owner, guard.keyspace()) else {
            return Ok(!matches!(guard, Guard::Equals { .. }));
        };
        match guard {
            Guard::Absent { key, .. } => Ok(!handle.contains_key(key)?),
            Guard::Equals { key, value, .. } => Ok(handle.get(key)?.is_some_and(|found| *found == **value)),
            Guard::RangeEmpty { start, end, .. } => {
                let Some(range) = read::range(start, end.as_deref()) else { return Ok(true) };
                match handle.range::<&[u8], _>(range).next() {
                    None => Ok(true),
                    Some(entry) => entry.key().map(|_| false),
                }
            }
        }
    }

    fn keyspace(&self, owner: &str, keyspace: &str) -> Option<Keyspace> {
        self.published.keyspaces.read().as_ref()?.get(owner)?.get(keyspace).cloned()
    }

    /// The keyspaces that a batch writes to, each looked up once. Those that are missing are created, unless the owner
    /// would get more than the limit: then none is.
    fn resolve(&self, owner: &str, operations: &[Operation]) -> Result<Result<Handles, BatchError>, Failure> {
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
    fn create_keyspace(&self, owner: &str, keyspace: &str) -> Result<Keyspace, Failure> {
        let full = name::join(owner, keyspace);
        let handle = self
            .database
            .keyspace(&full, || self.options.keyspace())
            .map_err(failure(format!("creating keyspace {full} failed")))?;
        sync_keyspace_folder(&handle).map_err(failure(format!("syncing keyspace {full} failed")))?;
        let mut keyspaces = self.published.keyspaces.write();
        let keyspaces = keyspaces.as_mut().expect("only this thread takes the keyspaces away, when it ends");
        keyspaces.entry(owner.to_owned()).or_default().insert(keyspace.to_owned(), handle.clone());
        Ok(handle)
    }

    /// Waits while flushing or compaction is behind. fjall would wait as well, but without end, and without noticing
    /// that its workers are gone.
    fn wait_for_room(&self) -> Result<(), Failure> {
        let started = Instant::now();
        while let Some(keyspace) = self.crowded() {
            // The only way to ask fjall whether a worker of it has failed.
            self.database.persist(PersistMode::Buffer).map_err(failure("a flush or compaction failed"))?;
            if started.elapsed() > Duration::from_millis(self.options.stall_limit_ms) {
                return Err(Failure(format!(
                    "flushing {keyspace} made no progress for {} ms; the disk may be full or failing",
                    self.options.stall_limit_ms
                )));
            }
            std::thread::sleep(STALL_POLL);
        }
        Ok(())
    }

    fn crowded(&self) -> Option<String> {
        let crowded = |handle: &&Keyspace| {
            handle.sealed_memtable_count() >= SEALED_MEMTABLES_MAX
                || handle.l0_table_count() >= LEVEL_0_TABLES_MAX
        };
        let keyspaces = self.published.keyspaces.read();
        let owned =
            keyspaces.iter().flat_map(|keyspaces| keyspaces.values()).flat_map(|owned| owned.values());
        owned.chain([&self.meta]).find(crowded).map(|handle| handle.name().to_string())
    }

    fn reply(replies: Vec<Reply>, outcomes: Result<Vec<Outcomes>, String>) {
        match outcomes {
            Ok(all) => {
                for (reply, outcomes) in replies.into_iter().zip(all) {
                    contain("a reply", || reply(Ok(outcomes)));
                }
            }
            Err(reason) => {
                for reply in replies {
                    let error = CommitError::Poisoned { reason: reason.clone() };
                    contain("a reply", || reply(Err(error)));
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

/// Adds an operation to a record, its stamps filled in.
fn add(record: &mut OwnedWriteBatch, handles: &Handles, operation: Operation, first_position: u64) {
    let handle = handles.iter().find(|(name, _)| name == operation.keyspace()).map(|(_, handle)| handle);
    match operation {
        Operation::Put { mut key, mut value, key_stamps, value_stamps, .. } => {
            stamp(&mut key, &key_stamps, first_position);
            stamp(&mut value, &value_stamps, first_position);
            record.insert(handle.expect("a keyspace that is put to was resolved"), key, value);
        }
        Operation::Delete { key, .. } => {
            if let Some(handle) = handle {
                record.remove(handle, key);
            }
        }
    }
}

impl Drop for Committer {
    /// Waits for reads in progress, then leaves no handle of the database in any reader: the fields can close it.
    fn drop(&mut self) {
        self.published.keyspaces.write().take();
    }
}

fn failure<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Failure {
    let what = what.into();
    move |error| Failure(format!("{what}: {error}"))
}
