//! Zeroes that are written ahead of the journal's end: what stops them, and what a kill finds of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use exesdb_storage::{Batch, Commit, FailPoint, Health, Options, Store};
use scratch::{KEYSPACE, OWNER, Scratch, all, batch, incompressible, put, put_event, used};

/// Most bytes of a step.
const STEP: u64 = 1 << 20;

fn newest(dir: &Path) -> u64 {
    let number = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok();
    let entries = fs::read_dir(dir.join("data")).unwrap();
    entries.filter_map(|entry| number(entry.unwrap().path())).max().unwrap()
}

fn event(value: &[u8]) -> Batch {
    batch(vec![], vec![put_event(0, value)], 1)
}

/// Commits large groups until the engine has begun another journal.
fn fill_journal(store: &Scratch) {
    let before = newest(store.dir.path());
    for seed in 0.. {
        store.apply(batch(vec![], vec![put(b"filler", &incompressible(seed, 2_000_000))], 0)).unwrap();
        if newest(store.dir.path()) > before {
            break;
        }
    }
}

/// Commits until the engine has begun another journal, and the committer has written to it.
fn begin_journal(store: &Scratch) {
    fill_journal(store);
    for _ in 0..3 {
        store.apply(event(b"in the new journal")).unwrap();
    }
}

/// Options that count the passings of a fail point, and fail at all of them with this error.
fn failing(point: FailPoint, with: io::ErrorKind) -> (Options, Arc<AtomicU64>) {
    let passed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&passed);
    let hook = move |at| {
        if at == point {
            count.fetch_add(1, Ordering::SeqCst);
            return Err(io::Error::from(with));
        }
        Ok(())
    };
    (Options { fail_points: Some(Arc::new(hook)), ..Options::default() }, passed)
}

#[test]
fn a_failure_ends_the_zeroes_of_its_journal_and_fails_no_commit() {
    for (point, with) in [
        (FailPoint::BeforeZeroes, io::ErrorKind::StorageFull),
        (FailPoint::AfterZeroes, io::ErrorKind::Other),
    ] {
        let (options, passed) = failing(point, with);
        let store = Scratch::with(options);
        store.apply(event(b"in the first journal")).unwrap();
        assert_eq!(
            passed.load(Ordering::SeqCst),
            0,
            "nothing is written ahead in a journal that was found at open"
        );
        for journals in 1..3 {
            begin_journal(&store);
            for _ in 0..3 {
                store.apply(batch(vec![], vec![put(b"k", &incompressible(0, 1_500_000))], 0)).unwrap();
                store.apply(event(b"after what a step would have covered")).unwrap();
            }
            assert_eq!(passed.load(Ordering::SeqCst), journals, "one attempt for each journal");
        }
        assert_eq!(store.store().health(), Health::Ok);
    }
}

#[test]
fn neither_a_large_group_nor_one_without_data_is_followed_by_zeroes() {
    let (options, passed) = failing(FailPoint::BeforeZeroes, io::ErrorKind::Other);
    let store = Scratch::with(options);
    fill_journal(&store);
    for (bytes, steps) in [(128 << 10, 0), (100 << 10, 1)] {
        store.apply(batch(vec![], vec![put(b"k", &incompressible(0, bytes))], 0)).unwrap();
        // Each of these is answered after what follows the one before it: that group, then one without data.
        for _ in 0..2 {
            store.apply(Batch::default()).unwrap();
        }
        assert_eq!(passed.load(Ordering::SeqCst), steps, "after {bytes} bytes");
    }
}

#[test]
fn the_reserve_of_the_disk_is_left_alone() {
    let (mut options, passed) = failing(FailPoint::BeforeZeroes, io::ErrorKind::Other);
    let free = Arc::new(AtomicU64::new(options.reserve_bytes + STEP - 1));
    let reading = Arc::clone(&free);
    options.free_space = Some(Arc::new(move || Ok(reading.load(Ordering::SeqCst))));
    let reserve = options.reserve_bytes;
    let store = Scratch::with(options);
    begin_journal(&store);
    assert_eq!((passed.load(Ordering::SeqCst), store.store().health()), (0, Health::Ok));
    free.store(reserve + STEP, Ordering::SeqCst);
    for _ in 0..2 {
        store.apply(event(b"with room")).unwrap();
    }
    assert_eq!(passed.load(Ordering::SeqCst), 1);
}

const DIR: &str = "EXESDB_ZEROES_DIR";
const POINT: &str = "EXESDB_ZEROES_POINT";
const POINTS: [FailPoint; 2] = [FailPoint::BeforeZeroes, FailPoint::AfterZeroes];

/// The files of a store whose process died at one of the points, in the first journal that the engine began.
fn killed_at(point: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIR, dir.path())
        .env(POINT, point.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.signal().is_some(), "the child ended by itself: {status}");
    dir
}

#[test]
#[ignore = "the child of the test below; does nothing without its environment"]
fn child() {
    let (Ok(dir), Ok(point)) = (std::env::var(DIR), std::env::var(POINT)) else { return };
    let point = POINTS[point.parse::<usize>().unwrap()];
    let hook = move |at| {
        if at == point {
            std::process::abort();
        }
        Ok(())
    };
    let options = Options { fail_points: Some(Arc::new(hook)), ..Options::default() };
    let store = Store::open(Path::new(&dir), options).unwrap();
    loop {
        let filler = batch(vec![], vec![put(b"filler", &incompressible(0, 2_000_000))], 0);
        // Two groups, as no zeroes follow a large one.
        for batches in [vec![filler], vec![event(b"1"), event(b"2")]] {
            store.commit_blocking(Commit { owner: OWNER.into(), batches, ..Commit::default() }).unwrap();
        }
    }
}

#[test]
fn a_kill_around_the_zeroes_loses_nothing_and_a_torn_record_before_them_is_cut_off() {
    for point in 0..POINTS.len() {
        let dir = killed_at(point);
        let number = newest(dir.path());
        assert!(number > 0, "the first journal has no zeroes");
        let journal = dir.path().join(format!("data/{number}.jnl"));
        let bytes = fs::read(&journal).unwrap();
        let end = used(&bytes);
        assert!(end > 0 && bytes.len() == 64 << 20);
        // A record of which only the beginning reached the disk, as after a loss of power.
        let torn = [&[1, 2, 0, 0, 0][..], &[9; 8], &[2, 0, 0]].concat();
        let file = OpenOptions::new().write(true).open(&journal).unwrap();
        file.write_all_at(&torn, end as u64).unwrap();
        // This also compares what is found with what was acknowledged.
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let next = store.snapshot().next_position();
        let events = all(&store.snapshot(), KEYSPACE).len() as u64 - 1;
        assert_eq!(events, next);
        let cut = fs::read(format!("{}.cut-{end}", journal.display())).unwrap();
        assert_eq!(cut, torn[..used(&torn)], "the zeroes are not kept");
        // The journal was cut off, and is appended to.
        let batches = vec![event(b"after the kill")];
        store
            .commit_blocking(Commit { owner: OWNER.into(), batches, ..Commit::default() })
            .unwrap()
            .remove(0)
            .unwrap();
        assert_eq!(store.snapshot().next_position(), next + 1);
        let length = fs::metadata(&journal).unwrap().len();
        assert!(length > end as u64 && length < end as u64 + 4096, "{length}");
    }
}
