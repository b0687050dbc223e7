//! Entries as bytes: what is read is what was written, and hostile bytes are refused with a typed error.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod generated;

use exesdb_storage::{
    Batch, BatchError, CheckedCommit, Commit, Committed, Entry, EntryCheck, EntryCommit, EntryContent,
    EntryError, Guard, LogId, Operation, Stamp, Term, limits,
};
use exesdb_test_support::random;

fn entry(content: EntryContent) -> Entry {
    Entry { id: LogId { term: 1, leader: 2, index: 3 }, time: 4, content }
}

fn of_batch(batch: Batch) -> Entry {
    entry(EntryContent::Commits(vec![EntryCommit {
        owner: "o".into(),
        batches: vec![batch],
        ..EntryCommit::default()
    }]))
}

fn put(key: &[u8], value: &[u8], key_stamps: Vec<Stamp>) -> Operation {
    Operation::Put {
        keyspace: "k".into(),
        key: key.into(),
        value: value.into(),
        key_stamps,
        value_stamps: vec![],
        chain: None,
    }
}

#[test]
fn the_bytes_of_an_entry_are_fixed() {
    let head = [&[1_u8, 0][..], &[0, 0, 0, 0, 0, 0, 0, 1], &[0, 0, 0, 0, 0, 0, 0, 2]].concat();
    let head = [&head[..], &[0, 0, 0, 0, 0, 0, 0, 3], &[0, 0, 0, 0, 0, 0, 0, 4]].concat();
    assert_eq!(entry(EntryContent::Blank).encode(), head);
    let of_kind = |kind: u8| [&[1, kind], &head[2..]].concat();
    assert_eq!(
        entry(EntryContent::Membership(b"m".to_vec())).encode(),
        [&of_kind(2)[..], b"\0\0\0\x01m"].concat()
    );
    let check = EntryCheck { index: 2, sequence: 7, next_position: 8, chain: 9, link: 10 };
    let numbers = [2_u64, 7, 8, 9, 10].map(u64::to_be_bytes).concat();
    let bytes = [&of_kind(3)[..], &numbers].concat();
    assert_eq!(entry(EntryContent::Check(check)).encode(), bytes);
    assert_eq!(Entry::decode(&bytes), Ok(entry(EntryContent::Check(check))));
    for length in 34..bytes.len() {
        assert_eq!(Entry::decode(&bytes[..length]), Err(EntryError::Truncated { what: "its check" }));
    }
    assert_eq!(Entry::decode(&[&bytes[..], b"x"].concat()), Err(EntryError::TooLong { bytes: 1 }));
    let fence = Some(Term { term: 5, replica: 6 });
    let batches = vec![Batch {
        guards: vec![Guard::LogEndsAt { position: 7 }],
        operations: vec![Operation::Delete { keyspace: "k".into(), key: b"d".to_vec() }],
        ..Batch::default()
    }];
    let commit = EntryCommit { owner: "o".into(), fence, topics: vec!["t".into()], batches };
    let expected: &[u8] = b"\0\0\0\x01\
        \0\0\0\x01o\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x06\0\0\0\x01\0\0\0\x01t\
        \0\0\0\x01\0\0\0\x01\x03\0\0\0\0\0\0\0\x07\0\0\0\x01\x01\0\0\0\x01k\0\0\0\x01d\
        \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let bytes = entry(EntryContent::Commits(vec![commit])).encode();
    assert_eq!(bytes, [&of_kind(1)[..], expected].concat());
}

#[test]
fn an_entry_is_read_as_it_was_written_and_cut_short_nowhere() {
    let mut random = random();
    for entry in generated::entries(&mut random, 1, 300) {
        let bytes = entry.encode();
        assert_eq!(Entry::decode(&bytes), Ok(entry));
        for _ in 0..20 {
            let length = random.usize(..bytes.len());
            let cut = Entry::decode(&bytes[..length]);
            assert!(matches!(cut, Err(EntryError::Truncated { .. })), "{cut:?}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(Entry::decode(&longer), Err(EntryError::TooLong { bytes: 1 }));
    }
}

#[test]
fn an_entry_can_be_put_together_of_encoded_commits_and_numbered_later() {
    for mut entry in generated::entries(&mut random(), 1, 100) {
        let EntryContent::Commits(commits) = &entry.content else { continue };
        let commits: Vec<_> = commits.iter().map(EntryCommit::encode).collect();
        let mut bytes = Entry::encode_commits(LogId::default(), entry.time, &commits);
        Entry::renumber(&mut bytes, entry.id);
        assert_eq!(bytes, entry.encode());
        entry.id = LogId { term: u64::MAX, leader: 2, index: 3 };
        Entry::renumber(&mut bytes, entry.id);
        assert_eq!(Entry::read_id(&bytes), Ok(entry.id));
        assert_eq!(bytes, entry.encode());
    }
    assert_eq!(Entry::read_id(&[1; 33]), Err(EntryError::Truncated { what: "its head" }));
    assert_eq!(Entry::read_id(&[2; 34]), Err(EntryError::UnknownVersion { found: 2 }));
}

/// One entry has one form as bytes, so what differs is refused or another entry.
#[test]
fn changed_bytes_are_refused_or_another_entry() {
    let mut random = random();
    let (mut refused, mut other) = (0, 0);
    for entry in generated::entries(&mut random, 1, 300) {
        let bytes = entry.encode();
        for _ in 0..50 {
            let mut changed = bytes.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..changed.len());
                changed[at] = if random.bool() { random.u8(..) } else { changed[at] ^ (1 << random.u8(..8)) };
            }
            match Entry::decode(&changed) {
                Err(_) => refused += 1,
                Ok(read) => {
                    assert_eq!(read.encode(), changed);
                    assert_eq!(read == entry, changed == bytes);
                    other += 1;
                }
            }
        }
    }
    assert!(refused > 0 && other > 0, "{refused} {other}");
}

#[test]
fn malformed_entries_are_refused_by_name() {
    let version = |found: u8| {
        let mut bytes = entry(EntryContent::Blank).encode();
        bytes[0] = found;
        bytes
    };
    let kind = |found: u8| {
        let mut bytes = entry(EntryContent::Blank).encode();
        bytes[1] = found;
        bytes
    };
    assert_eq!(Entry::decode(&[]), Err(EntryError::Truncated { what: "its head" }));
    assert_eq!(Entry::decode(&version(2)), Err(EntryError::UnknownVersion { found: 2 }));
    assert_eq!(Entry::decode(&kind(4)), Err(EntryError::UnknownKind { what: "a content", found: 4 }));
    let too_many = [&kind(1)[..], &[0xff; 4]].concat();
    assert_eq!(Entry::decode(&too_many), Err(EntryError::Truncated { what: "an owner" }));
    let too_long = [&kind(2)[..], &[0xff; 4]].concat();
    assert_eq!(Entry::decode(&too_long), Err(EntryError::Truncated { what: "its membership" }));

    let stamp = |at, event| vec![Stamp { at, event }];
    let owner = EntryCommit { owner: "O".into(), ..EntryCommit::default() };
    let ours = EntryCommit { owner: "storage".into(), ..EntryCommit::default() };
    let one = |operation| of_batch(Batch { operations: vec![operation], ..Batch::default() });
    let cases = [
        (entry(EntryContent::Commits(vec![owner])), "the owner name \"O\" contains 'O'"),
        (entry(EntryContent::Commits(vec![ours])), "storage is this crate's and no owner"),
        (
            entry(EntryContent::Check(EntryCheck { index: 3, ..EntryCheck::default() })),
            "it checks entry 3, which does not come before it",
        ),
        (
            entry(EntryContent::Check(EntryCheck { index: u64::MAX, ..EntryCheck::default() })),
            "it checks entry 18446744073709551615",
        ),
        (Entry { time: 1 << 63, ..entry(EntryContent::Blank) }, "its time is 9223372036854775808"),
        (
            entry(EntryContent::Membership(vec![0; limits::MEMBERSHIP_BYTES_MAX + 1])),
            "its membership has 65537 bytes",
        ),
        (one(put(b"", b"v", vec![])), "a key is empty"),
        (one(put(&[0; 65_536], b"v", vec![])), "a key in bytes is 65536"),
        (one(put(&[0; 8], b"v", stamp(0, 0))), "names event 0 of a batch of 0 events"),
        (one(put(&[0; 8], b"v", stamp(u32::MAX, 0))), "needs bytes 4294967295"),
        (one(Operation::Delete { keyspace: "a.b".into(), key: b"d".to_vec() }), "contains '.'"),
        (of_batch(Batch { log: b"no frame".to_vec(), ..Batch::default() }), "batch 0"),
        (
            of_batch(Batch {
                changes: vec![exesdb_storage::Changes {
                    keyspace: "k".into(),
                    puts: vec![1],
                    deletes: vec![],
                }],
                ..Batch::default()
            }),
            "a packed put ends too early",
        ),
    ];
    for (entry, expected) in cases {
        match Entry::decode(&entry.encode()) {
            Err(EntryError::Malformed(what)) => assert!(what.contains(expected), "{what}"),
            other => panic!("{other:?} instead of {expected}"),
        }
    }
}

/// A version of this software with other limits may have proposed it, and every replica must apply it.
#[test]
fn an_entry_over_the_limits_of_this_version_is_read() {
    let long = put(&[7; limits::KEY_BYTES_MAX + 1], &vec![7; limits::VALUE_BYTES_MAX + 1], vec![]);
    let batch = Batch {
        guards: vec![Guard::LogEndsAt { position: 0 }; limits::BATCH_GUARDS_MAX + 1],
        operations: vec![long],
        ..Batch::default()
    };
    let entry = of_batch(batch.clone());
    assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    let commit = Commit { owner: "o".into(), batches: vec![batch], ..Commit::default() };
    let (proposed, refused) = CheckedCommit::new(commit).unwrap().propose(None, vec![]);
    assert_eq!(proposed.batches, []);
    assert!(matches!(refused.merge(vec![])[..], [Err(BatchError::TooLarge { .. })]));
}

#[test]
fn outcomes_of_refused_batches_come_back_at_their_places() {
    let good = Batch { removes: vec![1], ..Batch::default() };
    let bad = Batch { operations: vec![put(b"", b"", vec![])], ..Batch::default() };
    let batches = vec![bad.clone(), good.clone(), bad.clone(), bad, good.clone()];
    let commit = Commit { owner: "o".into(), batches, ..Commit::default() };
    let fence = Some(Term { term: 1, replica: 1 });
    let (proposed, refused) = CheckedCommit::new(commit).unwrap().propose(fence, vec!["t".into()]);
    assert_eq!(
        proposed,
        EntryCommit { owner: "o".into(), fence, topics: vec!["t".into()], batches: vec![good.clone(), good] }
    );
    let committed = |first_position| Ok(Committed { first_position });
    let outcomes = refused.merge(vec![committed(1), committed(2)]);
    let is_bad = |at: usize| matches!(outcomes[at], Err(BatchError::Invalid(_)));
    assert!(outcomes.len() == 5 && is_bad(0) && is_bad(2) && is_bad(3));
    assert_eq!((&outcomes[1], &outcomes[4]), (&committed(1), &committed(2)));
}
