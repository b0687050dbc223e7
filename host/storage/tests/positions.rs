//! Positions are dense, are written into keys and values at commit, and survive reopening.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use exesdb_storage::{Operation, Stamp};
use scratch::{KEYSPACE, Scratch, absent, all, batch, delete, put, put_event, put_in};

#[test]
fn stamps_are_written_into_keys_and_values() {
    let store = Scratch::new();
    store.apply(batch(vec![], vec![put(b"before", b"")], 5)).unwrap();
    let stamped = Operation::Put {
        keyspace: KEYSPACE.into(),
        key: b"k........-........".to_vec(),
        value: b"v................".to_vec(),
        key_stamps: vec![Stamp { at: 1, event: 1 }, Stamp { at: 10, event: 0 }],
        value_stamps: vec![Stamp { at: 9, event: 1 }],
        chain: None,
    };
    assert_eq!(store.apply(batch(vec![], vec![stamped], 2)), Ok(5));
    let key = [b"k", &6u64.to_be_bytes()[..], b"-", &5u64.to_be_bytes()].concat();
    let value = [b"v........", &6u64.to_be_bytes()[..]].concat();
    assert_eq!(store.get(&key), Some(value));
}

#[test]
fn a_batch_that_fails_takes_no_position() {
    let store = Scratch::new();
    let create =
        |key: &[u8]| batch(vec![absent(key)], vec![put(key, b""), put_event(0, key), put_event(1, key)], 2);
    let outcomes = store.commit(vec![create(b"a"), create(b"a"), create(b"b"), create(b"b"), create(b"c")]);
    let positions: Vec<_> = outcomes.iter().flatten().map(|committed| committed.first_position).collect();
    assert_eq!(positions, [0, 2, 4]);
    assert_eq!(store.store().snapshot().next_position(), 6);
    for position in 0u64..6 {
        let expected = [b"a", b"b", b"c"][usize::try_from(position).unwrap() / 2];
        assert_eq!(store.get(&position.to_be_bytes()).as_deref(), Some(&expected[..]));
    }
}

#[test]
fn a_batch_without_events_returns_the_next_position() {
    let store = Scratch::new();
    assert_eq!(store.apply(batch(vec![], vec![put(b"k", b"")], 3)), Ok(0));
    assert_eq!(store.apply(batch(vec![], vec![put(b"k", b"")], 0)), Ok(3));
    assert_eq!(store.apply(batch(vec![], vec![], 0)), Ok(3));
    assert_eq!(store.apply(batch(vec![], vec![put(b"k", b"")], 1)), Ok(3));
}

#[test]
fn a_reopened_store_keeps_entries_and_positions() {
    let mut store = Scratch::new();
    for round in 0..5u64 {
        let value = round.to_be_bytes();
        let operations = vec![put_event(0, &value), put_in("other", &value, &value), put(b"last", &value)];
        assert_eq!(store.apply(batch(vec![], operations, 1)), Ok(round));
        store.reopen();
        assert_eq!(store.store().snapshot().next_position(), round + 1);
        assert_eq!(store.get(b"last").as_deref(), Some(&value[..]));
        assert_eq!(all(&store.store().snapshot(), "other").len() as u64, round + 1);
    }
    store.apply(batch(vec![], vec![delete(b"last")], 0)).unwrap();
    store.reopen();
    assert_eq!(store.get(b"last"), None);
}

#[test]
fn the_later_of_two_operations_on_one_key_wins() {
    let mut store = Scratch::new();
    let operations = vec![
        put(b"put-put", b"1"),
        put(b"put-put", b"2"),
        put(b"put-delete", b"1"),
        delete(b"put-delete"),
        delete(b"delete-put"),
        put(b"delete-put", b"2"),
    ];
    store.apply(batch(vec![], operations, 0)).unwrap();
    for _ in 0..2 {
        assert_eq!(store.get(b"put-put").as_deref(), Some(&b"2"[..]));
        assert_eq!(store.get(b"put-delete"), None);
        assert_eq!(store.get(b"delete-put").as_deref(), Some(&b"2"[..]));
        store.reopen();
    }
}
