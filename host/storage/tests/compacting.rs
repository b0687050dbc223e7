//! Compacting reclaims the space of deleted data, loses nothing, and does not stop the store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use exesdb_storage::{CompactError, FailPoint, Health, Options, Store};
use scratch::{OWNER, Scratch, all, batch, delete, incompressible, put, put_event, put_in};

const KEYSPACE: &str = scratch::KEYSPACE;
const ENTRIES: u32 = 2_000;
const VALUE_BYTES: usize = 1_000;

/// Overwrites the same keys with 2 MB of new values.
fn overwrite(store: &Scratch, round: u32) {
    let value = |n| incompressible(u64::from(round * ENTRIES + n), VALUE_BYTES);
    let puts = (0..ENTRIES).map(|n| put(&n.to_be_bytes(), &value(n))).collect();
    store.apply(batch(vec![], puts, 0)).unwrap();
}

/// Compacts, and returns the bytes of tables before and after.
fn compact(store: &Store) -> (u64, u64) {
    let mut bytes = (0, 0);
    store
        .compact(&mut |compacted| {
            assert_eq!(compacted.owner, OWNER);
            bytes.0 += compacted.bytes_before;
            bytes.1 += compacted.bytes_after;
        })
        .unwrap();
    bytes
}

/// A store with a reserve of 1 MB, and the settable number of free bytes on its disk.
fn store_on_a_disk() -> (Scratch, Arc<AtomicU64>) {
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let gauge = Arc::clone(&free);
    let options = Options {
        reserve_bytes: 1_000_000,
        free_space: Some(Arc::new(move || Ok(gauge.load(Ordering::SeqCst)))),
        ..Options::default()
    };
    (Scratch::with(options), free)
}

#[test]
fn deleted_and_overwritten_data_takes_no_space() {
    let mut store = Scratch::new();
    for round in 0..3 {
        overwrite(&store, round);
        compact(store.store());
    }
    let before = all(&store.store().snapshot(), KEYSPACE);
    let (_, full) = compact(store.store());
    assert!((2_000_000..3_000_000).contains(&full), "{full} bytes for one round of three");
    assert!(store.store().disk_bytes().unwrap() > full);
    assert_eq!(all(&store.store().snapshot(), KEYSPACE), before);

    let kept = ENTRIES / 10;
    let deletes = (kept..ENTRIES).map(|n| delete(&n.to_be_bytes())).collect();
    store.apply(batch(vec![], deletes, 0)).unwrap();
    let disk = store.store().disk_bytes().unwrap();
    let (before_bytes, after) = compact(store.store());
    assert!(after < 400_000 && before_bytes > 2_000_000, "{before_bytes} bytes before, {after} after");
    assert!(store.store().disk_bytes().unwrap() < disk);
    assert_eq!(all(&store.store().snapshot(), KEYSPACE), before[..kept as usize]);
    store.reopen();
    assert_eq!(all(&store.store().snapshot(), KEYSPACE), before[..kept as usize]);
}

#[test]
fn old_files_are_deleted_once_nothing_needs_them() {
    let store = Scratch::new();
    overwrite(&store, 0);
    compact(store.store());
    overwrite(&store, 1);
    let before = store.store().disk_bytes().unwrap();
    // A commit after the rewriting publishes a snapshot that does not need the old tables.
    let commit = |_: exesdb_storage::Compacted<'_>| {
        store.apply(batch(vec![], vec![put(b"later", b"v")], 0)).unwrap();
    };
    store.store().compact(&mut { commit }).unwrap();
    // The table of the first round and the flushed second round are replaced by one table.
    let after = store.store().disk_bytes().unwrap();
    assert!(after < before + 500_000, "{before} bytes before, {after} after");
}

#[test]
fn data_that_a_snapshot_sees_is_kept_until_it_is_dropped() {
    let store = Scratch::new();
    overwrite(&store, 0);
    let snapshot = store.store().snapshot();
    let seen = all(&snapshot, KEYSPACE);
    store.apply(batch(vec![], (0..ENTRIES).map(|n| delete(&n.to_be_bytes())).collect(), 0)).unwrap();
    let (_, held) = compact(store.store());
    assert!(held > 2_000_000, "{held}");
    assert_eq!(all(&snapshot, KEYSPACE), seen);
    assert_eq!(all(&store.store().snapshot(), KEYSPACE), []);
    drop(snapshot);
    // Nothing was written meanwhile, so the engine would not check its snapshots by itself.
    let (_, free) = compact(store.store());
    assert!(free < 100_000, "{free}");
}

#[test]
fn every_keyspace_is_compacted_once_in_order() {
    let store = Scratch::new();
    store.apply(batch(vec![], vec![put_in("b", b"k", b"v"), put_in("a", b"k", b"v")], 0)).unwrap();
    store.apply(batch(vec![], vec![put_in("c", b"k", b"v")], 0)).unwrap();
    let mut seen = Vec::new();
    store
        .store()
        .compact(&mut |compacted| {
            seen.push((compacted.keyspace.to_owned(), compacted.done, compacted.total));
        })
        .unwrap();
    assert_eq!(seen, [("a".into(), 1, 3), ("b".into(), 2, 3), ("c".into(), 3, 3)]);
    Scratch::new().store().compact(&mut |_| panic!("there is nothing to compact")).unwrap();
}

#[test]
fn commits_go_on_during_a_compaction() {
    let store = Scratch::new();
    overwrite(&store, 0);
    let done = AtomicBool::new(false);
    let committed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let n = committed.load(Ordering::Acquire);
                let event = put_event(0, &incompressible(n, VALUE_BYTES));
                store.apply(batch(vec![], vec![event, put_in("last", b"k", &n.to_be_bytes())], 1)).unwrap();
                committed.store(n + 1, Ordering::Release);
            }
        });
        for round in 0..10 {
            // Each compaction has commits before it and during it.
            while committed.load(Ordering::Acquire) < round * 5 {
                std::thread::yield_now();
            }
            store.store().compact(&mut |_| {}).unwrap();
        }
        done.store(true, Ordering::Release);
    });
    let committed = committed.into_inner();
    let snapshot = store.store().snapshot();
    assert_eq!(snapshot.next_position(), committed);
    assert_eq!(store.store().health(), Health::Ok);
    let entries = all(&snapshot, KEYSPACE);
    assert_eq!(entries.len() as u64, committed + u64::from(ENTRIES), "events, and the overwritten keys");
    assert!(snapshot.verify(&mut |_| {}).unwrap().is_sound());
}

#[test]
fn only_one_compaction_runs_at_a_time() {
    let store = Scratch::new();
    store.apply(batch(vec![], vec![put(b"k", b"v")], 0)).unwrap();
    let mut inner = Ok(());
    store.store().compact(&mut |_| inner = store.store().compact(&mut |_| {})).unwrap();
    assert_eq!(inner, Err(CompactError::Running));
    store.store().compact(&mut |_| {}).unwrap();
}

#[test]
fn compacting_is_refused_without_room_for_it() {
    let (store, free) = store_on_a_disk();
    overwrite(&store, 0);
    compact(store.store());
    free.store(1_500_000, Ordering::SeqCst);
    match store.store().compact(&mut |_| {}) {
        Err(CompactError::NoRoom { owner, keyspace, bytes, reason }) => {
            assert_eq!((owner.as_str(), keyspace.as_str()), (OWNER, KEYSPACE));
            assert!(bytes > 2_000_000 && reason.contains("1500000"), "{bytes} {reason}");
        }
        other => panic!("{other:?}"),
    }
    // Compacting frees space, so it may use three quarters of the reserve.
    free.store(3_500_000, Ordering::SeqCst);
    compact(store.store());
}

#[test]
fn deleted_data_needs_no_room_to_be_compacted() {
    let (store, free) = store_on_a_disk();
    overwrite(&store, 0);
    compact(store.store());
    let deletions = (1..ENTRIES).map(|n| delete(&n.to_be_bytes())).collect();
    store.apply(batch(vec![], deletions, 0)).unwrap();
    // Fewer bytes than the tables have, and more than is left in them.
    free.store(300_000, Ordering::SeqCst);
    let (before, after) = compact(store.store());
    assert!(before > 2_000_000 && after < 100_000, "{before} bytes before, {after} after");
}

#[test]
fn a_full_disk_is_reported_without_waiting_for_a_flush() {
    let (store, free) = store_on_a_disk();
    overwrite(&store, 0);
    free.store(249_999, Ordering::SeqCst);
    match store.store().compact(&mut |_| {}) {
        Err(error @ CompactError::NoRoom { bytes: 0, .. }) => {
            let said = error.to_string();
            assert!(said.contains("249999 bytes are free") && said.contains("1000000"), "{said}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_poisoned_store_is_not_compacted() {
    let fail = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fail);
    let fail_points: exesdb_storage::FailPoints = Arc::new(move |point| {
        if point == FailPoint::BeforeSync && failing.load(Ordering::Acquire) {
            return Err(io::Error::other("no more"));
        }
        Ok(())
    });
    let store = Scratch::with(Options { fail_points: Some(fail_points), ..Options::default() });
    store.apply(batch(vec![], vec![put(b"k", b"v")], 0)).unwrap();
    fail.store(true, Ordering::Release);
    let commit = exesdb_storage::Commit {
        owner: OWNER.into(),
        batches: vec![batch(vec![], vec![put(b"k", b"w")], 0)],
        ..exesdb_storage::Commit::default()
    };
    store.store().commit_blocking(commit).unwrap_err();
    let refused = store.store().compact(&mut |_| {});
    assert!(
        matches!(&refused, Err(CompactError::Poisoned { reason }) if reason.contains("no more")),
        "{refused:?}"
    );
}
