//! Snapshots against a store in memory.

use std::cell::Cell;
use std::collections::BTreeMap;

use exesdb_sdk::keyspaces::{
    self, Batch, BatchError, Committed, Direction, Keyspaces, MemoryKeyspaces, Page, Position, Range,
};
use exesdb_sdk::snapshots::SnapshotData;
use exesdb_sdk::stream_keys::versioned;
use exesdb_sdk::types::{Error, Version};
use exesdb_snapshots::layout::{INFOS, SNAPSHOTS};
use exesdb_snapshots::rules::{SNAPSHOT_BYTES_MAX, delete, list, read, read_latest, record};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert_eq, proptest};

fn snapshot(data: &str) -> SnapshotData {
    SnapshotData { content_type: "text/plain".into(), data: data.into(), metadata: Vec::new() }
}

fn put(store: &MemoryKeyspaces, stream_id: &str, version: Version) {
    record(store, 5, stream_id, version, &snapshot(&format!("{stream_id}@{version}"))).expect("it is valid");
}

fn versions(store: &MemoryKeyspaces, before: Option<Version>, count: u32) -> (Vec<Version>, bool) {
    let page = list(store, "a", before, count).expect("it is valid");
    (page.snapshots.iter().map(|info| info.version).collect(), page.more)
}

fn invalid<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Invalid(invalid)) => invalid.argument,
        other => panic!("{other:?}"),
    }
}

fn damage<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Other(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_is_read_as_it_was_recorded() {
    let store = MemoryKeyspaces::new();
    let data = SnapshotData {
        content_type: "application/octet-stream".into(),
        data: (0..=255).collect(),
        metadata: b"{\"by\":1}".to_vec(),
    };
    record(&store, 77, "ü", u64::MAX, &data).unwrap();
    for read in [read(&store, "ü", u64::MAX).unwrap(), read_latest(&store, "ü").unwrap()] {
        assert_eq!((read.stream_id.as_str(), read.version, read.created), ("ü", u64::MAX, 77));
        assert_eq!(
            (&read.content_type, &read.data, &read.metadata),
            (&data.content_type, &data.data, &data.metadata)
        );
    }
    let info = list(&store, "ü", None, 1).unwrap().snapshots.remove(0);
    assert_eq!((info.version, info.size, info.created), (u64::MAX, 256, 77));
    assert_eq!(info.content_type, data.content_type);
}

#[test]
fn a_snapshot_replaces_the_one_at_its_version() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 3);
    record(&store, 6, "a", 3, &snapshot("newer")).unwrap();
    assert_eq!(read(&store, "a", 3).unwrap().data, b"newer");
    assert_eq!(list(&store, "a", None, 9).unwrap().snapshots[0].size, 5);
    assert_eq!(versions(&store, None, 9), (vec![3], false));
}

#[test]
fn the_latest_is_the_highest_version_of_this_stream() {
    let store = MemoryKeyspaces::new();
    assert_eq!(read_latest(&store, "a"), Err(Error::NotFound));
    for version in [256, 3, 255] {
        put(&store, "a", version);
    }
    put(&store, "a!", 999);
    put(&store, "ab", 999);
    assert_eq!(read_latest(&store, "a").unwrap().data, b"a@256");
    assert_eq!(read(&store, "a", 4), Err(Error::NotFound));
}

#[test]
fn a_list_goes_down_from_a_version() {
    let store = MemoryKeyspaces::new();
    for version in [0, 1, 5, 300] {
        put(&store, "a", version);
        put(&store, "ab", version);
    }
    assert_eq!(versions(&store, None, 1_000), (vec![300, 5, 1, 0], false));
    assert_eq!(versions(&store, None, 2), (vec![300, 5], true));
    assert_eq!(versions(&store, Some(5), 2), (vec![1, 0], false));
    assert_eq!(versions(&store, Some(6), 2), (vec![5, 1], true));
    assert_eq!(versions(&store, Some(u64::MAX), 1), (vec![300], true));
    assert_eq!(versions(&store, Some(0), 1), (vec![], false));
    assert_eq!(list(&store, "nothing", None, 9).unwrap().snapshots, []);
}

#[test]
fn a_deleted_snapshot_is_not_there() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 1);
    put(&store, "a", 2);
    assert_eq!(delete(&store, "a", 2), Ok(()));
    assert_eq!(delete(&store, "a", 2), Err(Error::NotFound));
    assert_eq!(read(&store, "a", 2), Err(Error::NotFound));
    assert_eq!(read_latest(&store, "a").unwrap().version, 1);
    assert_eq!(delete(&store, "a", 1), Ok(()));
    assert!(store.entries(SNAPSHOTS).is_empty() && store.entries(INFOS).is_empty());
}

#[test]
fn hostile_arguments_are_named() {
    let store = MemoryKeyspaces::new();
    let long = "x".repeat(257);
    for id in ["", "a\0", long.as_str()] {
        assert_eq!(invalid(record(&store, 1, id, 0, &snapshot(""))), "stream-id");
        assert_eq!(invalid(read(&store, id, 0)), "stream-id");
        assert_eq!(invalid(read_latest(&store, id)), "stream-id");
        assert_eq!(invalid(list(&store, id, None, 1)), "stream-id");
        assert_eq!(invalid(delete(&store, id, 0)), "stream-id");
    }
    for count in [0, 1_001, u32::MAX] {
        assert_eq!(invalid(list(&store, "a", None, count)), "count");
    }
    let mut odd = snapshot("");
    odd.content_type = "text/plain\n".into();
    assert_eq!(invalid(record(&store, 1, "a", 0, &odd)), "snapshot.content-type");
    let mut large = snapshot("");
    large.data = vec![0; SNAPSHOT_BYTES_MAX];
    assert_eq!(record(&store, 1, "a", 0, &large), Ok(()));
    large.metadata = vec![0];
    let outcome = record(&store, 1, "a", 0, &large);
    assert!(matches!(&outcome, Err(Error::TooLarge(text)) if text.contains("1048577")), "{outcome:?}");
}

#[test]
fn damage_is_named_never_a_panic() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 1);
    store.overwrite(SNAPSHOTS, &versioned("a", 1), b"\x09");
    assert!(damage(read(&store, "a", 1)).contains("format is 9"));
    assert!(damage(read_latest(&store, "a")).contains("`snapshots`"));
    store.overwrite(INFOS, &versioned("a", 1), b"\x01");
    assert!(damage(list(&store, "a", None, 1)).contains("`infos`"));
    store.overwrite(INFOS, b"a\0\0\0\0\0\0\0\0\x01odd", b"");
    assert!(damage(list(&store, "a", None, 1)).contains("8 bytes"));
}

/// A store in which another writer records or deletes the snapshot just before each of the first commits.
struct Rival<'a> {
    store: &'a MemoryKeyspaces,
    left: Cell<u32>,
    deletes: bool,
}

impl Keyspaces for Rival<'_> {
    fn get(&self, keyspace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, keyspaces::Error> {
        self.store.get(keyspace, key)
    }

    fn get_many(
        &self,
        keyspace: &str,
        keys: &[Vec<u8>],
        max: u32,
    ) -> Result<Vec<Option<Vec<u8>>>, keyspaces::Error> {
        self.store.get_many(keyspace, keys, max)
    }

    fn scan(
        &self,
        range: &Range,
        direction: Direction,
        limit: u32,
        max: u32,
    ) -> Result<Page, keyspaces::Error> {
        self.store.scan(range, direction, limit, max)
    }

    fn commit(&self, batches: &[Batch]) -> Result<Vec<Result<Committed, BatchError>>, keyspaces::Error> {
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            if self.deletes {
                delete(self.store, "a", 1).expect("it is there");
            } else {
                record(self.store, u64::from(left) + 100, "a", 1, &snapshot("rival")).expect("it is valid");
            }
        }
        self.store.commit(batches)
    }

    fn durable_position(&self) -> Result<Position, keyspaces::Error> {
        self.store.durable_position()
    }
}

#[test]
fn of_two_who_delete_one_is_told_that_it_is_gone() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 1);
    let rival = Rival { store: &store, left: Cell::new(1), deletes: true };
    assert_eq!(delete(&rival, "a", 1), Err(Error::NotFound));
}

#[test]
fn a_deletion_that_is_overtaken_is_tried_again_but_not_for_ever() {
    let store = MemoryKeyspaces::new();
    put(&store, "a", 1);
    let rival = Rival { store: &store, left: Cell::new(2), deletes: false };
    assert_eq!(delete(&rival, "a", 1), Ok(()));
    put(&store, "a", 1);
    let rival = Rival { store: &store, left: Cell::new(u32::MAX), deletes: false };
    assert!(damage(delete(&rival, "a", 1)).contains("not deleted"));
    assert_eq!(read(&store, "a", 1).unwrap().data, b"rival");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn answers_agree_with_a_map(
        steps in vec((any::<bool>(), any::<bool>(), 0..8_u64, any::<u8>()), 0..40),
        count in 1..4_u32,
    ) {
        let store = MemoryKeyspaces::new();
        let mut model: BTreeMap<(&str, Version), Vec<u8>> = BTreeMap::new();
        for (records, second, version, byte) in steps {
            let stream_id = if second { "ab" } else { "a" };
            if records {
                let data = SnapshotData { content_type: "c".into(), data: vec![byte], metadata: Vec::new() };
                prop_assert_eq!(record(&store, 1, stream_id, version, &data), Ok(()));
                model.insert((stream_id, version), vec![byte]);
            } else {
                let there = model.remove(&(stream_id, version));
                let expected = there.map(|_| ()).ok_or(Error::NotFound);
                prop_assert_eq!(delete(&store, stream_id, version), expected);
            }
        }
        for stream_id in ["a", "ab"] {
            let expected: Vec<_> =
                model.range((stream_id, 0)..=(stream_id, Version::MAX)).rev().map(|((_, version), _)| *version).collect();
            let mut listed = Vec::new();
            let mut before = None;
            loop {
                let page = list(&store, stream_id, before, count).unwrap();
                listed.extend(page.snapshots.iter().map(|info| info.version));
                before = listed.last().copied();
                if !page.more {
                    break;
                }
            }
            prop_assert_eq!(&listed, &expected);
            let latest = read_latest(&store, stream_id).map(|snapshot| (snapshot.version, snapshot.data));
            let expected = expected.first().ok_or(Error::NotFound);
            prop_assert_eq!(latest, expected.map(|version| (*version, model[&(stream_id, *version)].clone())));
        }
    }
}
