//! Deletion and retention.

use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::types::{
    Deletion, Error, ExpectedVersion, Retention, StreamLife, StreamState, VersionConflict, code,
};
use exesdb_streams::layout::{Head, RETAINED, STREAMS};
use exesdb_streams::read::LIVES_MAX;

use crate::driver::{Rival, delete_stream, set_retention, stream_info, stream_lives};
use crate::{KEEP_ALL, NOW, any, append, at, ids, message};

/// Microseconds in a second.
const SECOND: u64 = 1_000_000;

fn head(store: &MemoryStore, stream_id: &str) -> Head {
    let value = store.entries(STREAMS).into_iter().find(|(key, _)| key == stream_id.as_bytes());
    Head::decode(&value.expect("the stream is there").1).expect("its head is whole")
}

#[test]
fn a_stream_is_deleted_at_the_expected_version() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1", "2"])]);
    let delete = |expected, deletion| delete_stream(&store, "a", expected, deletion);
    let conflict = VersionConflict {
        stream_id: "a".into(),
        expected: ExpectedVersion::Exact(0),
        last_version: Some(1),
        is_deleted: false,
    };
    let wrong = Err(Error::WrongExpectedVersion(conflict));
    assert_eq!(delete(ExpectedVersion::Exact(0), Deletion::Soft), wrong);
    assert_eq!(delete(ExpectedVersion::Exact(1), Deletion::Soft), Ok(()));
    assert_eq!(head(&store, "a").state, StreamState::Deleted);
    assert_eq!(store.entries(RETAINED), [(b"a".to_vec(), Vec::new())]);
    assert_eq!(delete(ExpectedVersion::Any, Deletion::Soft), Err(Error::NotFound));
    assert_eq!(delete(ExpectedVersion::Any, Deletion::Tombstone), Ok(()));
    assert_eq!(delete(ExpectedVersion::Any, Deletion::Tombstone), Ok(()), "it is so already");
    assert_eq!(head(&store, "a").state, StreamState::Tombstoned);
    assert_eq!(delete_stream(&store, "b", ExpectedVersion::Any, Deletion::Soft), Err(Error::NotFound));
    let hostile = delete_stream(&store, "a\n", ExpectedVersion::Any, Deletion::Soft);
    assert!(matches!(hostile, Err(Error::Invalid(invalid)) if invalid.argument == "stream-id"));
}

#[test]
fn an_overtaken_deletion_is_decided_again() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1"])]);
    let rival = Rival::new(&store, 1, |store| {
        append(store, 1, &[any("a", &["2"])]);
    });
    let conflict = VersionConflict {
        stream_id: "a".into(),
        expected: ExpectedVersion::Exact(0),
        last_version: Some(1),
        is_deleted: false,
    };
    let outcome = delete_stream(&rival, "a", ExpectedVersion::Exact(0), Deletion::Soft);
    assert_eq!(outcome, Err(Error::WrongExpectedVersion(conflict)));
    let rival = Rival::new(&store, 1, |store| {
        append(store, 1, &[any("a", &["3"])]);
    });
    assert_eq!(delete_stream(&rival, "a", ExpectedVersion::Any, Deletion::Soft), Ok(()));
    assert_eq!(head(&store, "a").truncate_before, 3);

    append(&store, 1, &[any("b", &["1"])]);
    let mut round = 0;
    let rival = Rival::new(&store, u32::MAX, move |store| {
        round += 1;
        append(store, 1, &[any("b", &[&format!("r{round}")])]);
    });
    assert_eq!(delete_stream(&rival, "b", ExpectedVersion::Any, Deletion::Soft), Ok(()));
    assert_eq!(head(&store, "b").state, StreamState::Deleted);
}

#[test]
fn events_hidden_by_retention_stay_hidden() {
    let store = MemoryStore::new();
    for (second, id) in [(1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5")] {
        append(&store, second * SECOND, &[any("a", &[id])]);
    }
    let set = |now, retention: &Retention| set_retention(&store, now, "a", retention).unwrap();
    set(5 * SECOND, &Retention { max_count: Some(4), ..KEEP_ALL });
    assert_eq!(ids(&store, "a"), ["2", "3", "4", "5"]);
    set(5 * SECOND, &KEEP_ALL);
    assert_eq!(ids(&store, "a"), ["2", "3", "4", "5"]);
    assert_eq!(head(&store, "a"), Head { truncate_before: 1, ..Head::new(0, 4, SECOND, 5 * SECOND) });
    // At 5 s, the event of 2 s is older than 2 s.
    set(5 * SECOND, &Retention { max_age_seconds: Some(2), ..KEEP_ALL });
    set(5 * SECOND, &Retention { truncate_before: Some(1), ..KEEP_ALL });
    assert_eq!(ids(&store, "a"), ["3", "4", "5"]);
    set(5 * SECOND, &Retention { truncate_before: Some(4), ..KEEP_ALL });
    assert_eq!(ids(&store, "a"), ["5"]);
    set(5 * SECOND, &Retention { max_age_seconds: Some(1), ..KEEP_ALL });
    // Now everything is too old.
    set(60 * SECOND, &KEEP_ALL);
    assert_eq!(ids(&store, "a"), Vec::<String>::new());
    append(&store, 60 * SECOND, &[any("a", &["6"])]);
    assert_eq!(ids(&store, "a"), ["6"]);
    assert_eq!(stream_info(&store, NOW, "a").unwrap().retention.truncate_before, Some(5));
}

#[test]
fn a_life_begins_with_the_first_append_after_a_deletion() {
    let store = MemoryStore::new();
    let life = |first_version, last_version| Some(StreamLife { first_version, last_version });
    let lives = || stream_lives(&store, &["a", "b", "none"].map(String::from)).unwrap();
    append(&store, 1, &[any("a", &["1", "2"]), any("b", &["1"])]);
    assert_eq!(lives(), [life(0, 1), life(0, 0), None]);
    set_retention(&store, 1, "a", &Retention { truncate_before: Some(2), ..KEEP_ALL }).unwrap();
    assert_eq!(lives(), [life(0, 1), life(0, 0), None], "retention does not move it");
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    assert_eq!(lives(), [None, life(0, 0), None]);
    append(&store, 1, &[any("a", &["3"])]);
    append(&store, 1, &[any("a", &["4"])]);
    assert_eq!(lives(), [life(2, 3), life(0, 0), None]);
    let begins = |stream_id| stream_info(&store, NOW, stream_id).unwrap().life_begins;
    assert_eq!([begins("a"), begins("b")], [Some(2), None]);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    assert_eq!(begins("a"), None, "no life is present");
    set_retention(&store, 1, "a", &KEEP_ALL).unwrap();
    append(&store, 1, &[any("a", &["5"])]);
    delete_stream(&store, "b", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    assert_eq!(lives(), [life(4, 4), None, None]);
    let refused = stream_lives(&store, &["a".into(), String::new()]);
    assert!(matches!(refused, Err(Error::Invalid(invalid)) if invalid.argument == "stream-ids[1]"));
    message(code::TOO_LARGE, &stream_lives(&store, &vec!["a".into(); LIVES_MAX + 1]));
}

#[test]
fn a_truncate_point_beyond_the_end_becomes_the_next_version() {
    for (point, kept) in [(1, 1), (2, 2), (3, 2), (1_000_000, 2), (u64::MAX, 2)] {
        let store = MemoryStore::new();
        append(&store, 1, &[any("a", &["1", "2"])]);
        set_retention(&store, 1, "a", &Retention { truncate_before: Some(point), ..KEEP_ALL }).unwrap();
        assert_eq!(stream_info(&store, 1, "a").unwrap().retention.truncate_before, Some(kept), "{point}");
        assert_eq!(append(&store, 1, &[any("a", &["3"])]), [at(2, 2, 2)]);
        let visible: &[&str] = if kept == 1 { &["2", "3"] } else { &["3"] };
        assert_eq!(ids(&store, "a"), visible, "{point}");
    }
}

/// Earlier versions stored any point: events that it hides stay hidden, but the stream continues.
#[test]
fn a_stored_truncate_point_beyond_the_end_hides_no_new_event() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1", "2"])]);
    let ruined = Head { truncate_before: 1_000_000, ..Head::new(0, 1, 1, 1) };
    store.overwrite(STREAMS, b"a", &ruined.encode());
    store.overwrite(RETAINED, b"a", b"");
    assert_eq!(ids(&store, "a"), Vec::<String>::new());
    assert_eq!(stream_info(&store, 1, "a").unwrap().retention.truncate_before, Some(2));
    assert_eq!(append(&store, 1, &[any("a", &["3"]), any("a", &["4"])]), [at(2, 2, 2), at(3, 3, 3)]);
    assert_eq!(ids(&store, "a"), ["3", "4"]);
    assert_eq!(head(&store, "a").truncate_before, 2);
}

#[test]
fn empty_retention_changes_nothing() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1"])]);
    let before = store.entries(STREAMS);
    set_retention(&store, 2, "a", &Retention { max_count: Some(9), ..KEEP_ALL }).unwrap();
    assert_eq!(store.entries(RETAINED).len(), 1);
    set_retention(&store, 2, "a", &KEEP_ALL).unwrap();
    assert_eq!((store.entries(STREAMS), store.entries(RETAINED)), (before, Vec::new()));
}

#[test]
fn retention_can_be_set_of_streams_without_a_tombstone() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1"]), any("b", &["1"])]);
    let argument = |retention: Retention| match set_retention(&store, 1, "a", &retention) {
        Err(Error::Invalid(invalid)) => invalid.argument,
        other => panic!("{other:?}"),
    };
    assert_eq!(argument(Retention { max_count: Some(0), ..KEEP_ALL }), "retention.max-count");
    assert_eq!(argument(Retention { max_age_seconds: Some(0), ..KEEP_ALL }), "retention.max-age-seconds");
    assert_eq!(set_retention(&store, 1, "x", &KEEP_ALL), Err(Error::NotFound));
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    delete_stream(&store, "b", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    assert_eq!(set_retention(&store, 1, "b", &KEEP_ALL), Err(Error::StreamDeleted("b".into())));
    // The retention of a deleted stream applies when it begins again; the largest limits keep everything.
    let largest =
        Retention { max_count: Some(u64::MAX), max_age_seconds: Some(u64::MAX), truncate_before: Some(0) };
    set_retention(&store, 1, "a", &largest).unwrap();
    append(&store, 1, &[any("a", &["2"])]);
    assert_eq!(ids(&store, "a"), ["2"]);

    let rival = Rival::new(&store, 1, |store| {
        append(store, 1, &[any("a", &["3"])]);
    });
    set_retention(&rival, 1, "a", &Retention { max_count: Some(1), ..KEEP_ALL }).unwrap();
    assert_eq!(ids(&store, "a"), ["3"]);
}
