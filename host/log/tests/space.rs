//! Segments are used again, and the log stays as small as its groups allow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use exesdb_log::disk::MemoryDisk;
use exesdb_log::{Log, LogError, Options};
use scratch::{SEGMENT, append, contents, group_contents, noted, open, outcome, purge, set_state, small};

const MIB: u64 = 1024 * 1024;

fn entry(len: u64, seed: u64) -> Bytes {
    (0..len).map(|at| (at * 31 + seed) as u8).collect::<Vec<_>>().into()
}

/// Writes `bytes` in all and purges what is older than two MiB. Returns the most segments that there were.
fn write_and_purge(log: &Log, bytes: u64) -> u64 {
    let data = entry(256 * 1024, 7);
    let (mut most, mut last) = (0, None);
    for index in 1..=bytes / data.len() as u64 {
        let (callback, synced) = outcome();
        log.append(1, index, std::slice::from_ref(&data), callback).unwrap();
        last = Some(synced);
        if index % 8 == 0 {
            purge(log, 1, index.saturating_sub(8));
        }
        most = most.max(log.sizes().segments);
    }
    last.unwrap().recv().unwrap().unwrap();
    most
}

#[test]
fn a_gibibyte_goes_through_a_few_mebibytes() {
    let options =
        || Options { segment_bytes: MIB, node_bytes: 16 * MIB, group_bytes: 12 * MIB, ..Options::default() };
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, options()).unwrap();
    let most = write_and_purge(&log, 1024 * MIB);
    println!("at most {most} segments");
    assert!(most <= 8, "{most} segments");
    let before = contents(&log);
    drop(log);
    let (log, _) = open(&disk, options()).unwrap();
    assert_eq!(contents(&log), before);
}

#[test]
fn files_are_used_again() {
    let options = || Options { segment_bytes: MIB, node_bytes: 16 * MIB, ..Options::default() };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (log, _) = Log::open(&path, options()).unwrap();
    let most = write_and_purge(&log, 64 * MIB);
    // Its thread renames files as long as it runs.
    drop(log);
    // The segments, and two files that wait.
    let bytes = bytes_of(&path);
    assert!(bytes <= (most + 2) * MIB + 8192, "{bytes} bytes with {most} segments");
}

fn bytes_of(folder: &Path) -> u64 {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_quiet_groups_entries_are_copied_forward() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, small()).unwrap();
    set_state(&log, 2, b"vote");
    append(&log, 2, 1, &[entry(100, 1), entry(200, 2), entry(300, 3)]);
    append(&log, 2, 4, &[entry(400, 4)]);
    purge(&log, 2, 1);
    let quiet = group_contents(&log, 2, 1000).unwrap();
    for index in 1..400 {
        append(&log, 1, index, &[entry(5_000, index)]);
        purge(&log, 1, index - 1);
        assert!(log.sizes().segments <= 8, "half of the limit and a few: {:?}", log.sizes());
    }
    assert_eq!(group_contents(&log, 2, 1000).unwrap(), quiet);
    drop(log);
    let (log, recovery) = open(&disk, small()).unwrap();
    assert_eq!(recovery.broken, []);
    assert_eq!(group_contents(&log, 2, 1000).unwrap(), quiet);
    append(&log, 2, 5, &[entry(500, 5)]);
    assert_eq!(log.read(2, 2..9, 10_000).unwrap().len(), 4);
}

#[test]
fn a_group_that_holds_the_log_back_is_reported_until_it_is_purged() {
    let disk = MemoryDisk::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let options = Options {
        held_back: Some(Arc::new(move |groups: &[u64]| listener.lock().unwrap().push(groups.to_vec()))),
        ..small()
    };
    let (log, _) = open(&disk, options).unwrap();
    append(&log, 2, 1, &[entry(SEGMENT / 4, 2)]);
    set_state(&log, 2, b"vote");
    let (written, error) = append_until_full(&log);
    let index = written + 1;
    assert!(matches!(error, LogError::Full { .. }), "{error}");
    assert!(log.sizes().holding_back == [2] && heard.lock().unwrap().contains(&vec![2]));
    assert!(log.sizes().segments <= 13);
    // What makes room is taken, and so are votes.
    set_state(&log, 1, b"vote");
    log.note_committed(1, noted(1)).unwrap();
    purge(&log, 2, 1);
    purge(&log, 1, index - 2);
    append(&log, 1, index, &[entry(5_000, 1)]);
    assert_eq!(log.sizes().holding_back, []);
    assert!(log.sizes().segments <= 2, "{:?}", log.sizes());
    assert_eq!(log.group(2).unwrap().state, Some("vote".into()));
}

/// Appends to group 1, which keeps one entry, until the log is full. Returns the number of entries.
fn append_until_full(log: &Log) -> (u64, LogError) {
    for index in 1.. {
        let (callback, synced) = outcome();
        if let Err(error) = log.append(1, index, &[entry(5_000, index)], callback) {
            return (index - 1, error);
        }
        synced.recv().unwrap().unwrap();
        purge(log, 1, index - 1);
    }
    unreachable!("the log is bounded");
}

#[test]
fn a_group_may_hold_so_much_and_no_more() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, Options { group_bytes: 20_000, ..small() }).unwrap();
    append(&log, 1, 1, &[entry(15_000, 1)]);
    let error = log.append(1, 2, &[entry(5_000, 1)], |_| {}).unwrap_err();
    assert!(matches!(error, LogError::GroupFull { group: 1, held: 15_000.., max: 20_000 }), "{error}");
    append(&log, 2, 1, &[entry(15_000, 1)]);
    purge(&log, 1, 1);
    assert_eq!(log.group(1).unwrap().held_bytes, 0);
    append(&log, 1, 2, &[entry(15_000, 1)]);
    for first in 1..=38 {
        append(&log, 3, first, &["small".into()]);
    }
    assert_eq!(log.group(3).unwrap().held_bytes, 38 * 512, "a small record counts more than it has");
}

#[test]
fn a_removed_group_leaves_nothing() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, small()).unwrap();
    append(&log, 1, 5, &[entry(SEGMENT / 4, 1)]);
    set_state(&log, 1, b"vote");
    let (callback, removed) = outcome();
    log.remove(1, callback).unwrap();
    removed.recv().unwrap().unwrap();
    assert_eq!(log.group(1), None);
    assert_eq!(log.read(1, 5..6, 1).unwrap(), []);
    drop(log);
    let (log, _) = open(&disk, small()).unwrap();
    assert_eq!(log.groups(), [] as [u64; 0]);
    append(&log, 1, 9, &[entry(10, 1)]);
    assert_eq!(log.group(1).unwrap().state, None);
}

#[test]
fn a_full_disk_refuses_entries_and_takes_the_rest() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, small()).unwrap();
    let mut index = 1;
    // Half of the segment is written, and the first file for the next one cannot be made.
    disk.fill(true);
    let error = loop {
        match log.append(1, index, &[entry(1_000, index)], |_| {}) {
            Ok(()) => index += 1,
            Err(error) => break error,
        }
        let (callback, synced) = outcome();
        log.set_state(1, "vote".into(), callback).unwrap();
        synced.recv().unwrap().unwrap();
    };
    assert!(matches!(&error, LogError::Full { reason } if reason.contains("next segment")), "{error}");
    set_state(&log, 1, b"vote");
    purge(&log, 1, index - 1);
    assert_eq!(log.poisoned(), None);
    disk.fill(false);
    while log.append(1, index, &[entry(1_000, index)], |_| {}).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
