//! Deciding on what is applied and not yet synced: the next commits are decided while the disk is busy with the last
//! ones, and nothing that was decided leaves before what it was decided on is durable.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use exesdb_storage::{Batch, Commit, CommitError, Options, Outcomes, Reader, Store};
use scratch::{Held, KEYSPACE, OWNER, Scratch, absent, batch, copy_folder, equals, put};

impl Held {
    /// Commits a batch, and returns once it is applied and its fsync is held.
    fn apply(&self, batch: Batch) -> Receiver<Result<Outcomes, CommitError>> {
        let replies = send(self.store.store(), batch);
        self.reached.recv().unwrap();
        replies
    }

    /// Asks when the applied state is durable.
    fn when_durable(&self) -> Receiver<Result<(), CommitError>> {
        let (sender, replies) = mpsc::channel();
        self.store.store().writer().when_durable(move |outcome| sender.send(outcome).unwrap()).unwrap();
        replies
    }
}

fn send(store: &Store, batch: Batch) -> Receiver<Result<Outcomes, CommitError>> {
    let (sender, replies) = mpsc::channel();
    let commit = Commit { owner: OWNER.into(), batches: vec![batch], ..Commit::default() };
    store.commit(commit, move |outcomes| sender.send(outcomes).unwrap()).unwrap();
    replies
}

fn applied(reader: &Reader, key: &[u8]) -> Option<Vec<u8>> {
    reader.applied().get(OWNER, KEYSPACE, key).unwrap().map(|value| value.to_vec())
}

/// Decides on the applied state: counts the key up.
fn count(reader: &Reader) -> Batch {
    match applied(reader, b"count") {
        None => batch(vec![absent(b"count")], vec![put(b"count", &[1])], 1),
        Some(value) => batch(vec![equals(b"count", &value)], vec![put(b"count", &[value[0] + 1])], 1),
    }
}

fn is_poisoned<T: std::fmt::Debug>(outcome: &Result<T, CommitError>) -> bool {
    matches!(outcome, Err(CommitError::Poisoned { .. }))
}

#[test]
fn the_applied_state_has_what_is_not_synced_yet() {
    let held = Held::new(Options::default());
    let reader = held.store.store().reader();
    let replies = held.apply(count(&reader));
    assert_eq!(applied(&reader, b"count"), Some(vec![1]));
    assert_eq!((reader.applied().next_position(), reader.snapshot().next_position()), (1, 0));
    assert_eq!(held.store.get(b"count"), None, "readers see durable data only");
    assert!(replies.try_recv().is_err());
    held.go.send(Ok(())).unwrap();
    replies.recv().unwrap().unwrap()[0].as_ref().unwrap();
    assert_eq!(held.store.get(b"count"), Some(vec![1]));
}

#[test]
fn the_notice_of_applied_comes_before_the_fsync_and_finds_the_state() {
    let held = Held::new(Options::default());
    let (sender, notices) = mpsc::channel();
    let (replied, replies) = mpsc::channel();
    let reader = held.store.store().reader();
    let batch = count(&reader);
    let commit = Commit { owner: OWNER.into(), batches: vec![batch], ..Commit::default() };
    let notice = move |outcomes: &Outcomes| {
        sender.send((outcomes[0].clone(), applied(&reader, b"count"))).unwrap();
    };
    let writer = held.store.store().writer();
    writer.commit_in_two_steps(commit, notice, move |outcomes| replied.send(outcomes).unwrap()).unwrap();
    held.reached.recv().unwrap();
    let committed = Ok(exesdb_storage::Committed { first_position: 0 });
    assert_eq!(notices.try_recv(), Ok((committed, Some(vec![1]))));
    assert!(replies.try_recv().is_err());
    held.go.send(Ok(())).unwrap();
    assert!(replies.recv().unwrap().is_ok());
}

/// On the durable state the guards of every second commit would fail.
#[test]
fn commits_decided_on_the_applied_state_keep_their_guards_while_the_disk_is_slow() {
    let held = Held::new(Options::default());
    let reader = held.store.store().reader();
    let mut last = held.apply(count(&reader));
    for _ in 0..20 {
        let next = send(held.store.store(), count(&reader));
        held.go.send(Ok(())).unwrap();
        last.recv().unwrap().unwrap()[0].as_ref().unwrap();
        held.reached.recv().unwrap();
        last = next;
    }
    held.go.send(Ok(())).unwrap();
    last.recv().unwrap().unwrap()[0].as_ref().unwrap();
    assert_eq!(held.store.get(b"count"), Some(vec![21]));
}

#[test]
fn a_failed_sync_takes_with_it_what_was_decided_meanwhile() {
    let mut held = Held::new(Options::default());
    let reader = held.store.store().reader();
    let first = held.apply(count(&reader));
    let second = send(held.store.store(), count(&reader));
    let repeat = held.when_durable();
    held.go.send(Err(io::Error::other("the disk is on fire"))).unwrap();
    assert!(is_poisoned(&first.recv().unwrap()));
    assert!(is_poisoned(&second.recv().unwrap()), "it was decided on what is not durable");
    assert!(is_poisoned(&repeat.recv().unwrap()));
    assert_eq!(held.store.get(b"count"), None);
    assert!(is_poisoned(&held.store.store().writer().when_durable(|_| {})), "also afterwards");
    drop(reader);
    held.store.reopen();
    // The first may be there, because it was written. The second was not.
    assert!(matches!(held.store.get(b"count").as_deref(), None | Some([1])));
}

#[test]
fn who_waits_for_durability_is_replied_to_after_the_fsync() {
    let held = Held::new(Options::default());
    let reader = held.store.store().reader();
    assert_eq!(held.when_durable().recv().unwrap(), Ok(()), "nothing is unsynced");
    let replies = held.apply(count(&reader));
    let repeat = held.when_durable();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(repeat.try_recv().is_err(), "what it was decided on is not durable");
    held.go.send(Ok(())).unwrap();
    assert_eq!(repeat.recv().unwrap(), Ok(()));
    assert!(replies.recv().unwrap().is_ok());
}

#[test]
fn who_waits_for_durability_is_replied_to_by_a_read_only_store() {
    let options = Options { reserve_bytes: 1000, free_space: Some(Arc::new(|| Ok(0))), ..Options::default() };
    let store = Scratch::with(options);
    let replies = send(store.store(), batch(vec![], vec![put(b"k", b"v")], 0));
    assert!(matches!(replies.recv().unwrap(), Err(CommitError::ReadOnly { .. })));
    let (sender, replies) = mpsc::channel();
    store.store().writer().when_durable(move |outcome| sender.send(outcome).unwrap()).unwrap();
    assert_eq!(replies.recv().unwrap(), Ok(()));
}

/// The newest journal of a store.
fn journal(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("data")).unwrap().map(|entry| entry.unwrap().path());
    let journals = files.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals.max().unwrap()
}

/// Copies a store as it may be after a loss of power: of the journal only what was synced.
fn cut(dir: &Path, synced: u64) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(dir, copy.path());
    let path = journal(copy.path());
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&vec![0; usize::try_from(length - synced).unwrap()], synced).unwrap();
    copy
}

fn used(dir: &Path) -> u64 {
    scratch::used(&fs::read(journal(dir)).unwrap()) as u64
}

/// A writer repeats what it sent before, which is applied and not synced. Power is lost before the sync. If the repeat was
/// answered by then, the store must have the event.
///
/// Returns whether it was answered, and the value that the store has afterwards.
fn repeat_before_a_loss_of_power(options: Options) -> (bool, Option<Vec<u8>>) {
    let held = Held::new(options);
    let dir = held.store.dir.path().to_owned();
    let reader = held.store.store().reader();
    let first = held.apply(batch(vec![], vec![put(b"before", b"v")], 1));
    held.go.send(Ok(())).unwrap();
    first.recv().unwrap().unwrap()[0].as_ref().unwrap();
    let synced = used(&dir);
    let _unsynced = held.apply(count(&reader));
    assert!(applied(&reader, b"count").is_some(), "the repeat is recognized");
    let repeat = held.when_durable();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let is_answered = matches!(repeat.try_recv(), Ok(Ok(())));
    let copy = cut(&dir, synced);
    held.go.send(Ok(())).unwrap();
    let store = Store::open(copy.path(), Options::default()).unwrap();
    let snapshot = store.snapshot();
    assert!(snapshot.get(OWNER, KEYSPACE, b"before").unwrap().is_some(), "what was acknowledged is there");
    (is_answered, snapshot.get(OWNER, KEYSPACE, b"count").unwrap().map(|value| value.to_vec()))
}

#[test]
fn a_repeat_of_what_a_loss_of_power_takes_away_was_not_answered() {
    assert_eq!(repeat_before_a_loss_of_power(Options::default()), (false, None));
}

/// The test above finds the fault that it is for.
#[cfg(feature = "faults")]
#[test]
fn pass_barriers_answers_a_repeat_of_what_is_lost() {
    let fault = Some(exesdb_storage::Fault::PassBarriers);
    assert_eq!(repeat_before_a_loss_of_power(Options { fault, ..Options::default() }), (true, None));
}
