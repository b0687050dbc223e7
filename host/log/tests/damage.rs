//! Damage to any file of a log, at any place: what is not what was written is never served.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use exesdb_log::disk::{Folder as _, MemoryDisk};
use exesdb_log::{Log, OpenError, ReadError};
use exesdb_test_support::{Rng, number, random};
use scratch::{Contents, append, info, noted, open, purge, small};

/// Damages of each kind, unless `EXESDB_DAMAGE_ROUNDS` says otherwise.
const ROUNDS: u64 = 300;
const GROUPS: u64 = 4;

type Files = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Found at open, and nothing is served.
    Refused,
    /// Found at open; the groups that it concerns are named, and all others are whole.
    Broken,
    Unharmed,
}

/// A log of several segments, all of it synced, as it was `closed` or as a killed process leaves it.
fn log(random: &mut Rng, closed: bool) -> (Files, Contents) {
    let disk = MemoryDisk::new();
    let mut contents = Contents::new();
    for life in 0..3 {
        let (log, _) = open(&disk, small()).unwrap();
        for round in 0..60 {
            // Each segment has entries of group 0.
            let group = if round % 5 == 0 { 0 } else { random.u64(..GROUPS) };
            let next = log.group(group).and_then(|group| group.next).unwrap_or(1);
            let noise = |random: &mut Rng| {
                let len = random.usize(..3_000);
                Bytes::from((0..len).map(|_| random.u8(..)).collect::<Vec<_>>())
            };
            append(&log, group, next, &[noise(random), noise(random)]);
            if random.u8(..4) == 0 {
                scratch::set_state(&log, group, if random.bool() { b"one vote" } else { b"another vote" });
                log.note_committed(group, noted(next)).unwrap();
            }
            // Some group stays in old segments, the others move on.
            if group > 0 && next > 20 {
                purge(&log, group, next - 20);
            }
        }
        scratch::set_state(&log, 0, b"the last vote");
        contents = scratch::contents(&log);
        if life == 2 && !closed {
            return (files(&disk), contents);
        }
    }
    (files(&disk), contents)
}

fn files(disk: &MemoryDisk) -> Files {
    let names = disk.folder().names().unwrap();
    names.into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
}

fn disk(files: &Files) -> MemoryDisk {
    let disk = MemoryDisk::new();
    for (name, bytes) in files {
        let file = disk.folder().create(name).unwrap();
        file.write(0, bytes).unwrap();
        file.sync().unwrap();
    }
    disk.folder().sync().unwrap();
    disk
}

/// Opens a log and compares all of it with what was written.
fn outcome(files: &Files, contents: &Contents) -> (Outcome, String) {
    let (log, recovery) = match open(&disk(files), small()) {
        Ok(opened) => opened,
        Err(error @ (OpenError::PromisesBroken { .. } | OpenError::MarkUnusable { .. })) => {
            return (Outcome::Refused, error.to_string());
        }
        Err(error) => panic!("{error}"),
    };
    let broken: BTreeSet<u64> = recovery.broken.iter().copied().collect();
    assert_eq!(log.groups(), contents.keys().copied().collect::<Vec<_>>());
    for (group, expected) in contents {
        assert_eq!(info(&log, *group).state, expected.state, "a state is known exactly");
        if broken.contains(group) {
            assert!(matches!(log.read(*group, 0..u64::MAX, 1), Err(ReadError::Broken { .. })));
            assert!(log.append(*group, expected.next.unwrap(), &["a".into()], |_| {}).is_err());
        } else {
            assert_eq!(&scratch::group_contents(&log, *group, 9_000).unwrap(), expected);
        }
    }
    check_goes_on(&log, contents, &broken);
    (if broken.is_empty() { Outcome::Unharmed } else { Outcome::Broken }, format!("{broken:?}"))
}

/// The groups that are whole go on; those that are not can be removed.
fn check_goes_on(log: &Log, contents: &Contents, broken: &BTreeSet<u64>) {
    for (group, expected) in contents {
        if broken.contains(group) {
            log.remove(*group, |_| {}).unwrap();
        } else {
            append(log, *group, expected.next.unwrap(), &["a".into()]);
        }
    }
}

fn damages(closed: bool, damage: fn(&mut Vec<u8>, &mut Rng) -> String) {
    let mut random = random();
    let (files, contents) = log(&mut random, closed);
    println!("{:?}", files.keys().collect::<Vec<_>>());
    assert_eq!(outcome(&files, &contents).0, Outcome::Unharmed, "without a damage");
    let mut tally: BTreeMap<Outcome, u64> = BTreeMap::new();
    for _ in 0..number("EXESDB_DAMAGE_ROUNDS", ROUNDS) {
        let mut damaged = files.clone();
        let names: Vec<_> =
            files.iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(name, _)| name).collect();
        let name = names[random.usize(..names.len())];
        let what = damage(damaged.get_mut(name).unwrap(), &mut random);
        let (outcome, found) = outcome(&damaged, &contents);
        println!("{outcome:?}: {name} {what}: {found}");
        *tally.entry(outcome).or_default() += 1;
    }
    println!("{tally:?}");
    // How much of the newest segment is used, which refuses the whole log, depends on chance.
    assert!(tally.contains_key(&Outcome::Broken), "no damage was found: {tally:?}");
}

#[allow(clippy::ptr_arg, reason = "as of the other damage")]
fn flip(bytes: &mut Vec<u8>, random: &mut Rng) -> String {
    // The mark's slots are few bytes of its file.
    let at = if bytes.len() < 5_000 { random.usize(..64) } else { random.usize(..bytes.len()) };
    bytes[at] ^= 1 << random.u8(..8);
    format!("flipped at byte {at}")
}

fn truncate(bytes: &mut Vec<u8>, random: &mut Rng) -> String {
    bytes.truncate(random.usize(..bytes.len()));
    format!("cut off at byte {}", bytes.len())
}

#[test]
fn bit_flips_in_a_closed_log_never_yield_wrong_entries() {
    damages(true, flip);
}

#[test]
fn bit_flips_in_a_killed_log_never_yield_wrong_entries() {
    damages(false, flip);
}

#[test]
fn truncations_of_a_closed_log_never_yield_wrong_entries() {
    damages(true, truncate);
}

#[test]
fn truncations_of_a_killed_log_never_yield_wrong_entries() {
    damages(false, truncate);
}

#[test]
fn a_missing_file_is_noticed_if_it_is_needed() {
    let (files, contents) = log(&mut random(), true);
    for name in files.keys() {
        let mut without = files.clone();
        without.remove(name);
        let (outcome, found) = outcome(&without, &contents);
        println!("{outcome:?}: without {name}: {found}");
        let newest =
            files.keys().filter_map(|name| name.strip_suffix(".seg")?.parse::<u64>().ok()).max().unwrap();
        if name == "log.mark" || *name == format!("{newest}.seg") {
            assert_eq!(outcome, Outcome::Refused, "without {name}");
        } else if name.ends_with(".seg") {
            assert_eq!(outcome, Outcome::Broken, "without {name}");
        } else {
            assert_eq!(outcome, Outcome::Unharmed, "without {name}");
        }
    }
}

#[test]
fn broken_groups_stay_broken_until_they_are_removed() {
    let (mut files, contents) = log(&mut random(), true);
    files.remove("2.seg").unwrap();
    let disk = disk(&files);
    for _ in 0..2 {
        let (log, recovery) = open(&disk, small()).unwrap();
        assert_eq!(recovery.broken, [0], "only group 0 has entries that old");
        assert!(log.group(0).unwrap().is_broken);
        for group in 1..GROUPS {
            append(&log, group, log.group(group).unwrap().next.unwrap(), &["a".into()]);
        }
    }
    let (log, _) = open(&disk, small()).unwrap();
    let before = log.sizes().segments;
    let (callback, removed) = scratch::outcome();
    log.remove(0, callback).unwrap();
    removed.recv().unwrap().unwrap();
    assert_eq!(scratch::group_contents(&log, 1, 100).unwrap().state, contents[&1].state);
    drop(log);
    let (log, recovery) = open(&disk, small()).unwrap();
    assert_eq!(recovery.broken, []);
    assert!(log.sizes().segments < before, "what it held back is free");
    append(&log, 0, 1, &["a".into()]);
}

#[test]
fn damage_while_the_log_is_open_is_found_when_it_is_read() {
    let mut random = random();
    let (files, contents) = log(&mut random, true);
    let mut found = 0;
    for _ in 0..50 {
        let disk = disk(&files);
        let (log, _) = open(&disk, small()).unwrap();
        let segments: Vec<_> = files.keys().filter(|name| name.ends_with(".seg")).collect();
        let name = segments[random.usize(..segments.len())];
        let at = random.usize(..files[name].len());
        let byte = files[name][at] ^ (1 << random.u8(..8));
        disk.folder().open(name).unwrap().unwrap().write(at as u64, &[byte]).unwrap();
        for (group, expected) in &contents {
            for (index, data) in &expected.entries {
                match log.read(*group, *index..*index + 1, 1) {
                    Ok(entries) => assert_eq!(&entries[0].data, data),
                    Err(ReadError::Damaged { group: of, segment, .. }) => {
                        assert_eq!((of, &segment), (*group, name));
                        found += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    assert!(found > 0);
}
