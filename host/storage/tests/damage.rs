//! Files that are not as they were written: what is refused, what fails to read, and that nothing else is served.
//!
//! `EXESDB_DAMAGE_ROUNDS` is the number of damages of each kind, `EXESDB_TEST_SEED` the seed to repeat a run with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use exesdb_storage::{Direction, Head, OpenError, Operation, Options, ReadError, Scan, Stamp, Store};
use exesdb_test_support::{Rng, number, random};
use scratch::{OWNER, batch, delete, put, put_in};

const ROUNDS: u64 = 40;
const KEYSPACES: [&str; 3] = ["all", "index", "once"];

/// What a store holds, and how far it has come.
type Contents = (Head, BTreeMap<(String, Vec<u8>), Vec<u8>>);

/// What became of a damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    ReadError,
    Unharmed,
}

/// A store at rest.
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
                // Both ways see the same.
                for (key, value) in seen {
                    contents.insert(key, value);
                }
            }
        }
    }
    Ok((snapshot.head(), contents))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // Sparse, as journals are.
            let source = File::open(entry.path()).unwrap();
            let len = source.metadata().unwrap().len();
            let file = File::create(target).unwrap();
            file.set_len(len).unwrap();
            let used = used(&entry.path());
            let mut bytes = vec![0; usize::try_from(used).unwrap()];
            source.read_exact_at(&mut bytes, 0).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
        }
    }
}

/// Bytes of a file up to the last that is not zero.
fn used(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
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

/// Some lives of a store: tables, deletions, a keyspace that is written to once. It ends `closed`, or as a process that
/// was killed leaves it.
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
            let commit =
                exesdb_storage::Commit { owner: OWNER.into(), batches: vec![batch(vec![], operations, 2)] };
            store.commit_blocking(commit).unwrap().remove(0).unwrap();
        }
        contents = Some(read(&store).unwrap());
        if life == 2 && !closed {
            copy(live.path(), dir.path());
        }
    }
    if closed {
        copy(live.path(), dir.path());
    }
    AtRest { dir, contents: contents.unwrap() }
}

fn flip(path: &Path, random: &mut Rng) -> String {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (len, used) = (file.metadata().unwrap().len(), used(path));
    // Mostly where something is written.
    let at = if random.u64(..8) == 0 || used == 0 { random.u64(..len) } else { random.u64(..used) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << random.u64(..8);
    file.write_all_at(&byte, at).unwrap();
    format!("a flip at byte {at} of {}", path.display())
}

fn truncate(path: &Path, random: &mut Rng) -> String {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let used = used(path);
    let len = random.u64(..used.max(1));
    file.set_len(len).unwrap();
    format!("{} cut off at byte {len} of {used}", path.display())
}

fn outcome(at_rest: &AtRest, damage: impl FnOnce(&Path) -> String) -> (Outcome, String) {
    let dir = tempfile::tempdir().unwrap();
    copy(at_rest.dir.path(), dir.path());
    let what = damage(dir.path());
    match Store::open(dir.path(), Options::default()) {
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains(dir.path().to_str().unwrap()), "it is not said where: {error}");
            (Outcome::Refused, format!("{what}: {error}"))
        }
        Ok(store) => match read(&store) {
            Err(error) => (Outcome::ReadError, format!("{what}: {error}")),
            Ok(contents) => {
                assert_eq!(contents.0, at_rest.contents.0, "{what}");
                assert!(contents == at_rest.contents, "{what}: other data is served");
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
    assert!(tally.contains_key(&Outcome::Refused), "nothing was found: {tally:?}");
}

#[test]
fn flips_in_a_closed_store() {
    damages(true, flip);
}

#[test]
fn flips_in_a_killed_store() {
    damages(false, flip);
}

#[test]
fn cuts_in_a_closed_store() {
    damages(true, truncate);
}

#[test]
fn cuts_in_a_killed_store() {
    damages(false, truncate);
}

#[test]
fn a_missing_file_of_the_engine_is_named() {
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
            // A table or version file may be of a past that the engine had not cleared away yet.
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
        // Whole keyspaces, by their numbers.
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
fn what_cannot_be_opened_is_named() {
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
            copy(at_rest.dir.path(), dir.path());
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
                    assert!(error.contains("restore a backup"), "it is not said what to do: {error}");
                    assert_eq!(error.matches("/data/").count(), 1, "others are named: {error}");
                    assert_eq!(fs::read(&damaged).unwrap(), before, "it was changed");
                    refused += 1;
                }
                // A table of a past that the engine had not cleared away yet.
                Ok(()) => assert!(is_table && !damaged.exists(), "{} was opened", damaged.display()),
                Err(error) => panic!("{}: {error}", damaged.display()),
            }
        }
    }
    // The marker, and one table for each of five keyspaces at least, in both.
    assert!(refused >= 12, "only {refused} were refused");
}

#[test]
fn a_table_that_is_missing_is_named() {
    let at_rest = store(&mut random(), true);
    let tables = files(at_rest.dir.path());
    let mut refused = 0;
    for path in tables.iter().filter(|path| path.parent().unwrap().ends_with("tables")) {
        let relative = path.strip_prefix(at_rest.dir.path()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy(at_rest.dir.path(), dir.path());
        let removed = dir.path().join(relative);
        fs::remove_file(&removed).unwrap();
        let Err(error) = Store::open(dir.path(), Options::default()).map(drop) else { continue };
        let error = error.to_string();
        assert!(error.contains(&format!("{}: it is missing", removed.display())), "{error}");
        refused += 1;
    }
    assert!(refused >= 5, "only {refused} were refused");
}
