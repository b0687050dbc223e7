//! Finding the damaged file after the engine refused to open or read a database and said why, but not where.
//!
//! [`describe`] and [`describe_keyspace`] are used only after such a refusal, so they cost nothing otherwise. They check
//! the engine's marker, and those tables of each keyspace that its version file lists; the engine removes other tables
//! without reading them. [`check_ends`] runs at each open, and checks what would crash the engine. None of them changes
//! anything.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::archive::{Archive, unreadable};
use super::keyspace::{KEYSPACES_FOLDER, TABLES_FOLDER, table_numbers};
use super::table;
use crate::format;

/// Contents of the marker of fjall 3.
const MARKER: [u8; 4] = *b"FJL\x03";

/// Most files that are named. 5: more would not make a message clearer, and the others are found at the next attempt.
const NAMED_MAX: usize = 5;

/// What was checked, and what was found.
#[derive(Default)]
struct Findings {
    /// Damaged files, each with what is wrong.
    problems: Vec<String>,
    /// Number of tables that were checked.
    tables: u64,
}

impl Findings {
    fn add(&mut self, path: &Path, what: &str) {
        self.problems.push(format!("{}: {what}", path.display()));
    }

    fn is_full(&self) -> bool {
        self.problems.len() >= NAMED_MAX
    }

    /// A part of a sentence that names the damaged files; `None` if there are none.
    fn describe(self) -> Option<String> {
        let more = if self.is_full() { "; there may be more" } else { "" };
        (!self.problems.is_empty()).then(|| format!("at fault: {}{more}", self.problems.join("; and ")))
    }
}

/// A part of a sentence that names the first damaged files of the database in `data`, or says what was checked if none is
/// damaged.
pub(crate) fn describe(data: &Path) -> String {
    let mut findings = Findings::default();
    let folder = data.join(KEYSPACES_FOLDER);
    check_marker(data, &mut findings);
    if let Err(error) = check_keyspaces(&folder, &mut findings) {
        findings.add(&folder, &unreadable(error));
    }
    if findings.problems.is_empty() {
        // Only of these keyspaces opening reads the data. They are small.
        for number in [format::ENGINE_META_NUMBER, format::META_NUMBER] {
            check_data(&folder.join(number.to_string()), &mut findings);
        }
    }
    let tables = findings.tables;
    findings.describe().unwrap_or_else(|| {
        format!(
            "no damaged file was found: {}, the ends, indexes and filters of {tables} tables below {}, and the data of \
             those of the keyspaces {} and {} are whole",
            data.join(format::ENGINE_MARKER).display(),
            folder.display(),
            format::ENGINE_META_NUMBER,
            format::META_NUMBER
        )
    })
}

/// A part of a sentence that names the first damaged files of the keyspace in `folder`; `None` if none is damaged. Reads
/// all data of the keyspace.
pub(crate) fn describe_keyspace(folder: &Path) -> Option<String> {
    let mut findings = Findings::default();
    check_keyspace(folder, &mut findings);
    check_data(folder, &mut findings);
    findings.describe()
}

/// Checks the end of each table. The engine reserves memory for as many sections as a table claims to have before it
/// verifies the checksum of that claim, so a flipped count would end the process with all its stores. The error names the
/// file and says what is wrong with it.
pub(crate) fn check_ends(data: &Path) -> Result<(), String> {
    let folder = data.join(KEYSPACES_FOLDER);
    let keyspaces =
        keyspaces(&folder).map_err(|error| format!("{}: {}", folder.display(), unreadable(error)))?;
    for keyspace in keyspaces {
        for number in table_numbers(&keyspace)? {
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

fn check_marker(data: &Path, findings: &mut Findings) {
    let path = data.join(format::ENGINE_MARKER);
    let mut bytes = Vec::new();
    // One byte more than the marker has, to notice a longer file.
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

/// The folders of the keyspaces, in order of their numbers.
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

fn check_keyspaces(folder: &Path, findings: &mut Findings) -> io::Result<()> {
    for keyspace in keyspaces(folder)? {
        if findings.is_full() {
            break;
        }
        check_keyspace(&keyspace, findings);
    }
    Ok(())
}

/// Checks the tables of a keyspace except their data.
fn check_keyspace(folder: &Path, findings: &mut Findings) {
    let tables = folder.join(TABLES_FOLDER);
    let listed = match table_numbers(folder) {
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
                if let Some(what) = table::problem(&path) {
                    findings.add(&path, &what);
                }
            }
        }
    }
    check_names(&tables, &listed, findings);
    if missing.is_empty() {
        return;
    }
    // An open engine may have merged them meanwhile. Then they are no longer listed.
    let still_listed = table_numbers(folder).unwrap_or_default();
    for (number, path) in missing {
        if still_listed.contains(number) && !findings.is_full() {
            findings.add(&path, "it is missing");
        }
    }
}

/// Finds anything but tables in a folder of tables, which the engine refuses.
fn check_names(tables: &Path, listed: &BTreeSet<u64>, findings: &mut Findings) {
    let Ok(entries) = std::fs::read_dir(tables) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let number =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
        // Listed tables were checked before.
        let foreign = number.is_none_or(|number| !listed.contains(&number) && path.is_dir());
        if foreign && !findings.is_full() {
            findings.add(&path, "it is no table: tables are files whose names are numbers");
        }
    }
}

/// Checks the data of a keyspace's tables. A keyspace whose tables cannot be listed was reported before.
fn check_data(folder: &Path, findings: &mut Findings) {
    for number in table_numbers(folder).unwrap_or_default() {
        if findings.is_full() {
            return;
        }
        let path = folder.join(TABLES_FOLDER).join(number.to_string());
        let is_known =
            findings.problems.iter().any(|problem| problem.starts_with(&format!("{}: ", path.display())));
        // A table that is gone was merged into others meanwhile.
        if !is_known
            && path.exists()
            && let Some(what) = table::data_problem(&path)
        {
            findings.add(&path, &what);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::super::keyspace::{read_current, table_numbers};
    use super::{NAMED_MAX, check_ends, describe, describe_keyspace, marker_problem};
    use crate::{Batch, Commit, OpenError, Operation, Options, Store};

    #[test]
    fn a_wrong_marker_is_described() {
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

    /// The database of a closed store, and the tables that its keyspaces list, in order of the keyspaces.
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
        let batches = vec![Batch { operations: operations.collect(), ..Batch::default() }];
        let store = Store::open(dir, Options::default()).unwrap();
        store
            .commit_blocking(Commit { owner: "o".into(), batches, ..Commit::default() })
            .unwrap()
            .remove(0)
            .unwrap();
        drop(store);
        let data = dir.join("data");
        let tables = (0..6).flat_map(|number| {
            let keyspace = data.join(format!("keyspaces/{number}"));
            let listed = table_numbers(&keyspace).unwrap();
            listed.into_iter().map(move |table| keyspace.join(format!("tables/{table}")))
        });
        let tables: Vec<_> = tables.collect();
        assert!(tables.len() > NAMED_MAX, "{tables:?}");
        (data, tables)
    }

    #[test]
    fn without_damage_the_description_says_what_was_checked() {
        let dir = tempfile::tempdir().unwrap();
        let (data, tables) = store(dir.path());
        // Left by a flush that a crash interrupted: no keyspace lists it.
        fs::write(data.join("keyspaces/0/tables/999"), b"half").unwrap();
        let found = describe(&data);
        assert!(found.starts_with("no damaged file was found"), "{found}");
        for name in ["version", "keyspaces"] {
            assert!(found.contains(data.join(name).to_str().unwrap()), "{found}");
        }
        assert!(found.contains(&format!("of {} tables", tables.len())), "{found}");
        for keyspace in 0..6 {
            assert_eq!(describe_keyspace(&data.join(format!("keyspaces/{keyspace}"))), None);
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
            assert_eq!(describe_keyspace(keyspace).as_ref(), Some(&named));
            // Opening reads the data of the first two keyspaces only.
            let is_read = ["0", "1"].iter().any(|number| keyspace.ends_with(number));
            assert_eq!(describe(&data) == named, is_read, "{}", describe(&data));
            fs::write(table, whole).unwrap();
        }
    }

    #[test]
    fn damaged_files_are_named_up_to_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let (data, tables) = store(dir.path());
        let foreign = data.join("keyspaces/5/tables/x");
        fs::write(&foreign, b"").unwrap();
        assert_eq!(
            describe(&data),
            format!(
                "at fault: {}: it is no table: tables are files whose names are numbers",
                foreign.display()
            )
        );
        for (cut, table) in tables.iter().enumerate() {
            fs::write(table, b"half").unwrap();
            let found = describe(&data);
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
    fn a_table_that_claims_too_many_sections_is_refused_before_the_engine_opens_it() {
        let dir = tempfile::tempdir().unwrap();
        let (data, tables) = store(dir.path());
        // Left by a flush that a crash interrupted: no keyspace lists it.
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
        assert!(describe(&data).starts_with(&expected), "{}", describe(&data));
    }

    #[test]
    fn missing_files_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let found = describe(dir.path());
        for name in ["version: it cannot be read", "keyspaces: it cannot be read"] {
            assert!(found.contains(name), "{found}");
        }
    }
}
