//! Damaged files: the store is refused, or a read fails, or the damage does no harm. Wrong data is never served.
//!
//! `EXESDB_DAMAGE_ROUNDS` is the number of damages of each kind, `EXESDB_TEST_SEED` the seed to repeat a run with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use exesdb_storage::{Direction, LogHead, OpenError, Operation, Options, ReadError, Scan, Stamp, Store};
use exesdb_test_support::{Rng, number, random};
use scratch::{OWNER, batch, copy_folder, delete, put, put_in};

const ROUNDS: u64 = 40;
const KEYSPACES: [&str; 3] = ["all", "index", "once"];

/// Head and entries of a store.
type Contents = (LogHead, BTreeMap<(String, Vec<u8>), Vec<u8>>);

/// The outcome of a damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    ReadError,
    Unharmed,
}

/// A store whose files no process has open.
struct AtRest {
    dir: tempfile::TempDir,
    contents: Contents,
}

fn chained(event: u32, data: Vec<u8>) -> Operation {
    Operation::Put {
        keyspace: "all".into(),
        key: vec![0; 8],
        value: [vec![0; 8], data].concat(),
        key_stamps: vec![Stamp { at: 0, event }],
        value_stamps: vec![],
        chain: Some(Stamp { at: 0, event }),
    }
}

fn read(store: &Store) -> Result<Contents, ReadError> {
    let snapshot = store.snapshot();
    let mut contents = BTreeMap::new();
    for keyspace in KEYSPACES {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut scan = Scan {
                keyspace: keyspace.into(),
                start: vec![],
                end: None,
                direction,
                limit: 100,
                max_bytes: usize::MAX,
            };
            let mut seen = BTreeMap::new();
            loop {
                let page = snapshot.scan(OWNER, &scan)?;
                for (key, value) in &page.entries {
                    assert_eq!(snapshot.get(OWNER, keyspace, key)?.as_ref(), Some(value));
                    seen.insert((keyspace.to_owned(), key.to_vec()), value.to_vec());
                }
                let Some((last, _)) = page.entries.last().filter(|_| page.more) else { break };
                match direction {
                    Direction::Forward => scan.start = [last, &[0][..]].concat(),
                    Direction::Backward => scan.end = Some(last.to_vec()),
                }
            }
            if direction == Direction::Backward {
                contents.extend(seen);
            } else {
                // Both directions must yield the same entries.
                for (key, value) in seen {
                    contents.insert(key, value);
                }
            }
        }
    }
    Ok((snapshot.head(), contents))
}

/// Bytes of a file up to the last one that is not zero.
fn used_bytes(path: &Path) -> u64 {
    scratch::used(&fs::read(path).unwrap()) as u64
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if fs::metadata(&path).unwrap().len() > 0 {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// A store that was opened three times, with tables, deletions, and a keyspace that was written to once. It is `closed`, or
/// as a killed process leaves it.
fn store(random: &mut Rng, closed: bool) -> AtRest {
    let live = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut contents = None;
    for life in 0..3u8 {
        let store = Store::open(live.path(), Options::default()).unwrap();
        for round in 0..40u8 {
            let noise = |random: &mut Rng| (0..200).map(|_| random.u8(..)).collect::<Vec<_>>();
            let mut operations = vec![chained(0, noise(random)), chained(1, vec![life; 6_000])];
            operations.push(put_in("index", &[life, round], &noise(random)));
            operations.push(put(&[b'k', round], &[life, round]));
            operations.push(delete(&[b'k', round / 2]));
            if (life, round) == (0, 0) {
                operations.push(put_in("once", b"once", b"upon a time"));
            }
            let commit = exesdb_storage::Commit {
                owner: OWNER.into(),
                batches: vec![batch(vec![], operations, 2)],
                ..exesdb_storage::Commit::default()
            };
            store.commit_blocking(commit).unwrap().remove(0).unwrap();
        }
        contents = Some(read(&store).unwrap());
        if life == 2 && !closed {
            copy_folder(live.path(), dir.path());
        }
    }
    if closed {
        copy_folder(live.path(), dir.path());
    }
    AtRest { dir, contents: contents.unwrap() }
}

fn flip(path: &Path, random: &mut Rng) -> String {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (len, used) = (file.metadata().unwrap().len(), used_bytes(path));
    // Mostly in the part that was written.
    let at = if random.u64(..8) == 0 || used == 0 { random.u64(..len) } else { random.u64(..used) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << random.u64(..8);
    file.write_all_at(&byte, at).unwrap();
    format!("a flip at byte {at} of {}", path.display())
}

fn truncate(path: &Path, random: &mut Rng) -> String {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let used = used_bytes(path);
    let len = random.u64(..used.max(1));
    file.set_len(len).unwrap();
    format!("{} cut off at byte {len} of {used}", path.display())
}

fn outcome(at_rest: &AtRest, damage: impl FnOnce(&Path) -> String) -> (Outcome, String) {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(at_rest.dir.path(), dir.path());
    let what = damage(dir.path());
    match Store::open(dir.path(), Options::default()) {
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains(dir.path().to_str().unwrap()), "the store is not named: {error}");
            (Outcome::Refused, format!("{what}: {error}"))
        }
        Ok(store) => match read(&store) {
            Err(error) => (Outcome::ReadError, format!("{what}: {error}")),
            Ok(contents) => {
                assert_eq!(contents.0, at_rest.contents.0, "{what}");
                assert!(contents == at_rest.contents, "{what}: wrong data is served");
                (Outcome::Unharmed, what)
            }
        },
    }
}

fn damages(closed: bool, damage: fn(&Path, &mut Rng) -> String) {
    let mut random = random();
    let at_rest = store(&mut random, closed);
    assert_eq!(outcome(&at_rest, |_| String::new()).0, Outcome::Unharmed, "without a damage");
    let mut tally: BTreeMap<Outcome, u64> = BTreeMap::new();
    for _ in 0..number("EXESDB_DAMAGE_ROUNDS", ROUNDS) {
        let (outcome, what) = outcome(&at_rest, |dir| {
            let files = files(dir);
            damage(&files[random.usize(..files.len())], &mut random)
        });
        println!("{outcome:?}: {what}");
        *tally.entry(outcome).or_default() += 1;
    }
    println!("{tally:?}");
    assert!(tally.contains_key(&Outcome::Refused), "no damage was found: {tally:?}");
}

#[test]
fn bit_flips_in_a_closed_store_never_yield_wrong_data() {
    damages(true, flip);
}

#[test]
fn bit_flips_in_a_killed_store_never_yield_wrong_data() {
    damages(false, flip);
}

#[test]
fn truncations_in_a_closed_store_never_yield_wrong_data() {
    damages(true, truncate);
}

#[test]
fn truncations_in_a_killed_store_never_yield_wrong_data() {
    damages(false, truncate);
}

#[test]
fn a_missing_file_of_the_engine_is_refused() {
    let mut random = random();
    for closed in [true, false] {
        let at_rest = store(&mut random, closed);
        for path in files(at_rest.dir.path()) {
            let relative = path.strip_prefix(at_rest.dir.path()).unwrap().to_owned();
            let (outcome, what) = outcome(&at_rest, |dir| {
                fs::remove_file(dir.join(&relative)).unwrap();
                format!("{} is removed", relative.display())
            });
            println!("{outcome:?}: {what}");
            // A table or version file may be an old one that the engine has not deleted yet.
            let name = relative.file_name().unwrap().to_str().unwrap();
            if ["current", "version", "durable.mark"].contains(&name) || name.ends_with(".jnl") {
                assert_eq!(outcome, Outcome::Refused, "{what}");
            }
        }
        let (outcome_without, what) = outcome(&at_rest, |dir| {
            fs::remove_file(dir.join("data/0.jnl")).unwrap();
            "the only journal is removed".into()
        });
        assert_eq!(outcome_without, Outcome::Refused, "{what}");
        // Whole keyspaces, by number.
        for number in 0..=4 {
            let (outcome, what) = outcome(&at_rest, |dir| {
                fs::remove_dir_all(dir.join(format!("data/keyspaces/{number}"))).unwrap();
                format!("keyspace {number} is removed")
            });
            println!("{outcome:?}: {what}");
            assert_eq!(outcome, Outcome::Refused, "{what}");
        }
    }
}

#[test]
fn the_file_that_prevents_opening_is_named() {
    let mut random = random();
    let mut refused = 0;
    for closed in [true, false] {
        let at_rest = store(&mut random, closed);
        for path in files(at_rest.dir.path()) {
            let relative = path.strip_prefix(at_rest.dir.path()).unwrap();
            let is_table = relative.parent().unwrap().ends_with("tables");
            if !is_table && relative != Path::new("data/version") {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            copy_folder(at_rest.dir.path(), dir.path());
            let damaged = dir.path().join(relative);
            let file = OpenOptions::new().write(true).open(&damaged).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(length / 2).unwrap();
            let before = fs::read(&damaged).unwrap();
            match Store::open(dir.path(), Options::default()).map(drop) {
                Err(error @ (OpenError::Engine { .. } | OpenError::Damaged { .. })) => {
                    let error = error.to_string();
                    println!("{error}");
                    assert!(error.contains(damaged.to_str().unwrap()), "the file is not named: {error}");
                    assert!(error.contains("restore a backup"), "the error does not say what to do: {error}");
                    assert_eq!(error.matches("/data/").count(), 1, "other files are named: {error}");
                    assert_eq!(fs::read(&damaged).unwrap(), before, "the file was changed");
                    refused += 1;
                }
                // An old table that the engine had not deleted yet.
                Ok(()) => assert!(is_table && !damaged.exists(), "{} was opened", damaged.display()),
                Err(error) => panic!("{}: {error}", damaged.display()),
            }
        }
    }
    // In each of the two stores at least the marker and one table for each of five keyspaces.
    assert!(refused >= 12, "only {refused} were refused");
}

#[test]
fn a_missing_table_is_named() {
    let at_rest = store(&mut random(), true);
    let tables = files(at_rest.dir.path());
    let mut refused = 0;
    for path in tables.iter().filter(|path| path.parent().unwrap().ends_with("tables")) {
        let relative = path.strip_prefix(at_rest.dir.path()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy_folder(at_rest.dir.path(), dir.path());
        let removed = dir.path().join(relative);
        fs::remove_file(&removed).unwrap();
        let Err(error) = Store::open(dir.path(), Options::default()).map(drop) else { continue };
        let error = error.to_string();
        assert!(error.contains(&format!("{}: it is missing", removed.display())), "{error}");
        refused += 1;
    }
    assert!(refused >= 5, "only {refused} were refused");
}
