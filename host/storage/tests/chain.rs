//! The hash chain covers everything that is chained, and the head counts what was applied.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use exesdb_storage::{LogHead, Operation, Stamp, chain};
use scratch::{KEYSPACE, Scratch, absent, all, batch};

/// Offset of the chain in the chained values. A stamp lies before it.
const AT: u32 = 8;

fn event(event: u32, data: &[u8]) -> Operation {
    Operation::Put {
        keyspace: KEYSPACE.into(),
        key: vec![0; 8],
        // The bytes to be overwritten need not be zeros.
        value: [&[0xff; 16], data].concat(),
        key_stamps: vec![Stamp { at: 0, event }],
        value_stamps: vec![Stamp { at: 0, event }],
        chain: Some(Stamp { at: AT, event }),
    }
}

/// Computes the chain of all entries, compares it with the stored one, and returns the head.
#[track_caller]
fn verified(store: &Scratch) -> LogHead {
    let snapshot = store.store().snapshot();
    let mut last = 0;
    for (key, value) in all(&snapshot, KEYSPACE) {
        last = chain(last, &key, &value, AT);
        assert_eq!(value[8..16], last.to_be_bytes());
    }
    let head = snapshot.head();
    assert_eq!(head.chain, last);
    assert_eq!(store.store().reader().head(), head);
    head
}

#[test]
fn each_chained_event_stores_the_chain_up_to_itself() {
    let mut store = Scratch::new();
    assert_eq!(verified(&store), LogHead::default());
    for round in 0..5u64 {
        let events = (0..3).map(|n| event(n, &[u8::try_from(n).unwrap(); 20])).collect();
        assert_eq!(store.apply(batch(vec![], events, 3)), Ok(3 * round));
        let head = verified(&store);
        assert_eq!((head.sequence, head.next_position), (round + 1, 3 * round + 3));
        store.reopen();
        assert_eq!(verified(&store), head);
    }
}

#[test]
fn the_head_counts_only_applied_batches() {
    let store = Scratch::new();
    let applied = batch(vec![], vec![event(0, b"1")], 1);
    store.apply(applied).unwrap();
    let head = verified(&store);
    store.apply(batch(vec![absent(&0u64.to_be_bytes())], vec![event(0, b"2")], 1)).unwrap_err();
    store.apply(batch(vec![], vec![], 0)).unwrap();
    assert_eq!(verified(&store), head, "neither batch changed anything");
    let other = Operation::Put {
        keyspace: "other".into(),
        key: b"k".to_vec(),
        value: b"v".to_vec(),
        key_stamps: vec![],
        value_stamps: vec![],
        chain: None,
    };
    store.apply(batch(vec![], vec![other], 0)).unwrap();
    assert_eq!(
        verified(&store),
        LogHead { sequence: 2, ..head },
        "entries that are not chained leave the chain as it is"
    );
}

#[test]
fn stores_with_equal_events_have_equal_chains() {
    let (one, other) = (Scratch::new(), Scratch::new());
    for store in [&one, &other] {
        store.apply(batch(vec![], vec![event(0, b"a"), event(1, b"b")], 2)).unwrap();
    }
    assert_eq!(verified(&one), verified(&other));
    one.apply(batch(vec![], vec![event(0, b"c")], 1)).unwrap();
    other.apply(batch(vec![], vec![event(0, b"d")], 1)).unwrap();
    assert_ne!(verified(&one).chain, verified(&other).chain);
}
