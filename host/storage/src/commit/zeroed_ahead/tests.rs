#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Mutex;
use std::{fs, io};

use exesdb_packed::{EventParts, push_event};
use exesdb_test_support::{Rng, random};

use super::{AHEAD_BYTES, BLOCK_BYTES, JOURNAL_BYTES, STEP_BYTES, ZEROES, check, plan, write};
use crate::batch::{Batch, Changes, Operation};
use crate::commit::Commit;
use crate::engine_files::journal;
use crate::limits::{COMMIT_BYTES_MAX, VALUE_BYTES_MAX};
use crate::options::Options;
use crate::packed_puts::push_put;
use crate::store::Store;

const STEP: u64 = STEP_BYTES as u64;

#[test]
fn a_step_begins_at_a_block_after_the_end_and_stays_in_the_file() {
    let last_block = JOURNAL_BYTES - BLOCK_BYTES;
    // The latest end of the records, the end of the zeroes, and the step.
    let cases = [
        ("an empty journal", 0, 0, Some(0..STEP)),
        ("the first record", 1, 0, Some(4096..4096 + STEP)),
        ("an end on a block", 4096, 0, Some(4096..4096 + STEP)),
        ("an end after a block", 4097, 0, Some(8192..8192 + STEP)),
        ("enough zeroes", 700, AHEAD_BYTES + 4096, None),
        ("just enough", 4096, AHEAD_BYTES + 4096, None),
        ("one byte too few", 4097, AHEAD_BYTES + 4096, Some(AHEAD_BYTES + 4096..AHEAD_BYTES + 4096 + STEP)),
        ("the end has reached them", 4096, 4096, Some(4096..4096 + STEP)),
        ("the end has passed them", 3 * STEP + 1, STEP, Some(3 * STEP + 4096..4 * STEP + 4096)),
        ("the last block", last_block, 0, Some(last_block..JOURNAL_BYTES)),
        ("within the last block", last_block + 1, 0, None),
        ("full", JOURNAL_BYTES, 0, None),
        ("zeroed to its end", last_block, JOURNAL_BYTES, None),
        ("beyond the preallocated length", JOURNAL_BYTES + 1, JOURNAL_BYTES, None),
        ("beyond every file", u64::MAX, 0, None),
    ];
    for (case, end_max, zeroed, expected) in cases {
        assert_eq!(plan(end_max, zeroed, JOURNAL_BYTES), expected, "{case}");
    }
    assert_eq!(plan(0, 0, 0), None, "an empty file");
    assert_eq!(plan(0, 0, 5000), Some(0..4096), "a part of a block is left as it is");
}

#[test]
fn only_zeroes_within_the_file_are_replaced() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(10 * BLOCK_BYTES).unwrap();
    let range = 2 * BLOCK_BYTES..4 * BLOCK_BYTES;
    check(&file, &range).unwrap();
    file.write_all_at(&ZEROES[..4096], range.start).unwrap();
    file.write_all_at(&[1], range.start - 1).unwrap();
    file.write_all_at(&[1], range.end).unwrap();
    check(&file, &range).unwrap();
    for at in [range.start, range.start + 5000, range.end - 1] {
        file.write_all_at(&[1], at).unwrap();
        let refused = check(&file, &range).unwrap_err().to_string();
        assert!(refused.contains(&format!("up to byte {}", at + 1)), "{refused}");
        file.write_all_at(&[0], at).unwrap();
    }
    let refused = check(&file, &(8 * BLOCK_BYTES..11 * BLOCK_BYTES)).unwrap_err().to_string();
    assert!(refused.contains("40960 bytes"), "{refused}");
}

/// A file that takes at most so many bytes at once, and only so many in all.
struct Narrow {
    bytes: Mutex<Vec<u8>>,
    at_once: usize,
    room: usize,
}

impl FileExt for Narrow {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        unreachable!("it is only written to")
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut own = self.bytes.lock().unwrap();
        assert_eq!(own.len() as u64, at - BLOCK_BYTES, "each write continues the one before");
        let taken = bytes.len().min(self.at_once).min(self.room - own.len());
        own.extend(&bytes[..taken]);
        if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }
}

#[test]
fn a_short_write_is_continued_and_a_full_disk_is_an_error() {
    for (room, expected) in [(8192, Ok(())), (8191, Err(io::ErrorKind::StorageFull))] {
        let file = Narrow { bytes: Mutex::default(), at_once: 1000, room };
        let outcome = write(&file, &(BLOCK_BYTES..3 * BLOCK_BYTES));
        assert_eq!(outcome.map_err(|error| error.kind()), expected);
        assert_eq!(*file.bytes.lock().unwrap(), vec![0; room]);
    }
}

/// How a batch says what it writes.
#[derive(Clone, Copy, Debug)]
enum Form {
    Operations,
    /// Packed puts, and an event in the log.
    Packed,
}

fn commit(store: &Store, form: Form, batches: usize, values: &[Vec<u8>]) {
    let batch = match form {
        Form::Operations => of_operations(values),
        Form::Packed => packed(values),
    };
    let commit = Commit { owner: "test".into(), batches: vec![batch; batches], ..Commit::default() };
    for outcome in store.commit_blocking(commit).unwrap() {
        outcome.unwrap();
    }
}

fn packed(values: &[Vec<u8>]) -> Batch {
    let mut puts = Vec::new();
    for (number, value) in values.iter().enumerate() {
        push_put(&mut puts, number.to_string().as_bytes(), value, &[], &[]);
    }
    let data = values.first().map_or(&[][..], |value| &value[..value.len().min(20_000)]);
    let event = EventParts {
        flags: 0,
        version: 0,
        created: 0,
        stream_id: "s",
        id: "i",
        event_type: "t",
        content_type: "c",
        tags: &[] as &[&str],
        data,
        metadata: b"",
    };
    let mut log = Vec::new();
    push_event(&mut log, 0, &event).unwrap();
    let changes = vec![Changes { keyspace: "all".into(), puts, deletes: vec![b"none".to_vec()] }];
    Batch { changes, log, ..Batch::default() }
}

fn of_operations(values: &[Vec<u8>]) -> Batch {
    let put = |(number, value): (usize, &Vec<u8>)| Operation::Put {
        keyspace: "all".into(),
        key: format!("{number}").into(),
        value: value.clone(),
        key_stamps: vec![],
        value_stamps: vec![],
        chain: None,
    };
    Batch { operations: values.iter().enumerate().map(put).collect(), events: 1, ..Batch::default() }
}

fn incompressible(random: &mut Rng, bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    random.fill(&mut value);
    value
}

/// Commits a group of random size, up to the largest.
fn commit_random(store: &Store, form: Form, random: &mut Rng) {
    match random.u8(..8) {
        0 => commit(store, form, 1, &vec![incompressible(random, VALUE_BYTES_MAX - 4096); 3]),
        1 => commit(store, form, 2, &vec![incompressible(random, COMMIT_BYTES_MAX / 8 - 32_768); 4]),
        2 | 3 => commit(store, form, 1, &[incompressible(random, 300_000)]),
        4 => commit(store, form, 1, &[vec![7; 200_000]]),
        _ => {
            let (batches, bytes) = (random.usize(1..50), random.usize(..3000));
            commit(store, form, batches, &[incompressible(random, bytes)]);
        }
    }
}

/// Waits until the committer has done what follows the replies of the last group. Nothing follows this one.
fn settle(store: &Store) {
    store
        .commit_blocking(Commit {
            owner: "test".into(),
            batches: vec![Batch::default()],
            ..Commit::default()
        })
        .unwrap();
}

fn newest(data: &Path) -> u64 {
    journal::list(data).unwrap().last().unwrap().0
}

#[test]
fn every_record_stays_and_the_blocks_after_it_are_allocated() {
    /// Blocks are counted while the records end below this. The bound on the end is too high by a group, which can be in
    /// the journal before, and by what compression saved.
    const COUNTED_BELOW: u64 = JOURNAL_BYTES / 2;
    let mut random = random();
    for (zeroes_ahead, form) in [(true, Form::Operations), (true, Form::Packed), (false, Form::Packed)] {
        let dir = tempfile::tempdir().unwrap();
        let (data, links) = (dir.path().join("store/data"), dir.path().join("links"));
        fs::create_dir(&links).unwrap();
        let options = Options { zeroes_ahead, ..Options::default() };
        let store = Store::open(&dir.path().join("store"), options).unwrap();
        let mut checked = 0;
        while checked < 25 {
            let before = newest(&data);
            commit_random(&store, form, &mut random);
            // Zeroes follow this one even if they do not follow that one.
            commit(&store, form, 1, &[vec![7; 100]]);
            settle(&store);
            let id = newest(&data);
            // The engine removes a full journal whenever it has begun another. A journal that is seen for the first time is
            // not full: it has what was committed in this round. So the link is made before that, and its file stays.
            let link = journal::path(&links, id);
            if !link.exists() {
                fs::hard_link(journal::path(&data, id), &link).unwrap();
            }
            if id == 0 || before != id {
                // It was found at open, or begun at a time that the committer has not seen yet.
                continue;
            }
            let journal = journal::read(&[(id, link)], 0).unwrap().remove(0);
            assert_eq!(journal.bad_tail, None);
            let last = journal.last.unwrap().head;
            assert_eq!(last, store.reader().head(), "the last record of journal {id} is missing");
            let metadata = fs::metadata(&journal.path).unwrap();
            if journal.valid_end < COUNTED_BELOW {
                let more = (metadata.blocks() * 512).saturating_sub(journal.valid_end);
                assert_eq!(more >= STEP - BLOCK_BYTES, zeroes_ahead, "{more} more bytes in journal {id}");
                checked += 1;
            }
            let length = JOURNAL_BYTES.max(journal.valid_end);
            assert_eq!(metadata.len(), length, "the length of journal {id} changed");
        }
        drop(store);
        Store::open(&dir.path().join("store"), Options::default()).unwrap();
    }
}
