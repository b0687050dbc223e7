//! The files of a keyspace that the engine believes without checking: `current` and the version file.
//!
//! lsm-tree stores, in each keyspace's `current`, a checksum of the version file that lists the keyspace's tables, but does
//! not check it: a flipped count there makes tables disappear, and their files are deleted. A keyspace without `current`
//! is taken for one whose creation was interrupted, and its folder is deleted. So both files are checked before the engine
//! opens anything. Tables are not read here, because the engine checks the checksum of each block that it reads.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::archive::{Archive, unreadable};
use crate::files::{if_exists, list};
use crate::format;

/// Folder of all keyspaces in the database's folder.
pub(super) const KEYSPACES_FOLDER: &str = "keyspaces";

/// File in a keyspace's folder that names its version file.
const CURRENT_FILE: &str = "current";

/// Folder of the tables in a keyspace's folder.
pub(crate) const TABLES_FOLDER: &str = "tables";

/// Bytes of `current`: number of the version (u64), checksum of its file (u128), kind of the checksum (0 is XXH3). The
/// numbers are little-endian.
const CURRENT_BYTES: usize = 25;

/// Why a file could not be checked, or what is wrong with it.
pub(crate) enum FileError {
    Damaged(String),
    Io(io::Error),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The contents of a keyspace's `current`.
pub(super) struct Current {
    /// Path of the version file, which lists the keyspace's tables.
    pub(super) version: PathBuf,
    /// Checksum of the version file.
    checksum: u128,
}

/// Checks all keyspaces of the database in `data`. Those that journals name (`used`) must exist.
pub(crate) fn check_all(data: &Path, used: &BTreeSet<u64>) -> Result<(), FileError> {
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
            return Err(FileError::Damaged(format!("{} is no keyspace", entry.path().display())));
        };
        let must_exist = required.remove(&number);
        check(&entry.path(), must_exist)?;
    }
    match required.first() {
        None => Ok(()),
        Some(missing) => {
            Err(FileError::Damaged(format!("{} is missing", folder.join(missing.to_string()).display())))
        }
    }
}

fn check(folder: &Path, must_exist: bool) -> Result<(), FileError> {
    let path = folder.join(CURRENT_FILE);
    let Some(current) = read_current(folder)? else {
        if !must_exist && list(&folder.join(TABLES_FOLDER))?.is_empty() {
            return Ok(());
        }
        return Err(FileError::Damaged(format!("{} is missing", path.display())));
    };
    let version = current.version;
    match if_exists(std::fs::read(&version))? {
        Some(bytes) if xxh3_128(&bytes) == current.checksum => Ok(()),
        Some(_) => Err(FileError::Damaged(format!(
            "{} does not have the checksum that {} gives",
            version.display(),
            path.display()
        ))),
        None => Err(FileError::Damaged(format!(
            "{}, which {} names, is missing",
            version.display(),
            path.display()
        ))),
    }
}

/// Reads the `current` of a keyspace; `None` if it does not exist.
pub(super) fn read_current(folder: &Path) -> Result<Option<Current>, FileError> {
    let path = folder.join(CURRENT_FILE);
    let Some(current) = if_exists(std::fs::read(&path))? else { return Ok(None) };
    let Ok(current) = <[u8; CURRENT_BYTES]>::try_from(current.as_slice()) else {
        return Err(FileError::Damaged(format!(
            "{} has {} bytes instead of {CURRENT_BYTES}",
            path.display(),
            current.len()
        )));
    };
    let (number, rest) = current.split_at(8);
    let (checksum, kind) = rest.split_at(16);
    if kind != [0] {
        return Err(FileError::Damaged(format!("{} names a checksum of kind {}", path.display(), kind[0])));
    }
    let number = u64::from_le_bytes(number.try_into().expect("eight bytes were split off"));
    let checksum = u128::from_le_bytes(checksum.try_into().expect("sixteen bytes were split off"));
    Ok(Some(Current { version: folder.join(format!("v{number}")), checksum }))
}

/// The numbers of a keyspace's tables; none if its creation was interrupted. The error names a file.
pub(super) fn table_numbers(folder: &Path) -> Result<BTreeSet<u64>, String> {
    let version = match read_current(folder) {
        Ok(Some(current)) => current.version,
        Ok(None) => return Ok(BTreeSet::new()),
        Err(FileError::Damaged(problem)) => return Err(problem),
        Err(FileError::Io(error)) => return Err(format!("{}: {}", folder.display(), unreadable(error))),
    };
    read_version(&version).map_err(|what| format!("{}: {what}", version.display()))
}

/// Reads the tables' numbers from a version file. As lsm-tree 3.1.10 writes it, its section `tables` has the number of
/// levels (u8), for each level the number of runs (u8), for each run the number of tables (u32, little-endian), and for
/// each table its number (u64, little-endian) and 25 more bytes.
fn read_version(path: &Path) -> Result<BTreeSet<u64>, String> {
    let archive = Archive::open(path)?;
    let section = archive.section("tables").ok_or("it has no section \"tables\"")?;
    let (position, length) = (section.position, section.length);
    let mut file = archive.file;
    file.seek(SeekFrom::Start(position)).map_err(unreadable)?;
    read_tables(BufReader::new(file.take(length)))
        .map_err(|error| format!("its list of tables cannot be read ({error})"))
}

fn read_tables(mut bytes: impl Read) -> io::Result<BTreeSet<u64>> {
    let mut tables = BTreeSet::new();
    let [levels] = array(&mut bytes)?;
    for _ in 0..levels {
        let [runs] = array(&mut bytes)?;
        for _ in 0..runs {
            // The count is not trusted; reading ends with the section.
            let count = u32::from_le_bytes(array(&mut bytes)?);
            for _ in 0..count {
                tables.insert(u64::from_le_bytes(array(&mut bytes)?));
                let _: [u8; 25] = array(&mut bytes)?;
            }
        }
    }
    Ok(tables)
}

fn array<const N: usize>(bytes: &mut impl Read) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    bytes.read_exact(&mut array)?;
    Ok(array)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;

    use super::read_tables;

    #[test]
    fn a_truncated_or_overstated_list_of_tables_is_refused() {
        let table = |number: u64| [&number.to_le_bytes()[..], &[7; 25]].concat();
        let bytes = [&[2, 0, 1][..], &2u32.to_le_bytes(), &table(5), &table(9)].concat();
        assert_eq!(read_tables(&bytes[..]).unwrap(), BTreeSet::from([5, 9]));
        for length in 0..bytes.len() {
            assert!(read_tables(&bytes[..length]).is_err(), "{length}");
        }
        let claim = [&[255, 255][..], &u32::MAX.to_le_bytes(), &table(5)].concat();
        assert!(read_tables(&claim[..]).is_err());
    }
}
