//! Opening: the folder, the lock, creation that cannot be seen half done, and the checks before the first read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::fail_point::FailPoints;
use crate::format;
use crate::limits;
use crate::name;
use crate::read::Keyspaces;

/// How to run a store. Each value has a default that suits a store of its own on a small machine.
#[derive(Clone)]
pub struct Options {
    /// Bytes of the block cache. 32 MiB: the working set of stream heads and recent events of a small store; memory is
    /// per store, and many stores share a process.
    pub cache_bytes: u64,
    /// Bytes of full journals at which the keyspaces that keep them from being deleted are flushed. 64 MiB, the least:
    /// each full journal is reclaimed as soon as the next begins, because all that is kept is replayed at open, at
    /// about a microsecond for each operation. At least [`limits::JOURNAL_BYTES_MIN`].
    pub max_journal_bytes: u64,
    /// Bytes of one keyspace's memtable. 32 MiB: what is replayed at open grows with it. At least
    /// [`limits::MEMTABLE_BYTES_MIN`]. It counts for keyspaces created from now on.
    pub memtable_bytes: u64,
    /// Threads that flush and compact. 2: with one, a long compaction keeps flushes waiting until writes stall.
    pub worker_threads: usize,
    /// Commits that may wait. 1,024: at 250 fsyncs a second (a busy disk) and 100 commits a group, 40 ms of work.
    pub commit_queue: usize,
    /// Bytes of the commits that may wait. 64 MiB: four of the largest commits.
    pub commit_queue_bytes: usize,
    /// Commits of one group at most. 1,024: an fsync is long paid for by then, and the first of the group waits for the
    /// last.
    pub group_commits: usize,
    /// Bytes of one group after which it takes no further commit. 4 MiB: about what a disk writes in the time of its
    /// fsync. At most [`limits::GROUP_BYTES_MAX`].
    pub group_bytes: usize,
    /// Milliseconds that a group waits for flushes and compactions to make room before the store is poisoned. 30,000:
    /// fjall itself waits forever, even when its workers are dead.
    pub stall_limit_ms: u64,
    /// Called at each fail point; only for tests.
    pub fail_points: Option<FailPoints>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 32 * 1024 * 1024,
            max_journal_bytes: limits::JOURNAL_BYTES_MIN,
            memtable_bytes: 32 * 1024 * 1024,
            worker_threads: 2,
            commit_queue: 1024,
            commit_queue_bytes: 64 * 1024 * 1024,
            group_commits: 1024,
            group_bytes: 4 * 1024 * 1024,
            stall_limit_ms: 30_000,
            fail_points: None,
        }
    }
}

/// Why a store could not be opened. Nothing of what was there has been changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option is out of its range.
    #[error("option {option} is {actual}; it must be {range}")]
    Options {
        /// Name of the field of [`Options`].
        option: &'static str,
        /// Its value.
        actual: u64,
        /// What it must be.
        range: String,
    },
    /// Another process, or another `Store` of this process, has the store open.
    #[error("{} is open elsewhere (its lock file is held); stop the other process, or choose another folder", path.display())]
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// The store was written by a version of this software that knows another format.
    #[error("{} has storage format {found}, this version knows {}; use the version that wrote it", path.display(), format::FORMAT_VERSION)]
    UnknownFormat {
        /// The store's folder.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// What is on disk is not what this layer writes.
    #[error("{} is damaged: {reason}; keep it as it is, and restore a copy", path.display())]
    Damaged {
        /// The store's folder.
        path: PathBuf,
        /// What was found, and where.
        reason: String,
    },
    /// The operating system refused.
    #[error("{action} {} failed: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The engine refused.
    #[error("the database in {} could not be opened: {source}", path.display())]
    Engine {
        /// The store's folder.
        path: PathBuf,
        /// What the engine said.
        source: fjall::Error,
    },
}

/// An open database. The fields are dropped in order: the lock goes last.
pub(crate) struct Opened {
    pub(crate) meta: Keyspace,
    pub(crate) keyspaces: Keyspaces,
    pub(crate) next_position: u64,
    pub(crate) database: Database,
    pub(crate) lock: File,
}

impl Options {
    fn check(&self) -> Result<(), OpenError> {
        let at_least = |option, actual: u64, least: u64| {
            if actual >= least {
                return Ok(());
            }
            Err(OpenError::Options { option, actual, range: format!("at least {least}") })
        };
        at_least("max_journal_bytes", self.max_journal_bytes, limits::JOURNAL_BYTES_MIN)?;
        at_least("memtable_bytes", self.memtable_bytes, limits::MEMTABLE_BYTES_MIN)?;
        at_least("worker_threads", self.worker_threads as u64, 1)?;
        at_least("commit_queue", self.commit_queue as u64, 1)?;
        at_least("group_commits", self.group_commits as u64, 1)?;
        at_least("stall_limit_ms", self.stall_limit_ms, 1)?;
        if self.group_bytes > limits::GROUP_BYTES_MAX {
            return Err(OpenError::Options {
                option: "group_bytes",
                actual: self.group_bytes as u64,
                range: format!("at most {}", limits::GROUP_BYTES_MAX),
            });
        }
        Ok(())
    }

    /// Inline values and leveled compaction, fjall's default: value separation and FIFO are where its open bugs are.
    pub(crate) fn keyspace(&self) -> KeyspaceCreateOptions {
        KeyspaceCreateOptions::default().max_memtable_size(self.memtable_bytes)
    }
}

/// Opens the store in `dir`, creating both when absent.
pub(crate) fn open(dir: &Path, options: &Options) -> Result<Opened, OpenError> {
    options.check()?;
    std::fs::create_dir_all(dir).map_err(failed("creating", dir))?;
    let lock = lock(dir)?;
    let data = dir.join(format::DATABASE_FOLDER);
    if !data.try_exists().map_err(failed("looking for", &data))? {
        create(dir, options)?;
    }
    let marker = data.join(format::ENGINE_MARKER);
    if !marker.try_exists().map_err(failed("looking for", &marker))? {
        return Err(damaged(dir, format!("{} is missing", marker.display())));
    }
    let database = engine(dir, &data, options)?;
    let meta = database.keyspace(format::META, || options.keyspace()).map_err(refused(dir))?;
    let next_position = read_meta(dir, &meta)?;
    let keyspaces = keyspaces(dir, &database, options)?;
    // What the journal's replay found must be durable before it is read, acknowledged or not.
    database.persist(PersistMode::SyncAll).map_err(refused(dir))?;
    Ok(Opened { meta, keyspaces, next_position, database, lock })
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(format::LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(failed("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { action: "locking", path, source }),
    }
}

/// Creates the database under another name, and names it once it is complete and durable. fjall's own creation, cut
/// short by a crash, leaves a journal that neither creating nor opening accepts.
fn create(dir: &Path, options: &Options) -> Result<(), OpenError> {
    let new = dir.join(format::NEW_DATABASE_FOLDER);
    if new.try_exists().map_err(failed("looking for", &new))? {
        std::fs::remove_dir_all(&new).map_err(failed("removing", &new))?;
    }
    {
        let database = engine(dir, &new, options)?;
        let meta = database.keyspace(format::META, || options.keyspace()).map_err(refused(dir))?;
        sync_keyspace_folder(&meta).map_err(failed("syncing", &new))?;
        let mut batch = database.batch();
        batch.insert(&meta, format::FORMAT_KEY, format::FORMAT_VERSION.to_be_bytes());
        batch.insert(&meta, format::NEXT_POSITION_KEY, 0u64.to_be_bytes());
        batch.commit().map_err(refused(dir))?;
        database.persist(PersistMode::SyncAll).map_err(refused(dir))?;
    }
    sync_folder(&new).map_err(failed("syncing", &new))?;
    let data = dir.join(format::DATABASE_FOLDER);
    std::fs::rename(&new, &data).map_err(failed("renaming", &new))?;
    sync_folder(dir).map_err(failed("syncing", dir))?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_folder(parent).map_err(failed("syncing", parent)),
        None => Ok(()),
    }
}

fn engine(dir: &Path, data: &Path, options: &Options) -> Result<Database, OpenError> {
    let builder = Database::builder(data)
        .cache_size(options.cache_bytes)
        .max_journaling_size(options.max_journal_bytes)
        .worker_threads(options.worker_threads)
        // The committer alone decides when the journal is written out.
        .manual_journal_persist(true);
    // fjall asserts, in places, that files are as it wrote them. A damaged file must be an error, not a crash.
    match catch_unwind(AssertUnwindSafe(|| builder.open())) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(fjall::Error::Locked)) => Err(OpenError::Locked { path: dir.to_owned() }),
        Ok(Err(fjall::Error::JournalRecovery(error))) => {
            Err(damaged(dir, format!("the journal cannot be replayed ({error})")))
        }
        Ok(Err(source)) => Err(OpenError::Engine { path: dir.to_owned(), source }),
        Err(panic) => Err(damaged(dir, format!("the engine gave up ({})", panic_message(&*panic)))),
    }
}

/// The next position, after the format was found to be known.
fn read_meta(dir: &Path, meta: &Keyspace) -> Result<u64, OpenError> {
    let value = |key: &[u8]| {
        let shown = String::from_utf8_lossy(key);
        meta.get(key).map_err(refused(dir))?.ok_or_else(|| damaged(dir, format!("meta has no {shown}")))
    };
    let found = value(format::FORMAT_KEY)?;
    let found = <[u8; 4]>::try_from(&*found)
        .map_err(|_| damaged(dir, format!("format has {} bytes instead of 4", found.len())))?;
    let found = u32::from_be_bytes(found);
    if found != format::FORMAT_VERSION {
        return Err(OpenError::UnknownFormat { path: dir.to_owned(), found });
    }
    let next = value(format::NEXT_POSITION_KEY)?;
    let next = <[u8; 8]>::try_from(&*next)
        .map_err(|_| damaged(dir, format!("next-position has {} bytes instead of 8", next.len())))?;
    Ok(u64::from_be_bytes(next))
}

fn keyspaces(dir: &Path, database: &Database, options: &Options) -> Result<Keyspaces, OpenError> {
    let mut keyspaces = Keyspaces::default();
    for full in database.list_keyspace_names() {
        if &*full == format::META {
            continue;
        }
        let Some((owner, keyspace)) = name::split(&full) else {
            return Err(damaged(dir, format!("keyspace {:?} belongs to nobody", &*full)));
        };
        let handle = database.keyspace(&full, || options.keyspace()).map_err(refused(dir))?;
        keyspaces.entry(owner.to_owned()).or_default().insert(keyspace.to_owned(), handle);
    }
    Ok(keyspaces)
}

/// Makes the creation of a keyspace durable: fjall syncs what is in its folder, not the folder's own entry, and replay
/// drops what was written to a keyspace that it does not find.
pub(crate) fn sync_keyspace_folder(keyspace: &Keyspace) -> io::Result<()> {
    sync_folder(keyspace.path().parent().expect("a keyspace's folder lies in the folder of all keyspaces"))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it did not say why")
}

fn damaged(dir: &Path, reason: String) -> OpenError {
    OpenError::Damaged { path: dir.to_owned(), reason }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { action, path, source }
}

fn refused(dir: &Path) -> impl FnOnce(fjall::Error) -> OpenError {
    let path = dir.to_owned();
    move |source| OpenError::Engine { path, source }
}
