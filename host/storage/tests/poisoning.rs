//! A failure to write or sync poisons the store: nothing unsynced is ever acknowledged or readable.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use exesdb_storage::{Batch, Commit, CommitError, FailPoint, Health, Options, Outcomes, Store};
use scratch::{Held, KEYSPACE, OWNER, Scratch, batch, equals, put, put_event};

/// Options with which the fail point calls `what` from its `nth` passing on, counted from 1.
fn failing(point: FailPoint, nth: usize, what: fn() -> io::Result<()>) -> Options {
    let passed = AtomicUsize::new(0);
    let hook = move |at| {
        if at == point && passed.fetch_add(1, Ordering::SeqCst) + 1 >= nth { what() } else { Ok(()) }
    };
    Options { fail_points: Some(Arc::new(hook)), ..Options::default() }
}

fn disk_error() -> io::Result<()> {
    Err(io::Error::other("the disk is on fire"))
}

fn event(value: &[u8]) -> Batch {
    batch(vec![], vec![put_event(0, value)], 1)
}

fn commit(batch: Batch) -> Commit {
    Commit { owner: OWNER.into(), batches: vec![batch], ..Commit::default() }
}

/// Checks a store with one durable event that failed while it wrote the second.
#[track_caller]
fn stopped(store: &Store, outcomes: Result<Outcomes, CommitError>, expected: &str) {
    let Err(CommitError::Poisoned { reason }) = outcomes else { panic!("acknowledged: {outcomes:?}") };
    assert!(reason.contains(expected), "{reason}");
    assert_eq!(store.health(), Health::Poisoned { reason: reason.clone() });
    assert_eq!(store.commit_blocking(commit(event(b"3"))), Err(CommitError::Poisoned { reason }));
    let snapshot = store.snapshot();
    assert_eq!(snapshot.next_position(), 1);
    let values: Vec<_> = scratch::all(&snapshot, KEYSPACE).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [b"1"], "reads go on at the last durable snapshot");
}

#[test]
fn a_failure_before_the_acknowledgement_poisons_the_store() {
    for point in [
        FailPoint::BeforeWrite,
        FailPoint::AfterWrite,
        FailPoint::BeforeSync,
        FailPoint::AfterSync,
        FailPoint::BeforePublish,
    ] {
        let mut store = Scratch::with(failing(point, 2, disk_error));
        assert_eq!(store.apply(event(b"1")), Ok(0));
        let outcomes = store.store().commit_blocking(commit(event(b"2")));
        stopped(store.store(), outcomes, "the disk is on fire");

        store.reopen();
        let next = store.store().snapshot().next_position();
        assert!(next == 1 || next == 2, "the second event is there whole or not at all");
        assert_eq!(scratch::all(&store.store().snapshot(), KEYSPACE).len() as u64, next);
        assert_eq!(store.apply(event(b"4")), Ok(next));
    }
}

#[test]
fn a_panic_of_the_committer_poisons_the_store() {
    let store = Scratch::with(failing(FailPoint::AfterWrite, 2, || panic!("out of cheese")));
    assert_eq!(store.apply(event(b"1")), Ok(0));
    let outcomes = store.store().commit_blocking(commit(event(b"2")));
    stopped(store.store(), outcomes, "out of cheese");
}

#[test]
fn each_poison_listener_is_called_once() {
    let store = Scratch::with(failing(FailPoint::BeforeSync, 1, disk_error));
    let (sender, receiver) = mpsc::channel();
    let late = sender.clone();
    store.store().on_poisoned(move |reason| sender.send(reason.to_owned()).unwrap());
    assert_eq!(store.store().health(), Health::Ok);
    for _ in 0..2 {
        assert!(store.store().commit_blocking(commit(event(b"1"))).is_err());
    }
    store.store().on_poisoned(move |reason| late.send(reason.to_owned()).unwrap());
    let reasons: Vec<_> = receiver.iter().collect();
    assert_eq!(reasons.len(), 2);
    assert_eq!(reasons[0], reasons[1]);
}

#[test]
fn unsynced_writes_are_invisible_to_readers() {
    let Held { store, reached, go } = Held::new(Options::default());
    let (sender, replies) = mpsc::channel();
    let reply = move |outcomes| sender.send(outcomes).unwrap();
    store.store().commit(commit(batch(vec![], vec![put(b"k", b"1")], 1)), reply).unwrap();
    reached.recv().unwrap();
    // The keyspace exists by now, and journal and memtable contain the value.
    for _ in 0..3 {
        assert_eq!(store.get(b"k"), None);
        assert_eq!(store.store().snapshot().next_position(), 0);
        assert!(replies.try_recv().is_err(), "nothing is acknowledged before its fsync");
    }
    go.send(Ok(())).unwrap();
    replies.recv().unwrap().unwrap()[0].as_ref().unwrap();
    assert_eq!(store.get(b"k").as_deref(), Some(&b"1"[..]));
    assert_eq!(store.store().snapshot().next_position(), 1);
}

#[test]
fn the_running_time_of_a_hung_write_is_known() {
    let Held { store, reached, go } = Held::new(Options::default());
    let writer = store.store().writer();
    assert_eq!(writer.writing_for(), None);
    let (sender, replies) = mpsc::channel();
    store.store().commit(commit(event(b"1")), move |outcomes| sender.send(outcomes).unwrap()).unwrap();
    reached.recv().unwrap();
    let limit = Duration::from_millis(20);
    while writer.writing_for().expect("the sync is held") < limit {
        std::thread::sleep(Duration::from_millis(1));
    }
    go.send(Ok(())).unwrap();
    replies.recv().unwrap().unwrap()[0].as_ref().unwrap();
    // The reply comes before the end of the write, and the mark is synced some time later.
    while writer.writing_for().is_some() {
        std::thread::yield_now();
    }
    assert_eq!(store.store().health(), Health::Ok);
}

#[test]
fn queued_commits_share_one_fsync_and_its_outcome() {
    let Held { store, reached, go } = Held::new(Options::default());
    let (sender, replies) = mpsc::channel();
    let send = |batch| {
        let sender = sender.clone();
        store.store().commit(commit(batch), move |outcomes| sender.send(outcomes).unwrap()).unwrap();
    };
    let link = |from: &[u8], to: &[u8]| batch(vec![equals(b"k", from)], vec![put(b"k", to)], 1);
    send(batch(vec![], vec![put(b"k", b"0")], 1));
    reached.recv().unwrap();
    for (from, to) in [(b"0", b"1"), (b"1", b"2"), (b"1", b"x"), (b"2", b"3")] {
        send(link(from, to));
    }
    go.send(Ok(())).unwrap();
    replies.recv().unwrap().unwrap();
    reached.recv().unwrap();
    assert_eq!(store.get(b"k").as_deref(), Some(&b"0"[..]));
    go.send(disk_error()).unwrap();
    for _ in 0..4 {
        let outcomes = replies.recv().unwrap();
        assert!(
            matches!(outcomes, Err(CommitError::Poisoned { .. })),
            "even the commit whose guard failed: {outcomes:?}"
        );
    }
    assert_eq!(store.get(b"k").as_deref(), Some(&b"0"[..]));
    assert!(reached.try_recv().is_err(), "nothing is written any more");
}

#[test]
fn a_full_queue_refuses_commits_at_once() {
    let Held { store, reached: reaches, go } = Held::new(Options { commit_queue: 2, ..Options::default() });
    let (sender, replies) = mpsc::channel();
    let send = || {
        let sender = sender.clone();
        store.store().commit(commit(event(b"e")), move |outcomes| sender.send(outcomes).unwrap())
    };
    send().unwrap();
    reaches.recv().unwrap();
    assert_eq!((send(), send()), (Ok(()), Ok(())));
    assert_eq!(send(), Err(CommitError::Overloaded { limit: "2 commits".into() }));
    drop(go);
    for _ in 0..3 {
        assert!(replies.recv().unwrap().is_ok());
    }
    send().unwrap();
    assert!(replies.recv().unwrap().is_ok());
}

#[test]
fn a_panicking_reply_affects_no_other_commit() {
    let store = Scratch::new();
    store.store().commit(commit(event(b"1")), |_| panic!("not my day")).unwrap();
    assert_eq!(store.apply(event(b"2")), Ok(1));
    assert_eq!(store.store().health(), Health::Ok);
}
