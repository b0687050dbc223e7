//! Each fault breaks the promise that it is named after.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use exesdb_storage::{Commit, FailPoint, Fault, Options, Outcomes, Store};
use scratch::{Held, OWNER, absent, all, batch, incompressible, put, put_in};

/// A store with a fault, whose fsyncs are held.
fn held(fault: Fault) -> Held {
    Held::new(Options { fault: Some(fault), ..Options::default() })
}

fn send(store: &Store, key: &[u8], guarded: bool) -> Receiver<Outcomes> {
    let guards = if guarded { vec![absent(key)] } else { vec![] };
    let commit = Commit {
        owner: OWNER.into(),
        batches: vec![batch(guards, vec![put(key, b"v")], 0)],
        ..Commit::default()
    };
    let (sender, receiver) = mpsc::channel();
    store.commit(commit, move |outcomes| drop(sender.send(outcomes.unwrap()))).unwrap();
    receiver
}

#[test]
fn acknowledge_before_sync_replies_before_the_fsync() {
    let Held { store, reached, go } = held(Fault::AcknowledgeBeforeSync);
    let replies = send(store.store(), b"k", false);
    assert!(replies.recv().unwrap()[0].is_ok());
    reached.recv().unwrap();
    drop(go);
}

#[test]
fn publish_before_durable_shows_unsynced_data() {
    let Held { store, reached, go } = held(Fault::PublishBeforeDurable);
    let replies = send(store.store(), b"k", false);
    reached.recv().unwrap();
    assert_eq!(store.get(b"k").as_deref(), Some(&b"v"[..]));
    assert!(replies.try_recv().is_err());
    drop(go);
    assert!(replies.recv().unwrap()[0].is_ok());
}

#[test]
fn check_before_queue_lets_two_commits_pass_one_guard() {
    let Held { store, reached, go } = held(Fault::CheckBeforeQueue);
    // The committer is busy, so both wait in the queue.
    drop(send(store.store(), b"other", false));
    reached.recv().unwrap();
    let first = send(store.store(), b"k", true);
    let second = send(store.store(), b"k", true);
    drop(go);
    assert!(first.recv().unwrap()[0].is_ok());
    assert!(second.recv().unwrap()[0].is_ok(), "both found the key absent");
    assert!(send(store.store(), b"k", true).recv().unwrap()[0].is_err());
}

#[test]
fn drop_one_on_replay_loses_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let operations = (0..3).map(|n| put_in("events", &[n], b"event")).collect();
    let commit =
        Commit { owner: "streams".into(), batches: vec![batch(vec![], operations, 3)], ..Commit::default() };
    store.commit_blocking(commit).unwrap().remove(0).unwrap();
    drop(store);
    let fault = Some(Fault::DropOneOnReplay);
    let store = Store::open(dir.path(), Options { fault, ..Options::default() }).unwrap();
    assert_eq!(all(&store.snapshot(), "events").len(), 2);
    assert_eq!(store.snapshot().next_position(), 3);
    drop(store);
    assert_eq!(all(&Store::open(dir.path(), Options::default()).unwrap().snapshot(), "events").len(), 2);
}

#[test]
fn zero_last_record_wipes_a_record_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    // An error makes a step the last one in its journal, so that the second record stays.
    let once = |at| match at {
        FailPoint::AfterZeroes => Err(io::Error::other("one step is enough")),
        _ => Ok(()),
    };
    let fault = Some(Fault::ZeroLastRecord);
    let options = Options { fault, fail_points: Some(Arc::new(once)), ..Options::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let begun = dir.path().join("data/1.jnl");
    let mut seed = 0;
    while !begun.exists() {
        seed += 1;
        let filler = put(b"filler", &incompressible(seed, 2_000_000));
        let batches = vec![batch(vec![], vec![filler], 0)];
        let commit = Commit { owner: OWNER.into(), batches, ..Commit::default() };
        store.commit_blocking(commit).unwrap().remove(0).unwrap();
    }
    // No zeroes follow groups as large as those. They follow the first one of these, before the second one is written.
    for key in [&b"first-record"[..], b"second-record"] {
        send(&store, key, false).recv().unwrap().remove(0).unwrap();
    }
    let journal = std::fs::read(&begun).unwrap();
    let holds = |key: &[u8]| journal.windows(key.len()).any(|window| window == key);
    assert!(!holds(b"first-record"), "it is still there");
    assert!(holds(b"second-record"), "it is gone as well");
}
