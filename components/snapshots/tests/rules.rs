//! The rules of snapshots against keyspaces in memory.

#[path = "driver/mod.rs"]
mod driver;

use std::collections::BTreeMap;

use driver::{
    delete, import, keep_newest, list, newest_request, put_request, read, read_latest, record, settle_beside,
};
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::snapshots::{SnapshotData, SnapshotId, SnapshotRequest, SnapshotScope};
use exesdb_sdk::types::{Decision, Error, Version, code};
use exesdb_snapshots::decide::{SNAPSHOT_BYTES_MAX, SURPLUS_MAX, decide};
use exesdb_snapshots::layout::{INFOS, SNAPSHOTS, SOURCES, key_by_source, key_by_stream};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any};
use proptest::{prop_assert_eq, prop_oneof, proptest};

fn id(stream_id: &str, source_id: &str, version: Version) -> SnapshotId {
    SnapshotId { stream_id: stream_id.into(), source_id: source_id.into(), version }
}

fn scope(stream_id: Option<&str>, source_id: Option<&str>) -> SnapshotScope {
    SnapshotScope { stream_id: stream_id.map(str::to_owned), source_id: source_id.map(str::to_owned) }
}

fn snapshot(data: &str) -> SnapshotData {
    SnapshotData { content_type: "text/plain".into(), data: data.into(), metadata: Vec::new() }
}

fn put(store: &MemoryStore, stream_id: &str, source_id: &str, version: Version) {
    let data = snapshot(&format!("{stream_id}/{source_id}@{version}"));
    record(store, 5, &id(stream_id, source_id, version), &data).expect("it is valid");
}

/// A page as text, which ends with `+` if more follow.
fn listed(store: &MemoryStore, scope: &SnapshotScope, after: Option<&SnapshotId>, count: u32) -> String {
    let page = list(store, scope, after, count).expect("it is valid");
    let mut text: Vec<_> = page
        .snapshots
        .iter()
        .map(|info| format!("{}/{}@{}", info.id.stream_id, info.id.source_id, info.id.version))
        .collect();
    text.extend(page.more.then(|| "+".to_owned()));
    text.join(" ")
}

fn invalid<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Invalid(invalid)) => invalid.argument,
        other => panic!("{other:?}"),
    }
}

fn damage<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Problem(problem)) if problem.code == code::DAMAGED => problem.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn snapshots_are_read_as_they_were_recorded() {
    let store = MemoryStore::new();
    let data = SnapshotData {
        content_type: "application/octet-stream".into(),
        data: (0..=255).collect(),
        metadata: b"{\"by\":1}".to_vec(),
    };
    let place = id("ü", "sum", u64::MAX);
    record(&store, 77, &place, &data).unwrap();
    for read in [read(&store, &place).unwrap(), read_latest(&store, "ü", "sum", None).unwrap()] {
        assert_eq!((&read.id, read.created), (&place, 77));
        assert_eq!(read.snapshot, data);
    }
    for scope in [scope(None, None), scope(None, Some("sum"))] {
        let info = list(&store, &scope, None, 1).unwrap().snapshots.remove(0);
        assert_eq!((info.id, info.size, info.created), (place.clone(), 256, 77));
        assert_eq!(info.content_type, data.content_type);
    }
}

#[test]
fn a_snapshot_replaces_the_one_with_its_id() {
    let store = MemoryStore::new();
    put(&store, "a", "s", 3);
    put(&store, "a", "t", 3);
    record(&store, 6, &id("a", "s", 3), &snapshot("newer")).unwrap();
    assert_eq!(read(&store, &id("a", "s", 3)).unwrap().snapshot.data, b"newer");
    assert_eq!(read(&store, &id("a", "t", 3)).unwrap().snapshot.data, b"a/t@3");
    assert_eq!(list(&store, &scope(Some("a"), None), None, 9).unwrap().snapshots[0].size, 5);
    assert_eq!(list(&store, &scope(None, Some("s")), None, 9).unwrap().snapshots[0].size, 5);
    assert_eq!(listed(&store, &scope(None, None), None, 9), "a/s@3 a/t@3");
}

#[test]
fn the_latest_is_the_highest_version_of_this_stream_and_source() {
    let store = MemoryStore::new();
    assert_eq!(read_latest(&store, "a", "", None), Err(Error::NotFound));
    for version in [256, 3, 255] {
        put(&store, "a", "", version);
    }
    put(&store, "a", "s", 999);
    put(&store, "a!", "", 999);
    put(&store, "ab", "", 999);
    let table = [
        (None, Some(256)),
        (Some(u64::MAX), Some(256)),
        (Some(256), Some(256)),
        (Some(255), Some(255)),
        (Some(254), Some(3)),
        (Some(3), Some(3)),
        (Some(2), None),
        (Some(0), None),
    ];
    for (at_most, version) in table {
        let latest = read_latest(&store, "a", "", at_most).map(|latest| latest.id);
        assert_eq!(latest, version.map(|version| id("a", "", version)).ok_or(Error::NotFound), "{at_most:?}");
    }
}

#[test]
fn lists_follow_their_scope_and_order() {
    let store = MemoryStore::new();
    for (stream_id, source_id) in [("a", "s"), ("a", ""), ("b", "s"), ("a b", "s"), ("a", "s2")] {
        for version in [1, 300] {
            put(&store, stream_id, source_id, version);
        }
    }
    let all = scope(None, None);
    let every = "a/@300 a/@1 a/s@300 a/s@1 a/s2@300 a/s2@1 a b/s@300 a b/s@1 b/s@300 b/s@1";
    assert_eq!(listed(&store, &all, None, 1_000), every);
    assert_eq!(listed(&store, &all, None, 3), "a/@300 a/@1 a/s@300 +");
    assert_eq!(listed(&store, &all, Some(&id("a", "s", 300)), 2), "a/s@1 a/s2@300 +");
    let a = scope(Some("a"), None);
    assert_eq!(listed(&store, &a, None, 9), "a/@300 a/@1 a/s@300 a/s@1 a/s2@300 a/s2@1");
    assert_eq!(listed(&store, &a, Some(&id("a", "s2", 300)), 9), "a/s2@1");
    let s = scope(None, Some("s"));
    assert_eq!(listed(&store, &s, None, 9), "a/s@300 a/s@1 a b/s@300 a b/s@1 b/s@300 b/s@1");
    assert_eq!(listed(&store, &s, Some(&id("a", "s", 1)), 2), "a b/s@300 a b/s@1 +");
    assert_eq!(listed(&store, &scope(None, Some("")), None, 9), "a/@300 a/@1");
    let both = scope(Some("a"), Some("s"));
    assert_eq!(listed(&store, &both, None, 1), "a/s@300 +");
    // The snapshot that `after` names need not exist.
    assert_eq!(listed(&store, &both, Some(&id("a", "s", 299)), 9), "a/s@1");
    assert_eq!(listed(&store, &both, Some(&id("a", "s", 1)), 9), "");
    assert_eq!(listed(&store, &both, Some(&id("a", "s", 0)), 9), "");
    assert_eq!(listed(&store, &both, Some(&id("a", "s", u64::MAX)), 9), "a/s@300 a/s@1");
    assert_eq!(listed(&store, &scope(Some("none"), None), None, 9), "");
}

#[test]
fn a_deleted_snapshot_is_not_found() {
    let store = MemoryStore::new();
    put(&store, "a", "s", 1);
    put(&store, "a", "s", 2);
    assert_eq!(delete(&store, &id("a", "", 2)), Err(Error::NotFound));
    assert_eq!(delete(&store, &id("a", "s", 2)), Ok(()));
    assert_eq!(delete(&store, &id("a", "s", 2)), Err(Error::NotFound));
    assert_eq!(read(&store, &id("a", "s", 2)), Err(Error::NotFound));
    assert_eq!(read_latest(&store, "a", "s", None).unwrap().id.version, 1);
    assert_eq!(delete(&store, &id("a", "s", 1)), Ok(()));
    for keyspace in [SNAPSHOTS, INFOS, SOURCES] {
        assert_eq!(store.entries(keyspace), [], "{keyspace}");
    }
}

#[test]
fn the_newest_snapshots_of_a_source_are_kept() {
    let store = MemoryStore::new();
    assert_eq!(keep_newest(&store, "a", "s", 1), Ok(0));
    for version in [1, 2, 3, 300] {
        put(&store, "a", "s", version);
        put(&store, "a", "t", version);
        put(&store, "b", "s", version);
    }
    for (keep, deleted) in [(u32::MAX, 0), (4, 0), (3, 1), (1, 2), (1, 0)] {
        assert_eq!(keep_newest(&store, "a", "s", keep), Ok(deleted), "{keep}");
    }
    assert_eq!(listed(&store, &scope(Some("a"), None), None, 9), "a/s@300 a/t@300 a/t@3 a/t@2 a/t@1");
    assert_eq!(listed(&store, &scope(None, Some("s")), None, 9), "a/s@300 b/s@300 b/s@3 b/s@2 b/s@1");
    assert_eq!((store.entries(SNAPSHOTS).len(), store.entries(SOURCES).len()), (9, 9));
}

#[test]
fn a_surplus_larger_than_one_batch_takes_several_requests() {
    let store = MemoryStore::new();
    let surplus = u64::from(SURPLUS_MAX);
    for version in 0..2 * surplus + 7 {
        put(&store, "a", "", version);
    }
    for deleted in [surplus, surplus, 5, 0] {
        assert_eq!(keep_newest(&store, "a", "", 2), Ok(deleted));
    }
    let last = 2 * surplus + 6;
    assert_eq!(listed(&store, &scope(None, Some("")), None, 9), format!("a/@{last} a/@{}", last - 1));
    assert_eq!(store.entries(SNAPSHOTS).len(), 2);
}

/// The longest ids fit into a batch as often as a request deletes snapshots.
#[test]
fn the_largest_surplus_fits_into_a_batch() {
    let store = MemoryStore::new();
    let long = "x".repeat(256);
    let data = SnapshotData { content_type: "c".repeat(128), data: Vec::new(), metadata: Vec::new() };
    for version in 0..=u64::from(SURPLUS_MAX) {
        record(&store, 1, &id(&long, &long, version), &data).unwrap();
    }
    assert_eq!(keep_newest(&store, &long, &long, 1), Ok(u64::from(SURPLUS_MAX)));
}

#[test]
fn an_imported_snapshot_keeps_its_time() {
    let store = MemoryStore::new();
    // The clocks of the two stores do not matter.
    for created in [0, 99, 100, u64::MAX] {
        assert_eq!(import(&store, &id("a", "s", created), &snapshot("x"), created), Ok(()));
        assert_eq!(read(&store, &id("a", "s", created)).unwrap().created, created);
    }
    assert_eq!(invalid(import(&store, &id("", "s", 200), &snapshot("x"), 1)), "id.stream-id");
    assert_eq!(read(&store, &id("a", "s", 200)), Err(Error::NotFound));
}

#[test]
fn invalid_ids_are_named() {
    let store = MemoryStore::new();
    put(&store, "a", "", 0);
    let before = store.entries(SNAPSHOTS);
    let long = "x".repeat(257);
    let streams = ["", "a\0", long.as_str()].map(|odd| (odd, "s", "stream-id"));
    let sources = ["\0", "s\u{85}", long.as_str()].map(|odd| ("a", odd, "source-id"));
    for (stream_id, source_id, argument) in streams.into_iter().chain(sources) {
        let odd = id(stream_id, source_id, 0);
        let of_id = format!("id.{argument}");
        assert_eq!(invalid(record(&store, 1, &odd, &snapshot(""))), of_id);
        assert_eq!(invalid(import(&store, &odd, &snapshot(""), 1)), of_id);
        assert_eq!(invalid(read(&store, &odd)), of_id);
        assert_eq!(invalid(delete(&store, &odd)), of_id);
        assert_eq!(invalid(read_latest(&store, stream_id, source_id, None)), argument);
        assert_eq!(invalid(keep_newest(&store, stream_id, source_id, 1)), argument);
        let odd_scope = scope(Some(stream_id), Some(source_id));
        assert_eq!(invalid(list(&store, &odd_scope, None, 1)), format!("scope.{argument}"));
        assert_eq!(invalid(list(&store, &scope(None, None), Some(&odd), 1)), format!("after.{argument}"));
    }
    let longest = "x".repeat(256);
    assert_eq!(record(&store, 1, &id(&longest, &longest, 0), &snapshot("")), Ok(()));
    assert_eq!(delete(&store, &id(&longest, &longest, 0)), Ok(()));
    assert_eq!(store.entries(SNAPSHOTS), before);
}

#[test]
fn invalid_arguments_are_named() {
    let store = MemoryStore::new();
    for count in [0, 1_001, u32::MAX] {
        assert_eq!(invalid(list(&store, &scope(None, None), None, count)), "count");
    }
    assert_eq!(invalid(keep_newest(&store, "a", "s", 0)), "keep");
    let elsewhere = id("b", "t", 0);
    let outside = |scope: SnapshotScope| invalid(list(&store, &scope, Some(&elsewhere), 1));
    assert_eq!(outside(scope(Some("a"), None)), "after.stream-id");
    assert_eq!(outside(scope(None, Some("s"))), "after.source-id");
    assert_eq!(outside(scope(Some("b"), Some(""))), "after.source-id");
    let place = id("a", "s", 0);
    let mut odd = snapshot("");
    odd.content_type = "text/plain\n".into();
    assert_eq!(invalid(record(&store, 1, &place, &odd)), "snapshot.content-type");
    let mut large = snapshot("");
    large.data = vec![0; SNAPSHOT_BYTES_MAX];
    assert_eq!(record(&store, 1, &place, &large), Ok(()));
    large.metadata = vec![0];
    let outcome = record(&store, 1, &place, &large);
    assert!(
        matches!(&outcome, Err(Error::Problem(it)) if it.code == code::TOO_LARGE && it.message.contains("1048577")),
        "{outcome:?}"
    );
}

#[test]
fn damage_is_an_error() {
    let store = MemoryStore::new();
    let place = id("a", "s", 1);
    put(&store, "a", "s", 1);
    store.overwrite(SNAPSHOTS, &key_by_stream(&place), b"\x09");
    assert!(damage(read(&store, &place)).contains("format is 9"));
    assert!(damage(read_latest(&store, "a", "s", None)).contains("`snapshots`"));
    store.overwrite(INFOS, &key_by_stream(&place), b"\x01");
    assert!(damage(list(&store, &scope(Some("a"), None), None, 1)).contains("`infos`"));
    store.overwrite(SOURCES, &key_by_source(&place), b"\x01");
    assert!(damage(list(&store, &scope(None, Some("s")), None, 1)).contains("`sources`"));
    store.overwrite(INFOS, b"a\0s\0\0\0\0\0\0\0\0\x01odd", b"");
    assert!(damage(list(&store, &scope(Some("a"), None), None, 1)).contains("8 bytes"));
    store.overwrite(INFOS, b"a\0s\0\xff\xff\xff\xff\xff\xff\xff\xffodd", b"");
    assert!(damage(keep_newest(&store, "a", "s", 1)).contains("8 bytes"));
}

#[test]
fn of_concurrent_deletions_one_is_not_found() {
    let store = MemoryStore::new();
    put(&store, "a", "s", 1);
    let place = id("a", "s", 1);
    let mut is_first = true;
    let outcome = settle_beside(&store, &SnapshotRequest::Remove(place.clone()), |store| {
        if std::mem::take(&mut is_first) {
            delete(store, &place).unwrap();
        }
    });
    assert_eq!(outcome, Err(Error::NotFound));
}

#[test]
fn what_is_overtaken_is_decided_again() {
    let store = MemoryStore::new();
    let overtaken = |request: &SnapshotRequest| {
        let mut left = 2;
        settle_beside(&store, request, |store| {
            if left > 0 {
                left -= 1;
                record(store, 100 + left, &id("a", "s", 1), &snapshot("rival")).unwrap();
            }
        })
    };
    for version in [0, 1, 2] {
        put(&store, "a", "s", version);
    }
    assert_eq!(overtaken(&newest_request("a", "s", 1)), Ok(2));
    assert_eq!(listed(&store, &scope(None, None), None, 9), "a/s@2");
    put(&store, "a", "s", 1);
    assert_eq!(overtaken(&SnapshotRequest::Remove(id("a", "s", 1))), Ok(0));
    assert_eq!(listed(&store, &scope(None, None), None, 9), "a/s@2");
}

#[test]
fn deletions_of_a_list_wait_for_changes_of_their_source() {
    let store = MemoryStore::new();
    for (stream_id, source_id) in [("a", "s"), ("a", "t")] {
        put(&store, stream_id, source_id, 1);
        put(&store, stream_id, source_id, 2);
    }
    let put = |source_id: &str, version| put_request(&id("a", source_id, version), &snapshot("x"), None);
    let remove = |source_id: &str, version| SnapshotRequest::Remove(id("a", source_id, version));
    let newest = |source_id: &str| newest_request("a", source_id, 1);
    let table: [(&[SnapshotRequest], &str); 6] = [
        (&[put("s", 1), put("s", 1), put("s", 3)], "ccc"),
        (&[put("s", 3), remove("s", 1), put("s", 4)], "cll"),
        (&[put("s", 3), remove("t", 1), newest("t")], "ccl"),
        (&[remove("s", 1), remove("s", 2)], "cl"),
        (&[remove("s", 9), remove("s", 1)], "xc"),
        (&[newest("s"), put("s", 3), newest("t")], "clc"),
    ];
    for (requests, expected) in table {
        let letter = |decision: Decision| match decision {
            Decision::Done(Ok(_)) => 'd',
            Decision::Done(Err(_)) => 'x',
            Decision::Commit(_) => 'c',
            Decision::Later => 'l',
        };
        let shape: String = decide(&store.view(), requests).into_iter().map(letter).collect();
        assert_eq!(shape, expected, "{requests:?}");
    }
}

/// Few streams, sources and versions, so that they coincide.
fn places() -> impl Strategy<Value = SnapshotId> {
    let ids = || prop_oneof!["a", "ab", "b"];
    let source = prop_oneof!["", "a", "a "];
    (ids(), source, 0..6_u64).prop_map(|(stream_id, source_id, version)| SnapshotId {
        stream_id,
        source_id,
        version,
    })
}

type Key = (String, String, Version);

/// In the order of lists.
fn model_key(id: &SnapshotId) -> Key {
    (id.stream_id.clone(), id.source_id.clone(), !id.version)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn results_agree_with_a_map(
        steps in vec((0..8_u8, places(), any::<u8>()), 0..60),
        count in 1..4_u32,
    ) {
        let store = MemoryStore::new();
        let mut model: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
        for (step, place, byte) in steps {
            match step {
                0 | 1 => {
                    let there = model.remove(&model_key(&place));
                    prop_assert_eq!(delete(&store, &place), there.map(|_| ()).ok_or(Error::NotFound));
                }
                2 => {
                    let keep = usize::from(byte % 3) + 1;
                    let of_both = model.keys().filter(|key| key.0 == place.stream_id && key.1 == place.source_id);
                    let old: Vec<Key> = of_both.skip(keep).cloned().collect();
                    let deleted = keep_newest(&store, &place.stream_id, &place.source_id, keep as u32);
                    prop_assert_eq!(deleted, Ok(old.len() as u64));
                    for key in old {
                        model.remove(&key);
                    }
                }
                _ => {
                    let data = SnapshotData { content_type: "c".into(), data: vec![byte], metadata: Vec::new() };
                    prop_assert_eq!(record(&store, 1, &place, &data), Ok(()));
                    model.insert(model_key(&place), vec![byte]);
                }
            }
        }
        for stream_id in [None, Some("a"), Some("ab"), Some("none")] {
            for source_id in [None, Some(""), Some("a"), Some("none")] {
                let scope = scope(stream_id, source_id);
                let expected: Vec<Key> = model
                    .keys()
                    .filter(|key| stream_id.is_none_or(|id| key.0 == id) && source_id.is_none_or(|id| key.1 == id))
                    .cloned()
                    .collect();
                let mut found: Vec<SnapshotId> = Vec::new();
                loop {
                    let page = list(&store, &scope, found.last(), count).unwrap();
                    found.extend(page.snapshots.into_iter().map(|info| info.id));
                    if !page.more {
                        break;
                    }
                }
                prop_assert_eq!(found.iter().map(model_key).collect::<Vec<_>>(), expected);
            }
        }
        for at_most in [None, Some(0), Some(3), Some(Version::MAX)] {
            let latest = read_latest(&store, "a", "", at_most).map(|snapshot| (model_key(&snapshot.id), snapshot.snapshot.data));
            let highest = at_most.unwrap_or(Version::MAX);
            let expected =
                model.iter().find(|(key, _)| key.0 == "a" && key.1.is_empty() && !key.2 <= highest);
            prop_assert_eq!(latest.ok(), expected.map(|(key, data)| (key.clone(), data.clone())));
        }
    }
}
