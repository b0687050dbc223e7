//! Snapshots of replicas: a replica that begins with one goes on as the one that it was taken of.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod generated;
mod replicas;

use exesdb_storage::dump::{self, InvalidDump, RestoreError, inspect, restore_in_memory, restore_replica};
use exesdb_storage::{
    Batch, Commit, Entry, EntryCommit, EntryContent, FORMAT_VERSION, Genesis, Histories, LogId, Memory,
    Operation, Options, Replica, ReplicaOpenError, Store, limits,
};
use exesdb_test_support::random;
use replicas::{GENESIS, InFiles, InMemory, Node, assert_equal, contents};
use xxhash_rust::xxh3::xxh3_64_with_seed;

fn entries() -> Vec<Entry> {
    generated::entries(&mut random(), GENESIS.index + 1, 80)
}

fn in_memory(dump: &[u8]) -> InMemory {
    let memory = Memory::new();
    restore_in_memory(&memory, &mut &*dump).unwrap();
    InMemory::of(memory, Options::default())
}

fn in_files(dump: &[u8]) -> InFiles {
    let dir = tempfile::tempdir().unwrap();
    restore_replica(dir.path(), &mut &*dump, None, &mut |_| {}).unwrap();
    InFiles::of(dir, Options::default())
}

#[test]
fn a_replica_that_begins_with_a_snapshot_is_equal_and_goes_on_equally() {
    let (first, second) = {
        let mut entries = entries();
        let second = entries.split_off(50);
        (entries, second)
    };
    let mut files = InFiles::create(&Histories::begin());
    first.iter().for_each(|entry| drop(files.apply(entry)));
    let of_files = replicas::dump(&files.snapshot());
    let mut memory = in_memory(&of_files);
    let mut other = in_files(&replicas::dump(&memory.snapshot()));
    assert_equal(&mut memory, &mut files);
    assert_equal(&mut other, &mut files);
    assert_eq!(other.snapshot().histories(), files.snapshot().histories(), "in the same histories");
    assert_eq!(other.replica().persisted().applied, other.replica().state().applied.id);
    for entry in &second {
        let outcomes = files.apply(entry);
        assert_eq!(memory.apply(entry), outcomes);
        assert_eq!(other.apply(entry), outcomes);
    }
    assert_equal(&mut memory, &mut files);
    assert_equal(&mut other, &mut files);
    other.persist().unwrap();
    other.reopen(Options::default());
    assert_equal(&mut other, &mut files);
}

/// A snapshot has no empty keyspaces, and the sequence is the same with and without them.
#[test]
fn a_replica_whose_snapshot_lacks_an_empty_keyspace_goes_on_equally() {
    let delete = || Operation::Delete { keyspace: "a".into(), key: b"k".to_vec() };
    let entry = |index, operations| Entry {
        id: LogId { index, ..GENESIS },
        time: 0,
        content: EntryContent::Commits(vec![EntryCommit {
            owner: "o".into(),
            batches: vec![Batch { operations, ..Batch::default() }],
            ..EntryCommit::default()
        }]),
    };
    let mut node = InMemory::create(&Histories::begin());
    node.apply(&entry(2, vec![put()]));
    node.apply(&entry(3, vec![delete()]));
    let mut other = in_memory(&replicas::dump(&node.snapshot()));
    assert_eq!(other.snapshot().keyspaces().unwrap(), []);
    assert_eq!(node.apply(&entry(4, vec![delete()])), other.apply(&entry(4, vec![delete()])));
    assert_eq!(node.replica().head().sequence, 3);
    assert_equal(&mut node, &mut other);
}

fn put() -> Operation {
    Operation::Put {
        keyspace: "a".into(),
        key: b"k".to_vec(),
        value: b"v".to_vec(),
        key_stamps: vec![],
        value_stamps: vec![],
        chain: None,
    }
}

#[test]
fn a_snapshot_of_half_an_entry_goes_on_in_its_middle() {
    let entries = entries();
    let mut whole = InMemory::create(&Histories::begin());
    entries.iter().for_each(|entry| drop(whole.apply(entry)));
    let histories = whole.snapshot().histories().clone();
    let mut tried = 0;
    for kept in 0..40 {
        let mut node = InMemory::create(&histories);
        entries.iter().for_each(|entry| drop(node.apply(entry)));
        node.lose_all_but(kept);
        if node.replica().state().applied.batches == 0 {
            continue;
        }
        tried += 1;
        let dump = replicas::dump(&node.snapshot());
        let mut other = in_memory(&dump);
        assert_eq!(other.replica().state(), node.replica().state());
        let at = usize::try_from(other.applied() - GENESIS.index).unwrap();
        entries[at..].iter().for_each(|entry| drop(other.apply(entry)));
        assert_equal(&mut other, &mut whole);
    }
    assert!(tried > 0, "no snapshot was of half an entry");
}

#[test]
fn a_backup_of_a_replica_can_be_restored_as_a_store_of_its_own() {
    let mut node = InFiles::create(&Histories::begin());
    entries().iter().for_each(|entry| drop(node.apply(entry)));
    let bytes = replicas::dump(&node.snapshot());
    let summary = inspect(&mut bytes.as_slice(), &mut |_| {}).unwrap();
    assert_eq!(summary.replica.as_ref(), Some(node.replica().state()));
    let dir = tempfile::tempdir().unwrap();
    dump::restore(dir.path(), &mut bytes.as_slice(), &mut |_| {}).unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let snapshot = store.snapshot();
    assert_eq!(contents(&snapshot), contents(&node.snapshot()));
    assert_eq!(snapshot.head(), node.replica().head());
    assert_eq!(snapshot.histories().all().len(), node.snapshot().histories().all().len() + 1);
    assert!(snapshot.replica().is_none() && snapshot.log_has_begun());
    let (log, _) = frames();
    let commit =
        Commit { owner: "o".into(), batches: vec![Batch { log, ..Batch::default() }], ..Commit::default() };
    assert!(store.commit_blocking(commit).unwrap()[0].is_ok());
    let again = replicas::dump(&store.snapshot());
    assert_eq!(inspect(&mut again.as_slice(), &mut |_| {}).unwrap().format, FORMAT_VERSION);
}

fn frames() -> (Vec<u8>, u32) {
    let mut random = random();
    std::iter::repeat_with(|| generated::frames(&mut random)).find(|(log, _)| !log.is_empty()).unwrap()
}

/// A store without a log has its events where the streams component kept them, and its log goes on there.
#[test]
fn a_group_begins_with_the_backup_of_a_store() {
    for has_log in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let log = if has_log { frames().0 } else { vec![] };
        let batch = Batch { operations: vec![put()], log, ..Batch::default() };
        let commit = Commit { owner: "o".into(), batches: vec![batch], time: 5, makes_room: false };
        assert!(store.commit_blocking(commit).unwrap()[0].is_ok());
        let bytes = replicas::dump(&store.snapshot());
        let dir = tempfile::tempdir().unwrap();
        let genesis = Genesis { id: LogId { term: 3, leader: 4, index: 7 }, membership: b"m".to_vec() };
        restore_replica(dir.path(), &mut bytes.as_slice(), Some(&genesis), &mut |_| {}).unwrap();
        let mut node = InFiles::of(dir, Options::default());
        let state = node.replica().state().clone();
        assert_eq!((state.applied.id, &*state.membership), (genesis.id, &b"m"[..]));
        assert_eq!(node.replica().head(), store.reader().head());
        assert_eq!(state.applied.time, if has_log { 5 } else { 0 });
        assert_eq!(contents(&node.snapshot()), contents(&store.snapshot()));
        assert_eq!(node.snapshot().histories().all().len(), store.snapshot().histories().all().len() + 1);
        let mut entry = generated::entry(&mut random(), 8, 0);
        entry.id = LogId { index: 8, ..genesis.id };
        assert!(node.replica().apply(entry).is_ok());
    }
}

#[test]
fn what_is_no_snapshot_of_a_replica_begins_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let bytes = replicas::dump(&store.snapshot());
    let target = tempfile::tempdir().unwrap();
    let refused = restore_replica(target.path(), &mut bytes.as_slice(), None, &mut |_| {});
    assert!(matches!(refused, Err(RestoreError::NoReplica)), "{refused:?}");
    assert!(std::fs::read_dir(target.path()).unwrap().next().is_none(), "nothing was created");
    let refused = restore_in_memory(&Memory::new(), &mut bytes.as_slice());
    assert!(matches!(refused, Err(RestoreError::NoReplica)), "{refused:?}");
    let refused = restore_replica(dir.path(), &mut bytes.as_slice(), None, &mut |_| {});
    assert!(matches!(refused, Err(RestoreError::NoReplica)), "{refused:?}");
}

#[test]
fn a_damaged_snapshot_begins_no_replica() {
    let mut node = InMemory::create(&Histories::begin());
    entries().iter().for_each(|entry| drop(node.apply(entry)));
    let bytes = replicas::dump(&node.snapshot());
    let mut random = random();
    for round in 0..200 {
        let mut damaged = bytes.clone();
        if round % 2 == 0 {
            damaged.truncate(random.usize(..bytes.len()));
        } else {
            damaged[random.usize(..bytes.len())] ^= 1 << random.u8(..8);
        }
        let memory = Memory::new();
        assert!(restore_in_memory(&memory, &mut damaged.as_slice()).is_err());
        let opened = Replica::open_in(memory, Options::default());
        assert!(matches!(opened.err(), Some(ReplicaOpenError::Memory(_))), "there is nothing to open");
    }
    let dir = tempfile::tempdir().unwrap();
    let cut = &bytes[..bytes.len() - 1];
    assert!(restore_replica(dir.path(), &mut &*cut, None, &mut |_| {}).is_err());
    assert!(Replica::open(dir.path(), Options::default()).is_err());
    restore_replica(dir.path(), &mut bytes.as_slice(), None, &mut |_| {}).unwrap();
    assert_equal(&mut InFiles::of(dir, Options::default()), &mut node);
}

/// Replaces the payload of one of the first frames, with a valid checksum. A hostile peer can do that.
fn forged(bytes: &[u8], number: u64, kind: u8, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut at = 12;
    for _ in 0..number {
        at += 5 + length(bytes, at) + 8;
    }
    let end = at + 5 + length(bytes, at) + 8;
    let mut payload = bytes[at + 5..end - 8].to_vec();
    change(&mut payload);
    let start = [&[kind][..], &u32::try_from(payload.len()).unwrap().to_be_bytes()].concat();
    let checksum = xxh3_64_with_seed(&[&start[..], &payload].concat(), number);
    [&bytes[..at], &start, &payload, &checksum.to_be_bytes(), &bytes[end..]].concat()
}

fn length(bytes: &[u8], frame: usize) -> usize {
    u32::from_be_bytes(bytes[frame + 1..frame + 5].try_into().unwrap()) as usize
}

#[test]
fn a_forged_state_is_refused_by_name() {
    const HEAD: u8 = 1;
    const REPLICA: u8 = 6;
    let mut node = InMemory::create(&Histories::begin());
    entries().iter().for_each(|entry| drop(node.apply(entry)));
    let bytes = replicas::dump(&node.snapshot());
    let number = |at: usize| {
        move |payload: &mut Vec<u8>| payload[8 * at..8 * at + 8].copy_from_slice(&u64::MAX.to_be_bytes())
    };
    for (case, forged, expected) in [
        ("short", forged(&bytes, 2, REPLICA, |payload| payload.truncate(47)), "is malformed"),
        ("batches", forged(&bytes, 2, REPLICA, number(3)), "is malformed"),
        ("term", forged(&bytes, 2, REPLICA, number(0)), "the term of its replica is 18446744073709551615"),
        ("index", forged(&bytes, 2, REPLICA, number(2)), "the index of its replica"),
        ("time", forged(&bytes, 2, REPLICA, number(4)), "the time of its replica"),
        ("another frame", forged(&bytes, 2, 3, |_| {}), "its third frame is a Entries"),
        (
            "too long",
            forged(&bytes, 2, REPLICA, |payload| payload.resize(48 + limits::MEMBERSHIP_BYTES_MAX + 1, 0)),
            "a frame claims 65585 bytes",
        ),
        ("of a store", forged(&bytes, 0, HEAD, |payload| payload[3] = 3), "its head has format 3"),
    ] {
        let memory = Memory::new();
        match restore_in_memory(&memory, &mut forged.as_slice()) {
            Err(RestoreError::Dump(InvalidDump::Damaged { reason, .. })) => {
                assert!(reason.contains(expected), "{case}: {reason}");
            }
            other => panic!("{case}: {other:?}"),
        }
    }
}
