//! Imports.

use exesdb_sdk::keyspaces::{Keyspaces, MemoryKeyspaces};
use exesdb_sdk::streams::{Deletion, ImportResult, ImportedEvent};
use exesdb_sdk::types::{Direction, Error, ExpectedVersion, VersionConflict};
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::delete::delete_stream;
use exesdb_streams::layout::{EVENTS, GAPS, IDS, INDEX, RETAINED, id_key, index_key, number};
use exesdb_streams::read::{read_all, read_stream, stream_info};

use crate::rival::{Rival, Storage};
use crate::{NOW, any, append, at, check_chain, event, ids};

fn import(store: &impl Keyspaces, events: &[ImportedEvent]) -> Result<ImportResult, Error> {
    exesdb_streams::import::import_events(store, NOW, CorrelationIndex::Off, events)
}

fn imported(stream_id: &str, version: u64, id: &str) -> ImportedEvent {
    ImportedEvent { stream_id: stream_id.into(), version, position: None, created: 50, event: event(id) }
}

fn placed(stream_id: &str, version: u64, id: &str, position: u64) -> ImportedEvent {
    ImportedEvent { position: Some(position), ..imported(stream_id, version, id) }
}

fn done(added: u32, repeated: u32, durable_position: u64) -> Result<ImportResult, Error> {
    Ok(ImportResult { added, repeated, durable_position })
}

fn wrong(stream_id: &str, last_version: u64) -> Result<ImportResult, Error> {
    let last_version = Some(last_version);
    Err(Error::WrongExpectedVersion(VersionConflict { stream_id: stream_id.into(), last_version }))
}

/// The gaps of a store, first position and end of each.
fn gaps(store: &MemoryKeyspaces) -> Vec<(u64, u64)> {
    let pair = |(key, value): (Vec<u8>, Vec<u8>)| Some((number(&key)?, number(&value)?));
    store.entries(GAPS).into_iter().map(|entry| pair(entry).expect("a gap is two positions")).collect()
}

#[test]
fn events_are_put_where_they_were() {
    let store = MemoryKeyspaces::new();
    let events = [
        placed("a", 7, "1", 3),
        placed("b", 0, "1", 4),
        ImportedEvent { created: 60, ..placed("a", 8, "2", 6) },
        ImportedEvent { created: 60, ..imported("a", 9, "3") },
    ];
    assert_eq!(import(&store, &events), done(4, 0, 8));
    assert_eq!(gaps(&store), [(0, 3), (5, 6)]);
    check_chain(&store);

    let page = read_stream(&store, NOW, "a", None, 10, Direction::Forward).unwrap();
    let read: Vec<_> =
        page.events.iter().map(|event| (event.version, event.position, event.created)).collect();
    assert_eq!(read, [(7, 3, 50), (8, 6, 60), (9, 7, 60)]);
    let page = read_all(&store, NOW, None, 10, Direction::Forward).unwrap();
    assert_eq!(page.events.iter().map(|event| event.position).collect::<Vec<_>>(), [3, 4, 6, 7]);
    let info = stream_info(&store, NOW, "a").unwrap();
    assert_eq!((info.first_version, info.last_version, info.created, info.updated), (Some(7), 9, 50, 60));
    assert_eq!(store.entries(RETAINED), [(b"a".to_vec(), Vec::new())]);
    // Two of `a` lie side by side, as one append; its origin is its first position.
    let keys: Vec<_> = store.entries(INDEX).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [index_key(3, 7), index_key(3, 9), index_key(4, 0)]);

    // The streams go on, in time as well.
    assert_eq!(append(&store, 40, &[any("a", &["4"]), any("b", &["2"])]), [at(10, 10, 8), at(1, 1, 9)]);
    assert_eq!(ids(&store, "a"), ["1", "2", "3", "4"]);
    let info = stream_info(&store, NOW, "b").unwrap();
    assert_eq!((info.first_version, info.created, info.updated), (Some(0), 50, 50));
}

#[test]
fn a_repeated_import_adds_what_is_missing() {
    let store = MemoryKeyspaces::new();
    let events = [placed("a", 0, "1", 5), placed("b", 3, "1", 6), placed("a", 1, "2", 9)];
    assert_eq!(import(&store, &events[..2]), done(2, 0, 7));
    assert_eq!(import(&store, &events), done(1, 2, 10));
    assert_eq!(import(&store, &events), done(0, 3, 10));
    assert_eq!(import(&store, &[]), done(0, 0, 10));
    assert_eq!((ids(&store, "a"), gaps(&store)), (vec!["1".into(), "2".into()], vec![(0, 5), (7, 9)]));
}

#[test]
fn all_or_none() {
    let store = MemoryKeyspaces::new();
    append(&store, 40, &[any("a", &["1", "2"])]);
    let refused = |event: ImportedEvent| {
        let outcome = import(&store, &[imported("new", 0, "1"), event]);
        assert_eq!(store.entries(EVENTS).len(), 2);
        outcome
    };
    let conflict = |id: &str| Err(Error::IdConflict(id.into()));
    assert_eq!(refused(imported("a", 3, "3")), wrong("a", 1));
    assert_eq!(refused(imported("a", 1, "3")), wrong("a", 1));
    assert_eq!(refused(imported("a", 0, "2")), conflict("2"));
    assert_eq!(refused(imported("a", 2, "2")), conflict("2"));
    assert_eq!(refused(imported("new", 2, "2")), wrong("new", 0));
    assert_eq!(refused(imported("new", 0, "1")), conflict("1"));
    // Another id with the digest of the one that is there.
    store.overwrite(IDS, &id_key(0, "x"), &1_u64.to_be_bytes());
    assert_eq!(refused(imported("a", 1, "x")), conflict("x"));
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    assert_eq!(refused(imported("a", 2, "3")), Err(Error::StreamDeleted("a".into())));
}

#[test]
fn every_broken_rule_names_its_argument() {
    let store = MemoryKeyspaces::new();
    append(&store, 55, &[any("a", &["1"])]);
    let complaint = |event: ImportedEvent| match import(&store, &[placed("new", 0, "1", 7), event]) {
        Err(Error::Invalid(invalid)) => invalid.argument,
        Err(Error::TooLarge(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(complaint(imported("", 0, "1")), "events[1].stream-id");
    assert_eq!(complaint(imported("b", 0, "")), "events[1].event.id");
    let mut with_tags = imported("b", 0, "1");
    with_tags.event.tags = vec!["t".into(), "t".into()];
    assert_eq!(complaint(with_tags), "events[1].event.tags[1]");
    assert_eq!(complaint(ImportedEvent { created: NOW + 1, ..imported("b", 0, "1") }), "events[1].created");
    assert_eq!(complaint(ImportedEvent { created: u64::MAX, ..imported("b", 0, "1") }), "events[1].created");
    assert_eq!(complaint(ImportedEvent { created: 54, ..imported("a", 1, "2") }), "events[1].created");
    assert_eq!(complaint(placed("b", 0, "1", 7)), "events[1].position");
    assert_eq!(complaint(placed("b", 0, "1", 0)), "events[1].position");
    assert!(complaint(placed("b", 0, "1", u64::MAX)).starts_with("events[1]:"));
    let taken = import(&store, &[placed("b", 0, "1", 0)]);
    assert!(matches!(taken, Err(Error::Invalid(invalid)) if invalid.argument == "events[0].position"));
    let far = import(&store, &[placed("b", 0, "1", u64::MAX)]);
    assert!(matches!(&far, Err(Error::TooLarge(text)) if text.starts_with("events[0]:")), "{far:?}");
    let many: Vec<_> = (0..1_001).map(|at| imported("b", at, &at.to_string())).collect();
    assert!(matches!(import(&store, &many), Err(Error::TooLarge(text)) if text.contains("limit of 1000")));
    let large: Vec<_> = (0..9)
        .map(|version| {
            let mut event = imported("b", version, &version.to_string());
            event.event.data = vec![0; 1_000_000];
            event
        })
        .collect();
    assert!(matches!(import(&store, &large), Err(Error::TooLarge(text)) if text.contains("8388608")));
    assert_eq!(store.durable_position().unwrap(), 1);
    assert_eq!(import(&store, &many[..1_000]), done(1_000, 0, 1_001));
}

#[test]
fn a_large_gap_is_taken_before() {
    let store = MemoryKeyspaces::new();
    append(&store, 1, &[any("a", &["1"])]);
    assert_eq!(
        import(&store, &[placed("b", 0, "1", 25_000), placed("c", 0, "1", 25_009)]),
        done(2, 0, 25_010)
    );
    assert_eq!(gaps(&store), [(1, 10_001), (10_001, 20_001), (20_001, 25_000), (25_001, 25_009)]);
    check_chain(&store);
    assert_eq!(append(&store, 60, &[any("b", &["2"])]), [at(1, 1, 25_010)]);
}

#[test]
fn an_import_that_is_overtaken_is_decided_anew() {
    let store = MemoryKeyspaces::new();
    let rival = Rival::new(&store, 1, |store| {
        append(store, 1, &[any("r", &["1"])]);
    });
    assert_eq!(import(&rival, &[placed("a", 0, "1", 20_000)]), done(1, 0, 20_001));
    assert_eq!(gaps(&store), [(1, 10_001), (10_001, 20_000)]);
    // A rival that takes the position, with an event or a gap.
    let rival = Rival::new(&store, 1, |store| {
        append(store, 1, &[any("r", &["2"])]);
    });
    let taken = import(&rival, &[placed("a", 1, "2", 20_001)]);
    assert!(
        matches!(&taken, Err(Error::Invalid(invalid)) if invalid.argument == "events[0].position"),
        "{taken:?}"
    );
    let rival = Rival::new(&store, 1, |store| {
        import(store, &[placed("r", 2, "3", 30_000)]).unwrap();
    });
    assert!(import(&rival, &[placed("a", 1, "2", 25_000)]).is_err());
    // Without positions only the stream matters.
    let rival = Rival::new(&store, 1, |store| {
        append(store, 60, &[any("a", &["2"])]);
    });
    assert_eq!(import(&rival, &[imported("a", 1, "2")]), done(0, 1, 30_002));
    assert_eq!(ids(&store, "a"), ["1", "2"]);
    check_chain(&store);

    let mut round = 0;
    let rival = Rival::new(&store, u32::MAX, move |store| {
        round += 1;
        append(store, 60, &[any("r", &[&format!("r{round}")])]);
    });
    let outcome = import(&rival, &[placed("b", 0, "1", 90_000)]);
    assert!(matches!(&outcome, Err(Error::Other(text)) if text.contains("not applied")), "{outcome:?}");
    let outcome = import(&Storage::failing_commits(&store), &[imported("b", 0, "1")]);
    assert!(matches!(outcome, Err(Error::Restarting(_))), "{outcome:?}");
}

#[test]
fn a_deleted_stream_begins_again_with_an_import() {
    let store = MemoryKeyspaces::new();
    append(&store, 40, &[any("a", &["1"])]);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    assert_eq!(import(&store, &[imported("a", 1, "2"), imported("a", 2, "3")]), done(2, 0, 3));
    assert_eq!(ids(&store, "a"), ["2", "3"]);
}
