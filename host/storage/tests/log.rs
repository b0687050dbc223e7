//! The event log: records at dense positions, chained, read in pages; and what a batch may do to it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use exesdb_packed::{
    Envelope, EventParts, Frame, Frames, Record, push_envelope, push_event, push_gap, push_removed,
};
use exesdb_storage::{
    Batch, BatchError, Changes, Commit, Direction, LogRead, Operation, Options, ReadError, Snapshot, Stamp,
    Store, chain, limits,
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop};
use proptest::{prop_assert_eq, prop_oneof, proptest};
use scratch::{OWNER, Scratch, absent, batch, put};

const NO_TAGS: &[&str] = &[];

/// The envelope of a small event.
fn envelope(id: &str) -> Vec<u8> {
    let mut envelope = Vec::new();
    parts(id).push(&mut envelope).unwrap();
    envelope
}

fn parts(id: &str) -> EventParts<'_, &'static str> {
    EventParts {
        flags: 0,
        version: 0,
        created: 0,
        stream_id: "s",
        id,
        event_type: "t",
        content_type: "c",
        tags: NO_TAGS,
        data: b"data",
        metadata: b"",
    }
}

/// What stands in the log, as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Event(String),
    Removed,
    Gap(u64),
}

/// The frames of a batch. Their positions are not looked at.
fn frames(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        match entry {
            Entry::Event(id) => push_event(&mut out, 77, &parts(id)).unwrap(),
            Entry::Removed => push_removed(&mut out, 77, 0),
            Entry::Gap(positions) => push_gap(&mut out, 77, *positions),
        }
    }
    out
}

fn logging(entries: &[Entry]) -> Batch {
    Batch { log: frames(entries), ..Batch::default() }
}

fn event(id: &str) -> Entry {
    Entry::Event(id.to_owned())
}

fn entry(frame: &Frame<'_>) -> (u64, Entry) {
    let entry = match frame.record {
        Record::Event(envelope) => Entry::Event(Envelope::read(envelope).unwrap().id.to_owned()),
        Record::Removed { .. } => Entry::Removed,
        Record::Gap { positions } => Entry::Gap(positions),
    };
    (frame.position, entry)
}

fn entries(frames: &[u8]) -> Vec<(u64, Entry)> {
    Frames::new(frames).map(|frame| entry(&frame.unwrap())).collect()
}

/// The whole log, in pages.
fn log(snapshot: &Snapshot, mut read: LogRead) -> Vec<(u64, Entry)> {
    let mut all = Vec::new();
    loop {
        let page = snapshot.log_read(&read).unwrap();
        all.extend(entries(&page.frames));
        match page.next {
            None => return all,
            next => read.from = next,
        }
    }
}

const WHOLE: LogRead =
    LogRead { from: None, direction: Direction::Forward, limit: usize::MAX, max_bytes: usize::MAX };

#[test]
fn events_get_dense_positions_and_stamps_get_theirs() {
    let mut store = Scratch::new();
    assert_eq!(log(&store.store().snapshot(), WHOLE), []);
    assert_eq!(store.apply(logging(&[event("a"), event("b")])), Ok(0));
    let index = Operation::Put {
        keyspace: "index".into(),
        key: vec![0; 8],
        value: vec![0; 8],
        key_stamps: vec![Stamp { at: 0, event: 0 }],
        value_stamps: vec![Stamp { at: 0, event: 4 }],
        chain: None,
    };
    let with_gap = Batch { operations: vec![index], ..logging(&[event("c"), Entry::Gap(3), event("d")]) };
    assert_eq!(store.apply(with_gap), Ok(2));
    assert_eq!(store.apply(logging(&[event("e")])), Ok(7));
    let expected = [
        (0, event("a")),
        (1, event("b")),
        (2, event("c")),
        (3, Entry::Gap(3)),
        (6, event("d")),
        (7, event("e")),
    ];
    for _ in 0..2 {
        let snapshot = store.store().snapshot();
        assert_eq!(log(&snapshot, WHOLE), expected);
        assert_eq!(snapshot.next_position(), 8);
        let stamped = scratch::all(&snapshot, "index");
        assert_eq!(stamped, [(2_u64.to_be_bytes().to_vec(), 6_u64.to_be_bytes().to_vec())]);
        store.reopen();
    }
}

#[test]
fn the_chain_covers_position_and_record_and_outlives_removal() {
    let store = Scratch::new();
    store.apply(logging(&[event("a"), Entry::Gap(2), event("b")])).unwrap();
    let value = |kind: u8, content: &[u8]| [&[kind, 0, 0, 0, 0, 0, 0, 0, 0], content].concat();
    let a = chain(0, &0_u64.to_be_bytes(), &value(4, &envelope("a")), 1);
    let gap = chain(a, &1_u64.to_be_bytes(), &value(5, &2_u64.to_be_bytes()), 1);
    let b = chain(gap, &3_u64.to_be_bytes(), &value(4, &envelope("b")), 1);
    assert_eq!(store.store().snapshot().head().chain, b);
    store.apply(Batch { removes: vec![0, 1, 2, 0], ..Batch::default() }).unwrap();
    let snapshot = store.store().snapshot();
    assert_eq!(log(&snapshot, WHOLE), [(0, Entry::Removed), (1, Entry::Gap(2)), (3, event("b"))]);
    assert_eq!(snapshot.head().chain, b);
    let frames = snapshot.log_get(&[0], 1).unwrap();
    let removed = Frames::new(&frames).next().unwrap().unwrap();
    assert_eq!(removed.record, Record::Removed { link: a });
    // To remove it again does nothing, and takes no place in the journal.
    let sequence = snapshot.head().sequence;
    store.apply(Batch { removes: vec![0], ..Batch::default() }).unwrap();
    assert_eq!(store.store().snapshot().head().sequence, sequence);
}

#[test]
fn a_batch_with_a_failed_guard_appends_nothing() {
    let store = Scratch::new();
    store.apply(batch(vec![], vec![put(b"k", b"v")], 0)).unwrap();
    let guarded = Batch { guards: vec![absent(b"k")], ..logging(&[event("a")]) };
    assert_eq!(store.apply(guarded), Err(BatchError::GuardFailed { index: 0 }));
    assert_eq!(log(&store.store().snapshot(), WHOLE), []);
}

#[test]
fn hostile_batches_are_refused() {
    let store = Scratch::new();
    let mut cut = frames(&[event("a")]);
    cut.pop();
    let mut broken = Vec::new();
    push_envelope(&mut broken, 0, b"no envelope").unwrap();
    let stamped = Batch {
        operations: vec![Operation::Put {
            keyspace: "index".into(),
            key: vec![0; 8],
            value: vec![],
            key_stamps: vec![Stamp { at: 0, event: 2 }],
            value_stamps: vec![],
            chain: None,
        }],
        ..logging(&[event("a"), event("b")])
    };
    let mut large = Vec::new();
    let data = vec![0; limits::VALUE_BYTES_MAX];
    push_event(&mut large, 0, &EventParts { data: &data, ..parts("a") }).unwrap();
    let invalid = [
        (Batch { log: cut, ..Batch::default() }, "broken at byte 0: the frame ends too early"),
        (Batch { log: broken, ..Batch::default() }, "event 0 of its log"),
        (logging(&[event("a"), Entry::Removed]), "it appends an event that was removed"),
        (Batch { events: 1, ..logging(&[event("a")]) }, "both with and without records"),
        (stamped, "operation 0: key stamp 0 names event 2 of a batch of 2 events"),
        (
            Batch { removes: vec![0], ..logging(&[event("a")]) },
            "removes position 0 from the log, which ends at 0",
        ),
        (Batch { removes: vec![u64::MAX], ..Batch::default() }, "which ends at 0"),
    ];
    for (hostile, what) in invalid {
        match store.apply(hostile) {
            Err(BatchError::Invalid(reason)) => assert!(reason.contains(what), "{reason}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    let too_large = [
        (logging(&vec![event("a"); 10_001]), "the number of events"),
        (logging(&[Entry::Gap(u64::from(u32::MAX)), event("a")]), "the number of positions"),
        (logging(&[Entry::Gap(u64::MAX - 77), Entry::Gap(u64::MAX - 77)]), "the number of positions"),
        (Batch { log: large, ..Batch::default() }, "an event in bytes"),
        (Batch { removes: vec![0; 10_001], ..Batch::default() }, "the number of removed events"),
    ];
    for (hostile, measured) in too_large {
        match store.apply(hostile) {
            Err(BatchError::TooLarge { what, .. }) => assert_eq!(what, measured),
            other => panic!("{measured}: {other:?}"),
        }
    }
    assert_eq!(store.store().snapshot().next_position(), 0);
    // Nothing was begun.
    assert_eq!(store.apply(batch(vec![], vec![put(b"k", b"v")], 1)), Ok(0));
}

#[test]
fn hostile_reads_are_refused() {
    let store = Scratch::new();
    store.apply(logging(&[event("a")])).unwrap();
    let snapshot = store.store().snapshot();
    let invalid = |outcome: Result<Vec<u8>, ReadError>, what: &str| match outcome {
        Err(ReadError::Invalid(reason)) => assert!(reason.contains(what), "{reason}"),
        other => panic!("{what}: {other:?}"),
    };
    invalid(snapshot.log_read(&LogRead { limit: 0, ..WHOLE }).map(|page| page.frames), "limit is 0");
    invalid(snapshot.log_get(&[], 1), "0 positions at once");
    invalid(snapshot.log_get(&vec![0; 10_001], 1), "10001 positions at once");
    invalid(snapshot.log_get(&[0, 1], 1), "position 1 is not in the log, which ends at 1");
    for from in [1, u64::MAX] {
        assert_eq!(snapshot.log_read(&LogRead { from: Some(from), ..WHOLE }).unwrap().frames, []);
        let backward = LogRead { from: Some(from), direction: Direction::Backward, ..WHOLE };
        assert_eq!(log(&snapshot, backward), [(0, event("a"))]);
    }
}

#[test]
fn a_store_with_a_log_gives_positions_to_nothing_else() {
    let store = Scratch::new();
    assert_eq!(store.apply(logging(&[event("a")])), Ok(0));
    match store.apply(batch(vec![], vec![put(b"k", b"v")], 1)) {
        Err(BatchError::Invalid(reason)) => assert!(reason.contains("append to the log"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let foreign = Batch { operations: vec![scratch::put_in("log", b"12345678", b"")], ..Batch::default() };
    let commit = Commit { owner: "storage".into(), batches: vec![foreign], ..Commit::default() };
    match store.store().commit_blocking(commit).unwrap().remove(0) {
        Err(BatchError::Invalid(reason)) => assert!(reason.contains("the store's log"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// A store of format 2 goes on in the keyspace of its old events.
#[test]
fn a_log_goes_on_after_the_events_of_format_2() {
    let mut store = Scratch::new();
    // As the streams component of format 2 wrote an event.
    let fields = b"\0\x01s\0\0\0\0\0\0\0\0\0\x03old\0\x01t\0\x01c\0\0\0\0\0\0\0\x06\0\0\0\x01d\0\0\0\0\0\0";
    let old = Operation::Put {
        keyspace: "events".into(),
        key: vec![0; 8],
        value: [&[2, 0, 0, 0, 0, 0, 0, 0, 0], &fields[..]].concat(),
        key_stamps: vec![Stamp { at: 0, event: 0 }],
        value_stamps: vec![],
        chain: Some(Stamp { at: 1, event: 0 }),
    };
    assert_eq!(OWNER, "streams");
    store.apply(batch(vec![], vec![old.clone()], 1)).unwrap();
    store.apply(batch(vec![], vec![old.clone()], 1)).unwrap();
    assert_eq!(store.apply(logging(&[event("new")])), Ok(2));
    store.apply(Batch { removes: vec![1], ..Batch::default() }).unwrap();
    let expected = [(0, event("old")), (1, Entry::Removed), (2, event("new"))];
    for _ in 0..2 {
        assert_eq!(log(&store.store().snapshot(), WHOLE), expected);
        let chained = scratch::all(&store.store().snapshot(), "events");
        let last = u64::from_be_bytes(chained[2].1[1..9].try_into().unwrap());
        assert_eq!(store.store().snapshot().head().chain, last);
        match store.apply(batch(vec![], vec![put_old(&old)], 0)) {
            Err(BatchError::Invalid(reason)) => assert!(reason.contains("the store's log"), "{reason}"),
            other => panic!("{other:?}"),
        }
        store.reopen();
    }
    restored(&store, &expected);
}

fn put_old(old: &Operation) -> Operation {
    let Operation::Put { keyspace, value, .. } = old.clone() else { panic!("a put") };
    scratch::put_in(&keyspace, &9_u64.to_be_bytes(), &value)
}

/// Restores a dump of the store. Its log is the same, and goes on.
fn restored(store: &Scratch, expected: &[(u64, Entry)]) {
    let mut dump = Vec::new();
    let summary = store.store().snapshot().dump(&mut dump, &mut |_| ()).unwrap();
    assert_eq!(summary.format, exesdb_storage::FORMAT_VERSION);
    let dir = tempfile::tempdir().unwrap();
    exesdb_storage::dump::restore(dir.path(), &mut &dump[..], &mut |_| ()).unwrap();
    let copy = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(log(&copy.snapshot(), WHOLE), expected);
    assert_eq!(copy.snapshot().head().chain, store.store().snapshot().head().chain);
    let commit =
        Commit { owner: OWNER.into(), batches: vec![logging(&[event("after")])], ..Commit::default() };
    let first = copy.commit_blocking(commit).unwrap().remove(0).unwrap().first_position;
    assert_eq!(first, store.store().snapshot().next_position());
    assert_eq!(log(&copy.snapshot(), WHOLE).last(), Some(&(first, event("after"))));
}

#[test]
fn a_log_is_in_backups() {
    let store = Scratch::new();
    store.apply(logging(&[event("a"), Entry::Gap(5), event("b")])).unwrap();
    restored(&store, &[(0, event("a")), (1, Entry::Gap(5)), (6, event("b"))]);
}

#[test]
fn damage_to_a_record_is_found_when_it_is_read() {
    // The log of a store of format 2 is an ordinary keyspace until it goes on.
    let old = Scratch::new();
    old.apply(batch(vec![], vec![scratch::put_in("events", &0_u64.to_be_bytes(), b"\x02damaged")], 1))
        .unwrap();
    let error = old.store().snapshot().log_read(&WHOLE).unwrap_err().to_string();
    assert!(error.contains("keyspace events of streams"), "{error}");
    assert!(error.contains("the event log is damaged at position 0: the record has no link"), "{error}");
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Entry>),
    Remove(Vec<usize>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let entry = prop_oneof![4 => (0..9_u8).prop_map(|id| event(&id.to_string())), 1 => (1..6_u64).prop_map(Entry::Gap)];
    prop_oneof![
        6 => prop::collection::vec(entry, 1..5).prop_map(Step::Append),
        2 => prop::collection::vec(any::<usize>(), 1..4).prop_map(Step::Remove),
        1 => Just(Step::Reopen),
    ]
}

/// What a read from `from` gives: the frames, the first one cut to what lies in the direction.
fn expected(model: &[(u64, Entry)], from: u64, direction: Direction) -> Vec<(u64, Entry)> {
    let end = |(position, entry): &(u64, Entry)| match entry {
        Entry::Gap(positions) => position + positions,
        _ => position + 1,
    };
    let cut = |found: &(u64, Entry)| match (found, direction) {
        ((position, Entry::Gap(_)), Direction::Forward) if *position < from => {
            (from, Entry::Gap(end(found) - from))
        }
        ((position, Entry::Gap(_)), Direction::Backward) if end(found) > from + 1 => {
            (*position, Entry::Gap(from + 1 - position))
        }
        _ => found.clone(),
    };
    match direction {
        Direction::Forward => model.iter().filter(|found| end(found) > from).map(cut).collect(),
        Direction::Backward => {
            model.iter().rev().filter(|(position, _)| *position <= from).map(cut).collect()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_log_agrees_with_a_list(
        steps in prop::collection::vec(step(), 1..12),
        limit in 1..5_usize,
        max_bytes in 1..400_usize,
    ) {
        let mut store = Scratch::new();
        let mut model: Vec<(u64, Entry)> = Vec::new();
        let mut end = 0;
        for step in steps {
            match step {
                Step::Append(entries) => {
                    prop_assert_eq!(store.apply(logging(&entries)), Ok(end));
                    for entry in entries {
                        let positions = if let Entry::Gap(positions) = entry { positions } else { 1 };
                        model.push((end, entry));
                        end += positions;
                    }
                }
                Step::Remove(chosen) if !model.is_empty() => {
                    let chosen: Vec<usize> = chosen.into_iter().map(|index| index % model.len()).collect();
                    let removes = chosen.iter().map(|index| model[*index].0).collect();
                    prop_assert_eq!(store.apply(Batch { removes, ..Batch::default() }), Ok(end));
                    for index in chosen {
                        if matches!(model[index].1, Entry::Event(_)) {
                            model[index].1 = Entry::Removed;
                        }
                    }
                }
                Step::Remove(_) => {}
                Step::Reopen => store.reopen(),
            }
        }
        let snapshot = store.store().snapshot();
        prop_assert_eq!(log(&snapshot, WHOLE), model.clone());
        for direction in [Direction::Forward, Direction::Backward] {
            for from in 0..end {
                let read = LogRead { from: Some(from), direction, limit, max_bytes };
                prop_assert_eq!(log(&snapshot, read), expected(&model, from, direction));
                let page = snapshot.log_read(&read).unwrap();
                prop_assert_eq!(entries(&page.frames).len() <= limit, true);
                prop_assert_eq!(page.frames.len() <= max_bytes || entries(&page.frames).len() == 1, true);
            }
        }
        let positions: Vec<u64> = (0..end).rev().collect();
        if let Some(last) = positions.first() {
            let found = entries(&snapshot.log_get(&positions, usize::MAX).unwrap());
            prop_assert_eq!(found.len(), positions.len());
            prop_assert_eq!(&found[0], &expected(&model, *last, Direction::Forward)[0]);
        }
    }
}

#[test]
fn packed_changes_do_what_operations_do() {
    let store = Scratch::new();
    let mut puts = Vec::new();
    exesdb_storage::push_put(
        &mut puts,
        &[0; 9],
        b"--------",
        &[Stamp { at: 1, event: 1 }],
        &[Stamp { at: 0, event: 0 }],
    );
    exesdb_storage::push_put(&mut puts, b"k", b"old", &[], &[]);
    exesdb_storage::push_put(&mut puts, b"k", b"new", &[], &[]);
    exesdb_storage::push_put(&mut puts, b"gone", b"", &[], &[]);
    let changes = vec![
        Changes { keyspace: "index".into(), puts, deletes: vec![b"gone".to_vec(), b"never there".to_vec()] },
        Changes { keyspace: "absent".into(), puts: vec![], deletes: vec![b"k".to_vec()] },
    ];
    store.apply(logging(&[event("before")])).unwrap();
    assert_eq!(store.apply(Batch { changes, ..logging(&[event("a"), event("b")]) }), Ok(1));
    let stamped = [&[0][..], &2_u64.to_be_bytes()].concat();
    let snapshot = store.store().snapshot();
    assert_eq!(
        scratch::all(&snapshot, "index"),
        [(stamped, 1_u64.to_be_bytes().to_vec()), (b"k".to_vec(), b"new".to_vec())]
    );
    assert!(!snapshot.keyspaces().unwrap().iter().any(|(_, name)| name == "absent"));
}

#[test]
fn hostile_changes_are_refused() {
    let store = Scratch::new();
    let with = |key: &[u8], value: &[u8], stamps: &[Stamp]| {
        let mut puts = Vec::new();
        exesdb_storage::push_put(&mut puts, key, value, stamps, &[]);
        Changes { keyspace: "index".into(), puts, deletes: vec![] }
    };
    let mut cut = with(b"key", b"value", &[]);
    cut.puts.pop();
    let foreign = Changes { keyspace: "In.dex".into(), ..Changes::default() };
    let empty_key = Changes { keyspace: "index".into(), puts: vec![], deletes: vec![vec![]] };
    for (changes, what) in [
        (cut, "changes 0: a packed put ends too early"),
        (foreign, "changes 0: the keyspace name"),
        (empty_key, "changes 0: a key is empty"),
        (with(b"", b"", &[]), "changes 0: a key is empty"),
        (with(b"12345678", b"", &[Stamp { at: 1, event: 0 }]), "needs bytes 1 to 9 of a key of 8 bytes"),
        (with(b"12345678", b"", &[Stamp { at: 0, event: 1 }]), "names event 1 of a batch of 1 events"),
    ] {
        match store.apply(Batch { changes: vec![changes], ..logging(&[event("a")]) }) {
            Err(BatchError::Invalid(reason)) => assert!(reason.contains(what), "{reason}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    let large = with(b"k", &vec![0; limits::VALUE_BYTES_MAX + 1], &[]);
    let long = with(&vec![0; limits::KEY_BYTES_MAX + 1], b"", &[]);
    let many = Changes { keyspace: "index".into(), puts: vec![], deletes: vec![b"k".to_vec(); 40_001] };
    for (changes, measured) in
        [(large, "a value in bytes"), (long, "a key in bytes"), (many, "the number of operations")]
    {
        match store.apply(Batch { changes: vec![changes], ..Batch::default() }) {
            Err(BatchError::TooLarge { what, .. }) => assert_eq!(what, measured),
            other => panic!("{measured}: {other:?}"),
        }
    }
}
