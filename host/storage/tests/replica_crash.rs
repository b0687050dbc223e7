//! A replica whose process is killed while it applies has what it said was durable, and ends as one that was never killed.
//!
//! The child is this test binary, told to run only [`child`]. It applies entries that follow from a seed, and prints a line
//! for each time it made itself durable. The parent kills it, opens the replica, and has another child go on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod generated;
mod replicas;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use exesdb_storage::{Entry, FailPoint, Options, Replica};
use exesdb_test_support::{Rng, random, time_below};
use replicas::{GENESIS, InFiles, InMemory, Node, assert_equal, dump, genesis};

const ENTRIES: u64 = 600;
const LINE: &str = "durable";
const END: &str = "applied all";

const DIR: &str = "EXESDB_CRASH_DIR";
const SEED: &str = "EXESDB_CRASH_SEED";
const DIE_AT: &str = "EXESDB_CRASH_DIE_AT";

const POINTS: [FailPoint; 6] = [
    FailPoint::BeforeWrite,
    FailPoint::AfterWrite,
    FailPoint::BeforePublish,
    FailPoint::AfterPublish,
    FailPoint::BeforeSync,
    FailPoint::AfterSync,
];

fn entries(seed: u64) -> Vec<Entry> {
    generated::entries(&mut Rng::with_seed(seed), GENESIS.index + 1, ENTRIES)
}

/// A new replica, and one in memory that has applied everything.
fn begin(seed: u64) -> (tempfile::TempDir, InMemory) {
    let dir = tempfile::tempdir().unwrap();
    let first = Replica::create(dir.path(), Options::default(), &genesis()).unwrap();
    let dump = dump(&first.reader().snapshot());
    let memory = exesdb_storage::Memory::new();
    exesdb_storage::dump::restore_in_memory(&memory, &mut dump.as_slice()).unwrap();
    let mut reference = InMemory::of(memory, Options::default());
    for entry in entries(seed) {
        reference.apply(&entry);
    }
    (dir, reference)
}

/// Opens the replica, which must have what was durable; compares it once it has applied everything.
fn check(dir: tempfile::TempDir, durable: u64, reference: &mut InMemory) -> tempfile::TempDir {
    let mut node = InFiles::of(dir, Options::default());
    assert!(node.applied() >= durable, "{} of {durable}", node.applied());
    if node.applied() == GENESIS.index + ENTRIES {
        assert_equal(&mut node, reference);
    }
    node.close();
    node.dir
}

#[test]
fn a_kill_at_a_random_time_loses_nothing_durable() {
    let mut random = random();
    let seed = random.u64(..);
    let (mut dir, mut reference) = begin(seed);
    let mut durable = 0;
    for round in 1.. {
        let (mut child, mut lines) = spawn(dir.path(), seed, None);
        // The child applies some entries before it is killed, so the test ends.
        let first = next(&mut lines);
        durable = durable.max(first.unwrap_or(0));
        std::thread::sleep(time_below(&mut random, Duration::from_millis(30)));
        child.kill().unwrap();
        let has_ended = rest(&mut lines, &mut durable);
        child.wait().unwrap();
        dir = check(dir, durable, &mut reference);
        if has_ended || first.is_none() {
            println!("children: {round}");
            break;
        }
    }
}

#[test]
fn a_death_at_a_fail_point_loses_nothing_durable() {
    let mut random = random();
    let seed = random.u64(..);
    let (mut dir, mut reference) = begin(seed);
    let mut durable = 0;
    for nth in [1, 23] {
        for index in 0..POINTS.len() {
            let (mut child, mut lines) = spawn(dir.path(), seed, Some(format!("{index} {nth}")));
            rest(&mut lines, &mut durable);
            child.wait().unwrap();
            dir = check(dir, durable, &mut reference);
        }
    }
    let (mut child, mut lines) = spawn(dir.path(), seed, None);
    assert!(rest(&mut lines, &mut durable), "the last child is not killed");
    assert!(child.wait().unwrap().success());
    assert_eq!(durable, GENESIS.index + ENTRIES);
    check(dir, durable, &mut reference);
}

#[test]
#[ignore = "the child of the tests above; does nothing without their environment"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
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
    let mut replica = Replica::open(Path::new(&dir), options).unwrap();
    let mut stdout = std::io::stdout().lock();
    for entry in entries(seed) {
        if entry.id.index <= replica.state().applied.id.index {
            continue;
        }
        let persists = entry.id.index % 7 == 0;
        replica.apply(entry).unwrap();
        if persists {
            let durable = replica.persist().unwrap().applied.index;
            writeln!(stdout, "{LINE} {durable}").unwrap();
            stdout.flush().unwrap();
        }
    }
    let durable = replica.persist().unwrap().applied.index;
    writeln!(stdout, "{LINE} {durable}").unwrap();
    writeln!(stdout, "{END}").unwrap();
    stdout.flush().unwrap();
}

fn spawn(dir: &Path, seed: u64, die_at: Option<String>) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir).env(SEED, seed.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(die_at) = die_at {
        command.env(DIE_AT, die_at);
    }
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// The next index that the child said was durable; `None` after its end.
fn next(lines: &mut BufReader<ChildStdout>) -> Option<u64> {
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        if !line.ends_with('\n') {
            // A line that the kill has cut short says nothing.
            return None;
        }
        // The test harness prints lines of its own, and may begin the first of ours.
        if let Some((_, index)) = line.split_once(LINE) {
            return Some(index.trim().parse().unwrap());
        }
        if line.contains(END) {
            return None;
        }
    }
}

/// Reads what else the child said. Returns whether it applied everything.
fn rest(lines: &mut BufReader<ChildStdout>, durable: &mut u64) -> bool {
    let mut text = String::new();
    lines.read_to_string(&mut text).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        if let Some((_, index)) = line.split_once(LINE) {
            *durable = (*durable).max(index.trim().parse().unwrap());
        }
    }
    whole.contains(END)
}
