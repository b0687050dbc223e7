//! The durable mark, the check of the journals, and a clean close, one case each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use exesdb_storage::{CommitError, FailPoint, Health, LogHead, OpenError, Options, Store};
use scratch::{KEYSPACE, OWNER, all, batch, copy_folder, flip, incompressible, put, put_event};

const JOURNAL: &str = "data/0.jnl";
const MARK: &str = "durable.mark";

/// Offsets of the mark's slots, and their bytes.
const SLOTS: [u64; 2] = [0, 4096];
const SLOT_BYTES: usize = 64;

fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(dir, Options::default())
}

fn append(store: &Store) -> Result<(), CommitError> {
    let commit = exesdb_storage::Commit {
        owner: OWNER.into(),
        batches: vec![batch(vec![], vec![put_event(0, b"event")], 1)],
        ..exesdb_storage::Commit::default()
    };
    store.commit_blocking(commit).map(|mut outcomes| {
        outcomes.remove(0).unwrap();
    })
}

/// The files of a store as a killed process leaves them after some events, and the files after each event before the last.
fn killed(events: u64) -> (tempfile::TempDir, Vec<tempfile::TempDir>) {
    let live = tempfile::tempdir().unwrap();
    let store = open(live.path()).unwrap();
    let mut after = Vec::new();
    for _ in 0..events {
        append(&store).unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy_folder(live.path(), dir.path());
        after.push(dir);
    }
    (after.pop().unwrap(), after)
}

/// Offset at which the journal's records end.
fn end(path: &Path) -> u64 {
    scratch::used(&fs::read(path).unwrap()) as u64
}

#[track_caller]
fn missing(dir: &Path, sequence: u64) -> String {
    match open(dir) {
        Err(error @ OpenError::AcknowledgedMissing { acknowledged: LogHead { sequence: found, .. }, .. }) => {
            assert_eq!(found, sequence);
            error.to_string()
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[track_caller]
fn damaged(dir: &Path) -> String {
    match open(dir) {
        Err(error @ OpenError::Damaged { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[test]
fn a_journal_without_acknowledged_batches_is_refused() {
    let (now, before) = killed(5);
    for (index, older) in before.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(now.path(), dir.path());
        // An intact journal from before the last acknowledgement.
        fs::copy(older.path().join(JOURNAL), dir.path().join(JOURNAL)).unwrap();
        let error = missing(dir.path(), 5);
        assert!(error.contains(JOURNAL) && error.contains("positions below 5"), "{error}");
        assert!(error.contains(&format!("with batch {}", index + 1)), "{error}");
        missing(dir.path(), 5);
    }
    assert_eq!(open(now.path()).unwrap().snapshot().next_position(), 5);
}

#[test]
fn a_flip_in_an_acknowledged_batch_is_refused_with_file_and_offset() {
    let (now, before) = killed(5);
    let at = end(&before[2].path().join(JOURNAL));
    flip(&now.path().join(JOURNAL), at + 40);
    let whole = fs::read(now.path().join(JOURNAL)).unwrap();
    let error = missing(now.path(), 5);
    assert!(error.contains(JOURNAL) && error.contains(&format!("byte {at}")), "{error}");
    assert!(error.contains("batch 3 is the last whole one"), "{error}");
    assert!(fs::read(now.path().join(JOURNAL)).unwrap() == whole, "nothing was changed");
}

#[test]
fn an_unacknowledged_torn_tail_is_cut_off_and_kept() {
    let (now, before) = killed(5);
    let older = before[3].path();
    // The journal has one more batch than the mark.
    fs::copy(older.join(MARK), now.path().join(MARK)).unwrap();
    let journal = now.path().join(JOURNAL);
    let (at, end) = (end(&older.join(JOURNAL)), end(&journal));
    type Damage = Box<dyn Fn(&Path)>;
    let cases: [(&str, Damage); 3] = [
        ("a checksum that the engine would refuse", Box::new(move |journal| flip(journal, end - 40))),
        (
            "half of a record",
            Box::new(move |journal| {
                OpenOptions::new().write(true).open(journal).unwrap().set_len(at + 30).unwrap();
            }),
        ),
        (
            "noise",
            Box::new(move |journal| {
                let file = OpenOptions::new().write(true).open(journal).unwrap();
                file.write_all_at(&[0xa5; 600], at).unwrap();
            }),
        ),
    ];
    for (case, damage) in cases {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(now.path(), dir.path());
        let journal = dir.path().join(JOURNAL);
        damage(&journal);
        let tail = fs::read(&journal).unwrap()[usize::try_from(at).unwrap()..].to_vec();
        let tail = &tail[..scratch::used(&tail)];
        let store = open(dir.path()).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(store.snapshot().head().sequence, 4, "{case}");
        let kept = PathBuf::from(format!("{}.cut-{at}", journal.display()));
        assert!(fs::read(kept).unwrap() == tail, "{case}");
        append(&store).unwrap();
        drop(store);
        let store = open(dir.path()).unwrap();
        assert_eq!(all(&store.snapshot(), KEYSPACE).len(), 5, "{case}");
    }
    assert_eq!(open(now.path()).unwrap().snapshot().next_position(), 5, "intact batches are kept");
}

#[test]
fn a_missing_or_damaged_mark_is_refused_and_rebuilt_on_request() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 3] = [
        ("is missing", |mark| fs::remove_file(mark).unwrap()),
        ("is damaged in both slots", |mark| {
            for slot in SLOTS {
                flip(mark, slot + 20);
            }
        }),
        ("is damaged in both slots", |mark| fs::write(mark, b"").unwrap()),
    ];
    for closed in [false, true] {
        for (expected, damage) in damages {
            let (dir, _) = killed(3);
            if closed {
                drop(open(dir.path()).unwrap());
            }
            damage(&dir.path().join(MARK));
            let error = damaged(dir.path());
            assert!(error.contains(MARK) && error.contains(expected), "{error}");
            let rebuild = Options { rebuild_mark: true, ..Options::default() };
            let store = Store::open(dir.path(), rebuild).unwrap();
            assert_eq!(store.snapshot().next_position(), 3);
            append(&store).unwrap();
            drop(store);
            assert_eq!(open(dir.path()).unwrap().snapshot().next_position(), 4);
        }
    }
}

#[test]
fn one_damaged_slot_of_the_mark_does_no_harm() {
    for slot in SLOTS {
        let (dir, _) = killed(4);
        flip(&dir.path().join(MARK), slot + 20);
        let store = open(dir.path()).unwrap();
        assert_eq!(store.snapshot().next_position(), 4);
        append(&store).unwrap();
        drop(store);
        flip(&dir.path().join(MARK), slot + 20);
        assert_eq!(open(dir.path()).unwrap().snapshot().next_position(), 5, "nor does it in a closed store");
    }
}

#[test]
fn the_mark_of_another_store_is_refused() {
    let (one, _) = killed(3);
    let other = tempfile::tempdir().unwrap();
    let store = open(other.path()).unwrap();
    for _ in 0..3 {
        let commit = exesdb_storage::Commit {
            owner: OWNER.into(),
            batches: vec![batch(vec![], vec![put(b"k", b"v")], 0)],
            ..exesdb_storage::Commit::default()
        };
        store.commit_blocking(commit).unwrap();
    }
    drop(store);
    fs::copy(one.path().join(MARK), other.path().join(MARK)).unwrap();
    // The mark says that no journal was emptied, but this one was. In the case below the heads differ.
    missing(other.path(), 3);
    let (one, _) = killed(3);
    let (two, _) = killed(2);
    let store = open(two.path()).unwrap();
    let commit = exesdb_storage::Commit {
        owner: OWNER.into(),
        batches: vec![batch(vec![], vec![put(b"k", b"v")], 0)],
        ..exesdb_storage::Commit::default()
    };
    store.commit_blocking(commit).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy_folder(two.path(), dir.path());
    fs::copy(one.path().join(MARK), dir.path().join(MARK)).unwrap();
    let error = damaged(dir.path());
    assert!(error.contains(MARK), "{error}");
}

#[test]
fn a_lost_database_is_not_created_anew() {
    let (dir, _) = killed(2);
    fs::rename(dir.path().join("data"), dir.path().join("elsewhere")).unwrap();
    let error = missing(dir.path(), 2);
    assert!(error.contains("data is missing"), "{error}");
    fs::rename(dir.path().join("elsewhere"), dir.path().join("data")).unwrap();
    assert_eq!(open(dir.path()).unwrap().snapshot().next_position(), 2);
}

#[test]
fn a_creation_interrupted_at_any_step_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    // The mark has its name, the database does not.
    fs::rename(dir.path().join("data"), dir.path().join("data.new")).unwrap();
    drop(open(dir.path()).unwrap());
    // Neither has its name.
    fs::rename(dir.path().join("data"), dir.path().join("data.new")).unwrap();
    fs::rename(dir.path().join(MARK), dir.path().join("durable.mark.new")).unwrap();
    append(&open(dir.path()).unwrap()).unwrap();
    let mark = fs::read(dir.path().join(MARK)).unwrap();
    assert!(SLOTS.iter().all(|at| mark[*at as usize..][..SLOT_BYTES].starts_with(b"exesmark")));
}

#[test]
fn a_clean_close_leaves_nothing_to_replay() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let store = open(dir.path()).unwrap();
        for _ in 0..10 {
            append(&store).unwrap();
        }
        drop(store);
        assert_eq!(fs::metadata(dir.path().join(JOURNAL)).unwrap().len(), 0);
        let store = open(dir.path()).unwrap();
        assert_eq!(store.snapshot().head().sequence, 10 * round);
        assert_eq!(all(&store.snapshot(), KEYSPACE).len() as u64, 10 * round);
    }
    // Damage to a journal that is not needed does no harm.
    let mut journal = OpenOptions::new().append(true).open(dir.path().join(JOURNAL)).unwrap();
    journal.write_all(&[0x5a; 100]).unwrap();
    drop(journal);
    assert_eq!(open(dir.path()).unwrap().snapshot().next_position(), 30);
    assert!(dir.path().join("data/0.jnl.cut-0").exists());
}

#[test]
fn a_poisoned_store_is_closed_without_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let syncs = AtomicU64::new(0);
    let hook = move |at| {
        let second = at == exesdb_storage::FailPoint::BeforeSync && syncs.fetch_add(1, Ordering::SeqCst) == 1;
        if second { Err(std::io::Error::other("the disk is on fire")) } else { Ok(()) }
    };
    let options = Options { fail_points: Some(Arc::new(hook)), ..Options::default() };
    let store = Store::open(dir.path(), options).unwrap();
    append(&store).unwrap();
    append(&store).unwrap_err();
    drop(store);
    assert!(fs::metadata(dir.path().join(JOURNAL)).unwrap().len() > 0, "nothing was flushed");
    assert!(open(dir.path()).unwrap().snapshot().next_position() >= 1);
}

#[test]
fn a_full_disk_makes_the_store_read_only_until_there_is_room() {
    let free = Arc::new(AtomicU64::new(1_000));
    let gauge = Arc::clone(&free);
    let options = Options {
        reserve_bytes: 1_000,
        free_space: Some(Arc::new(move || Ok(gauge.load(Ordering::SeqCst)))),
        ..Options::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options).unwrap();
    append(&store).unwrap();
    free.store(999, Ordering::SeqCst);
    // A reading of the free space is used for a while.
    let refusal = loop {
        if let Err(error) = append(&store) {
            break error;
        }
    };
    let CommitError::ReadOnly { reason } = refusal else { panic!("{refusal}") };
    assert!(reason.contains("999") && reason.contains("1000"), "{reason}");
    assert_eq!(store.health(), Health::ReadOnly { reason });
    let next = store.snapshot().next_position();
    assert_eq!(all(&store.snapshot(), KEYSPACE).len() as u64, next, "reads go on");
    free.store(1_000, Ordering::SeqCst);
    // The store recovers by itself, without a commit.
    while store.health() != Health::Ok {
        std::thread::yield_now();
    }
    append(&store).unwrap();
    assert_eq!(store.snapshot().next_position(), next + 1);
    drop(store);
    assert_eq!(
        open(dir.path()).unwrap().snapshot().next_position(),
        next + 1,
        "a refused commit was not written"
    );
}

#[test]
fn a_probe_fails_if_the_folder_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    Store::probe(dir.path()).unwrap();
    append(&store).unwrap();
    drop(store);
    Store::probe(&dir.path().join("nowhere")).unwrap_err();
}

#[test]
fn a_damaged_sealed_journal_is_refused() {
    let at_rest = with_a_sealed_journal();
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("it holds no record", |sealed| fs::write(sealed, b"").unwrap()),
        ("others follow it", |sealed| flip(sealed, end(sealed) / 2)),
        ("others follow it", |sealed| {
            OpenOptions::new().write(true).open(sealed).unwrap().set_len(end(sealed) - 5).unwrap();
        }),
        ("was expected", |sealed| {
            // Truncated by whole records, as the engine itself would leave it.
            let bytes = fs::read(sealed).unwrap();
            let half = bytes.len() / 2;
            let at = bytes[..half].windows(4).rposition(|window| window == b"FJL\x03").unwrap() + 4;
            OpenOptions::new().write(true).open(sealed).unwrap().set_len(at as u64).unwrap();
        }),
    ];
    for (expected, damage) in damages {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(at_rest.path(), dir.path());
        damage(&dir.path().join(JOURNAL));
        let Err(error) = open(dir.path()) else { panic!("{expected}: it was opened") };
        assert!(matches!(error, OpenError::AcknowledgedMissing { .. }), "{error}");
        assert!(error.to_string().contains(expected) && error.to_string().contains(".jnl"), "{error}");
    }
    let store = open(at_rest.path()).unwrap();
    let next = store.snapshot().next_position();
    assert_eq!(all(&store.snapshot(), KEYSPACE).len() as u64, next);
    assert_eq!(all(&store.snapshot(), "index").len() as u64, next);
}

/// A store that stopped with two journals, the first of them full, and with a keyspace that was never flushed.
fn with_a_sealed_journal() -> tempfile::TempDir {
    const VALUE_BYTES: usize = 1 << 20;
    let stop = Arc::new(AtomicU64::new(0));
    let stops = Arc::clone(&stop);
    let hook = move |_| match stops.load(Ordering::SeqCst) {
        0 => Ok(()),
        _ => Err(std::io::Error::other("enough")),
    };
    let dir = tempfile::tempdir().unwrap();
    // Room for more journals, so that no keyspace is flushed to free one.
    let options =
        Options { max_journal_bytes: 1 << 30, fail_points: Some(Arc::new(hook)), ..Options::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let mut rounds = 0u64;
    // Some more batches after the full journal.
    let mut remaining = 3;
    while remaining > 0 {
        if dir.path().join("data/1.jnl").exists() {
            remaining -= 1;
        }
        let value = incompressible(rounds, VALUE_BYTES);
        let operations = vec![put_event(0, &value), scratch::put_in("index", &rounds.to_be_bytes(), b"")];
        let commit = exesdb_storage::Commit {
            owner: OWNER.into(),
            batches: vec![batch(vec![], operations, 1)],
            ..exesdb_storage::Commit::default()
        };
        store.commit_blocking(commit).unwrap().remove(0).unwrap();
        rounds += 1;
    }
    stop.store(1, Ordering::SeqCst);
    append(&store).unwrap_err();
    drop(store);
    dir
}

/// The engine begins a journal, the process is killed before it writes to it, and again before it commits anything. In
/// between the engine brings the older journal into tables, and removes it.
#[test]
fn a_journal_that_was_begun_and_not_written_to_may_be_the_only_one_left() {
    let (dir, _) = killed(7);
    let begun = dir.path().join("data/1.jnl");
    fs::File::create(begun).unwrap().set_len(64 * 1024 * 1024).unwrap();
    let hook = |at| match at {
        FailPoint::BeforeWrite => Err(std::io::Error::other("told to fail")),
        _ => Ok(()),
    };
    let options = Options { fail_points: Some(Arc::new(hook)), ..Options::default() };
    let store = Store::open(dir.path(), options).unwrap();
    while dir.path().join(JOURNAL).exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // A poisoned store is closed without a flush, as a killed process closes it.
    append(&store).unwrap_err();
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(store.reader().head().sequence, 7);
}
