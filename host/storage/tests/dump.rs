//! Dumps are taken while the store goes on, are restored to an equal store, and are refused if anything in them is wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use exesdb_storage::dump::{DumpError, InvalidDump, RestoreError, Summary, inspect, restore, unfinished};
use exesdb_storage::{
    Commit, Direction, OpenError, Operation, Options, ReadError, Scan, Snapshot, Stamp, Store, chain, limits,
};
use exesdb_test_support::Rng;
use proptest::prelude::{ProptestConfig, any, prop};
use proptest::{prop_assert_eq, proptest};
use scratch::{KEYSPACE, OWNER, Scratch, batch, delete, put, put_event, put_in};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// All entries of a snapshot, by owner and keyspace, without empty keyspaces.
fn everything(snapshot: &Snapshot) -> BTreeMap<(String, String), Entries> {
    let mut all = BTreeMap::new();
    for (owner, keyspace) in snapshot.keyspaces().unwrap() {
        let mut entries = Entries::new();
        let mut scan = Scan {
            keyspace: keyspace.clone(),
            start: vec![],
            end: None,
            direction: Direction::Backward,
            limit: usize::MAX,
            max_bytes: usize::MAX,
        };
        loop {
            let page = snapshot.scan(&owner, &scan).unwrap();
            scan.end = page.entries.last().map(|(key, _)| key.to_vec());
            entries.extend(page.entries.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
            if !page.more {
                break;
            }
        }
        if !entries.is_empty() {
            all.insert((owner, keyspace), entries);
        }
    }
    all
}

fn apply(store: &Store, owner: &str, operations: Vec<Operation>, events: u32) {
    let commit =
        Commit { owner: owner.into(), batches: vec![batch(vec![], operations, events)], ..Commit::default() };
    store.commit_blocking(commit).unwrap().remove(0).unwrap();
}

fn dumped(snapshot: &Snapshot) -> (Vec<u8>, Summary) {
    let mut dump = Vec::new();
    let summary = snapshot.dump(&mut dump, &mut |_| {}).unwrap();
    (dump, summary)
}

fn inspected(mut dump: &[u8]) -> Result<Summary, InvalidDump> {
    inspect(&mut dump, &mut |_| {})
}

fn restored(dir: &Path, mut dump: &[u8]) -> Result<Summary, RestoreError> {
    restore(dir, &mut dump, &mut |_| {})
}

/// A put of a chained event.
fn put_chained(event: u32) -> Operation {
    let mut put = put_event(event, b"........happened");
    if let Operation::Put { chain, .. } = &mut put {
        *chain = Some(Stamp { at: 0, event });
    }
    put
}

/// A store of two owners, with what is easily lost: empty values, the longest key and value, deleted entries, a
/// keyspace that is empty again, and more than one frame.
fn varied() -> Scratch {
    let store = Scratch::new();
    let events = (0..100).map(put_chained).collect();
    store.apply(batch(vec![], events, 100)).unwrap();
    store.apply(batch(vec![], vec![put_in("gone", b"k", b"v")], 0)).unwrap();
    let gone = Operation::Delete { keyspace: "gone".into(), key: b"k".to_vec() };
    store.apply(batch(vec![], vec![gone, put(b"deleted", b"v")], 0)).unwrap();
    store.apply(batch(vec![], vec![delete(b"deleted"), put(b"empty", b"")], 0)).unwrap();
    let longest = [vec![0xff; limits::KEY_BYTES_MAX], vec![0xfe; limits::KEY_BYTES_MAX]];
    let long = longest.iter().map(|key| put_in("long", key, &vec![7; limits::VALUE_BYTES_MAX]));
    apply(store.store(), "other-owner", long.collect(), 1);
    let many = (0..5_000u32).map(|n| put_in("many", &n.to_be_bytes(), &[n as u8; 300]));
    apply(store.store(), "other-owner", many.collect(), 0);
    store
}

/// A small store, whose dump can be damaged in every place.
fn small() -> (Scratch, Vec<u8>) {
    let store = Scratch::new();
    store.apply(batch(vec![], vec![put_event(0, b"one"), put_in("second", b"key", b"")], 1)).unwrap();
    let (dump, _) = dumped(&store.store().snapshot());
    (store, dump)
}

fn assert_no_store(dir: &Path) {
    assert!(!dir.join("data").exists());
    assert!(!dir.join("data.new").exists(), "what was written is removed");
    assert!(!dir.join("durable.mark").exists());
}

#[test]
fn a_restored_store_is_equal_and_takes_commits() {
    let store = varied();
    let snapshot = store.store().snapshot();
    let (dump, summary) = dumped(&snapshot);
    let all = everything(&snapshot);
    assert_eq!(summary.head, snapshot.head());
    assert_ne!(summary.head.chain, 0);
    assert_eq!(summary.dump_bytes, dump.len() as u64);
    assert_eq!(summary.entries(), all.values().map(|entries| entries.len() as u64).sum::<u64>());
    let names: Vec<_> =
        summary.keyspaces.iter().map(|known| (known.owner.clone(), known.keyspace.clone())).collect();
    assert_eq!(names, all.keys().cloned().collect::<Vec<_>>(), "empty keyspaces are left out");
    assert_eq!(inspected(&dump).unwrap(), summary);

    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("not/there/yet");
    assert_eq!(restored(&target, &dump).unwrap(), summary);
    for round in 0..3 {
        let copy = Store::open(&target, Options::default()).unwrap();
        assert_eq!(copy.snapshot().head().sequence, snapshot.head().sequence + round);
        assert_eq!(copy.snapshot().next_position(), snapshot.next_position() + round);
        if round == 0 {
            assert_eq!(copy.snapshot().head(), snapshot.head());
            assert_eq!(everything(&copy.snapshot()), all);
            let (again, second) = dumped(&copy.snapshot());
            assert_eq!(second.keyspaces, summary.keyspaces);
            assert_eq!(again.len(), dump.len() + 16, "the second dump has one more history");
        }
        let before = copy.snapshot().head();
        apply(&copy, OWNER, vec![put_chained(0)], 1);
        let key = before.next_position.to_be_bytes();
        let value = copy.snapshot().get(OWNER, KEYSPACE, &key).unwrap().unwrap();
        assert_eq!(copy.snapshot().head().chain, chain(before.chain, &key, &value, 0));
    }
}

#[test]
fn an_empty_store_can_be_dumped_and_restored() {
    let store = Scratch::new();
    let (dump, summary) = dumped(&store.store().snapshot());
    assert_eq!((summary.entries(), summary.bytes(), summary.keyspaces.len()), (0, 0, 0));
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(restored(dir.path(), &dump).unwrap(), summary);
    let copy = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(copy.snapshot().head(), store.store().snapshot().head());
}

/// An output that calls a function before each write.
struct CallOnWrite<F>(Vec<u8>, F);

impl<F: FnMut()> Write for CallOnWrite<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.1)();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_dump_contains_its_snapshot_while_the_store_goes_on() {
    let store = varied();
    let snapshot = store.store().snapshot();
    let before = everything(&snapshot);
    let mut round = 0u32;
    let mut out = CallOnWrite(Vec::new(), || {
        round += 1;
        let key = round.to_be_bytes();
        let overwrite = put_in("many", &(round % 5_000).to_be_bytes(), b"new");
        apply(store.store(), "other-owner", vec![overwrite, put_in("created-later", &key, b"v")], 0);
        apply(store.store(), OWNER, vec![put_event(0, b"later"), delete(b"empty")], 1);
    });
    let summary = snapshot.dump(&mut out, &mut |_| {}).unwrap();
    let dump = out.0;
    assert!(round > 20, "{round} commits in between");
    assert!(store.store().snapshot().head().sequence > summary.head.sequence);
    let dir = tempfile::tempdir().unwrap();
    restored(dir.path(), &dump).unwrap();
    let copy = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(everything(&copy.snapshot()), before);
    assert_eq!(copy.snapshot().head(), snapshot.head());
}

#[test]
fn closing_the_store_fails_its_dump() {
    let store = varied();
    let snapshot = store.store().snapshot();
    let mut store = Some(store);
    let mut writes = 0;
    let mut out = CallOnWrite(Vec::new(), || {
        writes += 1;
        if writes == 8 {
            store = None;
        }
    });
    match snapshot.dump(&mut out, &mut |_| {}) {
        Err(DumpError::Read(ReadError::Closed)) => {}
        other => panic!("{other:?}"),
    }
    assert!(inspected(&out.0).is_err());
}

#[test]
fn a_failing_output_fails_the_dump() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.0.min(bytes.len());
            self.0 -= room;
            if room == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(room) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let store = varied();
    for room in [0, 11, 12, 40, 2_000_000] {
        match store.store().snapshot().dump(&mut Full(room), &mut |_| {}) {
            Err(DumpError::Write { at, source }) => {
                assert!(at <= room as u64);
                assert_eq!(source.kind(), io::ErrorKind::StorageFull);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn progress_grows_to_the_summary() {
    let store = varied();
    let (mut seen, mut dump) = (Vec::new(), Vec::new());
    let mut note =
        |progress: exesdb_storage::dump::Progress<'_>| seen.push((progress.entries, progress.bytes));
    let summary = store.store().snapshot().dump(&mut dump, &mut note).unwrap();
    assert!(seen.is_sorted() && seen.len() > summary.keyspaces.len());
    assert_eq!(seen.last(), Some(&(summary.entries(), summary.bytes())));
    let (mut inspecting, mut restoring) = (0, 0);
    inspect(&mut &dump[..], &mut |progress| inspecting = progress.entries).unwrap();
    let dir = tempfile::tempdir().unwrap();
    restore(dir.path(), &mut &dump[..], &mut |progress| restoring = progress.entries).unwrap();
    assert_eq!((inspecting, restoring), (summary.entries(), summary.entries()));
}

#[test]
fn a_truncated_dump_is_refused() {
    let (_store, dump) = small();
    let dir = tempfile::tempdir().unwrap();
    for len in 0..dump.len() {
        match inspected(&dump[..len]) {
            Err(InvalidDump::NotADump) => assert!(len < 8),
            Err(InvalidDump::Truncated { at }) => assert!(at <= len as u64),
            other => panic!("{len} of {}: {other:?}", dump.len()),
        }
        if len % 17 == 0 {
            assert!(matches!(restored(dir.path(), &dump[..len]), Err(RestoreError::Dump(_))));
            assert_no_store(dir.path());
        }
    }
    let longer = [&dump[..], &[0]].concat();
    assert!(matches!(restored(dir.path(), &longer), Err(RestoreError::Dump(InvalidDump::Damaged { .. }))));
    assert_no_store(dir.path());
    restored(dir.path(), &dump).unwrap();
}

#[test]
fn a_flipped_byte_anywhere_is_refused() {
    let (_store, dump) = small();
    let dir = tempfile::tempdir().unwrap();
    let mut random = Rng::with_seed(1);
    for at in 0..dump.len() {
        let mut damaged = dump.clone();
        damaged[at] ^= random.u8(1..);
        assert!(inspected(&damaged).is_err(), "byte {at} from {} to {}", dump[at], damaged[at]);
        if at % 17 == 0 {
            assert!(matches!(restored(dir.path(), &damaged), Err(RestoreError::Dump(_))));
            assert_no_store(dir.path());
        }
    }
    restored(dir.path(), &dump).unwrap();
}

#[test]
fn missing_doubled_and_swapped_frames_are_refused() {
    let (_store, dump) = small();
    let mut frames = vec![&dump[..12]];
    let mut at = 12;
    while at < dump.len() {
        let len = 13 + u32::from_be_bytes(dump[at + 1..at + 5].try_into().unwrap()) as usize;
        frames.push(&dump[at..at + len]);
        at += len;
    }
    assert_eq!(frames.len(), 8, "head, histories, two keyspaces with entries, manifest");
    for one in 1..frames.len() {
        let mut fewer = frames.clone();
        fewer.remove(one);
        assert!(inspected(&fewer.concat()).is_err(), "without frame {one}");
        let mut doubled = frames.clone();
        doubled.insert(one, frames[one]);
        assert!(inspected(&doubled.concat()).is_err(), "frame {one} twice");
        for other in 1..one {
            let mut swapped = frames.clone();
            swapped.swap(one, other);
            assert!(inspected(&swapped.concat()).is_err(), "frames {one} and {other}");
        }
    }
}

#[test]
fn a_restore_over_a_store_is_refused() {
    let (mut store, dump) = small();
    let open = restored(store.dir.path(), &dump);
    assert!(matches!(open, Err(RestoreError::Store(OpenError::Locked { .. }))), "{open:?}");
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), Options::default()).unwrap());
    match restored(dir.path(), &dump) {
        Err(RestoreError::StoreExists { path, found }) => {
            assert_eq!((path, found), (dir.path().to_owned(), dir.path().join("data")));
        }
        other => panic!("{other:?}"),
    }
    let untouched = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(untouched.snapshot().head().sequence, 0);
    store.reopen();
    assert_eq!(store.store().snapshot().head().sequence, 1);
}

#[test]
fn a_restore_over_the_mark_of_a_lost_store_is_refused() {
    let (_store, dump) = small();
    let dir = tempfile::tempdir().unwrap();
    restored(dir.path(), &dump).unwrap();
    std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    match restored(dir.path(), &dump) {
        Err(RestoreError::StoreExists { found, .. }) => assert_eq!(found, dir.path().join("durable.mark")),
        other => panic!("{other:?}"),
    }
    assert!(dir.path().join("durable.mark").exists());
}

/// An input that panics at its end, so that the restore cannot clean up.
struct Interrupted<'a>(&'a [u8]);

impl Read for Interrupted<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        assert!(!self.0.is_empty(), "the restore is interrupted");
        self.0.read(bytes)
    }
}

#[test]
fn a_restore_removes_what_an_interrupted_one_left() {
    let (store, dump) = small();
    let dir = tempfile::tempdir().unwrap();
    let mut input = Interrupted(&dump[..dump.len() - 20]);
    catch_unwind(AssertUnwindSafe(|| restore(dir.path(), &mut input, &mut |_| {}))).unwrap_err();
    assert!(dir.path().join("data.new").exists(), "the restore was interrupted half way");
    // The folder is not opened as a new, empty store.
    let refusal = Store::open(dir.path(), Options::default()).err().expect("there is no store").to_string();
    assert!(refusal.contains("was not finished") && refusal.contains("--give-up"), "{refusal}");
    // The state between the creation of the mark and the renaming of the database.
    std::fs::copy(store.dir.path().join("durable.mark"), dir.path().join("durable.mark")).unwrap();
    std::fs::write(dir.path().join("data.new/junk"), b"junk").unwrap();

    restored(dir.path(), &dump).unwrap();
    assert!(!dir.path().join("data.new").exists());
    assert!(!dir.path().join("data/junk").exists());
    let copy = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(everything(&copy.snapshot()), everything(&store.store().snapshot()));
}

#[test]
fn giving_up_a_restore_allows_a_new_store() {
    let (_store, dump) = small();
    let dir = tempfile::tempdir().unwrap();
    assert!(!unfinished::give_up(dir.path()).unwrap(), "there is nothing to give up");
    let failed = restore(dir.path(), &mut &dump[..dump.len() - 20], &mut |_| {});
    assert!(failed.is_err());
    assert!(Store::open(dir.path(), Options::default()).is_err(), "a failed restore is unfinished as well");
    assert!(unfinished::give_up(dir.path()).unwrap());
    let new = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(new.snapshot().head().sequence, 0);
    assert!(!unfinished::give_up(dir.path()).unwrap(), "a store is not given up");
}

#[test]
fn a_restore_that_was_killed_at_its_last_step_is_a_store() {
    let (store, dump) = small();
    let dir = tempfile::tempdir().unwrap();
    restored(dir.path(), &dump).unwrap();
    unfinished::begin(dir.path()).unwrap();
    let copy = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(everything(&copy.snapshot()), everything(&store.store().snapshot()));
    assert!(!dir.path().join("restoring").exists());
}

#[test]
fn a_failing_input_leaves_no_store() {
    struct Failing<'a>(&'a [u8]);
    impl Read for Failing<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() { Err(io::ErrorKind::ConnectionReset.into()) } else { self.0.read(bytes) }
        }
    }
    let (_store, dump) = small();
    let dir = tempfile::tempdir().unwrap();
    for len in [0, 10, 100, dump.len() - 1, dump.len()] {
        match restore(dir.path(), &mut Failing(&dump[..len]), &mut |_| {}) {
            Err(RestoreError::Dump(InvalidDump::Io { at, source })) => {
                assert!(at <= len as u64);
                assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
            }
            other => panic!("{len}: {other:?}"),
        }
        assert_no_store(dir.path());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_contents_survive_dump_and_restore(
        contents in prop::collection::btree_map(
            ("[a-z0-9-]{1,3}", "[a-z0-9-]{1,64}"),
            prop::collection::btree_map(
                prop::collection::vec(any::<u8>(), 1..40),
                prop::collection::vec(any::<u8>(), 0..200),
                0..30,
            ),
            0..6,
        ),
        events in 0u32..5,
    ) {
        let store = Scratch::new();
        for ((owner, keyspace), entries) in &contents {
            let puts = entries.iter().map(|(key, value)| put_in(keyspace, key, value)).collect();
            apply(store.store(), owner, puts, events);
        }
        let snapshot = store.store().snapshot();
        let (dump, summary) = dumped(&snapshot);
        let dir = tempfile::tempdir().unwrap();
        prop_assert_eq!(&restored(dir.path(), &dump).unwrap(), &summary);
        let copy = Store::open(dir.path(), Options::default()).unwrap();
        let expected: BTreeMap<_, _> =
            contents.into_iter().filter(|(_, entries)| !entries.is_empty()).collect();
        prop_assert_eq!(everything(&copy.snapshot()), expected);
        prop_assert_eq!(copy.snapshot().head(), snapshot.head());
    }
}
