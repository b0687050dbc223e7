//! The first replica of a store's group: an empty one, or a copy of a store that belongs to no cluster.

use std::fs;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use exesdb_storage::dump::{DumpError, restore_replica};
use exesdb_storage::{Genesis, Replica, Store};

use super::{GenesisError, GenesisOptions, Step};
use crate::identity::folder::{kept_in, sync};
use crate::identity::io_error;
use crate::identity::{Kept, StartError};

/// Bytes that wait between the store that is read and the copy that is written.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Makes the first replica of a store's group in `path`, or goes on with it.
pub(super) fn make_store(
    path: &Path,
    genesis: &Genesis,
    options: &GenesisOptions,
    step: &dyn Fn(fn(String) -> Step),
) -> Result<(), GenesisError> {
    let (copy, aside) = (beside(path, ".adopting"), beside(path, ".single"));
    match kept_in(path)? {
        Kept::Replica => {}
        Kept::Single => {
            if aside.exists() {
                return Err(GenesisError::InTheWay { path: aside });
            }
            // The store may have changed since a copy was begun.
            remove(&copy)?;
            copy_store(path, &copy, genesis, options)?;
            step(Step::Copied);
            rename(path, &aside)?;
            step(Step::Aside);
            rename(&copy, path)?;
        }
        Kept::Nothing if kept_in(&copy)? == Kept::Replica && aside.exists() => rename(&copy, path)?,
        // Its copy was there when it was moved.
        Kept::Nothing if aside.exists() => return Err(GenesisError::InTheWay { path: aside }),
        Kept::Nothing => drop(Replica::create(path, options.storage.clone(), genesis)?),
    }
    step(Step::Store);
    Ok(())
}

/// Copies a store, and compares the copy with it.
fn copy_store(
    from: &Path,
    to: &Path,
    genesis: &Genesis,
    options: &GenesisOptions,
) -> Result<(), GenesisError> {
    let store = Store::open(from, options.storage.clone())?;
    let snapshot = store.snapshot();
    let (reader, writer) = io::pipe().map_err(io_error("making a pipe to copy", from))?;
    let (dumped, restored) = std::thread::scope(|scope| {
        let dump = scope.spawn(move || {
            let mut writer = BufWriter::with_capacity(BUFFER_BYTES, writer);
            let dumped = snapshot.dump(&mut writer, &mut |_| {})?;
            // What is not written, the restore misses.
            drop(writer.flush());
            Ok::<_, DumpError>(dumped)
        });
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        let restored = restore_replica(to, &mut reader, Some(genesis), &mut |_| {});
        // A dump that nobody reads ends.
        drop(reader);
        (dump.join().expect("a dump does not panic"), restored)
    });
    let (dumped, restored) = match (dumped, restored) {
        (Ok(dumped), Ok(restored)) => (dumped, restored),
        // The dump ended because nobody read it.
        (Err(DumpError::Write { .. }) | Ok(_), Err(error)) => return Err(error.into()),
        (Err(error), _) => return Err(error.into()),
    };
    // What was restored was read again, and compared with what came through the pipe.
    let copy = Replica::open(to, options.storage.clone())?;
    if dumped.head == restored.head && dumped.keyspaces == restored.keyspaces && dumped.head == copy.head() {
        return Ok(());
    }
    Err(GenesisError::Copy { store: from.to_owned(), copy: to.to_owned() })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn rename(from: &Path, to: &Path) -> Result<(), StartError> {
    fs::rename(from, to).map_err(io_error("renaming", from))?;
    sync(to.parent().unwrap_or(Path::new(".")))
}

fn remove(path: &Path) -> Result<(), StartError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("removing", path)(error)),
        _ => Ok(()),
    }
}
