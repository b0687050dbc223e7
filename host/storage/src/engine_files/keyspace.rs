//! Files of the engine that it believes without looking.
//!
//! lsm-tree stores, in each keyspace's `current`, a checksum of the version file that lists the keyspace's tables, and
//! does not check it: a flipped count there makes tables disappear, file and all. A keyspace without `current` is taken
//! for one whose creation was interrupted, and its folder is deleted. So both are looked at before the engine opens
//! anything. Tables are not read here: their blocks have checksums, which are checked at each read. When the engine
//! refuses one, [`diagnosis`](crate::engine_files::diagnosis) finds out which.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use crate::format;

/// Folder of the keyspaces below that of the database.
pub(crate) const KEYSPACES_FOLDER: &str = "keyspaces";

/// File of a keyspace that names its version file.
const CURRENT_FILE: &str = "current";

/// Folder of a keyspace's tables.
pub(crate) const TABLES_FOLDER: &str = "tables";

/// Bytes of `current`: the version's number (u64), its file's checksum (u128), the checksum's kind (0 is XXH3). The
/// numbers are little-endian.
const CURRENT_BYTES: usize = 25;

/// Why the files could not be checked, or were found wanting.
pub(crate) enum Refusal {
    Damaged(String),
    Io(io::Error),
}

/// What a keyspace's `current` says.
pub(crate) struct Current {
    /// Path of the version file, which lists the keyspace's tables.
    pub(crate) version: PathBuf,
    /// The version file's checksum.
    checksum: u128,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Checks the keyspaces of the database in `data`. Those that journals name (`used`) must be there.
pub(crate) fn check(data: &Path, used: &BTreeSet<u64>) -> Result<(), Refusal> {
    let folder = data.join(KEYSPACES_FOLDER);
    let mut required = used.clone();
    required.extend([format::ENGINE_META_NUMBER, format::META_NUMBER]);
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            continue;
        }
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else {
            return Err(Refusal::Damaged(format!("{} is no keyspace", entry.path().display())));
        };
        let must_be_whole = required.remove(&number);
        check_keyspace(&entry.path(), must_be_whole)?;
    }
    match required.first() {
        None => Ok(()),
        Some(missing) => {
            Err(Refusal::Damaged(format!("{} is missing", folder.join(missing.to_string()).display())))
        }
    }
}

fn check_keyspace(folder: &Path, must_be_whole: bool) -> Result<(), Refusal> {
    let path = folder.join(CURRENT_FILE);
    let Some(current) = read_current(folder)? else {
        if !must_be_whole && is_empty(&folder.join(TABLES_FOLDER))? {
            return Ok(());
        }
        return Err(Refusal::Damaged(format!("{} is missing", path.display())));
    };
    let version = current.version;
    match std::fs::read(&version) {
        Ok(bytes) if xxh3_128(&bytes) == current.checksum => Ok(()),
        Ok(_) => Err(Refusal::Damaged(format!(
            "{} does not have the checksum that {} gives",
            version.display(),
            path.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Refusal::Damaged(format!(
            "{}, which {} names, is missing",
            version.display(),
            path.display()
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Reads the `current` of a keyspace; `None` when there is none.
pub(crate) fn read_current(folder: &Path) -> Result<Option<Current>, Refusal> {
    let path = folder.join(CURRENT_FILE);
    let current = match std::fs::read(&path) {
        Ok(current) => current,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Ok(current) = <[u8; CURRENT_BYTES]>::try_from(current.as_slice()) else {
        return Err(Refusal::Damaged(format!(
            "{} has {} bytes instead of {CURRENT_BYTES}",
            path.display(),
            current.len()
        )));
    };
    let (number, rest) = current.split_at(8);
    let (checksum, kind) = rest.split_at(16);
    if kind != [0] {
        return Err(Refusal::Damaged(format!("{} names a checksum of kind {}", path.display(), kind[0])));
    }
    let number = u64::from_le_bytes(number.try_into().expect("eight bytes were split off"));
    let checksum = u128::from_le_bytes(checksum.try_into().expect("sixteen bytes were split off"));
    Ok(Some(Current { version: folder.join(format!("v{number}")), checksum }))
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
