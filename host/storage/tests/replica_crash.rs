//! A replica whose process is killed while it applies has what it said was durable, and ends as one that was never killed.
//!
//! The child is this test binary, which runs only [`child`]. It applies entries that follow from a seed, and prints a line
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

use exesdb_storage::{
    Batch, Entry, EntryCommit, EntryContent, FailPoint, LogId, Operation, Options, Replica,
};
use exesdb_test_support::{Rng, random, time_below};
use replicas::{GENESIS, InFiles, InMemory, Node, assert_equal, dump, genesis, journal};

const ENTRIES: u64 = 2_000;
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
    begin_with(&entries(seed))
}

fn begin_with(entries: &[Entry]) -> (tempfile::TempDir, InMemory) {
    let dir = tempfile::tempdir().unwrap();
    let first = Replica::create(dir.path(), Options::default(), &genesis()).unwrap();
    let dump = dump(&first.reader().snapshot());
    let memory = exesdb_storage::Memory::new();
    exesdb_storage::dump::restore_in_memory(&memory, &mut dump.as_slice()).unwrap();
    let mut reference = InMemory::of(memory, Options::default());
    entries.iter().for_each(|entry| drop(reference.apply(entry)));
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

/// Nothing is made durable while the engine begins journals, flushes memtables and removes the journals that it no longer
/// needs. Then power is lost.
#[test]
fn a_loss_of_power_after_many_journals_leaves_a_whole_prefix() {
    let mut random = random();
    let (dir, mut reference) = begin_with(&[]);
    let mut node = InFiles::of(dir, Options::default());
    let large = |index: u64| {
        let operations = (0..2).map(|n| Operation::Put {
            keyspace: ["a", "b"][n].into(),
            key: vec![u8::try_from(index % 50).unwrap()],
            value: incompressible(index, 1 << 20),
            key_stamps: vec![],
            value_stamps: vec![],
            chain: None,
        });
        let batch = Batch { operations: operations.collect(), ..Batch::default() };
        let commit = EntryCommit { owner: "o".into(), batches: vec![batch], ..EntryCommit::default() };
        Entry { id: LogId { index, ..GENESIS }, time: 0, content: EntryContent::Commits(vec![commit]) }
    };
    let first = journal(node.dir.path());
    let mut entries = Vec::new();
    for index in 2..100 {
        entries.push(large(index));
        node.apply(&entries[entries.len() - 1]);
    }
    // Until the engine has flushed everything that it had sealed, and begun no journal for a while.
    let mut newest = first.clone();
    let mut polls = 0;
    while first.exists() || polls < 50 {
        std::thread::sleep(Duration::from_millis(10));
        polls = if journal(node.dir.path()) == newest { polls + 1 } else { 0 };
        newest = journal(node.dir.path());
    }
    // Too little for another flush, so no table has any of it.
    node.note_synced();
    for entry in generated::entries(&mut random, 100, 20) {
        let id = LogId { index: entry.id.index, ..GENESIS };
        entries.push(Entry { id, content: unfenced(entry.content), ..entry });
        node.apply(&entries[entries.len() - 1]);
    }
    entries.iter().for_each(|entry| drop(reference.apply(entry)));
    assert_equal_digest(&mut node, &mut reference);
    assert_eq!(journal(node.dir.path()), newest, "the engine has begun no other journal meanwhile");
    for _ in 0..5 {
        node.lose_power(&mut random);
        let at = usize::try_from(node.applied() - GENESIS.index).unwrap();
        assert!(at >= 98, "{at}");
        entries[at..].iter().for_each(|entry| drop(node.apply(entry)));
        assert_equal_digest(&mut node, &mut reference);
    }
}

fn unfenced(content: EntryContent) -> EntryContent {
    let EntryContent::Commits(mut commits) = content else { return content };
    commits.iter_mut().for_each(|commit| commit.fence = None);
    EntryContent::Commits(commits)
}

fn incompressible(seed: u64, bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    Rng::with_seed(seed).fill(&mut value);
    value
}

fn assert_equal_digest(node: &mut InFiles, reference: &mut InMemory) {
    assert_eq!(node.replica().state(), reference.replica().state());
    assert_eq!(node.replica().digest().unwrap(), reference.replica().digest().unwrap());
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
