//! Opening: creation, the lock, what is found and what is refused, and the end of a log after a crash.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use bytes::Bytes;
use exesdb_log::disk::{Folder as _, MemoryDisk};
use exesdb_log::{FailPoint, Log, OpenError, Options};
use exesdb_test_support::random;
use scratch::{Held, append, contents, hold_at, open, purge, set_state, small};

#[test]
fn a_new_log_has_an_incarnation_of_its_own_and_keeps_it() {
    let (disk, other) = (MemoryDisk::new(), MemoryDisk::new());
    let (log, recovery) = open(&disk, small()).unwrap();
    assert!(recovery.is_new);
    let incarnation = log.incarnation();
    drop(log);
    let (log, recovery) = open(&disk, small()).unwrap();
    assert!(!recovery.is_new);
    assert_eq!(log.incarnation(), incarnation);
    assert_ne!(open(&other, small()).unwrap().0.incarnation(), incarnation);
}

#[test]
fn a_log_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (log, _) = Log::open(&path, small()).unwrap();
    let error = Log::open(&path, small()).map(drop).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { path } if path.ends_with("log")), "{error}");
    drop(log);
    drop(Log::open(&path, small()).unwrap());
}

#[test]
fn a_real_folder_is_found_as_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (log, _) = Log::open(&path, small()).unwrap();
    for index in 1..100 {
        append(&log, 3, index, &[vec![index as u8; 3_000].into()]);
        if index % 10 == 0 {
            purge(&log, 3, index - 5);
        }
    }
    set_state(&log, 3, b"vote");
    let before = contents(&log);
    assert!(before[&3].entries.len() > 5);
    drop(log);
    assert_eq!(contents(&Log::open(&path, small()).unwrap().0), before);
}

#[test]
fn a_folder_without_its_mark_or_its_segments_is_refused() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, small()).unwrap();
    append(&log, 1, 1, &["a".into()]);
    drop(log);
    let mark = disk.contents("log.mark").unwrap();
    let folder = disk.folder();
    folder.remove("log.mark").unwrap();
    let refused = || open(&disk, small()).map(drop).unwrap_err();
    assert!(matches!(refused(), OpenError::MarkUnusable { .. }));
    folder.create("log.mark").unwrap().write(0, &vec![0; mark.len()]).unwrap();
    assert!(matches!(refused(), OpenError::MarkUnusable { .. }));
    folder.create("log.mark").unwrap().write(0, &mark).unwrap();
    drop(open(&disk, small()).unwrap());
    folder.remove("1.seg").unwrap();
    assert!(matches!(refused(), OpenError::PromisesBroken { .. }));
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let (disk, other) = (MemoryDisk::new(), MemoryDisk::new());
    for disk in [&disk, &other] {
        append(&open(disk, small()).unwrap().0, 1, 1, &["a".into()]);
    }
    let foreign = other.contents("1.seg").unwrap();
    disk.folder().create("1.seg").unwrap().write(0, &foreign).unwrap();
    let error = open(&disk, small()).map(drop).unwrap_err();
    assert!(matches!(&error, OpenError::OtherLog { segment, .. } if segment == "1.seg"), "{error}");
}

#[test]
fn options_out_of_range_are_refused() {
    for (options, name) in [
        (Options { segment_bytes: 1024, ..small() }, "segment_bytes"),
        (Options { segment_bytes: 1 << 40, ..small() }, "segment_bytes"),
        (Options { queue_records: 0, ..small() }, "queue_records"),
        (Options { node_bytes: scratch::SEGMENT, ..small() }, "node_bytes"),
        (Options { node_bytes: scratch::SEGMENT * 65, ..small() }, "node_bytes"),
    ] {
        let error = open(&MemoryDisk::new(), options).map(drop).unwrap_err();
        assert!(matches!(error, OpenError::InvalidOption { option, .. } if option == name), "{error}");
    }
}

#[test]
fn a_creation_that_was_interrupted_is_finished() {
    let mut random = random();
    // A creation has some dozen operations.
    for operations in 0..40 {
        let disk = MemoryDisk::new();
        disk.fail_after(operations);
        let is_created = open(&disk, small()).is_ok();
        disk.cut(&mut |below| random.usize(..below));
        let (log, recovery) = open(&disk, small()).unwrap();
        assert!(!(is_created && recovery.is_new), "{operations}");
        append(&log, 1, 1, &["a".into()]);
    }
}

#[test]
fn a_torn_end_is_cut_off_and_kept() {
    let mut random = random();
    let mut kept = 0;
    for _ in 0..20 {
        let disk = MemoryDisk::new();
        // The third write is of the records below; the first two are of opening and the state.
        let (options, Held { reached, go }) = hold_at(FailPoint::AfterWrite, 3, small());
        let (log, _) = open(&disk, options).unwrap();
        set_state(&log, 1, b"vote");
        let torn = Bytes::from(vec![7; 2_000]);
        log.append(1, 1, std::slice::from_ref(&torn), |_| {}).unwrap();
        reached.recv().unwrap();
        disk.cut(&mut |below| random.usize(..below));
        drop(go);
        drop(log);
        let (log, recovery) = open(&disk, small()).unwrap();
        let group = log.group(1).unwrap();
        assert_eq!(group.state, Some("vote".into()));
        if let Some(name) = recovery.kept {
            kept += 1;
            assert_eq!(group.next, None);
            assert_eq!(disk.contents(&name).unwrap().len(), torn.len() + 21 + 16);
        }
        // By chance all of it may be there.
        let next = group.next.unwrap_or(1);
        append(&log, 1, next, &["short".into()]);
        drop(log);
        let found = contents(&open(&disk, small()).unwrap().0).remove(&1).unwrap();
        assert_eq!((found.next, &found.entries[&next][..]), (Some(next + 1), &b"short"[..]));
    }
    assert!(kept > 0);
}

#[test]
fn a_record_that_was_never_synced_does_not_follow_what_is_written_again() {
    let disk = MemoryDisk::new();
    let (options, Held { reached, go }) = hold_at(FailPoint::AfterCallbacks, 2, small());
    let (log, _) = open(&disk, options).unwrap();
    set_state(&log, 1, b"vote");
    reached.recv().unwrap();
    let entry = Bytes::from(vec![7; 2_000]);
    log.append(1, 1, std::slice::from_ref(&entry), |_| {}).unwrap();
    log.set_state(1, "a vote that was never given".into(), |_| {}).unwrap();
    // Both are written, and the sync fails.
    disk.fail_after(1);
    drop(go);
    drop(log);
    // The entry loses a block, and the vote is there.
    disk.cut(&mut |below| below - 1);
    let segment = disk.contents("1.seg").unwrap();
    let find = |wanted: &[u8]| segment.windows(wanted.len()).position(|bytes| bytes == wanted);
    assert!(find(b"never given").is_some(), "the test is about that");
    let at = find(&entry[..512]).unwrap();
    disk.folder().open("1.seg").unwrap().unwrap().write(at as u64, &[0; 512]).unwrap();
    for _ in 0..2 {
        let (log, _) = open(&disk, small()).unwrap();
        assert_eq!(log.group(1).unwrap().state, Some("vote".into()));
        let next = log.group(1).unwrap().next.unwrap_or(1);
        append(&log, 1, next, std::slice::from_ref(&entry));
    }
    assert_eq!(contents(&open(&disk, small()).unwrap().0)[&1].state, Some("vote".into()));
}

#[test]
fn few_files_with_torn_ends_are_kept() {
    let disk = MemoryDisk::new();
    drop(open(&disk, small()).unwrap());
    for at in 0..20 {
        disk.folder().create(&format!("1.seg.cut-{at}")).unwrap();
    }
    drop(open(&disk, small()).unwrap());
    let names = disk.folder().names().unwrap();
    let cut: Vec<_> = names.iter().filter(|name| name.contains(".cut-")).collect();
    assert_eq!(cut.len(), 7, "one more may follow: {cut:?}");
    assert!(names.contains(&"1.seg.cut-19".into()));
}
