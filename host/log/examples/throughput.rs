//! Entries and syncs per second of a log in a folder of this disk: 1, 16 and 64 groups, each with one append of 4 KiB that
//! waits. Before that the floor: plain writes of 4 KiB into a file of zeroes, each with its `fdatasync`.
//!
//! ```sh
//! cargo run --release -p exesdb-log --example throughput -- FOLDER
//! ```

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use exesdb_log::{FailPoint, Log, Noted, Options};

/// How long each measurement takes.
const TIME: Duration = Duration::from_secs(4);

/// Bytes of an entry.
const ENTRY: usize = 4096;

/// Entries that a group keeps.
const KEPT: u64 = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("which folder?")?;
    floor(Path::new(&folder))?;
    for groups in [1, 16, 64] {
        let path = Path::new(&folder).join(format!("log-of-{groups}"));
        let syncs = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&syncs);
        let hook = move |point| {
            if point == FailPoint::AfterSync {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let options = Options { fail_points: Some(Arc::new(hook)), ..Options::default() };
        let (log, _) = Log::open(&path, options)?;
        let (entries, begun) = (AtomicU64::new(0), Instant::now());
        syncs.store(0, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for group in 0..groups {
                let (log, entries) = (&log, &entries);
                scope.spawn(move || append(log, group, begun, entries));
            }
        });
        let (seconds, entries) = (begun.elapsed().as_secs_f64(), entries.into_inner() as f64);
        let syncs = syncs.load(Ordering::Relaxed) as f64;
        println!(
            "{groups:>3} groups: {:>6.0} entries/s, {:>5.0} syncs/s, {:.2} syncs per entry, {:.0} us per append",
            entries / seconds,
            syncs / seconds,
            syncs / entries,
            seconds * 1e6 * groups as f64 / entries,
        );
        drop(log);
        std::fs::remove_dir_all(&path)?;
    }
    Ok(())
}

/// Writes into a file that is as long as a segment.
fn floor(folder: &Path) -> std::io::Result<()> {
    let path = folder.join("floor");
    let file = File::create(&path)?;
    let length = Options::default().segment_bytes;
    file.write_all_at(&vec![0; usize::try_from(length).expect("a segment fits into memory")], 0)?;
    file.sync_all()?;
    let (mut writes, begun) = (0, Instant::now());
    while begun.elapsed() < TIME {
        file.write_all_at(&[7; ENTRY], writes * ENTRY as u64 % length)?;
        file.sync_data()?;
        writes += 1;
    }
    println!(
        "     floor: {:>6.0} writes/s, each with its sync",
        writes as f64 / begun.elapsed().as_secs_f64()
    );
    std::fs::remove_file(path)
}

fn append(log: &Log, group: u64, begun: Instant, entries: &AtomicU64) {
    let data = Bytes::from(vec![7; ENTRY]);
    let (synced, wait) = sync_channel(1);
    for index in 1.. {
        let synced = synced.clone();
        let callback = move |outcome| synced.send(outcome).unwrap_or_default();
        log.append(group, index, std::slice::from_ref(&data), callback).expect("there is room");
        wait.recv().expect("each append is called back").expect("the disk works");
        entries.fetch_add(1, Ordering::Relaxed);
        if index % KEPT == 0 {
            let through = Noted { index: index.saturating_sub(KEPT), note: Bytes::new() };
            log.purge(group, through, |_| {}).expect("a purge is taken");
        }
        if begun.elapsed() > TIME {
            break;
        }
    }
}
