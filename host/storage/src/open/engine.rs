//! Opening the engine's database. When the engine refuses, its files are searched for the damaged one.

use std::io;
use std::path::Path;

use fjall::{Database, Keyspace};

use super::error::OpenError;
use crate::engine_failure::EngineFailure;
use crate::engine_files::diagnosis;
use crate::files::sync_folder;
use crate::format;
use crate::options::Options;
use crate::panic::catch_panic;

/// Opens the database in `data`, or creates it. `dir` is the store's folder.
pub(crate) fn open_engine(dir: &Path, data: &Path, options: &Options) -> Result<Database, OpenError> {
    let builder = Database::builder(data)
        .cache_size(options.cache_bytes)
        .max_journaling_size(options.max_journal_bytes)
        .max_cached_files(Some(options.open_tables))
        .worker_threads(options.worker_threads)
        // The committer alone decides when the journal is synced.
        .manual_journal_persist(true);
    // fjall asserts in places that files are as it wrote them. A damaged file must be an error, not a crash.
    match catch_panic(|| builder.open()) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(fjall::Error::Locked)) => Err(OpenError::Locked { path: dir.to_owned() }),
        Ok(Err(fjall::Error::JournalRecovery(error))) => {
            Err(OpenError::damaged(dir, format!("the journal cannot be replayed ({error})")))
        }
        Ok(Err(error)) => Err(refusal(dir, data, EngineFailure::of(&error))),
        Err(panic) => {
            let failure = EngineFailure::of_panic(&panic);
            log(dir, &failure);
            Err(OpenError::damaged(dir, format!("{failure}; {}", diagnosis::describe(data))))
        }
    }
}

/// Converts an error of the engine that occurred while opening the store in `dir`.
pub(crate) fn engine_error(dir: &Path) -> impl FnOnce(fjall::Error) -> OpenError {
    let path = dir.to_owned();
    move |error| {
        // A database has another name while it is built.
        let (data, new) = (path.join(format::DATABASE_FOLDER), path.join(format::NEW_DATABASE_FOLDER));
        refusal(&path, if data.is_dir() { &data } else { &new }, EngineFailure::of(&error))
    }
}

fn refusal(dir: &Path, data: &Path, failure: EngineFailure) -> OpenError {
    log(dir, &failure);
    OpenError::Engine { path: dir.to_owned(), failure, found: diagnosis::describe(data) }
}

/// Logs the engine's own message, under a target that can be filtered out.
fn log(dir: &Path, failure: &EngineFailure) {
    tracing::warn!(target: "exesdb_storage::engine", store = %dir.display(), engine = failure.said, "the database engine refuses its files");
}

/// Makes the creation of a keyspace durable. fjall syncs what is in its folder but not the folder's own entry, and replay
/// drops what was written to a keyspace that it does not find.
pub(crate) fn sync_keyspace_folder(keyspace: &Keyspace) -> io::Result<()> {
    sync_folder(keyspace.path().parent().expect("a keyspace's folder lies in the folder of all keyspaces"))
}
