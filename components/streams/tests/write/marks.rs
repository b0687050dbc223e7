//! Marks: with imports, after events are hidden, and with concurrent writers.

use exesdb_reference::ImportedEvent;
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::types::{Deletion, Error, ExpectedVersion, ImportMark, Retention, StreamState, code};
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::import::{MARKS_MAX, SOURCE_BYTES_MAX, STATES_MAX};
use exesdb_streams::layout::IMPORTS;

use crate::driver::{
    Rival, Target, delete_stream, import_events, import_states, scavenge, set_retention, verify,
};
use crate::{KEEP_ALL, NOW, any, append, at, event, ids, message};

fn mark(stream_id: &str, source: &str, rows: u64) -> ImportMark {
    leading(stream_id, source, rows, 0)
}

fn leading(stream_id: &str, source: &str, rows: u64, leading_rows: u64) -> ImportMark {
    ImportMark { stream_id: stream_id.into(), source: source.into(), rows, leading_rows }
}

/// Events with these versions. Their ids are the source and the version.
fn rows(stream_id: &str, source: &str, versions: std::ops::Range<u64>) -> Vec<ImportedEvent> {
    let row = |version| ImportedEvent {
        stream_id: stream_id.into(),
        version,
        position: None,
        created: NOW,
        event: event(&format!("{source}{version}")),
    };
    versions.map(row).collect()
}

/// The numbers of added, repeated and hidden events.
fn import(
    store: &impl Target,
    events: &[ImportedEvent],
    marks: &[ImportMark],
) -> Result<(u32, u32, u32), Error> {
    let result = import_events(store, NOW, CorrelationIndex::Off, events, marks)?;
    Ok((result.added, result.repeated, result.hidden))
}

fn had(store: &MemoryStore, source: &str, stream_id: &str) -> u64 {
    import_states(store, NOW, source, &[stream_id.to_owned()]).expect("the question is right")[0].rows
}

fn scavenge_all(store: &MemoryStore) {
    let mut from = None;
    while let Some(cursor) =
        scavenge(store, 2 * NOW, from.as_ref()).expect("the store is in memory").step.next
    {
        from = Some(cursor);
    }
}

fn findings(store: &MemoryStore) -> u64 {
    let (mut from, mut found) = (None, 0);
    loop {
        let step = verify(store, from.as_ref(), false).expect("the store is in memory");
        found += step.found;
        from = step.next;
        if from.is_none() {
            return found;
        }
    }
}

/// The argument that the error names.
fn refused(outcome: Result<(u32, u32, u32), Error>) -> String {
    match outcome {
        Err(Error::Invalid(invalid)) => invalid.argument,
        other => message(code::TOO_LARGE, &other),
    }
}

#[test]
fn marks_are_written_with_the_events_and_never_decrease() {
    let store = MemoryStore::new();
    let marks = [mark("a", "f", 2), mark("b", "f", 1)];
    let events = [rows("a", "f", 0..2), rows("b", "f", 0..1)].concat();
    assert_eq!(import(&store, &events, &marks), Ok((3, 0, 0)));
    assert_eq!([had(&store, "f", "a"), had(&store, "f", "b"), had(&store, "g", "a")], [2, 1, 0]);
    // A repetition, a late request and others change nothing.
    assert_eq!(import(&store, &events, &marks), Ok((0, 3, 0)));
    assert_eq!(import(&store, &events[..1], &[mark("a", "f", 1)]), Ok((0, 1, 0)));
    assert_eq!(import(&store, &[], &[mark("a", "f", 2)]), Ok((0, 0, 0)));
    assert_eq!(import(&store, &events, &[]), Ok((0, 3, 0)));
    assert_eq!([had(&store, "f", "a"), had(&store, "f", "b")], [2, 1]);
    // Another source of the same stream has its own mark.
    assert_eq!(import(&store, &rows("a", "g", 2..4), &[mark("a", "g", 2)]), Ok((2, 0, 0)));
    assert_eq!([had(&store, "f", "a"), had(&store, "g", "a")], [2, 2]);
    // Present events may be counted later, as in a copy of the store.
    append(&store, NOW, &[any("c", &["c0", "c1"])]);
    assert_eq!(import(&store, &rows("c", "c", 0..2), &[mark("c", "h", 2)]), Ok((0, 2, 0)));
    assert_eq!(had(&store, "h", "c"), 2);
    // If the events are refused, the marks are not written.
    let outcome = import(&store, &rows("a", "f", 9..10), &[mark("a", "f", 3)]);
    assert!(matches!(outcome, Err(Error::WrongExpectedVersion(_))), "{outcome:?}");
    assert_eq!((had(&store, "f", "a"), findings(&store)), (2, 0));
}

#[test]
fn leading_rows_never_decrease() {
    let store = MemoryStore::new();
    let told = || {
        let state = &import_states(&store, NOW, "f", &["a".to_owned()]).expect("the question is right")[0];
        (state.rows, state.leading_rows)
    };
    import(&store, &rows("a", "f", 0..3), &[leading("a", "f", 3, 1)]).unwrap();
    assert_eq!(told(), (3, 1));
    // Without another row, and after a late request.
    import(&store, &[], &[leading("a", "f", 3, 3)]).unwrap();
    import(&store, &[], &[leading("a", "f", 2, 2)]).unwrap();
    assert_eq!((told(), findings(&store)), ((3, 3), 0));
    import(&store, &rows("a", "f", 3..5), &[leading("a", "f", 5, 0)]).unwrap();
    assert_eq!(told(), (5, 3));
}

/// The ways to hide events.
type Hiding<'a> = (&'a str, &'a dyn Fn(&MemoryStore));

#[test]
fn marks_outlive_hidden_events() {
    let limits = |max_count, truncate_before| Retention { max_count, truncate_before, ..KEEP_ALL };
    let retain = |store: &MemoryStore, retention| set_retention(store, NOW, "a", &retention).unwrap();
    let delete = |store: &MemoryStore, deletion| {
        delete_stream(store, "a", ExpectedVersion::Any, deletion).unwrap();
    };
    let hide: [Hiding<'_>; 6] = [
        ("cut", &|store| retain(store, limits(None, Some(3)))),
        ("newest", &|store| retain(store, limits(Some(1), None))),
        ("aged", &|store| retain(store, Retention { max_age_seconds: Some(1), ..KEEP_ALL })),
        ("deleted", &|store| delete(store, Deletion::Soft)),
        ("begun again", &|store| {
            delete(store, Deletion::Soft);
            append(store, NOW, &[any("a", &["other"])]);
        }),
        ("tombstoned", &|store| delete(store, Deletion::Tombstone)),
    ];
    for (what, hide) in hide {
        for scavenged in [false, true] {
            let store = MemoryStore::new();
            import(&store, &rows("a", "f", 0..3), &[mark("a", "f", 3)]).unwrap();
            hide(&store);
            if scavenged {
                scavenge_all(&store);
            }
            assert_eq!(had(&store, "f", "a"), 3, "{what}, {scavenged}");
            assert_eq!(findings(&store), 0, "{what}, {scavenged}");
            // A request whose response was lost can be repeated.
            let again = import(&store, &rows("a", "f", 0..3), &[mark("a", "f", 3)]).unwrap();
            assert_eq!((again.0, again.1 + again.2), (0, 3), "{what}, {scavenged}");
        }
    }
}

#[test]
fn a_row_whose_version_a_hidden_event_has_is_refused() {
    for deletion in [Deletion::Soft, Deletion::Tombstone] {
        let store = MemoryStore::new();
        import(&store, &rows("a", "f", 0..2), &[mark("a", "f", 2)]).unwrap();
        assert_eq!(append(&store, NOW, &[any("a", &["other"])]), [at(2, 2, 2)]);
        delete_stream(&store, "a", ExpectedVersion::Any, deletion).unwrap();
        // A client that read the state before that takes version 2 for the next one.
        let outcome = import(&store, &rows("a", "f", 1..3), &[mark("a", "f", 3)]);
        let Err(Error::WrongExpectedVersion(conflict)) = outcome else { panic!("{outcome:?}") };
        assert_eq!((conflict.stream_id.as_str(), conflict.last_version), ("a", Some(2)));
        assert_eq!(had(&store, "f", "a"), 2);
    }
    let store = MemoryStore::new();
    import(&store, &rows("a", "f", 0..2), &[mark("a", "f", 2)]).unwrap();
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    assert_eq!(import(&store, &rows("a", "f", 2..3), &[mark("a", "f", 3)]), Ok((1, 0, 0)));
    assert_eq!((ids(&store, "a"), had(&store, "f", "a")), (vec!["f2".to_owned()], 3));
}

#[test]
fn invalid_marks_are_refused() {
    let store = MemoryStore::new();
    import(&store, &rows("a", "f", 0..2), &[mark("a", "f", 1)]).unwrap();
    let before = store.entries(IMPORTS);
    let long = "f".repeat(SOURCE_BYTES_MAX);
    let table = [
        (vec![mark("", "f", 1)], "marks[0].stream-id"),
        (vec![mark("a\0", "f", 1)], "marks[0].stream-id"),
        (vec![mark(&"a".repeat(257), "f", 1)], "marks[0].stream-id"),
        (vec![mark("a", "f", 1), mark("a", "", 1)], "marks[1].source"),
        (vec![mark("a", "f\n", 1)], "marks[0].source"),
        (vec![mark("a", &format!("{long}f"), 1)], "marks[0].source"),
        (vec![mark("a", "f", 0)], "marks[0].rows"),
        (vec![leading("a", "f", 1, 2)], "marks[0].leading-rows"),
        (vec![mark("a", "f", 1), mark("a", "f", 1)], "marks[1].source"),
        // More rows than this import has events.
        (vec![mark("a", "f", 2)], "marks[0].rows"),
        (vec![mark("a", "f", u64::MAX)], "marks[0].rows"),
        (vec![mark("never", "f", 1)], "marks[0].rows"),
    ];
    for (marks, argument) in table {
        assert_eq!(refused(import(&store, &[], &marks)), argument, "{marks:?}");
    }
    let one = rows("a", "f", 0..1);
    // One event counts for one row of one source.
    assert_eq!(refused(import(&store, &one, &[mark("a", "g", 1), mark("a", "h", 1)])), "marks[1].rows");
    assert_eq!(refused(import(&store, &one, &[mark("a", "f", 3)])), "marks[0].rows");
    // However often it is repeated, there are no more rows than events.
    let three = mark("a", "f", 3);
    assert_eq!(store.entries(IMPORTS), before);
    assert_eq!(import(&store, &one, &[mark("a", "f", 2)]), Ok((0, 1, 0)));
    assert_eq!(refused(import(&store, &one, std::slice::from_ref(&three))), "marks[0].rows");
    assert_eq!(refused(import(&store, &rows("a", "f", 2..4), &[mark("a", "f", 5)])), "marks[0].rows");
    assert_eq!(ids(&store, "a"), ["f0", "f1"]);

    let many: Vec<_> = (0..=MARKS_MAX).map(|number| mark("a", &number.to_string(), 1)).collect();
    let text = refused(import(&store, &[], &many));
    assert!(text.contains("marks") && text.contains("limit of 1000"), "{text}");
    assert_eq!(import(&store, &one, &[mark("a", &long, 1)]), Ok((0, 1, 0)));
}

#[test]
fn states_are_returned_for_many_streams() {
    let store = MemoryStore::new();
    import(&store, &rows("a", "f", 0..2), &[mark("a", "f", 2)]).unwrap();
    append(&store, NOW, &[any("b", &["1"])]);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    let ask = |source: &str, streams: &[&str]| {
        let streams: Vec<String> = streams.iter().map(|id| (*id).to_owned()).collect();
        import_states(&store, NOW, source, &streams)
    };
    let states = ask("f", &["b", "never", "a", "a"]).unwrap();
    assert_eq!(states.iter().map(|state| state.rows).collect::<Vec<_>>(), [0, 0, 2, 2]);
    let info =
        |at: usize| states[at].info.as_ref().map(|info| (info.state, info.first_version, info.last_version));
    assert_eq!(info(0), Some((StreamState::Live, Some(0), 0)));
    assert_eq!((info(1), info(2)), (None, Some((StreamState::Tombstoned, None, 1))));

    let argument = |outcome: Result<Vec<_>, Error>| refused(outcome.map(|_| (0, 0, 0)));
    assert_eq!(argument(ask("", &["a"])), "source");
    assert_eq!(argument(ask("f\0", &["a"])), "source");
    assert_eq!(argument(ask(&"f".repeat(SOURCE_BYTES_MAX + 1), &["a"])), "source");
    assert_eq!(argument(ask("f", &["a", ""])), "stream-ids[1]");
    assert!(argument(ask("f", &["a"; STATES_MAX + 1])).contains("limit of 1000"));
    assert_eq!(ask("f", &["a"; STATES_MAX]).map(|states| states.len()), Ok(STATES_MAX));
    store.overwrite(IMPORTS, &store.entries(IMPORTS)[0].0, b"odd");
    assert!(message(code::DAMAGED, &ask("f", &["a"])).contains("imports"));
}

#[test]
fn concurrent_marks_end_at_the_higher_one() {
    let store = MemoryStore::new();
    let rival = Rival::new(&store, 1, |store| {
        import(store, &rows("a", "f", 0..3), &[mark("a", "f", 3)]).unwrap();
    });
    assert_eq!(import(&rival, &rows("a", "f", 0..2), &[mark("a", "f", 2)]), Ok((0, 2, 0)));
    assert_eq!(had(&store, "f", "a"), 3);
    // A mark that rises without an added event is guarded, too.
    append(&store, NOW, &[any("b", &["b0", "b1"])]);
    let rival = Rival::new(&store, 1, |store| {
        import(store, &rows("b", "b", 0..2), &[mark("b", "f", 2)]).unwrap();
    });
    assert_eq!(import(&rival, &rows("b", "b", 0..1), &[mark("b", "f", 1)]), Ok((0, 1, 0)));
    assert_eq!(had(&store, "f", "b"), 2);
}
