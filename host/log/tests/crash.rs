//! A process that is killed while it writes loses nothing that was called back, in any group.
//!
//! The child is this test binary, which runs only [`child`]. It appends to several groups, each from a thread of its own,
//! and prints a line for each entry that was called back, and for each vote. The parent collects these lines in a ledger,
//! kills the child, and opens the log. (A kill keeps the page cache, so this tests recovery, not the sync.)

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use exesdb_log::{FailPoint, Log, OpenError, Options};
use exesdb_test_support::{number, random, time_below};
use scratch::{noted, outcome, small};

/// Kills at a random time, unless `EXESDB_LOG_CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 20;
const GROUPS: u64 = 3;
/// Entries that a group keeps.
const KEPT: u64 = 12;
const LINE: &str = "synced";

/// The signal of an abort.
const SIGABRT: i32 = 6;

const DIR: &str = "EXESDB_LOG_CRASH_DIR";
const DIE_AT: &str = "EXESDB_LOG_CRASH_DIE_AT";

/// What was called back: for each group the last entry, and the last vote.
#[derive(Default)]
struct Ledger {
    entries: BTreeMap<u64, u64>,
    votes: BTreeMap<u64, u64>,
    lines: u64,
}

#[test]
fn a_kill_at_a_random_time_loses_nothing_that_was_called_back() {
    let mut random = random();
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::default();
    for round in 0..number("EXESDB_LOG_CRASH_ROUNDS", ROUNDS) {
        let (mut child, mut lines) = spawn(dir.path(), None);
        if round % 2 == 1 {
            // Kill the child while it appends; in other rounds anywhere, even while it creates the log.
            assert!(ledger.read_line(&mut lines), "the child syncs something before it is killed");
        }
        std::thread::sleep(time_below(&mut random, Duration::from_millis(100)));
        child.kill().unwrap();
        while ledger.read_line(&mut lines) {}
        child.wait().unwrap();
        check(dir.path(), &ledger);
    }
    println!("called back: {}", ledger.lines);
    assert!(ledger.lines > 0);
}

#[test]
fn a_death_at_a_fail_point_loses_nothing_that_was_called_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::default();
    for nth in [1, 2, 5] {
        for (index, point) in FailPoint::ALL.iter().enumerate() {
            let (mut child, mut lines) = spawn(dir.path(), Some(format!("{index} {nth}")));
            let before = ledger.lines;
            while ledger.read_line(&mut lines) {}
            assert_eq!(child.wait().unwrap().signal(), Some(SIGABRT), "it died at {point:?}");
            check(dir.path(), &ledger);
            assert!(nth < 5 || ledger.lines > before, "{point:?} {nth}");
        }
    }
}

#[test]
#[ignore = "the child of the tests above; does nothing without their environment"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let mut options = options();
    if let Ok(die_at) = std::env::var(DIE_AT) {
        let (point, nth) = die_at.split_once(' ').unwrap();
        let point = FailPoint::ALL[point.parse::<usize>().unwrap()];
        let nth: u64 = nth.parse().unwrap();
        let passed = AtomicU64::new(0);
        options.fail_points = Some(Arc::new(move |at| {
            if at == point && passed.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                std::process::abort();
            }
            Ok(())
        }));
    }
    let log = loop {
        match Log::open(&Path::new(&dir).join("log"), options.clone()) {
            Ok((log, _)) => break log,
            // Another child of the parent has the parent's files until it begins to run.
            Err(OpenError::Locked { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    std::thread::scope(|scope| {
        for group in 0..GROUPS {
            let log = &log;
            scope.spawn(move || append_forever(log, group));
        }
    });
}

fn options() -> Options {
    small()
}

fn entry(group: u64, index: u64) -> Bytes {
    let seed = group.wrapping_mul(7).wrapping_add(index);
    let numbers = (0..250 + index % 250).flat_map(|at| seed.wrapping_add(at).to_be_bytes());
    numbers.collect::<Vec<u8>>().into()
}

fn append_forever(log: &Log, group: u64) {
    loop {
        let next = log.group(group).and_then(|group| group.next).unwrap_or(1);
        let (callback, entry_synced) = outcome();
        log.append(group, next, &[entry(group, next)], callback).unwrap();
        let (callback, vote_synced) = outcome();
        log.set_state(group, next.to_be_bytes().to_vec().into(), callback).unwrap();
        log.note_committed(group, noted(next)).unwrap();
        entry_synced.recv().unwrap().unwrap();
        print("entry", group, next);
        vote_synced.recv().unwrap().unwrap();
        print("vote", group, next);
        if next.is_multiple_of(4) {
            log.purge(group, noted(next.saturating_sub(KEPT)), |_| {}).unwrap();
        }
        if next.is_multiple_of(7) {
            // The last entry is written once more.
            log.truncate(group, next, |_| {}).unwrap();
            log.append(group, next, &[entry(group, next)], |_| {}).unwrap();
        }
    }
}

fn print(what: &str, group: u64, index: u64) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{LINE} {what} {group} {index}").unwrap();
    stdout.flush().unwrap();
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

impl Ledger {
    /// Enters the next line of the child. Returns whether there was one.
    fn read_line(&mut self, lines: &mut BufReader<ChildStdout>) -> bool {
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            if !line.ends_with('\n') {
                // A line that the kill has cut short says nothing.
                return false;
            }
            // The test harness prints lines of its own, and may begin the first of ours.
            let Some((_, rest)) = line.split_once(LINE) else { continue };
            let words: Vec<&str> = rest.split_whitespace().collect();
            let [what, group, index] = words[..] else { panic!("{line}") };
            let ledger = if what == "vote" { &mut self.votes } else { &mut self.entries };
            ledger.insert(group.parse().unwrap(), index.parse().unwrap());
            self.lines += 1;
            return true;
        }
    }
}

/// Opens the log and compares it with the ledger.
fn check(dir: &Path, ledger: &Ledger) {
    let (log, recovery) = Log::open(&dir.join("log"), options()).unwrap();
    assert_eq!(recovery.broken, []);
    for group in log.groups() {
        let found = scratch::group_contents(&log, group, 10_000).unwrap();
        for (index, data) in &found.entries {
            assert_eq!(data, &entry(group, *index), "entry {index} of group {group}");
        }
        assert!(found.entries.len() as u64 <= 2 * KEPT + 8);
    }
    for (group, index) in &ledger.entries {
        // The last entry may have been truncated, to be written once more.
        let next = log.group(*group).unwrap().next.unwrap();
        assert!(
            next > *index || (index % 7 == 0 && next == *index),
            "entry {index} of group {group} is missing"
        );
    }
    for (group, vote) in &ledger.votes {
        let found = u64::from_be_bytes((*log.group(*group).unwrap().state.unwrap()).try_into().unwrap());
        assert!(found >= *vote, "vote {vote} of group {group} is missing: {found}");
    }
}
