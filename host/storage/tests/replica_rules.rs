//! The rules of a replica: order, fences, time, membership, what stops it, and which folders it opens.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod generated;
mod replicas;

use std::path::Path;

use exesdb_storage::{
    Batch, BatchError, CheckedCommit, Commit, CommitError, Committed, Entry, EntryCheck, EntryCommit,
    EntryContent, Genesis, Guard, Histories, LogId, Memory, MemoryOperation, OpenError, Operation, Options,
    Outcomes, REPLICA_FORMAT_VERSION, Replica, ReplicaError, ReplicaOpenError, Store, Term, limits,
};
use replicas::{GENESIS, InFiles, InMemory, Node, contents, genesis};

const OWNER: &str = "orders";

fn node() -> InMemory {
    InMemory::create(&Histories::begin())
}

fn put(keyspace: &str, key: &[u8]) -> Operation {
    Operation::Put {
        keyspace: keyspace.into(),
        key: key.into(),
        value: b"v".to_vec(),
        key_stamps: vec![],
        value_stamps: vec![],
        chain: None,
    }
}

fn puts(key: &[u8]) -> Batch {
    Batch { operations: vec![put("a", key)], ..Batch::default() }
}

fn guarded(guard: Guard, key: &[u8]) -> Batch {
    Batch { guards: vec![guard], ..puts(key) }
}

fn absent(key: &[u8]) -> Guard {
    Guard::Absent { keyspace: "a".into(), key: key.into() }
}

fn id(index: u64) -> LogId {
    LogId { index, ..GENESIS }
}

fn fenced(fence: Option<Term>, batches: Vec<Batch>) -> EntryCommit {
    EntryCommit { owner: OWNER.into(), fence, topics: vec![], batches }
}

fn entry(index: u64, batches: Vec<Batch>) -> Entry {
    Entry { id: id(index), time: 0, content: EntryContent::Commits(vec![fenced(None, batches)]) }
}

fn blank(index: u64) -> Entry {
    Entry { id: id(index), time: 0, content: EntryContent::Blank }
}

fn outcomes(applied: Option<Vec<Outcomes>>) -> Outcomes {
    applied.unwrap().concat()
}

#[test]
fn an_entry_that_does_not_follow_is_refused_and_nothing_changes() {
    let mut node = node();
    node.apply(&entry(2, vec![puts(b"k")]));
    let before = (node.replica().state().clone(), node.replica().head());
    for (term, index) in [(1, 0), (1, 1), (1, 2), (1, 4), (1, u64::MAX), (0, 3)] {
        let wrong = Entry { id: LogId { term, leader: 1, index }, ..blank(index) };
        let expected = ReplicaError::OutOfOrder { entry: wrong.id, applied: id(2) };
        assert_eq!(node.replica().apply(wrong), Err(expected), "{term} {index}");
    }
    assert_eq!((node.replica().state().clone(), node.replica().head()), before);
    assert_eq!(node.apply(&blank(3)), Some(vec![]));
    let later = Entry { id: LogId { term: 2, leader: 9, index: 4 }, ..blank(4) };
    assert_eq!(node.apply(&later), Some(vec![]));
}

fn check(index: u64, check: EntryCheck) -> Entry {
    Entry { id: id(index), time: 0, content: EntryContent::Check(check) }
}

fn diverge<N: Node>(node: &mut N) {
    node.apply(&entry(2, vec![puts(b"k")]));
    node.apply(&entry(3, vec![guarded(absent(b"k"), b"l")]));
    let own = node.replica().checkpoint(3).unwrap().check(3);
    assert_eq!((own.index, own.sequence), (3, 1));
    node.apply(&check(4, own));
    // What it does not know it cannot compare.
    node.apply(&check(5, EntryCheck { index: 0, ..own }));
    let after = node.replica().checkpoint(5).unwrap().check(3);
    assert_eq!(after, own, "a check changes nothing");
    let leader = EntryCheck { link: own.link.wrapping_add(1), ..own };
    let diverged = ReplicaError::Diverged { index: 3, own, leader };
    assert_eq!(node.replica().apply(check(6, leader)), Err(diverged));
    let stopped = node.replica().apply(blank(6));
    let Err(ReplicaError::Stopped { reason, .. }) = stopped else { panic!("{stopped:?}") };
    assert!(reason.contains("diverged at index 3"), "{reason}");
}

#[test]
fn a_replica_that_has_what_its_leader_had_goes_on_and_one_that_differs_stops_for_good() {
    let mut node = node();
    diverge(&mut node);
    let memory = node.memory.clone();
    drop(node);
    memory.lose_power(0);
    let opened = Replica::open_in(memory, Options::default());
    assert!(matches!(opened.err(), Some(ReplicaOpenError::Diverged { index: 3 })));
    let mut node = InFiles::create(&Histories::begin());
    diverge(&mut node);
    node.close();
    let opened = Replica::open(node.dir.path(), Options::default());
    assert!(matches!(opened.err(), Some(ReplicaOpenError::Diverged { index: 3 })));
}

#[test]
fn each_number_of_a_check_is_compared() {
    type Change = fn(&mut EntryCheck);
    let changes: [Change; 4] = [
        |check| check.sequence += 1,
        |check| check.next_position += 1,
        |check| check.chain += 1,
        |check| check.link += 1,
    ];
    for change in changes {
        let mut node = node();
        node.apply(&entry(2, vec![puts(b"k")]));
        let mut leader = node.replica().checkpoint(2).unwrap().check(2);
        change(&mut leader);
        let stopped = node.replica().apply(check(3, leader));
        assert!(matches!(stopped, Err(ReplicaError::Diverged { index: 2, .. })), "{stopped:?}");
    }
}

#[test]
fn a_fence_lets_a_commit_pass_only_under_its_own_term() {
    let term = |term, replica| Some(Term { term, replica });
    for (fence, is_applied) in [
        (None, true),
        (term(1, 1), true),
        (term(1, 2), false),
        (term(0, 1), false),
        (term(2, 1), false),
        (term(0, 0), false),
    ] {
        let mut node = node();
        // The guard of a fenced batch is not looked at.
        let batches = vec![guarded(absent(b"k"), b"k"), guarded(Guard::LogEndsAt { position: 9 }, b"x")];
        let content = EntryContent::Commits(vec![fenced(fence, batches), fenced(None, vec![puts(b"free")])]);
        let found = outcomes(node.apply(&Entry { id: id(2), time: 0, content }));
        let committed = Ok(Committed { first_position: 0 });
        let expected = match is_applied {
            true => [committed.clone(), Err(BatchError::GuardFailed { index: 0 }), committed],
            false => [Err(BatchError::Fenced), Err(BatchError::Fenced), committed],
        };
        assert_eq!(found, expected, "{fence:?}");
        let keys = contents(&node.snapshot())[0].1.len();
        assert_eq!(keys, 1 + usize::from(is_applied));
        assert_eq!(node.replica().head().sequence, 1 + u64::from(is_applied));
    }
}

#[test]
fn time_never_goes_back() {
    let mut node = node();
    for (index, time, of_state, of_head) in
        [(2, 50, 50, 50), (3, 40, 50, 50), (4, 0, 50, 50), (5, 60, 60, 60), (6, 55, 60, 60)]
    {
        node.apply(&Entry { time, ..entry(index, vec![puts(&[7])]) });
        assert_eq!((node.replica().state().applied.time, node.replica().head().time), (of_state, of_head));
    }
    node.apply(&Entry { time: 90, ..blank(7) });
    node.apply(&Entry { time: 80, ..entry(8, vec![puts(b"k")]) });
    assert_eq!(node.replica().head().time, 90, "also that of an entry without batches counts");
    assert_eq!(node.snapshot().time(), 90);
}

#[test]
fn readers_see_whole_entries_with_what_they_are_of() {
    let mut node = node();
    let reader = node.replica().reader();
    assert_eq!(reader.snapshot().replica().unwrap().applied.id, GENESIS);
    assert_eq!(&*reader.snapshot().replica().unwrap().membership, b"members");
    let before = reader.snapshot();
    node.apply(&entry(2, vec![puts(b"k"), puts(b"l")]));
    node.apply(&Entry { content: EntryContent::Membership(b"others".to_vec()), ..blank(3) });
    let after = reader.snapshot();
    assert_eq!(before.get(OWNER, "a", b"k").unwrap(), None);
    assert_eq!(after.get(OWNER, "a", b"k").unwrap().as_deref(), Some(&b"v"[..]));
    assert_eq!((after.head().sequence, after.replica().unwrap().applied.id), (2, id(3)));
    assert_eq!(&*after.replica().unwrap().membership, b"others");
    assert!(after.log_has_begun());
}

fn members(node: &mut impl Node) -> Vec<u8> {
    node.replica().state().membership.to_vec()
}

#[test]
fn membership_is_durable_with_the_entry_that_has_it() {
    let mut node = InFiles::create(&Histories::begin());
    let change =
        |index, members: &[u8]| Entry { content: EntryContent::Membership(members.to_vec()), ..blank(index) };
    node.apply(&change(2, b"one"));
    assert_eq!(node.persist().unwrap().applied, id(2));
    node.apply(&change(3, b"two"));
    let mut random = exesdb_test_support::random();
    // No record has the second change yet.
    node.lose_power(&mut random);
    assert_eq!((members(&mut node), node.applied()), (b"one".to_vec(), 2));
    node.apply(&change(3, b"two"));
    node.apply(&entry(4, vec![puts(b"k")]));
    node.reopen(Options::default());
    assert_eq!((members(&mut node), node.applied()), (b"two".to_vec(), 4));
}

/// When a replica makes itself durable is its own business, so it is no step of the sequence, which all replicas share.
#[test]
fn making_durable_changes_nothing_that_others_see() {
    let histories = Histories::begin();
    let [mut often, mut never] = [InMemory::create(&histories), InMemory::create(&histories)];
    for index in 2..10 {
        let batches = vec![puts(b"k"), guarded(Guard::LogEndsAt { position: 9 }, b"x")];
        for node in [&mut often, &mut never] {
            node.apply(&entry(index, batches.clone()));
        }
        often.persist().unwrap();
    }
    replicas::assert_equal(&mut often, &mut never);
    assert_eq!(often.replica().unpersisted_bytes(), 0);
    assert!(never.replica().unpersisted_bytes() > 0);
    assert_eq!(often.replica().persisted().applied, id(9));
    assert_eq!(never.replica().persisted().applied, GENESIS);
}

#[test]
fn checkpoints_show_where_two_replicas_parted() {
    let [mut one, mut other] = [node(), node()];
    for index in 2..6 {
        one.apply(&entry(index, vec![puts(&[7])]));
        let guard = Guard::LogEndsAt { position: u64::from(index == 4) };
        other.apply(&entry(index, vec![guarded(guard, &[7])]));
    }
    let mut both = |index| [one.replica().checkpoint(index), other.replica().checkpoint(index)];
    for (index, expected) in
        [(1, Some(true)), (3, Some(true)), (4, Some(false)), (5, Some(false)), (6, None), (0, None)]
    {
        let [a, b] = both(index);
        assert_eq!(a.zip(b).map(|(a, b)| a == b), expected, "{index}");
    }
}

#[test]
fn what_cannot_be_read_or_written_stops_the_replica_and_decides_nothing() {
    for (operation, entry) in [
        (MemoryOperation::Read, entry(3, vec![guarded(absent(b"k"), b"l")])),
        (MemoryOperation::Read, entry(3, vec![Batch { removes: vec![0], ..Batch::default() }])),
        (MemoryOperation::Write, entry(3, vec![puts(b"l")])),
        (
            MemoryOperation::Write,
            entry(3, vec![Batch { operations: vec![put("new", b"k")], ..Batch::default() }]),
        ),
    ] {
        let mut node = node();
        let mut random = exesdb_test_support::random();
        let mut frames = std::iter::repeat_with(|| generated::frames(&mut random));
        let (log, positions) = frames.find(|(_, positions)| *positions > 0).unwrap();
        node.apply(&self::entry(2, vec![Batch { log, ..puts(b"k") }]));
        assert_eq!(node.replica().head().next_position, u64::from(positions));
        let before = (node.replica().state().applied, node.replica().head());
        node.memory.fail(operation, 0);
        match node.replica().apply(entry.clone()) {
            Err(ReplicaError::Stopped { applied, reason }) => {
                assert_eq!(applied, before.0);
                assert!(reason.contains("told to fail"), "{reason}");
            }
            other => panic!("{operation:?}: {other:?}"),
        }
        node.memory.mend();
        assert!(node.replica().stopped().is_some());
        assert!(matches!(node.replica().apply(entry.clone()), Err(ReplicaError::Stopped { .. })));
        assert!(matches!(node.persist(), Err(ReplicaError::Stopped { .. })));
        assert_eq!((node.replica().state().applied, node.replica().head()), before);
        node.reopen(Options::default());
        assert_eq!(outcomes(node.apply(&entry)).len(), 1, "opened again, it decides on the entry");
    }
}

#[test]
fn a_failed_sync_stops_the_replica_and_says_nothing_is_durable() {
    let mut node = node();
    node.apply(&entry(2, vec![puts(b"k")]));
    node.memory.fail(MemoryOperation::Sync, 0);
    assert!(matches!(node.persist(), Err(ReplicaError::Stopped { .. })));
    assert_eq!(node.replica().persisted().applied, GENESIS);
}

#[test]
fn a_malformed_batch_stops_the_replica_that_was_given_it() {
    let mut node = node();
    let stopped =
        node.replica().apply(entry(2, vec![Batch { log: b"no frame".to_vec(), ..Batch::default() }]));
    assert!(matches!(stopped, Err(ReplicaError::Stopped { .. })), "{stopped:?}");
}

#[test]
fn another_entry_than_the_one_that_was_begun_is_refused() {
    let mut node = node();
    node.apply(&entry(2, vec![puts(b"k"), puts(b"l"), puts(b"m")]));
    node.lose_all_but(2);
    assert_eq!(node.replica().state().applied.batches, 2);
    for shorter in [blank(2), entry(2, vec![puts(b"k")])] {
        let batches = if shorter == blank(2) { 0 } else { 1 };
        let refused = node.replica().apply(shorter);
        assert_eq!(refused, Err(ReplicaError::OtherEntry { entry: id(2), batches, applied: 2 }));
    }
    assert_eq!(node.apply(&entry(2, vec![puts(b"k"), puts(b"l"), puts(b"m")])), None);
    assert_eq!(node.replica().head().sequence, 3);
}

/// Two versions of this software may have other limits, and must decide the same.
#[test]
fn a_replica_applies_what_is_over_the_limits() {
    let mut node = node();
    let names = (0..=limits::OWNER_KEYSPACES_MAX).map(|number| format!("k{number}"));
    let batch = Batch { operations: names.map(|name| put(&name, b"k")).collect(), ..Batch::default() };
    let long = Batch { operations: vec![put("k0", &[7; limits::KEY_BYTES_MAX + 1])], ..Batch::default() };
    let found = outcomes(node.apply(&entry(2, vec![batch.clone(), long])));
    assert!(found.iter().all(Result::is_ok), "{found:?}");
    // Who proposes refuses it.
    let snapshot = self::node().snapshot();
    let mut new = vec![batch; 2];
    new[1].operations.truncate(limits::OWNER_KEYSPACES_MAX);
    let mut commit =
        CheckedCommit::new(Commit { owner: OWNER.into(), batches: new, ..Commit::default() }).unwrap();
    commit.refuse_too_many_keyspaces(&snapshot);
    let (proposed, refused) = commit.propose(None, vec![]);
    assert_eq!(proposed.batches.len(), 1);
    let merged = refused.merge(vec![Ok(Committed { first_position: 0 })]);
    assert!(
        matches!(merged[..], [Err(BatchError::TooLarge { actual: 33, limit: 32, .. }), Ok(_)]),
        "{merged:?}"
    );
    let too_large = Commit { owner: "No".into(), ..Commit::default() };
    assert!(matches!(CheckedCommit::new(too_large), Err(CommitError::Invalid(_))));
}

fn open(dir: &Path) -> Result<Replica, ReplicaOpenError> {
    Replica::open(dir, Options::default())
}

#[test]
fn a_store_refuses_the_folder_of_a_replica_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Replica::create(dir.path(), Options::default(), &genesis()).unwrap();
    replica.apply(entry(2, vec![puts(b"k")])).unwrap();
    replica.persist().unwrap();
    drop(replica);
    let refuses = || match Store::open(dir.path(), Options::default()) {
        Err(error @ OpenError::UnknownFormat { found: REPLICA_FORMAT_VERSION, .. }) => {
            assert!(error.to_string().contains("belongs to a cluster"), "{error}");
        }
        other => panic!("{:?}", other.err()),
    };
    refuses();
    assert!(exesdb_storage::begin_history(dir.path(), &Histories::begin(), 0).is_err());
    // Without the mark, its format tells.
    let mark = dir.path().join("durable.mark");
    let kept = std::fs::read(&mark).unwrap();
    std::fs::remove_file(&mark).unwrap();
    refuses();
    std::fs::write(&mark, kept).unwrap();
    // The refusals have changed nothing.
    let replica = open(dir.path()).unwrap();
    assert_eq!(replica.state().applied.id, id(2));
    assert!(Replica::is_in(dir.path()).unwrap());
}

#[test]
fn a_replica_refuses_other_folders_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let missing = open(dir.path()).err().unwrap();
    assert!(matches!(missing, ReplicaOpenError::Missing { .. }), "{missing}");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing was created");
    let store = Store::open(dir.path(), Options::default()).unwrap();
    drop(store);
    assert!(!Replica::is_in(dir.path()).unwrap());
    for without_mark in [false, true] {
        if without_mark {
            std::fs::remove_file(dir.path().join("durable.mark")).unwrap();
        }
        let single = open(dir.path()).err().unwrap();
        assert!(matches!(single, ReplicaOpenError::SingleNode { .. }), "{single}");
        assert!(single.to_string().contains("belongs to no cluster"), "{single}");
    }
    let created = Replica::create(dir.path(), Options::default(), &Genesis::default()).err().unwrap();
    assert!(matches!(created, ReplicaOpenError::Exists { .. }), "{created}");
    let nothing = Replica::open_in(Memory::new(), Options::default()).err().unwrap();
    assert!(matches!(nothing, ReplicaOpenError::Memory(_)), "{nothing}");
}

#[test]
fn a_replica_is_opened_once_and_not_created_twice() {
    let dir = tempfile::tempdir().unwrap();
    let replica = Replica::create(dir.path(), Options::default(), &genesis()).unwrap();
    let locked = open(dir.path()).err().unwrap();
    assert!(matches!(locked, ReplicaOpenError::Store(OpenError::Locked { .. })), "{locked}");
    let (reader, snapshot) = (replica.reader(), replica.reader().snapshot());
    drop(replica);
    // A held reader holds no lock, and reads no more.
    drop(open(dir.path()).unwrap());
    assert!(snapshot.get(OWNER, "a", b"k").is_err() && reader.snapshot().keyspaces().is_err());
    let again = Replica::create(dir.path(), Options::default(), &genesis()).err().unwrap();
    assert!(matches!(again, ReplicaOpenError::Exists { .. }), "{again}");
}

#[test]
fn what_was_durable_and_is_missing_is_refused() {
    let mut node = InFiles::create(&Histories::begin());
    node.apply(&entry(2, vec![puts(b"k")]));
    // The note of an entry that writes nothing is durable as well.
    node.apply(&blank(3));
    node.persist().unwrap();
    node.close();
    let path = replicas::journal(node.dir.path());
    let whole = std::fs::read(&path).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut refused = 0;
    for cut in [end - 1, end - 40, end - 100, 10] {
        let mut bytes = whole.clone();
        bytes[cut..].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        let error = open(node.dir.path()).err().unwrap();
        assert!(
            matches!(error, ReplicaOpenError::Store(OpenError::AcknowledgedMissing { .. })),
            "{cut} of {end}: {error}"
        );
        refused += 1;
        for entry in std::fs::read_dir(node.dir.path().join("data")).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains(".cut-") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    assert_eq!(refused, 4);
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(open(node.dir.path()).unwrap().state().applied.id, id(3));
}

#[test]
fn a_replica_that_lost_its_database_is_not_created_anew() {
    let mut node = InFiles::create(&Histories::begin());
    node.apply(&entry(2, vec![puts(b"k")]));
    node.persist().unwrap();
    node.close();
    std::fs::rename(node.dir.path().join("data"), node.dir.path().join("gone")).unwrap();
    let error = open(node.dir.path()).err().unwrap();
    assert!(matches!(error, ReplicaOpenError::Store(OpenError::AcknowledgedMissing { .. })), "{error}");
}

/// Copies a folder with all that it contains.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, copied) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            std::fs::copy(&path, copied).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// All of it is durable, so a replica that opens has all of it, or fails to read it.
#[test]
fn a_damaged_replica_is_refused_or_what_it_was() {
    let mut random = exesdb_test_support::random();
    let mut node = InFiles::create(&Histories::begin());
    for entry in generated::entries(&mut random, 2, 60) {
        node.apply(&entry);
    }
    node.persist().unwrap();
    let (digest, state) = (node.replica().digest().unwrap(), node.replica().state().clone());
    node.close();
    let (mut refused, mut unharmed) = (0, 0);
    for round in 0..exesdb_test_support::number("EXESDB_DAMAGE_ROUNDS", 60) {
        let dir = tempfile::tempdir().unwrap();
        copy(node.dir.path(), dir.path());
        let mut files = files(dir.path());
        files.retain(|path| std::fs::metadata(path).unwrap().len() > 0);
        files.sort();
        let path = &files[random.usize(..files.len())];
        let mut bytes = std::fs::read(path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        match round % 3 {
            0 => bytes.truncate(random.usize(..used.max(1))),
            1 => std::fs::remove_file(path).unwrap(),
            _ => bytes[random.usize(..used.max(1))] ^= 1 << random.u8(..8),
        }
        if round % 3 != 1 {
            std::fs::write(path, bytes).unwrap();
        }
        match Replica::open(dir.path(), Options::default()) {
            Err(_) => refused += 1,
            Ok(replica) => {
                assert_eq!(replica.state(), &state, "{}", path.display());
                if let Ok(found) = replica.digest() {
                    assert_eq!(found, digest, "{}", path.display());
                }
                unharmed += 1;
            }
        }
    }
    assert!(refused > 0 && unharmed > 0, "{refused} {unharmed}");
}
