//! Which file it is, when the engine refuses to open a database or to read it, and says why but not where.
//!
//! [`found`] runs after such a refusal alone, so it costs nothing otherwise. It looks at the engine's marker, and at those
//! tables of each keyspace that its version file lists; others are of a past that the engine clears away without a look.
//! [`found_in`] runs when a keyspace of an open database cannot be read. [`check_ends`] runs at each open, and looks at
//! what the engine would trip over. None of them changes anything.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::engine_files::archive::{Archive, unreadable};
use crate::engine_files::keyspace::{self as engine_files, KEYSPACES_FOLDER, Refusal, TABLES_FOLDER};
use crate::engine_files::table;
use crate::format;

/// What the marker of fjall 3 holds.
const MARKER: [u8; 4] = *b"FJL\x03";

/// Files that are named at most. Five: more make no message clearer, and those behind them are seen at the next attempt.
const NAMED_MAX: usize = 5;

/// What was found, and where was looked.
#[derive(Default)]
struct Findings {
    /// A file and what is wrong with it, each.
    problems: Vec<String>,
    /// How many tables were looked at.
    tables: u64,
}

impl Findings {
    fn add(&mut self, path: &Path, what: &str) {
        self.problems.push(format!("{}: {what}", path.display()));
    }

    fn is_full(&self) -> bool {
        self.problems.len() >= NAMED_MAX
    }
}

/// The first files of the database in `data` that are not as the engine writes them, with what is wrong; or, when there
/// are none, what was looked at. A part of a sentence.
pub(crate) fn found(data: &Path) -> String {
    let mut findings = Findings::default();
    let keyspaces = data.join(KEYSPACES_FOLDER);
    look_at_marker(data, &mut findings);
    if let Err(error) = look_at_keyspaces(&keyspaces, &mut findings) {
        findings.add(&keyspaces, &unreadable(error));
    }
    if findings.problems.is_empty() {
        // Opening reads the data of these keyspaces alone. They are small.
        for number in [format::ENGINE_META_NUMBER, format::META_NUMBER] {
            look_at_data(&keyspaces.join(number.to_string()), &mut findings);
        }
    }
    let tables = findings.tables;
    named(findings).unwrap_or_else(|| {
        format!(
            "no damaged file was found: {}, the ends, indexes and filters of {tables} tables below {}, and the data of \
             those of the keyspaces {} and {} are whole",
            data.join(format::ENGINE_MARKER).display(),
            keyspaces.display(),
            format::ENGINE_META_NUMBER,
            format::META_NUMBER
        )
    })
}

/// The first files of the keyspace in `folder` that are not as the engine writes them, with what is wrong: a part of a
/// sentence. None when there is no such file. It reads all data of the keyspace.
pub(crate) fn found_in(folder: &Path) -> Option<String> {
    let mut findings = Findings::default();
    look_at_keyspace(folder, &mut findings);
    look_at_data(folder, &mut findings);
    named(findings)
}

fn named(findings: Findings) -> Option<String> {
    let problems = findings.problems;
    let more = if problems.len() < NAMED_MAX { "" } else { "; there may be more" };
    (!problems.is_empty()).then(|| format!("at fault: {}{more}", problems.join("; and ")))
}

/// Reads the data of a keyspace's tables. What cannot be read for another reason was found before.
fn look_at_data(folder: &Path, findings: &mut Findings) {
    for number in listed(folder).unwrap_or_default() {
        if findings.is_full() {
            return;
        }
        let path = folder.join(TABLES_FOLDER).join(number.to_string());
        let is_known =
            findings.problems.iter().any(|problem| problem.starts_with(&format!("{}: ", path.display())));
        // One that is gone was merged into others meanwhile.
        if !is_known
            && path.exists()
            && let Some(what) = table_file::data_problem(&path)
        {
            findings.add(&path, &what);
        }
    }
}

/// Checks the end of each table: the engine sets memory aside for as many sections as a table says that it has, before it
/// compares the checksum of what says so, and a flipped count would end the process, with all its stores. The error names
/// the file and says what is wrong with it.
pub(crate) fn check_ends(data: &Path) -> Result<(), String> {
    let folder = data.join(KEYSPACES_FOLDER);
    let keyspaces =
        keyspaces(&folder).map_err(|error| format!("{}: {}", folder.display(), unreadable(error)))?;
    for keyspace in keyspaces {
        for number in listed(&keyspace)? {
            let table = keyspace.join(TABLES_FOLDER).join(number.to_string());
            let end = match table.try_exists() {
                Ok(false) => Err("it is missing".into()),
                Ok(true) | Err(_) => Archive::open(&table).map(drop),
            };
            end.map_err(|what| format!("{}: {what}", table.display()))?;
        }
    }
    Ok(())
}

fn look_at_marker(data: &Path, findings: &mut Findings) {
    let path = data.join(format::ENGINE_MARKER);
    let mut bytes = Vec::new();
    // One byte more shows that there is more.
    let read = File::open(&path).and_then(|file| file.take(MARKER.len() as u64 + 1).read_to_end(&mut bytes));
    let problem = match read {
        Ok(_) => marker_problem(&bytes),
        Err(error) => Some(unreadable(error)),
    };
    if let Some(what) = problem {
        findings.add(&path, &what);
    }
}

/// What is wrong with the first bytes of the engine's marker.
fn marker_problem(bytes: &[u8]) -> Option<String> {
    if bytes == MARKER {
        return None;
    }
    Some(match bytes.strip_prefix(&MARKER[..3]) {
        Some([version]) => {
            format!("it says version {version} of the engine's format instead of {}", MARKER[3])
        }
        _ if bytes.len() < MARKER.len() => {
            format!("it has {} bytes instead of {}", bytes.len(), MARKER.len())
        }
        _ => format!(
            "it must be {:?}, and begins with {:?}",
            MARKER.escape_ascii().to_string(),
            bytes.escape_ascii().to_string()
        ),
    })
}

/// The folders of the keyspaces, in order.
fn keyspaces(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut keyspaces = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            keyspaces.push(path);
        }
    }
    keyspaces.sort_unstable_by_key(|path| (path.as_os_str().len(), path.clone()));
    Ok(keyspaces)
}

fn look_at_keyspaces(folder: &Path, findings: &mut Findings) -> io::Result<()> {
    for keyspace in keyspaces(folder)? {
        if findings.is_full() {
            break;
        }
        look_at_keyspace(&keyspace, findings);
    }
    Ok(())
}

fn look_at_keyspace(folder: &Path, findings: &mut Findings) {
    let tables = folder.join(TABLES_FOLDER);
    let listed = match listed(folder) {
        Ok(listed) => listed,
        Err(problem) => return findings.problems.push(problem),
    };
    let mut missing = Vec::new();
    for number in &listed {
        if findings.is_full() {
            return;
        }
        let path = tables.join(number.to_string());
        findings.tables += 1;
        match path.try_exists() {
            Ok(false) => missing.push((number, path)),
            Ok(true) | Err(_) => {
                if let Some(what) = table_file::problem(&path) {
                    findings.add(&path, &what);
                }
            }
        }
    }
    look_at_names(&tables, &listed, findings);
    if missing.is_empty() {
        return;
    }
    // An engine that is open may have merged them meanwhile; then they are listed no more.
    let still = self::listed(folder).unwrap_or_default();
    for (number, path) in missing {
        if still.contains(number) && !findings.is_full() {
            findings.add(&path, "it is missing");
        }
    }
}

/// The engine refuses a folder that holds anything but tables.
fn look_at_names(tables: &Path, listed: &BTreeSet<u64>, findings: &mut Findings) {
    let Ok(entries) = std::fs::read_dir(tables) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let number =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
        // Those that are listed have been looked at.
        let foreign = number.is_none_or(|number| !listed.contains(&number) && path.is_dir());
        if foreign && !findings.is_full() {
            findings.add(&path, "it is no table: tables are files whose names are numbers");
        }
    }
}

/// The numbers of the tables that a keyspace has. None when its creation was interrupted. The error names a file.
fn listed(folder: &Path) -> Result<BTreeSet<u64>, String> {
    let version = match engine_files::read_current(folder) {
        Ok(Some(current)) => current.version,
        Ok(None) => return Ok(BTreeSet::new()),
        Err(Refusal::Damaged(problem)) => return Err(problem),
        Err(Refusal::Io(error)) => return Err(format!("{}: {}", folder.display(), unreadable(error))),
    };
    read_version(&version).map_err(|what| format!("{}: {what}", version.display()))
}

/// Reads the tables' numbers from a version file. Its section `tables` has, as lsm-tree 3.1.10 writes it, the number of
/// levels (u8), for each level that of its runs (u8), for each run that of its tables (u32, little-endian), and for each
/// table its number (u64, little-endian) and 25 bytes more.
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
            // The count is a claim: the section ends where it ends.
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
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{NAMED_MAX, check_ends, found, found_in, listed, marker_problem, read_tables};
    use crate::engine_files::keyspace::read_current;
    use crate::{Batch, Commit, OpenError, Operation, Options, Store};

    #[test]
    fn the_marker_is_four_bytes() {
        let cases: [(&[u8], Option<&str>); 7] = [
            (b"FJL\x03", None),
            (b"", Some("it has 0 bytes instead of 4")),
            (b"FJ", Some("it has 2 bytes instead of 4")),
            (b"FJL", Some("it has 3 bytes instead of 4")),
            (b"FJL\x02", Some("it says version 2 of the engine's format instead of 3")),
            (b"FJM\x03", Some(r#"it must be "FJL\\x03", and begins with "FJM\\x03""#)),
            (b"FJL\x03\x00", Some(r#"it must be "FJL\\x03", and begins with "FJL\\x03\\x00""#)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(marker_problem(bytes).as_deref(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_list_of_tables_is_as_long_as_it_is() {
        let table = |number: u64| [&number.to_le_bytes()[..], &[7; 25]].concat();
        let bytes = [&[2, 0, 1][..], &2u32.to_le_bytes(), &table(5), &table(9)].concat();
        assert_eq!(read_tables(&bytes[..]).unwrap(), BTreeSet::from([5, 9]));
        for length in 0..bytes.len() {
            assert!(read_tables(&bytes[..length]).is_err(), "{length}");
        }
        let claim = [&[255, 255][..], &u32::MAX.to_le_bytes(), &table(5)].concat();
        assert!(read_tables(&claim[..]).is_err());
    }

    /// A closed store. Its database, and those of its tables that its keyspaces have, the first keyspace's first.
    fn store(dir: &Path) -> (PathBuf, Vec<PathBuf>) {
        drop(Store::open(dir, Options::default()).unwrap());
        let keyspaces = ["a", "b", "c", "d"].into_iter();
        let operations = keyspaces.map(|keyspace| Operation::Put {
            keyspace: keyspace.into(),
            key: b"key".to_vec(),
            value: b"value".to_vec(),
            key_stamps: vec![],
            value_stamps: vec![],
            chain: None,
        });
        let batches = vec![Batch { guards: vec![], operations: operations.collect(), events: 0 }];
        let store = Store::open(dir, Options::default()).unwrap();
        store.commit_blocking(Commit { owner: "o".into(), batches }).unwrap().remove(0).unwrap();
        drop(store);
        let data = dir.join("data");
        let tables = (0..6).flat_map(|number| {
            let keyspace = data.join(format!("keyspaces/{number}"));
            let listed = listed(&keyspace).unwrap();
            listed.into_iter().map(move |table| keyspace.join(format!("tables/{table}")))
        });
        let tables: Vec<_> = tables.collect();
        assert!(tables.len() > NAMED_MAX, "{tables:?}");
        (data, tables)
    }

    #[test]
    fn where_nothing_is_found_it_is_said_what_was_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let (data, tables) = store(dir.path());
        // Of a flush that a crash cut short: no keyspace has it.
        fs::write(data.join("keyspaces/0/tables/999"), b"half").unwrap();
        let found = found(&data);
        assert!(found.starts_with("no damaged file was found"), "{found}");
        for name in ["version", "keyspaces"] {
            assert!(found.contains(data.join(name).to_str().unwrap()), "{found}");
        }
        assert!(found.contains(&format!("of {} tables", tables.len())), "{found}");
        for keyspace in 0..6 {
            assert_eq!(found_in(&data.join(format!("keyspaces/{keyspace}"))), None);
        }
    }

    #[test]
    fn a_table_with_damaged_data_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (data, tables) = store(dir.path());
        for table in &tables {
            let whole = fs::read(table).unwrap();
            let mut bytes = whole.clone();
            bytes[40] ^= 0xff;
            fs::write(table, bytes).unwrap();
            let keyspace = table.ancestors().nth(2).unwrap();
            let named = format!(
                "at fault: {}: its data is damaged: the block at byte 0 does not have its checksum",
                table.display()
            );
            assert_eq!(found_in(keyspace).as_ref(), Some(&named));
            // Opening reads the data of the first two keyspaces alone.
            let is_read = ["0", "1"].iter().any(|number| keyspace.ends_with(number));
            assert_eq!(found(&data) == named, is_read, "{}", found(&data));
            fs::write(table, whole).unwrap();
        }
    }

    #[test]
    fn each_file_that_is_at_fault_is_named_up_to_a_number() {
        let dir = tempfile::tempdir().unwrap();
        let (data, tables) = store(dir.path());
        let foreign = data.join("keyspaces/5/tables/x");
        fs::write(&foreign, b"").unwrap();
        assert_eq!(
            found(&data),
            format!(
                "at fault: {}: it is no table: tables are files whose names are numbers",
                foreign.display()
            )
        );
        for (cut, table) in tables.iter().enumerate() {
            fs::write(table, b"half").unwrap();
            let found = found(&data);
            let named = |table: &PathBuf| found.contains(&format!("{}: it has 4 bytes", table.display()));
            assert_eq!(
                tables.iter().filter(|table| named(table)).count(),
                (cut + 1).min(NAMED_MAX),
                "{found}"
            );
            assert_eq!(found.ends_with("there may be more"), cut + 2 >= NAMED_MAX, "{found}");
        }
    }

    #[test]
    fn a_table_that_claims_more_sections_than_it_has_is_refused_before_the_engine_believes_it() {
        let dir = tempfile::tempdir().unwrap();
        let (data, tables) = store(dir.path());
        // Of a flush that a crash cut short: no keyspace has it.
        fs::write(data.join("keyspaces/0/tables/999"), b"half").unwrap();
        assert_eq!(check_ends(&data), Ok(()));
        let table = tables.last().unwrap();
        let mut bytes = fs::read(table).unwrap();
        let contents = bytes.windows(4).rposition(|bytes| bytes == b"TOC!").unwrap();
        // The highest byte of the count: four billion sections.
        bytes[contents + 7] = 0xff;
        fs::write(table, bytes).unwrap();
        let Err(OpenError::Damaged { reason, .. }) = Store::open(dir.path(), Options::default()) else {
            panic!("it was opened")
        };
        assert!(reason.starts_with(&format!("{}: its table of contents", table.display())), "{reason}");
    }

    #[test]
    fn a_version_file_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (data, _) = store(dir.path());
        let version = read_current(&data.join("keyspaces/2")).ok().flatten().unwrap().version;
        fs::write(&version, b"half").unwrap();
        let expected = format!("at fault: {}: it has 4 bytes", version.display());
        assert!(found(&data).starts_with(&expected), "{}", found(&data));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let found = found(dir.path());
        for name in ["version: it cannot be read", "keyspaces: it cannot be read"] {
            assert!(found.contains(name), "{found}");
        }
    }
}
