//! Opening: the folder, the lock, creation that cannot be seen half done, and the checks before the first read.

pub mod unfinished;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, PersistMode};

use crate::engine_failure::EngineFailure;
use crate::engine_files::diagnosis;
use crate::engine_files::journal::{self, Journal};
use crate::engine_files::keyspace::{self as engine_files, Refusal};
use crate::engine_files::recovery::{self, Missing};
use crate::format;
use crate::head::{Head, Recorded};
use crate::history::Histories;
use crate::mark::{self, Found, Mark, MarkFile};
use crate::name;
use crate::options::Options;
use crate::read::snapshot::Keyspaces;

/// Why a store could not be opened. Nothing of what was acknowledged has been changed.
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
    /// A restore into the folder has begun and was not finished: there is no store, and a new one would be taken for the
    /// restored one.
    #[error(
        "a restore into {} was not finished, so there is no store in it: repeat it (`exesdb restore FILE`), or give it up (`exesdb restore --give-up`), which leaves room for a new store",
        path.display()
    )]
    RestoreUnfinished {
        /// The store's folder.
        path: PathBuf,
    },
    /// What is on disk is not what this layer writes.
    #[error("{} is damaged: {reason}; keep it as it is, and restore a backup, or let `exesdb doctor` look at a copy", path.display())]
    Damaged {
        /// The store's folder.
        path: PathBuf,
        /// What was found, and where.
        reason: String,
    },
    /// Less is there than was acknowledged.
    #[error(
        "acknowledged data is missing in {}: batches up to {} and positions below {} were acknowledged, and {found}; \
         keep it as it is, and restore a backup, or let `exesdb doctor` look at a copy",
        path.display(), acknowledged.sequence, acknowledged.next_position
    )]
    AcknowledgedMissing {
        /// The store's folder.
        path: PathBuf,
        /// The head that was acknowledged, as the durable mark has it. All zeros when the mark is to be made anew.
        acknowledged: Head,
        /// What is there instead: in which file, and up to which byte and batch.
        found: String,
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
    #[error(
        "the database in {} could not be opened: {failure}; {found}; if that is damage, keep it as it is, and restore a \
         backup, or let `exesdb doctor` look at a copy",
        path.display()
    )]
    Engine {
        /// The store's folder.
        path: PathBuf,
        /// Why. It names no file.
        failure: EngineFailure,
        /// Which of its files are not as it writes them, or where none was found.
        found: String,
    },
}

/// An open database. The fields are dropped in order: the lock goes last.
pub(crate) struct Opened {
    pub(crate) meta: Keyspace,
    pub(crate) keyspaces: Keyspaces,
    pub(crate) head: Head,
    pub(crate) histories: Histories,
    pub(crate) mark: MarkFile,
    /// The newest journal, and the bytes in it.
    pub(crate) journal: (u64, u64),
    pub(crate) data: PathBuf,
    pub(crate) database: Database,
    pub(crate) lock: File,
}

/// Opens the store in `dir`, creating both when absent.
pub(crate) fn open(dir: &Path, options: &Options) -> Result<Opened, OpenError> {
    options.check()?;
    std::fs::create_dir_all(dir).map_err(failed("creating", dir))?;
    let lock = lock(dir)?;
    if unfinished::is_unfinished(dir).map_err(failed("looking at", dir))? {
        return Err(OpenError::RestoreUnfinished { path: dir.to_owned() });
    }
    // Of a restore that was killed after its last step but one.
    unfinished::finish(dir).map_err(failed("removing the mark of the restore in", dir))?;
    let data = dir.join(format::DATABASE_FOLDER);
    let mut found = mark::read(dir).map_err(failed("reading the durable mark of", dir))?;
    if !data.try_exists().map_err(failed("looking for", &data))? {
        may_create(dir, found)?;
        found = Found::Mark(create(dir, options)?);
    }
    let marker = data.join(format::ENGINE_MARKER);
    if !marker.try_exists().map_err(failed("looking for", &marker))? {
        return Err(damaged(dir, format!("{} is missing", marker.display())));
    }
    let journals = journals(dir, &data, found)?;
    let used: BTreeSet<u64> = journals.iter().flat_map(|journal| journal.keyspaces.iter().copied()).collect();
    engine_files::check(&data, &used).map_err(|refusal| match refusal {
        Refusal::Damaged(reason) => damaged(dir, reason),
        Refusal::Io(source) => {
            OpenError::Io { action: "checking the keyspaces of", path: data.clone(), source }
        }
    })?;
    diagnosis::check_ends(&data).map_err(|reason| damaged(dir, reason))?;
    let mark = recover(dir, &journals, found, options)?;
    let database = engine(dir, &data, options)?;
    let meta = database.keyspace(format::META, || options.keyspace()).map_err(refused(dir))?;
    read_format(dir, &meta)?;
    let Some(mark) = mark else { return Err(mark_missing(dir, found)) };
    let head = read_head(dir, &meta)?;
    check_head(dir, head, mark, &journals, options)?;
    let keyspaces = keyspaces(dir, &database, &meta, options)?;
    #[cfg(feature = "faults")]
    drop_one(dir, &keyspaces, options)?;
    // What the journal's replay found must be durable before it is read, acknowledged or not.
    database.persist(PersistMode::SyncAll).map_err(refused(dir))?;
    let (head, histories) = match read_histories(dir, &meta, head)? {
        Some(histories) => (head, histories),
        // A store that was written before there were histories: it gets its first.
        None => write_histories(dir, &database, &meta, head, Histories::begin())?,
    };
    let newest = journals.last().expect("a database without a journal was refused");
    let mark = go_on(dir, found, Mark { head, journal: newest.id, ..mark })
        .map_err(failed("writing the durable mark of", dir))?;
    Ok(Opened {
        meta,
        keyspaces,
        head,
        histories,
        mark,
        journal: (newest.id, newest.valid_end),
        data,
        database,
        lock,
    })
}

/// Whether a store may be created where there is no database: not where one is known to have been.
fn may_create(dir: &Path, found: Found) -> Result<(), OpenError> {
    let gone = format!("{} is missing", dir.join(format::DATABASE_FOLDER).display());
    match found {
        // A creation was interrupted: the mark is made first.
        Found::Mark(Mark { head: Head { sequence: 0, .. }, .. }) | Found::Missing => Ok(()),
        Found::Mark(mark) => Err(missing(dir, mark, gone)),
        Found::Damaged => Err(damaged(dir, format!("{gone}, and the durable mark cannot be read"))),
    }
}

/// Reads the journals from the disk.
fn journals(dir: &Path, data: &Path, found: Found) -> Result<Vec<Journal>, OpenError> {
    let flushed_through = match found {
        Found::Mark(mark) => mark.flushed_through,
        Found::Missing | Found::Damaged => 0,
    };
    let journals = journal::list(data).map_err(failed("listing the journals of", dir))?;
    recovery::evict(&journals).map_err(failed("preparing the journals of", dir))?;
    journal::read(&journals, flushed_through).map_err(failed("reading the journals of", dir))
}

/// Decides whether the journals have what was acknowledged, and makes them fit to be replayed. The mark to hold the
/// store against; `None` when there is none and none may be made, in which case nothing was changed.
fn recover(
    dir: &Path,
    journals: &[Journal],
    found: Found,
    options: &Options,
) -> Result<Option<Mark>, OpenError> {
    let mark = match found {
        Found::Mark(mark) => Some(mark),
        Found::Missing | Found::Damaged => None,
    };
    let repairs = recovery::decide(mark.as_ref(), journals)
        .map_err(|Missing(what)| missing(dir, mark.unwrap_or_default(), what))?;
    if mark.is_none() && !options.rebuild_mark {
        // The store of another version may have no mark. The engine may be asked, if that changes nothing.
        return if repairs.is_empty() { Ok(None) } else { Err(mark_missing(dir, found)) };
    }
    for repair in repairs {
        repair.perform().map_err(failed("cutting off the journal's unacknowledged end in", dir))?;
    }
    Ok(Some(mark.unwrap_or_default()))
}

/// Holds what the engine has against what was acknowledged, and against what its journals held.
fn check_head(
    dir: &Path,
    head: Head,
    mark: Mark,
    journals: &[Journal],
    options: &Options,
) -> Result<(), OpenError> {
    let acknowledged = mark.head;
    if head.sequence < acknowledged.sequence {
        let names: Vec<_> = journals.iter().map(|journal| journal.path.display().to_string()).collect();
        let end = journals.last().map_or(0, |journal| journal.valid_end);
        return Err(missing(
            dir,
            mark,
            format!(
                "the last batch is {} ({}; the newest ends at byte {end})",
                head.sequence,
                names.join(", ")
            ),
        ));
    }
    let rebuilt = mark.turn == 0 && options.rebuild_mark;
    if head.sequence == acknowledged.sequence && head != acknowledged && !rebuilt {
        return Err(damaged(
            dir,
            format!("its head is {head:?}, and {acknowledged:?} was acknowledged ({})", format::MARK_FILE),
        ));
    }
    let replayed = journals.iter().rev().find_map(|journal| journal.last).map(|last| last.head);
    match replayed.filter(|replayed| replayed.sequence > head.sequence) {
        None => Ok(()),
        Some(replayed) => Err(damaged(
            dir,
            format!(
                "the journals hold batch {}, and the engine came to batch {}",
                replayed.sequence, head.sequence
            ),
        )),
    }
}

/// Brings the mark up to what was found, durably, before anything of it is served.
fn go_on(dir: &Path, found: Found, mark: Mark) -> io::Result<MarkFile> {
    if !matches!(found, Found::Mark(_)) {
        mark::create(dir, Mark { turn: 0, ..mark })?;
    }
    let mut file = MarkFile::open(dir, mark)?;
    file.advance(mark.head, mark.journal)?;
    file.sync()?;
    Ok(file)
}

#[cfg(feature = "faults")]
fn drop_one(dir: &Path, keyspaces: &Keyspaces, options: &Options) -> Result<(), OpenError> {
    if !options.breaks(crate::fault::Fault::DropOneOnReplay) {
        return Ok(());
    }
    let events = keyspaces.get("streams").and_then(|owned| owned.get("events"));
    let last = events.and_then(|events| events.last_key_value().map(|entry| (events, entry)));
    let Some((events, entry)) = last else { return Ok(()) };
    events.remove(entry.key().map_err(refused(dir))?).map_err(refused(dir))
}

pub(crate) fn lock(dir: &Path) -> Result<File, OpenError> {
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
fn create(dir: &Path, options: &Options) -> Result<Mark, OpenError> {
    let new = new_database_folder(dir)?;
    {
        let database = engine(dir, &new, options)?;
        let meta = database.keyspace(format::META, || options.keyspace()).map_err(refused(dir))?;
        sync_keyspace_folder(&meta).map_err(failed("syncing", &new))?;
        let mut batch = database.batch();
        batch.insert(&meta, format::FORMAT_KEY, format::FORMAT_VERSION.to_be_bytes());
        let head = Recorded { head: Head::default(), engine_floor: 0 };
        batch.insert(&meta, &format::HEAD_KEY[..], head.encode());
        batch.insert(&meta, format::HISTORIES_KEY, Histories::begin().encode());
        batch.commit().map_err(refused(dir))?;
        database.persist(PersistMode::SyncAll).map_err(refused(dir))?;
    }
    name_database(dir, Mark::default())
}

/// Where a database is built; what an interrupted attempt has left there is removed.
pub(crate) fn new_database_folder(dir: &Path) -> Result<PathBuf, OpenError> {
    let new = dir.join(format::NEW_DATABASE_FOLDER);
    if new.try_exists().map_err(failed("looking for", &new))? {
        std::fs::remove_dir_all(&new).map_err(failed("removing", &new))?;
    }
    Ok(new)
}

/// Makes the database that was built, complete and closed, the database of the store, durably. Its mark, as it stands in
/// the file then.
pub(crate) fn name_database(dir: &Path, mark: Mark) -> Result<Mark, OpenError> {
    let new = dir.join(format::NEW_DATABASE_FOLDER);
    sync_folder(&new).map_err(failed("syncing", &new))?;
    // Before the database has its name: from then on, a store without a mark is one that lost it.
    mark::create(dir, mark).map_err(failed("creating the durable mark of", dir))?;
    let data = dir.join(format::DATABASE_FOLDER);
    std::fs::rename(&new, &data).map_err(failed("renaming", &new))?;
    sync_folder(dir).map_err(failed("syncing", dir))?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent).map_err(failed("syncing", parent))?;
    }
    Ok(Mark { turn: mark.turn + 1, ..mark })
}

pub(crate) fn engine(dir: &Path, data: &Path, options: &Options) -> Result<Database, OpenError> {
    let builder = Database::builder(data)
        .cache_size(options.cache_bytes)
        .max_journaling_size(options.max_journal_bytes)
        .max_cached_files(Some(options.open_tables))
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
        Ok(Err(error)) => Err(engine_refused(dir, data, EngineFailure::of(&error))),
        Err(panic) => {
            let failure = EngineFailure::of_panic(panic_message(&*panic));
            log(dir, &failure);
            Err(damaged(dir, format!("{failure}; {}", diagnosis::found(data))))
        }
    }
}

fn engine_refused(dir: &Path, data: &Path, failure: EngineFailure) -> OpenError {
    log(dir, &failure);
    OpenError::Engine { path: dir.to_owned(), failure, found: diagnosis::found(data) }
}

/// The engine's own words, which are not for everybody.
fn log(dir: &Path, failure: &EngineFailure) {
    tracing::warn!(target: "exesdb_storage::engine", store = %dir.display(), engine = failure.said, "the database engine refuses its files");
}

fn meta_value(dir: &Path, meta: &Keyspace, key: &[u8]) -> Result<fjall::Slice, OpenError> {
    let shown = String::from_utf8_lossy(key);
    meta.get(key).map_err(refused(dir))?.ok_or_else(|| damaged(dir, format!("meta has no {shown}")))
}

/// Checks that the format is the one that this code knows.
fn read_format(dir: &Path, meta: &Keyspace) -> Result<(), OpenError> {
    let found = meta_value(dir, meta, format::FORMAT_KEY)?;
    let found = <[u8; 4]>::try_from(&*found)
        .map_err(|_| damaged(dir, format!("format has {} bytes instead of 4", found.len())))?;
    match u32::from_be_bytes(found) {
        format::FORMAT_VERSION => Ok(()),
        found => Err(OpenError::UnknownFormat { path: dir.to_owned(), found }),
    }
}

pub(crate) fn read_head(dir: &Path, meta: &Keyspace) -> Result<Head, OpenError> {
    let found = meta_value(dir, meta, format::HEAD_KEY)?;
    Recorded::decode(&found)
        .map(|recorded| recorded.head)
        .ok_or_else(|| damaged(dir, format!("head has {} bytes instead of 32", found.len())))
}

/// The store's histories; none in a store that was written before there were any.
pub(crate) fn read_histories(
    dir: &Path,
    meta: &Keyspace,
    head: Head,
) -> Result<Option<Histories>, OpenError> {
    let Some(found) = meta.get(format::HISTORIES_KEY).map_err(refused(dir))? else { return Ok(None) };
    Histories::decode(&found, head.next_position).map(Some).map_err(|reason| damaged(dir, reason))
}

/// Writes the list of histories, durably, as a batch of its own. The head with that batch.
fn write_histories(
    dir: &Path,
    database: &Database,
    meta: &Keyspace,
    head: Head,
    histories: Histories,
) -> Result<(Head, Histories), OpenError> {
    let head = Head { sequence: head.sequence + 1, ..head };
    let mut batch = database.batch();
    batch.insert(meta, format::HISTORIES_KEY, histories.encode());
    let recorded = Recorded { head, engine_floor: database.seqno() };
    batch.insert(meta, &format::HEAD_KEY[..], recorded.encode());
    batch.commit().map_err(refused(dir))?;
    database.persist(PersistMode::SyncAll).map_err(refused(dir))?;
    Ok((head, histories))
}

/// Makes the closed store in `dir` go on from the histories that it was copied from: its list becomes `inherited` with a
/// new history behind. What the store has in common with `inherited` are the events below `first_position`.
///
/// # Errors
///
/// [`OpenError`], as for opening the store.
pub fn begin_history(dir: &Path, inherited: &Histories, first_position: u64) -> Result<Histories, OpenError> {
    let mut opened = open(dir, &Options::default())?;
    // Nothing is known of positions that the store does not have yet.
    let first_position = first_position.min(opened.head.next_position);
    let histories = inherited.up_to(opened.head.next_position).and_a_new_one(first_position);
    let (head, histories) = write_histories(dir, &opened.database, &opened.meta, opened.head, histories)?;
    opened.mark.advance(head, opened.journal.0).map_err(failed("writing the durable mark of", dir))?;
    opened.mark.sync().map_err(failed("syncing the durable mark of", dir))?;
    Ok(histories)
}

/// The keyspaces that are listed in `meta`. One that the engine has and the list has not was created for a batch that
/// was then not written; it is taken into the list by the first that is.
fn keyspaces(
    dir: &Path,
    database: &Database,
    meta: &Keyspace,
    options: &Options,
) -> Result<Keyspaces, OpenError> {
    for full in database.list_keyspace_names() {
        if &*full != format::META && name::split(&full).is_none() {
            return Err(damaged(dir, format!("keyspace {:?} belongs to nobody", &*full)));
        }
    }
    let mut keyspaces = Keyspaces::default();
    for entry in meta.prefix(format::KEYSPACE_KEY_PREFIX) {
        let (key, value) = entry.into_inner().map_err(refused(dir))?;
        let full = String::from_utf8_lossy(&key[format::KEYSPACE_KEY_PREFIX.len()..]);
        let number = <[u8; 8]>::try_from(&*value).map(u64::from_be_bytes);
        let (Some((owner, keyspace)), Ok(number)) = (name::split(&full), number) else {
            return Err(damaged(dir, format!("meta lists keyspace {full:?} as {:?}", &*value)));
        };
        if !database.keyspace_exists(&full) {
            let folder = format!("{}/data/keyspaces/{number}", dir.display());
            return Err(damaged(dir, format!("keyspace {full} is missing, which was in {folder}")));
        }
        let handle = database.keyspace(&full, || options.keyspace()).map_err(refused(dir))?;
        if handle.id() != number {
            return Err(damaged(dir, format!("keyspace {full} is number {} and not {number}", handle.id())));
        }
        keyspaces.entry(owner.to_owned()).or_default().insert(keyspace.to_owned(), handle);
    }
    Ok(keyspaces)
}

/// Makes the creation of a keyspace durable: fjall syncs what is in its folder, not the folder's own entry, and replay
/// drops what was written to a keyspace that it does not find.
pub(crate) fn sync_keyspace_folder(keyspace: &Keyspace) -> io::Result<()> {
    sync_folder(keyspace.path().parent().expect("a keyspace's folder lies in the folder of all keyspaces"))
}

pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
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

fn missing(dir: &Path, mark: Mark, found: String) -> OpenError {
    OpenError::AcknowledgedMissing { path: dir.to_owned(), acknowledged: mark.head, found }
}

fn mark_missing(dir: &Path, found: Found) -> OpenError {
    let how = if found == Found::Missing { "missing" } else { "damaged in both slots" };
    let path = dir.join(format::MARK_FILE);
    damaged(
        dir,
        format!("{} is {how}, so that nobody knows whether everything acknowledged is there", path.display()),
    )
}

fn damaged(dir: &Path, reason: String) -> OpenError {
    OpenError::Damaged { path: dir.to_owned(), reason }
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { action, path, source }
}

pub(crate) fn refused(dir: &Path) -> impl FnOnce(fjall::Error) -> OpenError {
    let path = dir.to_owned();
    move |error| {
        // While a store is made its database still has the other name.
        let (data, new) = (path.join(format::DATABASE_FOLDER), path.join(format::NEW_DATABASE_FOLDER));
        engine_refused(&path, if data.is_dir() { &data } else { &new }, EngineFailure::of(&error))
    }
}
