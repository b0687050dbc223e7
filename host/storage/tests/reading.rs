//! Reads return pages, and see whole commits only.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::sync::atomic::{AtomicBool, Ordering};

use exesdb_storage::{Direction, ReadError, Scan};
use scratch::{KEYSPACE, OWNER, Scratch, batch, put, put_event};

fn scan(direction: Direction, limit: usize, max_bytes: usize) -> Scan {
    Scan { keyspace: KEYSPACE.into(), start: vec![], end: None, direction, limit, max_bytes }
}

/// A store with the one-byte keys 0 to 9; the value of key `n` has `n` bytes.
fn ten() -> Scratch {
    let store = Scratch::new();
    store.apply(batch(vec![], (0..10).map(|n| put(&[n], &vec![b'v'; n.into()])).collect(), 0)).unwrap();
    store
}

/// The keys of every page of a scan, continued as the documentation of [`exesdb_storage::Page`] says.
fn pages(store: &Scratch, mut scan: Scan) -> Vec<Vec<u8>> {
    let snapshot = store.store().snapshot();
    let mut pages = Vec::new();
    loop {
        let page = snapshot.scan(OWNER, &scan).unwrap();
        let keys: Vec<u8> = page.entries.iter().map(|(key, _)| key[0]).collect();
        if let Some((key, _)) = page.entries.last() {
            match scan.direction {
                Direction::Forward => scan.start = [key, &[0][..]].concat(),
                Direction::Backward => scan.end = Some(key.to_vec()),
            }
        }
        pages.push(keys);
        if !page.more {
            return pages;
        }
    }
}

#[test]
fn pages_end_at_the_limit_in_both_directions() {
    let store = ten();
    let forward = pages(&store, scan(Direction::Forward, 4, 1000));
    assert_eq!(forward, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
    let backward = pages(&store, scan(Direction::Backward, 5, 1000));
    assert_eq!(
        backward,
        [vec![9, 8, 7, 6, 5], vec![4, 3, 2, 1, 0]],
        "a page that ends with the range is the last one"
    );
}

#[test]
fn pages_end_at_the_byte_limit_but_are_never_empty() {
    let store = ten();
    let forward = pages(&store, scan(Direction::Forward, 100, 10));
    assert_eq!(forward, [vec![0, 1, 2, 3], vec![4], vec![5], vec![6], vec![7], vec![8], vec![9]]);
    let backward = pages(&store, scan(Direction::Backward, 100, 0));
    assert_eq!(backward, (0..10).rev().map(|n| vec![n]).collect::<Vec<_>>());
}

#[test]
fn a_range_includes_its_start_and_excludes_its_end() {
    let store = ten();
    let range = |start: &[u8], end: &[u8], direction| {
        let scan = Scan { start: start.into(), end: Some(end.into()), ..scan(direction, 100, 1000) };
        pages(&store, scan).concat()
    };
    assert_eq!(range(&[3], &[6], Direction::Forward), [3, 4, 5]);
    assert_eq!(range(&[3], &[6], Direction::Backward), [5, 4, 3]);
    assert_eq!(range(&[], &[2], Direction::Backward), [1, 0]);
    assert_eq!(range(&[6], &[3], Direction::Forward), []);
    assert_eq!(range(&[3], &[3], Direction::Forward), []);
    assert_eq!(range(&[3], &[], Direction::Backward), []);
}

#[test]
fn get_many_returns_the_first_values_that_fit() {
    let store = ten();
    let keys: Vec<[u8; 1]> = vec![[9], [77], [3], [1]];
    let lens = |max_bytes| {
        let values = store.store().snapshot().get_many(OWNER, KEYSPACE, &keys, max_bytes).unwrap();
        values.iter().map(|value| value.as_ref().map(|value| value.len())).collect::<Vec<_>>()
    };
    assert_eq!(lens(1000), [Some(9), None, Some(3), Some(1)]);
    assert_eq!(lens(12), [Some(9), None, Some(3)]);
    assert_eq!(lens(0), [Some(9)]);
    assert_eq!(store.store().snapshot().get_many(OWNER, "nowhere", &keys, 0).unwrap(), vec![None; 4]);
}

#[test]
fn missing_owners_and_keyspaces_are_empty() {
    let store = Scratch::new();
    let snapshot = store.store().snapshot();
    assert_eq!(snapshot.get(OWNER, "nowhere", b"k"), Ok(None));
    assert!(snapshot.scan("nobody", &scan(Direction::Forward, 1, 1)).unwrap().entries.is_empty());
}

#[test]
fn a_snapshot_does_not_change() {
    let store = ten();
    let before = store.store().snapshot();
    store.apply(batch(vec![], vec![put(&[3], b"new"), put(&[10], b"new")], 1)).unwrap();
    assert_eq!(before.get(OWNER, KEYSPACE, &[3]).unwrap().as_deref(), Some(&b"vvv"[..]));
    assert_eq!(before.get(OWNER, KEYSPACE, &[10]), Ok(None));
    assert_eq!(before.next_position(), 0);
    assert_eq!(store.get(&[3]).as_deref(), Some(&b"new"[..]));
}

#[test]
fn owners_do_not_see_each_other() {
    let store = ten();
    assert_eq!(store.store().snapshot().get("snapshots", KEYSPACE, &[3]), Ok(None));
}

#[test]
fn readers_see_only_whole_batches_during_writes() {
    const BATCHES: u64 = 300;
    const EVENTS: u32 = 7;
    let store = Scratch::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let snapshot = store.store().snapshot();
                    let entries = scratch::all(&snapshot, KEYSPACE);
                    assert_eq!(entries.len() as u64, snapshot.next_position());
                    assert_eq!(entries.len() % EVENTS as usize, 0);
                    let last = snapshot.get(OWNER, "last", b"k").unwrap();
                    assert_eq!(last.as_deref(), entries.last().map(|(_, value)| value.as_slice()));
                }
            });
        }
        for n in 0..BATCHES {
            let mut operations: Vec<_> =
                (0..EVENTS).map(|event| put_event(event, &n.to_be_bytes())).collect();
            operations.push(scratch::put_in("last", b"k", &n.to_be_bytes()));
            store.apply(batch(vec![], operations, EVENTS)).unwrap();
        }
        done.store(true, Ordering::Release);
    });
}

#[test]
fn malformed_reads_are_refused() {
    let store = ten();
    let snapshot = store.store().snapshot();
    let invalid = |read: Result<_, ReadError>| matches!(read, Err(ReadError::Invalid(_)));
    let long = vec![b'k'; exesdb_storage::limits::KEY_BYTES_MAX + 1];
    assert!(invalid(snapshot.get(OWNER, KEYSPACE, b"").map(drop)));
    assert!(invalid(snapshot.get(OWNER, KEYSPACE, &long).map(drop)));
    assert!(invalid(snapshot.get(OWNER, "No", b"k").map(drop)));
    assert!(invalid(snapshot.get("../x", KEYSPACE, b"k").map(drop)));
    assert!(invalid(snapshot.get_many(OWNER, KEYSPACE, &[b"a".to_vec(), vec![]], 1).map(drop)));
    assert!(invalid(snapshot.get_many(OWNER, KEYSPACE, &vec![b"a"; 10_001], 1).map(drop)));
    assert!(invalid(snapshot.scan(OWNER, &scan(Direction::Forward, 0, 1)).map(drop)));
    let from = |start: &[u8]| {
        snapshot.scan(OWNER, &Scan { start: start.to_vec(), ..scan(Direction::Forward, 1, 1) }).map(drop)
    };
    assert!(from(&long).is_ok(), "a scan can continue after the longest key");
    assert!(invalid(from(&[&long[..], b"k"].concat())));
}
