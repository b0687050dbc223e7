//! Reads while the log is written, purged and used again, and what is not there to be read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use exesdb_log::disk::MemoryDisk;
use exesdb_log::{Log, ReadError};
use exesdb_test_support::random;
use scratch::{append, open, purge, small};

/// Entries that the group keeps.
const KEPT: u64 = 40;
const ENTRIES: u64 = 6_000;

fn entry(index: u64) -> Bytes {
    let words = (0..100 + index % 300).flat_map(|at| (index * 1_000 + at).to_be_bytes());
    words.collect::<Vec<u8>>().into()
}

#[test]
fn readers_see_right_entries_while_segments_are_used_again() {
    let (log, _) = open(&MemoryDisk::new(), small()).unwrap();
    // A quiet group is copied forward time and again.
    append(&log, 2, 1, &[entry(1), entry(2)]);
    append(&log, 1, 1, &[entry(1)]);
    let (is_done, served, gone) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let read = |log: &Log| {
        let mut random = random();
        while !is_done.load(Ordering::SeqCst) {
            let quiet: Vec<_> =
                log.read(2, 1..3, 1 << 20).unwrap().into_iter().map(|read| read.data).collect();
            assert_eq!(quiet, [entry(1), entry(2)]);
            let next = log.group(1).unwrap().next.unwrap();
            let from = next.saturating_sub(random.u64(1..=KEPT + 5)).max(1);
            match log.read(1, from..next, random.usize(..30_000)) {
                Ok(entries) => {
                    assert_eq!(entries[0].index, from);
                    for (index, read) in (from..).zip(&entries) {
                        assert_eq!((read.index, &read.data), (index, &entry(index)));
                    }
                    served.fetch_add(entries.len() as u64, Ordering::SeqCst);
                }
                Err(ReadError::Gone { .. }) => drop(gone.fetch_add(1, Ordering::SeqCst)),
                Err(error) => panic!("{error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| read(&log));
        }
        for index in 2..=ENTRIES {
            append(&log, 1, index, &[entry(index)]);
            if index > KEPT {
                purge(&log, 1, index - KEPT);
            }
        }
        is_done.store(true, Ordering::SeqCst);
    });
    println!("{served:?} entries were served, {gone:?} reads came too late");
    assert!(served.into_inner() > 0);
}

#[test]
fn a_read_is_bounded_and_has_one_entry_at_least() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, small()).unwrap();
    let entries: Vec<Bytes> = (0..10).map(|index| vec![index; 100].into()).collect();
    append(&log, 1, 1, &entries[..6]);
    append(&log, 1, 7, &entries[6..]);
    for reopened in [false, true] {
        let log = if reopened {
            log.close();
            &open(&disk, small()).unwrap().0
        } else {
            &log
        };
        let indexes = |range, bytes_max| -> Vec<u64> {
            log.read(1, range, bytes_max).unwrap().into_iter().map(|entry| entry.index).collect()
        };
        assert_eq!(indexes(1..11, 0), [1]);
        assert_eq!(indexes(1..11, 250), [1, 2]);
        assert_eq!(indexes(5..9, 10_000), [5, 6, 7, 8]);
        assert_eq!(indexes(4..u64::MAX, 10_000), (4..11).collect::<Vec<_>>());
        assert_eq!(indexes(4..4, 10_000), []);
        assert_eq!(indexes(11..20, 10_000), []);
        assert_eq!(log.read(9, 0..9, 10).unwrap(), [], "there is no such group");
    }
}

#[test]
fn what_was_purged_is_gone_and_says_so() {
    let (log, _) = open(&MemoryDisk::new(), small()).unwrap();
    append(&log, 1, 1, &["a".into(), "b".into(), "c".into()]);
    purge(&log, 1, 2);
    let error = log.read(1, 1..4, 10).unwrap_err();
    assert!(matches!(error, ReadError::Gone { group: 1, index: 1, first: 3 }), "{error}");
    assert_eq!(log.read(1, 3..4, 10).unwrap()[0].data, "c");
    purge(&log, 1, 9);
    let error = log.read(1, 3..4, 10).unwrap_err();
    assert!(matches!(error, ReadError::Gone { first: 10, .. }), "{error}");
    append(&log, 1, 10, &["d".into()]);
}
