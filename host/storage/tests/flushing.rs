//! Memtables are flushed, journals rotated and tables compacted without anybody noticing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use exesdb_test_support::Rng;
use scratch::{KEYSPACE, OWNER, Scratch, batch, equals, put, put_event};

const VALUE_BYTES: usize = 1 << 20;
/// 84 MiB: two full memtables, and more than a journal file.
const ROUNDS: u64 = 14;
const EVENTS: u32 = 6;

/// Bytes that do not compress.
fn noise() -> Vec<u8> {
    let mut noise = vec![0; VALUE_BYTES];
    Rng::with_seed(1).fill(&mut noise);
    noise
}

/// The noise, turned by a position: another value for each.
fn value(noise: &[u8], position: u64) -> Vec<u8> {
    let (head, tail) = noise.split_at(usize::try_from(position).unwrap() * 8);
    [tail, head].concat()
}

#[test]
fn more_than_memtables_and_a_journal_hold() {
    let mut store = Scratch::new();
    let noise = noise();
    let mut old = None;
    store.apply(batch(vec![], vec![put(b"head", &0u64.to_be_bytes())], 0)).unwrap();
    for round in 0..ROUNDS {
        let first = round * u64::from(EVENTS);
        if round == 3 {
            old = Some(store.store().snapshot());
        }
        let mut operations: Vec<_> =
            (0..EVENTS).map(|event| put_event(event, &value(&noise, first + u64::from(event)))).collect();
        operations.push(put(b"head", &(round + 1).to_be_bytes()));
        let guard = equals(b"head", &round.to_be_bytes());
        assert_eq!(store.apply(batch(vec![guard], operations, EVENTS)), Ok(first));
    }
    let old = old.unwrap();
    assert_eq!(
        scratch::all(&old, KEYSPACE).len() as u64,
        3 * u64::from(EVENTS) + 1,
        "a snapshot outlives flushes"
    );
    assert_eq!(old.get(OWNER, KEYSPACE, b"head").unwrap().as_deref(), Some(&3u64.to_be_bytes()[..]));
    for _ in 0..2 {
        let snapshot = store.store().snapshot();
        assert_eq!(snapshot.next_position(), ROUNDS * u64::from(EVENTS));
        for position in 0..snapshot.next_position() {
            let found = snapshot.get(OWNER, KEYSPACE, &position.to_be_bytes()).unwrap().unwrap();
            assert!(*found == *value(&noise, position), "position {position}");
        }
        assert_eq!(store.get(b"head").as_deref(), Some(&ROUNDS.to_be_bytes()[..]));
        store.reopen();
    }
    assert!(store.dir.path().join("data/1.jnl").exists(), "the journal was never rotated: write more");
}
