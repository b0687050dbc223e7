//! A process that is killed while it commits loses nothing that it acknowledged, and leaves nothing half done.
//!
//! The child is this test binary, which runs only [`child`]. It appends from several threads, each to a stream of its
//! own, and prints a line for each acknowledged batch. The parent collects these lines in a ledger, kills the child, and
//! opens the store. (A kill keeps the page cache, so this tests atomicity and recovery, not the fsync.)

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use exesdb_storage::{Batch, Commit, FailPoint, Guard, Operation, Options, Snapshot, Store};
use exesdb_test_support::{random, time_below};
use scratch::{KEYSPACE, OWNER, all, put_event, put_in};

const ROUNDS: u32 = 10;
const WRITERS: u8 = 4;
const EVENTS: u32 = 3;
const HEADS: &str = "heads";
const LINE: &str = "acknowledged";

const DIR: &str = "EXESDB_CRASH_DIR";
const DIE_AT: &str = "EXESDB_CRASH_DIE_AT";

const POINTS: [FailPoint; 8] = [
    FailPoint::BeforeWrite,
    FailPoint::AfterWrite,
    FailPoint::BeforeSync,
    FailPoint::AfterSync,
    FailPoint::BeforePublish,
    FailPoint::AfterPublish,
    FailPoint::BeforeReply,
    FailPoint::AfterReply,
];

/// An acknowledged batch: its writer, its number among the writer's batches, its first position.
type Acknowledged = (u8, u64, u64);

#[test]
fn a_kill_at_a_random_time_loses_nothing_acknowledged() {
    let mut random = random();
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Vec::new();
    for round in 0..ROUNDS {
        let (mut child, mut lines) = spawn(dir.path(), None);
        if round % 2 == 1 {
            // Kill the child while it appends; in other rounds anywhere, even while it creates the store.
            ledger.push(
                next_acknowledged(&mut lines).expect("the child acknowledges a batch before it is killed"),
            );
        }
        std::thread::sleep(time_below(&mut random, Duration::from_millis(250)));
        child.kill().unwrap();
        ledger.extend(std::iter::from_fn(|| next_acknowledged(&mut lines)));
        child.wait().unwrap();
        check(dir.path(), &ledger);
    }
    println!("acknowledged batches: {}", ledger.len());
}

#[test]
fn a_death_at_a_fail_point_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Vec::new();
    for nth in [1, 17] {
        for (index, point) in POINTS.iter().enumerate() {
            let (mut child, mut lines) = spawn(dir.path(), Some(format!("{index} {nth}")));
            let before = ledger.len();
            ledger.extend(std::iter::from_fn(|| next_acknowledged(&mut lines)));
            child.wait().unwrap();
            check(dir.path(), &ledger);
            // After the first reply the child may die before or after it has printed the line.
            if *point != FailPoint::AfterReply || nth > 1 {
                assert_eq!(ledger.len() > before, nth > 1, "{point:?} {nth}");
            }
        }
    }
}

#[test]
#[ignore = "the child of the tests above; does nothing without their environment"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let mut options = Options::default();
    if let Ok(die_at) = std::env::var(DIE_AT) {
        let (point, nth) = die_at.split_once(' ').unwrap();
        let point = POINTS[point.parse::<usize>().unwrap()];
        let nth: u64 = nth.parse().unwrap();
        let passed = AtomicU64::new(0);
        options.fail_points = Some(Arc::new(move |at| {
            if at == point && passed.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                std::process::abort();
            }
            Ok(())
        }));
    }
    let store = Store::open(Path::new(&dir), options).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || append_forever(store, writer));
        }
    });
}

fn append_forever(store: &Store, writer: u8) {
    let mut number = head(&store.snapshot(), writer);
    loop {
        let commit =
            Commit { owner: OWNER.into(), batches: vec![append(writer, number)], ..Commit::default() };
        let first = store.commit_blocking(commit).unwrap()[0].as_ref().unwrap().first_position;
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{LINE} {writer} {number} {first}").unwrap();
        stdout.flush().unwrap();
        number += 1;
    }
}

/// Batch `number` of a writer: some events, and the writer's head, advanced from `number` to the next.
fn append(writer: u8, number: u64) -> Batch {
    let key = || vec![writer];
    let guard = match number {
        0 => Guard::Absent { keyspace: HEADS.into(), key: key() },
        _ => Guard::Equals { keyspace: HEADS.into(), key: key(), value: number.to_be_bytes().to_vec() },
    };
    let mut operations: Vec<Operation> =
        (0..EVENTS).map(|event| put_event(event, &value(writer, number, event))).collect();
    operations.push(put_in(HEADS, &[writer], &(number + 1).to_be_bytes()));
    Batch { guards: vec![guard], operations, events: EVENTS, ..Batch::default() }
}

fn value(writer: u8, number: u64, event: u32) -> Vec<u8> {
    [&[writer][..], &number.to_be_bytes(), &event.to_be_bytes()].concat()
}

/// Number of a writer's batches in the snapshot.
fn head(snapshot: &Snapshot, writer: u8) -> u64 {
    let head = snapshot.get(OWNER, HEADS, &[writer]).unwrap();
    head.map_or(0, |head| u64::from_be_bytes((*head).try_into().unwrap()))
}

fn spawn(dir: &Path, die_at: Option<String>) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(die_at) = die_at {
        command.env(DIE_AT, die_at);
    }
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// The next acknowledgement that the child printed; `None` after its end.
fn next_acknowledged(lines: &mut BufReader<ChildStdout>) -> Option<Acknowledged> {
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        if !line.ends_with('\n') {
            // A line that the kill has cut short acknowledges nothing.
            return None;
        }
        // The test harness prints lines of its own, and may begin the first of ours.
        let Some((_, numbers)) = line.split_once(LINE) else { continue };
        let numbers: Vec<u64> = numbers.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [writer, number, first] = numbers[..] else { panic!("{line}") };
        return Some((u8::try_from(writer).unwrap(), number, first));
    }
}

/// Opens the store and compares it with the ledger.
fn check(dir: &Path, ledger: &[Acknowledged]) {
    let store = Store::open(dir, Options::default()).unwrap();
    let snapshot = store.snapshot();
    let entries = all(&snapshot, KEYSPACE);
    assert_eq!(entries.len() as u64, snapshot.next_position());

    let mut batches: BTreeMap<(u8, u64), u64> = BTreeMap::new();
    let mut heads = [0; WRITERS as usize];
    for (index, chunk) in entries.chunks(EVENTS as usize).enumerate() {
        let first = index as u64 * u64::from(EVENTS);
        let writer = chunk[0].1[0];
        let number = heads[usize::from(writer)];
        for event in 0..EVENTS {
            let (key, found) = &chunk[event as usize];
            assert_eq!(key, &(first + u64::from(event)).to_be_bytes(), "positions are dense");
            assert_eq!(
                found,
                &value(writer, number, event),
                "batches are whole, and those of a writer in order"
            );
        }
        heads[usize::from(writer)] += 1;
        batches.insert((writer, number), first);
    }
    for writer in 0..WRITERS {
        assert_eq!(head(&snapshot, writer), heads[usize::from(writer)]);
    }
    for (writer, number, first) in ledger {
        assert_eq!(batches.get(&(*writer, *number)), Some(first), "an acknowledged batch is missing");
    }
}
