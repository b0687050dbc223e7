//! Imports.

use exesdb_reference::{ImportResult, ImportedEvent};
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::packed::{Frames, Record};
use exesdb_sdk::types::{Deletion, Direction, Error, ExpectedVersion, Retention, VersionConflict, code};
use exesdb_sdk::view::View;
use exesdb_streams::check::IMPORTED_VERSION_MAX;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::import::GAP_MAX;
use exesdb_streams::layout::{IDS, INDEX, RETAINED, id_key, index_key};

use crate::driver::{
    Rival, Target, delete_stream, end, import_events, read_all, read_stream, scavenge, set_retention,
    stream_info,
};
use crate::{NOW, any, append, at, event, ids, message, taken};

fn import(target: &impl Target, events: &[ImportedEvent]) -> Result<ImportResult, Error> {
    import_events(target, NOW, CorrelationIndex::Off, events, &[])
}

fn imported(stream_id: &str, version: u64, id: &str) -> ImportedEvent {
    ImportedEvent { stream_id: stream_id.into(), version, position: None, created: 50, event: event(id) }
}

fn placed(stream_id: &str, version: u64, id: &str, position: u64) -> ImportedEvent {
    ImportedEvent { position: Some(position), ..imported(stream_id, version, id) }
}

fn done(added: u32, repeated: u32) -> Result<ImportResult, Error> {
    Ok(ImportResult { added, repeated, hidden: 0 })
}

/// The numbers of added, repeated and hidden events of a successful import.
fn counts(store: &MemoryStore, events: &[ImportedEvent]) -> (u32, u32, u32) {
    let result = import(store, events).expect("the import is taken");
    (result.added, result.repeated, result.hidden)
}

fn wrong(stream_id: &str, expected: u64, last_version: u64) -> Result<ImportResult, Error> {
    Err(Error::WrongExpectedVersion(VersionConflict {
        stream_id: stream_id.into(),
        expected: ExpectedVersion::Exact(expected),
        last_version: Some(last_version),
        is_deleted: false,
    }))
}

fn scavenge_all(store: &MemoryStore) {
    let mut from = None;
    loop {
        from = scavenge(store, NOW, from.as_ref()).expect("the store is in memory").step.next;
        if from.is_none() {
            return;
        }
    }
}

/// The gaps of a store, each with its first position and its end.
fn gaps(store: &MemoryStore) -> Vec<(u64, u64)> {
    let frames =
        store.view().log_read(None, Direction::Forward, u32::MAX, u32::MAX).expect("it is in memory").frames;
    let gap_of = |frame: exesdb_sdk::packed::Frame<'_>| match frame.record {
        Record::Gap { positions } => Some((frame.position, frame.position + positions)),
        Record::Event(_) | Record::Removed { .. } => None,
    };
    Frames::new(&frames).filter_map(|frame| gap_of(frame.expect("it is whole"))).collect()
}

#[test]
fn imported_events_keep_their_place() {
    let store = MemoryStore::new();
    let events = [
        placed("a", 7, "1", 3),
        placed("b", 0, "1", 4),
        ImportedEvent { created: 60, ..placed("a", 8, "2", 6) },
        ImportedEvent { created: 60, ..placed("a", 9, "3", 7) },
    ];
    assert_eq!(import(&store, &events), done(4, 0));
    assert_eq!(gaps(&store), [(0, 3), (5, 6)]);

    let page = read_stream(&store, NOW, "a", None, 10, Direction::Forward).unwrap();
    let read: Vec<_> =
        page.events.iter().map(|event| (event.version, event.position, event.created)).collect();
    assert_eq!(read, [(7, 3, 50), (8, 6, 60), (9, 7, 60)]);
    let page = read_all(&store, NOW, None, 10, Direction::Forward).unwrap();
    assert_eq!(page.events.iter().map(|event| event.position).collect::<Vec<_>>(), [3, 4, 6, 7]);
    let info = stream_info(&store, NOW, "a").unwrap();
    assert_eq!((info.first_version, info.last_version, info.created, info.updated), (Some(7), 9, 50, 60));
    assert_eq!(info.first_position, 3);
    assert_eq!(store.entries(RETAINED), [(b"a".to_vec(), Vec::new())]);
    // Two events of `a` are consecutive, as one append. The origin is the first position.
    let keys: Vec<_> = store.entries(INDEX).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [index_key(3, 7), index_key(3, 9), index_key(4, 0)]);

    // The versions and times of the streams continue.
    assert_eq!(append(&store, 40, &[any("a", &["4"]), any("b", &["2"])]), [at(10, 10, 8), at(1, 1, 9)]);
    assert_eq!(ids(&store, "a"), ["1", "2", "3", "4"]);
    let info = stream_info(&store, NOW, "b").unwrap();
    assert_eq!((info.first_version, info.created, info.updated), (Some(0), 50, 50));
}

#[test]
fn a_repeated_import_adds_what_is_missing() {
    let store = MemoryStore::new();
    let events = [placed("a", 0, "1", 5), placed("b", 3, "1", 6), placed("a", 1, "2", 9)];
    assert_eq!(import(&store, &events[..2]), done(2, 0));
    assert_eq!(import(&store, &events), done(1, 2));
    assert_eq!(import(&store, &events), done(0, 3));
    assert_eq!(import(&store, &[]), done(0, 0));
    assert_eq!((ids(&store, "a"), gaps(&store)), (vec!["1".into(), "2".into()], vec![(0, 5), (7, 9)]));
}

#[test]
fn an_import_is_applied_as_a_whole() {
    let store = MemoryStore::new();
    append(&store, 40, &[any("a", &["1", "2"])]);
    let refused = |event: ImportedEvent| {
        let outcome = import(&store, &[imported("new", 0, "1"), event]);
        assert_eq!(end(&store), 2);
        outcome
    };
    let conflict = |id: &str| Err(taken("a", id, 1));
    assert_eq!(refused(imported("a", 3, "3")), wrong("a", 2, 1));
    assert_eq!(refused(imported("a", 1, "3")), wrong("a", 0, 1));
    assert_eq!(refused(imported("a", 0, "2")), conflict("2"));
    assert_eq!(refused(imported("a", 2, "2")), conflict("2"));
    assert_eq!(refused(imported("new", 2, "2")), wrong("new", 1, 0));
    assert_eq!(refused(imported("new", 0, "1")), Err(taken("new", "1", 0)));
    // Another id with the digest of the present one.
    store.overwrite(IDS, &id_key(0, "x"), &1_u64.to_be_bytes());
    assert_eq!(refused(imported("a", 1, "x")), conflict("x"));
    assert_eq!(refused(imported("a", 2, "x")), conflict("x"));
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    assert_eq!(refused(imported("a", 2, "3")), Err(Error::StreamDeleted("a".into())));
}

#[test]
fn errors_name_the_argument() {
    let store = MemoryStore::new();
    append(&store, 55, &[any("a", &["1"])]);
    let complaint = |event: ImportedEvent| match import(&store, &[placed("new", 0, "1", 7), event]) {
        Err(Error::Invalid(invalid)) => invalid.argument,
        other => message(code::TOO_LARGE, &other),
    };
    assert_eq!(complaint(placed("", 0, "1", 8)), "events[1].stream-id");
    assert_eq!(complaint(placed("b", 0, "", 8)), "events[1].id");
    let mut with_tags = placed("b", 0, "1", 8);
    with_tags.event.tags = vec!["t".into(), "t".into()];
    assert_eq!(complaint(with_tags), "events[1].tags[1]");
    assert_eq!(complaint(placed("b", IMPORTED_VERSION_MAX + 1, "1", 8)), "events[1].version");
    assert_eq!(complaint(placed("b", u64::MAX, "1", 8)), "events[1].version");
    assert_eq!(complaint(placed("b", 0, "1", 7)), "events[1].position");
    assert_eq!(complaint(placed("b", 0, "1", 0)), "events[1].position");
    assert!(complaint(placed("b", 0, "1", u64::MAX)).starts_with("events[1]:"));
    let before = import(&store, &[placed("b", 0, "1", 0)]);
    assert!(matches!(before, Err(Error::Invalid(invalid)) if invalid.argument == "events[0].position"));
    let far = message(code::TOO_LARGE, &import(&store, &[placed("b", 0, "1", u64::MAX)]));
    assert!(far.starts_with("events[0]:"), "{far}");
    let many: Vec<_> = (0..1_001).map(|at| imported("b", at, &at.to_string())).collect();
    assert!(message(code::TOO_LARGE, &import(&store, &many)).contains("limit of 1000"));
    let large: Vec<_> = (0..9)
        .map(|version| {
            let mut event = imported("b", version, &version.to_string());
            event.event.data = vec![0; 1_000_000];
            event
        })
        .collect();
    assert!(message(code::TOO_LARGE, &import(&store, &large)).contains("8388608"));
    assert_eq!(end(&store), 1);
    assert_eq!(import(&store, &many[..1_000]), done(1_000, 0));
}

#[test]
fn a_gap_is_one_record_however_large() {
    let store = MemoryStore::new();
    append(&store, 1, &[any("a", &["1"])]);
    let far = GAP_MAX - 10;
    assert_eq!(import(&store, &[placed("b", 0, "1", far), placed("c", 0, "1", far + 9)]), done(2, 0));
    assert_eq!(gaps(&store), [(1, far), (far + 1, far + 9)]);
    assert_eq!(append(&store, 60, &[any("b", &["2"])]), [at(1, 1, far + 10)]);
}

#[test]
fn an_overtaken_import_is_decided_again() {
    let store = MemoryStore::new();
    let rival = Rival::new(&store, 1, |store| {
        append(store, 1, &[any("r", &["1"])]);
    });
    assert_eq!(import(&rival, &[placed("a", 0, "1", 20_000)]), done(1, 0));
    assert_eq!(gaps(&store), [(1, 20_000)]);
    // A rival takes the position with an event or a gap.
    let rival = Rival::new(&store, 1, |store| {
        append(store, 1, &[any("r", &["2"])]);
    });
    let there = import(&rival, &[placed("a", 1, "2", 20_001)]);
    assert!(
        matches!(&there, Err(Error::Invalid(invalid)) if invalid.argument == "events[0].position"),
        "{there:?}"
    );
    let rival = Rival::new(&store, 1, |store| {
        import(store, &[placed("r", 2, "3", 30_000)]).unwrap();
    });
    assert!(import(&rival, &[placed("a", 1, "2", 25_000)]).is_err());
    // Without positions it is decided again, too.
    let rival = Rival::new(&store, 1, |store| {
        append(store, 60, &[any("a", &["2"])]);
    });
    assert_eq!(import(&rival, &[imported("a", 1, "2")]), done(0, 1));
    assert_eq!(ids(&store, "a"), ["1", "2"]);
    let rival = Rival::new(&store, 1, |store| {
        delete_stream(store, "a", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    });
    assert_eq!(import(&rival, &[imported("a", 2, "3")]), Err(Error::StreamDeleted("a".into())));
}

#[test]
fn a_stream_continues_after_the_highest_imported_version() {
    let store = MemoryStore::new();
    let last = IMPORTED_VERSION_MAX;
    assert_eq!(import(&store, &[imported("a", last, "1")]), done(1, 0));
    assert_eq!(append(&store, 60, &[any("a", &["2", "3"])]), [at(last + 1, last + 2, 2)]);
    assert_eq!(ids(&store, "a"), ["1", "2", "3"]);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    assert_eq!(append(&store, 60, &[any("a", &["4"])]), [at(last + 3, last + 3, 3)]);
    assert_eq!(ids(&store, "a"), ["4"]);
}

#[test]
fn a_deleted_stream_begins_again_with_an_import() {
    let store = MemoryStore::new();
    append(&store, 40, &[any("a", &["1"])]);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    assert_eq!(import(&store, &[imported("a", 1, "2"), imported("a", 2, "3")]), done(2, 0));
    assert_eq!(ids(&store, "a"), ["2", "3"]);
}

/// What hides events, the counts of a later import of all six events, and the events that are then visible.
type Hiding<'a> = (&'a str, &'a dyn Fn(&MemoryStore), (u32, u32, u32), &'a [&'a str]);

#[test]
fn hidden_events_count_as_present() {
    let file: Vec<_> = (0..6).map(|version| imported("a", version, &version.to_string())).collect();
    let retention = |max_count, max_age_seconds, truncate_before| Retention {
        max_count,
        max_age_seconds,
        truncate_before,
    };
    let hide: [Hiding<'_>; 5] = [
        (
            "truncated",
            &|store| set_retention(store, NOW, "a", &retention(None, None, Some(3))).unwrap(),
            (2, 1, 3),
            &["3", "4", "5"],
        ),
        (
            "at most two",
            &|store| set_retention(store, NOW, "a", &retention(Some(2), None, None)).unwrap(),
            (2, 2, 2),
            &["4", "5"],
        ),
        (
            "too old",
            &|store| set_retention(store, NOW, "a", &retention(None, Some(1), None)).unwrap(),
            (2, 0, 4),
            &[],
        ),
        (
            "deleted",
            &|store| delete_stream(store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap(),
            (2, 0, 4),
            &["4", "5"],
        ),
        ("kept", &|_| {}, (2, 4, 0), &["0", "1", "2", "3", "4", "5"]),
    ];
    for (what, hide, expected, left) in hide {
        for scavenged in [false, true] {
            for given in [false, true] {
                let store = MemoryStore::new();
                let placed = |event: &ImportedEvent| ImportedEvent {
                    position: given.then_some(10 + event.version),
                    ..event.clone()
                };
                let file: Vec<_> = file.iter().map(placed).collect();
                assert_eq!(counts(&store, &file[..4]), (4, 0, 0));
                hide(&store);
                if scavenged {
                    scavenge_all(&store);
                }
                let again = (0, expected.1, expected.2);
                assert_eq!(counts(&store, &file[..4]), again, "{what}, {scavenged}, {given}");
                assert_eq!(counts(&store, &file), expected, "{what}, {scavenged}, {given}");
                assert_eq!(ids(&store, "a"), left, "{what}, {scavenged}, {given}");
            }
        }
    }
}

#[test]
fn a_tombstone_refuses_new_events() {
    let store = MemoryStore::new();
    let file = [imported("a", 0, "1"), imported("a", 1, "2")];
    assert_eq!(counts(&store, &file), (2, 0, 0));
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    assert_eq!(counts(&store, &file), (0, 0, 2));
    assert_eq!(import(&store, &[imported("a", 2, "3")]), Err(Error::StreamDeleted("a".into())));
}

#[test]
fn the_id_of_a_hidden_event_is_new() {
    let store = MemoryStore::new();
    assert_eq!(counts(&store, &[imported("a", 0, "1"), imported("a", 1, "2")]), (2, 0, 0));
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    assert_eq!(counts(&store, &[imported("a", 2, "1")]), (1, 0, 0));
    assert_eq!(import(&store, &[imported("a", 3, "1")]), Err(taken("a", "1", 2)));
    assert_eq!(ids(&store, "a"), ["1"]);
}

#[test]
fn imported_times_are_kept() {
    let store = MemoryStore::new();
    let timed =
        |version: u64, created| ImportedEvent { created, ..imported("a", version, &version.to_string()) };
    let times = [60 * 1_000_000, u64::MAX, 0, NOW + 5, 70 * 1_000_000];
    let file: Vec<_> = (0..).zip(times).map(|(version, created)| timed(version, created)).collect();
    assert_eq!(counts(&store, &file), (5, 0, 0));
    let read = |now, direction| {
        let page = read_stream(&store, now, "a", None, 10, direction).unwrap();
        page.events.iter().map(|event| event.version).collect::<Vec<_>>()
    };
    let page = read_stream(&store, NOW, "a", None, 10, Direction::Forward).unwrap();
    assert_eq!(page.events.iter().map(|event| event.created).collect::<Vec<_>>(), times);
    // An append has the time of the clock, not the distant time of the preceding event.
    assert_eq!(append(&store, 80 * 1_000_000, &[any("a", &["5"])]), [at(5, 5, 5)]);
    let page = read_stream(&store, NOW, "a", Some(5), 10, Direction::Forward).unwrap();
    assert_eq!(page.events[0].created, 80 * 1_000_000);
    // Retention by age checks each event, in every kind of read.
    let retention = Retention { max_count: None, max_age_seconds: Some(10), truncate_before: None };
    set_retention(&store, 60 * 1_000_000, "a", &retention).unwrap();
    for (seconds, left) in
        [(70, vec![0, 1, 3, 4, 5]), (80, vec![1, 3, 4, 5]), (90, vec![1, 3, 5]), (91, vec![1, 3])]
    {
        let now = seconds * 1_000_000;
        assert_eq!(read(now, Direction::Forward), left, "{seconds}");
        assert_eq!(
            read(now, Direction::Backward),
            left.iter().rev().copied().collect::<Vec<_>>(),
            "{seconds}"
        );
        let all = read_all(&store, now, None, 10, Direction::Forward).unwrap();
        assert_eq!(all.events.iter().map(|event| event.version).collect::<Vec<_>>(), left, "{seconds}");
        assert_eq!(stream_info(&store, now, "a").unwrap().first_version, left.first().copied(), "{seconds}");
    }
    // Each page of one event has one, except the last.
    let page = read_stream(&store, 91 * 1_000_000, "a", Some(2), 1, Direction::Forward).unwrap();
    assert_eq!(page.events.iter().map(|event| event.version).collect::<Vec<_>>(), [3]);
    let page = read_stream(&store, 91 * 1_000_000, "a", Some(2), 1, Direction::Backward).unwrap();
    assert_eq!((page.events[0].version, page.next), (1, Some(0)));
}
