//! After the first failure nothing is written, every callback gets the error, and all records that were confirmed are there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use exesdb_log::disk::MemoryDisk;
use exesdb_log::{FailPoint, LogError, Options};
use scratch::{Held, append, contents, hold_at, open, outcome, small};

#[test]
fn a_failure_at_any_point_poisons_the_log() {
    // Each point of a group, but for the last: what was called back then was synced.
    for point in [FailPoint::BeforeWrite, FailPoint::AfterWrite, FailPoint::AfterSync, FailPoint::AfterMark] {
        for panics in [false, true] {
            let disk = MemoryDisk::new();
            let fails = Arc::new(AtomicBool::new(false));
            let is_failing = Arc::clone(&fails);
            let hook = move |at| {
                if at != point || !is_failing.load(Ordering::SeqCst) {
                    return Ok(());
                }
                assert!(!panics, "the hook panics");
                Err(io::Error::other("the hook fails"))
            };
            let (log, _) = open(&disk, Options { fail_points: Some(Arc::new(hook)), ..small() }).unwrap();
            append(&log, 1, 1, &["a".into()]);
            fails.store(true, Ordering::SeqCst);
            let (callback, told) = outcome();
            log.append(1, 2, &["b".into()], callback).unwrap();
            let error = told.recv().unwrap().unwrap_err();
            let what = if panics { "the hook panics" } else { "the hook fails" };
            assert!(matches!(&error, LogError::Poisoned { reason } if reason.contains(what)), "{error}");
            fails.store(false, Ordering::SeqCst);
            let (writes, syncs) = (disk.writes(), disk.syncs());
            let refused = log.append(1, 3, &["c".into()], |_| {}).unwrap_err();
            assert_eq!(refused, error);
            assert_eq!(log.read(1, 1..2, 100).unwrap().len(), 1, "reads go on");
            assert!(log.poisoned().is_some());
            drop(log);
            assert_eq!((disk.writes(), disk.syncs()), (writes, syncs), "nothing is written");
            let found = contents(&open(&disk, small()).unwrap().0);
            assert_eq!(found[&1].entries[&1], "a");
        }
    }
}

#[test]
fn everybody_who_waits_is_told_in_order() {
    let disk = MemoryDisk::new();
    let (options, Held { reached, go }) = hold_at(FailPoint::BeforeWrite, 2, small());
    let (log, _) = open(&disk, options).unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    let send = |index: u64| {
        let sender = sender.clone();
        log.append(1, index, &["a".into()], move |outcome| sender.send((index, outcome.is_err())).unwrap())
    };
    send(1).unwrap();
    reached.recv().unwrap();
    for index in 2..10 {
        send(index).unwrap();
    }
    disk.fail_after(0);
    drop(go);
    for index in 1..10 {
        assert_eq!(told.recv().unwrap(), (index, true));
    }
}

#[test]
fn a_callback_that_panics_harms_nobody() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, small()).unwrap();
    log.append(1, 1, &["a".into()], |_| panic!("as the test wants it")).unwrap();
    append(&log, 1, 2, &["b".into()]);
    assert_eq!(log.poisoned(), None);
}

#[test]
fn a_callback_may_hold_the_last_handle() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, small()).unwrap();
    let log = Arc::new(log);
    let last = Arc::clone(&log);
    let (callback, done) = outcome();
    log.append(1, 1, &["a".into()], move |outcome| {
        drop(last);
        callback(outcome);
    })
    .unwrap();
    drop(log);
    done.recv().unwrap().unwrap();
    // The lock is free when the thread has ended.
    while open(&disk, small()).is_err() {
        std::thread::yield_now();
    }
}
