//! Groups share writes and syncs, in the order in which their records were accepted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use bytes::Bytes;
use exesdb_log::disk::MemoryDisk;
use exesdb_log::{FailPoint, Log, LogError, Noted, Options};
use scratch::{Counting, Held, append, hold_at, noted, open, outcome, purge, set_state, small};

const GROUPS: u64 = 64;

fn options() -> Options {
    Options { segment_bytes: 1024 * 1024, node_bytes: 8 * 1024 * 1024, ..Options::default() }
}

#[test]
fn many_groups_that_wait_share_one_sync() {
    let syncs = Arc::<AtomicU64>::default();
    let folder = Counting { folder: Arc::new(MemoryDisk::new().folder()), syncs: Arc::clone(&syncs) };
    // Opening writes the first time. Then the writer waits, so that all others gather.
    let (options, Held { reached, go }) = hold_at(FailPoint::AfterCallbacks, 2, options());
    let (log, _) = Log::open_in(Arc::new(folder), options).unwrap();
    set_state(&log, 0, b"first");
    reached.recv().unwrap();
    let (sender, receiver) = channel();
    let before = syncs.load(Ordering::SeqCst);
    for group in 0..GROUPS {
        let sender = sender.clone();
        log.append(group, 1, &["entry".into()], move |outcome| sender.send((group, outcome)).unwrap())
            .unwrap();
    }
    drop(go);
    for group in 0..GROUPS {
        assert_eq!(receiver.recv().unwrap(), (group, Ok(())), "callbacks are called in order");
    }
    assert_eq!(syncs.load(Ordering::SeqCst) - before, 1);
}

#[test]
fn what_is_committed_is_not_synced_for_its_own_sake() {
    let disk = MemoryDisk::new();
    let syncs = Arc::<AtomicU64>::default();
    let folder = Counting { folder: Arc::new(disk.folder()), syncs: Arc::clone(&syncs) };
    let (log, _) = Log::open_in(Arc::new(folder), options()).unwrap();
    append(&log, 1, 1, &["a".into()]);
    let (before, writes) = (syncs.load(Ordering::SeqCst), disk.writes());
    log.note_committed(1, noted(1)).unwrap();
    // It is written all the same.
    while disk.writes() == writes {
        std::thread::yield_now();
    }
    assert_eq!(syncs.load(Ordering::SeqCst), before);
    log.close();
    assert_eq!(syncs.load(Ordering::SeqCst), before + 1, "closing syncs it");
    let (log, _) = open(&disk, options()).unwrap();
    assert_eq!(log.group(1).unwrap().committed, Some(noted(1)));
}

#[test]
fn accepted_entries_can_be_read_before_they_are_synced() {
    let disk = MemoryDisk::new();
    // Opening writes the first time.
    let (options, Held { reached, go }) = hold_at(FailPoint::BeforeWrite, 2, small());
    let (log, _) = open(&disk, options).unwrap();
    let (callback, outcome) = outcome();
    log.append(1, 1, &["a".into(), "b".into()], callback).unwrap();
    reached.recv().unwrap();
    log.truncate(1, 2, |_| {}).unwrap();
    log.append(1, 2, &["c".into()], |_| {}).unwrap();
    log.set_state(1, "vote".into(), |_| {}).unwrap();
    let read: Vec<Bytes> = log.read(1, 1..9, 100).unwrap().into_iter().map(|entry| entry.data).collect();
    assert_eq!(read, ["a", "c"]);
    assert_eq!(log.group(1).unwrap().state, Some("vote".into()));
    assert!(outcome.try_recv().is_err(), "nothing is synced");
    drop(go);
    assert_eq!(outcome.recv().unwrap(), Ok(()));
}

#[test]
fn a_writer_that_hangs_is_seen() {
    let (options, Held { reached, go }) = hold_at(FailPoint::AfterWrite, 2, small());
    let (log, _) = open(&MemoryDisk::new(), options).unwrap();
    assert_eq!(log.writing_since(), None);
    let (callback, synced) = outcome();
    log.set_state(1, "vote".into(), callback).unwrap();
    reached.recv().unwrap();
    assert!(log.writing_since().is_some());
    drop(go);
    synced.recv().unwrap().unwrap();
    while log.writing_since().is_some() {
        std::thread::yield_now();
    }
}

#[test]
fn wrong_calls_are_refused_by_name() {
    let (log, _) = open(&MemoryDisk::new(), small()).unwrap();
    append(&log, 1, 1, &["a".into()]);
    let refused = |outcome: Result<(), LogError>, what: &str| {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let entry = |len: usize| vec![Bytes::from(vec![0; len])];
    refused(log.append(1, 3, &entry(1), |_| {}), "the next entry of group 1 is 2, not 3");
    refused(log.append(1, 2, &[], |_| {}), "1 to 65536 entries");
    refused(log.append(1, 2, &entry(scratch::SEGMENT as usize / 2), |_| {}), "at most 32768 bytes");
    refused(log.append(9, u64::MAX, &entry(1), |_| {}), "indexes go to");
    refused(log.set_state(1, vec![0; 257].into(), |_| {}), "at most 256 bytes, not 257");
    refused(log.truncate(1, u64::MAX, |_| {}), "indexes go to");
    refused(log.purge(1, noted(u64::MAX), |_| {}), "indexes go to");
    let long = Noted { index: 1, note: vec![0; 257].into() };
    refused(log.note_committed(1, long), "at most 256 bytes, not 257");
    purge(&log, 1, 1);
    refused(log.truncate(1, 1, |_| {}), "was purged");
    for group in 2..=4 {
        set_state(&log, group, b"vote");
    }
    refused(log.set_state(5, "vote".into(), |_| {}), "4 groups");
    assert_eq!(log.groups(), [1, 2, 3, 4]);
    log.close();
    refused(log.set_state(1, "vote".into(), |_| {}), "closed");
    assert!(log.read(1, 1..2, 1).unwrap_err().to_string().contains("closed"));
}

#[test]
fn a_full_queue_is_overloaded() {
    for (queue_records, queue_bytes, limit) in [(3, 1 << 20, "3 records"), (100, 1000, "1000 bytes")] {
        let options = Options { queue_records, queue_bytes, ..small() };
        let (options, Held { reached, go }) = hold_at(FailPoint::BeforeWrite, 2, options);
        let (log, _) = open(&MemoryDisk::new(), options).unwrap();
        log.append(1, 1, &["a".into()], |_| {}).unwrap();
        reached.recv().unwrap();
        let mut next = 2;
        let error = loop {
            match log.append(1, next, &[vec![0; 300].into()], |_| {}) {
                Ok(()) => next += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error, LogError::Overloaded { limit: limit.into() });
        drop(go);
        while log.append(1, next, &["a".into()], |_| {}).is_err() {
            std::thread::yield_now();
        }
        assert_eq!(log.group(1).unwrap().next, Some(next + 1), "what was refused left no gap");
    }
}
