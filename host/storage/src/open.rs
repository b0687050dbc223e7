//! Opening a store: the lock, creation, and every check before the first read.

mod acknowledged;
mod engine;
mod error;
mod folder;
mod meta;
pub mod unfinished;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, PersistMode};

use crate::engine::Fjall;
use crate::engine_files::diagnosis;
use crate::engine_files::journal::Journal;
use crate::engine_files::keyspace::{self, FileError};
use crate::format;
use crate::head::LogHead;
use crate::history::Histories;
use crate::mark::{self, FoundMark, Mark, MarkFile};
use crate::options::Options;
use crate::read::Keyspaces;
use crate::replica::ReplicaState;

pub(crate) use engine::{engine_error, open_engine, sync_keyspace_folder};
pub use error::OpenError;
pub(crate) use folder::{lock, name_database, new_database_folder};
pub(crate) use meta::read_head;

/// An open database. The fields are dropped in order: the lock goes last.
pub(crate) struct Opened {
    pub(crate) meta: Keyspace,
    pub(crate) keyspaces: Keyspaces<Fjall>,
    /// Version of the store's format.
    pub(crate) format: u32,
    pub(crate) head: LogHead,
    pub(crate) histories: Histories,
    pub(crate) mark: MarkFile,
    /// Number of the newest journal, and the bytes in it.
    pub(crate) journal: (u64, u64),
    pub(crate) data: PathBuf,
    pub(crate) database: Database,
    pub(crate) lock: File,
    /// How far the log was applied, in a replica.
    pub(crate) replica: Option<ReplicaState>,
}

/// What a folder is opened as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A store that nothing is replicated to. It is created if it does not exist.
    Single,
    /// A replica. It is not created: whoever opens it expects what it has applied.
    Replica,
}

impl Kind {
    fn of(format: u32) -> Self {
        if format == format::REPLICA_FORMAT_VERSION { Self::Replica } else { Self::Single }
    }

    /// Refuses a folder of the other kind, given the version of its format.
    fn check(self, dir: &Path, format: u32) -> Result<(), OpenError> {
        if Self::of(format) == self {
            return Ok(());
        }
        Err(OpenError::UnknownFormat { path: dir.to_owned(), found: format })
    }

    /// Refuses a folder whose mark is of the other kind, before anything is changed in it.
    fn check_mark(self, dir: &Path, found: FoundMark) -> Result<(), OpenError> {
        match found {
            FoundMark::Whole(Mark { applied: Some(_), .. }) => {
                self.check(dir, format::REPLICA_FORMAT_VERSION)
            }
            FoundMark::Whole(_) => self.check(dir, format::FORMAT_VERSION),
            FoundMark::Missing | FoundMark::Damaged => Ok(()),
        }
    }
}

/// Opens what is in `dir` as this kind.
pub(crate) fn open(dir: &Path, options: &Options, kind: Kind) -> Result<Opened, OpenError> {
    options.check()?;
    std::fs::create_dir_all(dir).map_err(OpenError::io("creating", dir))?;
    let lock = lock(dir)?;
    if unfinished::is_unfinished(dir).map_err(OpenError::io("looking at", dir))? {
        return Err(OpenError::RestoreUnfinished { path: dir.to_owned() });
    }
    // A restore that was killed before its very last step left its marker beside the finished store.
    unfinished::finish(dir).map_err(OpenError::io("removing the mark of the restore in", dir))?;
    let data = dir.join(format::DATABASE_FOLDER);
    let mut found = mark::read(dir).map_err(OpenError::io("reading the durable mark of", dir))?;
    kind.check_mark(dir, found)?;
    if !data.try_exists().map_err(OpenError::io("looking for", &data))? {
        acknowledged::check_creatable(dir, found)?;
        if kind == Kind::Replica {
            return Err(OpenError::damaged(dir, format!("{} is missing", data.display())));
        }
        found = FoundMark::Whole(folder::create_database(dir, options, None)?);
    }
    let journals = check_files(dir, &data, found)?;
    let mark = acknowledged::recover(dir, &journals, found, options)?;
    let database = open_engine(dir, &data, options)?;
    let meta = database.keyspace(format::META, || options.keyspace()).map_err(engine_error(dir))?;
    let format = meta::read_format(dir, &meta)?;
    kind.check(dir, format)?;
    let Some(mark) = mark else { return Err(acknowledged::mark_missing(dir, found)) };
    let head = read_head(dir, &meta)?;
    acknowledged::check_head(dir, head, mark, &journals, options)?;
    let replica = match kind {
        Kind::Single => None,
        Kind::Replica => Some(meta::read_replica(dir, &meta)?),
    };
    let applied = replica.as_ref().map(|replica| replica.applied.mark());
    acknowledged::check_applied(dir, applied, mark)?;
    let keyspaces = meta::open_keyspaces(dir, &database, &meta, options)?;
    #[cfg(feature = "faults")]
    meta::drop_one(dir, &keyspaces, options)?;
    // What the replay of the journal found must be durable before it is read, acknowledged or not.
    database.persist(PersistMode::SyncAll).map_err(engine_error(dir))?;
    let (head, histories) = match meta::read_histories(dir, &meta, head)? {
        Some(histories) => (head, histories),
        None if kind == Kind::Replica => {
            return Err(OpenError::damaged(dir, "meta has no histories".into()));
        }
        // The store was written before there were histories: it gets its first.
        None => {
            let histories = Histories::begin();
            (meta::write_histories(dir, &database, &meta, head, &histories)?, histories)
        }
    };
    let newest = journals.last().expect("a database without a journal was refused");
    // The newest may hold no batch yet. Were it marked, the older ones could not be removed once they are in tables.
    let holder = journals.iter().rev().find(|journal| journal.last.is_some());
    let holder = holder.map_or(mark.journal, |journal| journal.id);
    let mark = acknowledged::advance_mark(dir, found, Mark { head, journal: holder, applied, ..mark })
        .map_err(OpenError::io("writing the durable mark of", dir))?;
    let journal = (newest.id, newest.valid_end);
    Ok(Opened { meta, keyspaces, format, head, histories, mark, journal, data, database, lock, replica })
}

/// Creates the database of a replica in `dir`, which must have none.
pub(crate) fn create_replica(dir: &Path, options: &Options, state: &ReplicaState) -> Result<(), CreateError> {
    options.check().map_err(OpenError::from)?;
    std::fs::create_dir_all(dir).map_err(OpenError::io("creating", dir))?;
    let _lock = lock(dir)?;
    if unfinished::is_unfinished(dir).map_err(OpenError::io("looking at", dir))? {
        return Err(OpenError::RestoreUnfinished { path: dir.to_owned() }.into());
    }
    let data = dir.join(format::DATABASE_FOLDER);
    if data.try_exists().map_err(OpenError::io("looking for", &data))? {
        return Err(CreateError::Exists(data));
    }
    let found = mark::read(dir).map_err(OpenError::io("reading the durable mark of", dir))?;
    acknowledged::check_creatable(dir, found)?;
    folder::create_database(dir, options, Some(state))?;
    Ok(())
}

/// Why a replica's database was not created.
pub(crate) enum CreateError {
    /// There is one, at this path.
    Exists(PathBuf),
    Open(OpenError),
}

impl From<OpenError> for CreateError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

/// Checks the engine's files before the engine opens them. Returns its journals.
fn check_files(dir: &Path, data: &Path, found: FoundMark) -> Result<Vec<Journal>, OpenError> {
    let marker = data.join(format::ENGINE_MARKER);
    if !marker.try_exists().map_err(OpenError::io("looking for", &marker))? {
        return Err(OpenError::damaged(dir, format!("{} is missing", marker.display())));
    }
    let journals = acknowledged::read_journals(dir, data, found)?;
    let used: BTreeSet<u64> = journals.iter().flat_map(|journal| journal.keyspaces.iter().copied()).collect();
    keyspace::check_all(data, &used).map_err(|error| match error {
        FileError::Damaged(reason) => OpenError::damaged(dir, reason),
        FileError::Io(source) => {
            OpenError::Io { action: "checking the keyspaces of", path: data.to_owned(), source }
        }
    })?;
    diagnosis::check_ends(data).map_err(|reason| OpenError::damaged(dir, reason))?;
    Ok(journals)
}

/// Makes the closed store in `dir` continue the histories of the store that it was copied from: its list becomes
/// `inherited` with a new history added. The events below `first_position` are the ones that both stores share.
///
/// # Errors
///
/// [`OpenError`], as for opening the store.
pub fn begin_history(dir: &Path, inherited: &Histories, first_position: u64) -> Result<Histories, OpenError> {
    let mut opened = open(dir, &Options::default(), Kind::Single)?;
    let Opened { meta, database, head, mark, journal: (journal, _), .. } = &mut opened;
    // The store has no events from its end on that it could share.
    let first_position = first_position.min(head.next_position);
    let histories = inherited.truncated_to(head.next_position).with_new_history(first_position);
    let head = meta::write_histories(dir, database, meta, *head, &histories)?;
    mark.advance(head, *journal).map_err(OpenError::io("writing the durable mark of", dir))?;
    mark.sync().map_err(OpenError::io("syncing the durable mark of", dir))?;
    Ok(histories)
}
