//! Commits per second for groups of several sizes, compared with the floor of this disk: an append and an `fdatasync` in a
//! loop, to a file in the same folder, in the same run.
//!
//! Then, in rounds that alternate between two stores, what zeroes written ahead of the journal's end change.
//!
//! `cargo bench -p exesdb-storage` takes half a minute. `EXESDB_BENCH_SECONDS` is the time for each line,
//! `EXESDB_BENCH_ROUNDS` the number of rounds of the second part, in each of which each store gets a third of that time,
//! and `EXESDB_BENCH_DIR` the folder to measure in (by default the one for temporary files, which may be in memory).

#![allow(clippy::print_stdout, reason = "the benchmark prints a table")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use exesdb_storage::{Batch, Commit, Direction, Guard, Operation, Options, Scan, Stamp, Store};

const EVENT_BYTES: usize = 256;
const OWNER: &str = "streams";

fn main() {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|value| value.parse().ok());
    let seconds = number("EXESDB_BENCH_SECONDS").unwrap_or(1.0);
    let rounds = number("EXESDB_BENCH_ROUNDS").unwrap_or(7.0) as usize;
    let time = Duration::from_secs_f64(seconds);
    let parent = std::env::var_os("EXESDB_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(parent).expect("the folder to measure in can be written");

    let floor = floor(dir.path(), time);
    println!("{:<44} {floor:>10.0}/s", "floor: append of 256 bytes and fdatasync");
    let store = Store::open(&dir.path().join("store"), Options::default()).expect("a new store opens");
    for (batches, events) in [(1, 1), (32, 1), (100, 1), (1, 100), (8, 100)] {
        let (groups, elapsed) = commits(&store, "", batches, events, time);
        let groups = groups as f64 / elapsed.as_secs_f64();
        println!(
            "{:<44} {:>10.0}/s {:>10.0} events/s, groups at {:.2} of the floor",
            format!("groups of {batches} batches, {events} events each"),
            groups * batches as f64,
            groups * batches as f64 * f64::from(events),
            groups / floor,
        );
    }
    let (entries, elapsed) = read(&store);
    println!("{:<44} {:>10.0} events/s", "read everything", entries as f64 / elapsed.as_secs_f64());
    let started = Instant::now();
    drop(store);
    let closed = started.elapsed();
    let started = Instant::now();
    let store = Store::open(&dir.path().join("store"), Options::default()).expect("the store opens again");
    let opened = started.elapsed();
    println!("{:<44} {closed:>10.1?}, then open {opened:.1?}", format!("close with {entries} events"));
    drop(store);
    zeroes_ahead(dir.path(), rounds, time / 3);
}

/// Compares a store that writes zeroes ahead of its journal's end with one that does not.
fn zeroes_ahead(dir: &Path, rounds: usize, time: Duration) {
    let [without, with] = [false, true].map(|zeroes_ahead| {
        let dir = dir.join(format!("zeroes-{zeroes_ahead}"));
        let store =
            Store::open(&dir, Options { zeroes_ahead, ..Options::default() }).expect("a new store opens");
        fill_first_journal(&store, &dir);
        store
    });
    println!("zeroes ahead, medians of {rounds} rounds: groups/s without, with, the median ratio");
    for (batches, events) in [(1, 1), (5, 1), (16, 1), (8, 100)] {
        let mut rates = Vec::new();
        for round in 0..rounds {
            let rate = |store| {
                let (groups, elapsed) = commits(store, &format!("{round}-"), batches, events, time);
                f64::from(groups) / elapsed.as_secs_f64()
            };
            // The first one of a round is the other one in the next.
            rates.push(if round % 2 == 0 {
                let without = rate(&without);
                (without, rate(&with))
            } else {
                let with = rate(&with);
                (rate(&without), with)
            });
        }
        let median = |of: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = rates.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        println!(
            "{:<44} {:>10.0} {:>10.0} {:>10.2}",
            format!("groups of {batches} batches, {events} events each"),
            median(|(without, _)| *without),
            median(|(_, with)| *with),
            median(|(without, with)| with / without),
        );
    }
}

/// Commits until the engine has begun another journal: zeroes are not written ahead in the first one.
fn fill_first_journal(store: &Store, dir: &Path) {
    let mut number = 0_u64;
    while !dir.join("data/1.jnl").exists() {
        // Values that compression does not shorten.
        let mut word = number;
        let value = std::iter::repeat_with(|| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (word >> 33) as u8
        });
        let put = Operation::Put {
            keyspace: "all".into(),
            key: number.to_be_bytes().repeat(2),
            value: value.take(1 << 20).collect(),
            key_stamps: vec![],
            value_stamps: vec![],
            chain: None,
        };
        let batch = Batch { operations: vec![put], ..Batch::default() };
        let commit = Commit { owner: OWNER.into(), batches: vec![batch], ..Commit::default() };
        store.commit_blocking(commit).expect("the store takes commits").remove(0).expect("it has no guards");
        number += 1;
    }
}

/// Appends and fdatasyncs per second.
fn floor(dir: &Path, time: Duration) -> f64 {
    let mut file = File::create(dir.join("floor")).expect("a file can be created");
    let started = Instant::now();
    let mut count = 0u32;
    while started.elapsed() < time {
        file.write_all(&[7; EVENT_BYTES]).expect("the file can be written");
        file.sync_data().expect("the file can be synced");
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// Commits groups of `batches` as one commit each, one after the other, to new streams with this prefix. Returns their
/// number, and the time they took.
fn commits(store: &Store, prefix: &str, batches: usize, events: u32, time: Duration) -> (u32, Duration) {
    let (sender, receiver) = mpsc::channel();
    let started = Instant::now();
    let mut count = 0u32;
    while started.elapsed() < time {
        let commit = Commit {
            owner: OWNER.into(),
            batches: (0..batches)
                .map(|stream| batch(&format!("{prefix}{batches}-{events}-{stream}"), count, events))
                .collect(),
            ..Commit::default()
        };
        let sender = sender.clone();
        store
            .commit(commit, move |outcomes| {
                let all_applied = outcomes.is_ok_and(|outcomes| outcomes.iter().all(Result::is_ok));
                sender.send(all_applied).expect("the receiver lives until the end of the loop");
            })
            .expect("the queue has room for one commit");
        assert!(receiver.recv().expect("each commit gets a reply"), "a batch failed");
        count += 1;
    }
    (count, started.elapsed())
}

/// Approximately what a streams component writes for an append: a guard on the stream's version, the events, and an index
/// entry for each.
fn batch(stream: &str, round: u32, events: u32) -> Batch {
    let stream_version = |event: u32| {
        let mut key = stream.as_bytes().to_vec();
        key.extend(round.to_be_bytes());
        key.extend(event.to_be_bytes());
        key
    };
    let stamp = |event| vec![Stamp { at: 0, event }];
    let mut operations = Vec::with_capacity(2 * events as usize);
    for event in 0..events {
        operations.push(Operation::Put {
            keyspace: "all".into(),
            key: vec![0; 8],
            value: vec![7; EVENT_BYTES],
            key_stamps: stamp(event),
            value_stamps: vec![],
            chain: None,
        });
        operations.push(Operation::Put {
            keyspace: "stream".into(),
            key: stream_version(event),
            value: vec![0; 8],
            key_stamps: vec![],
            value_stamps: stamp(event),
            chain: None,
        });
    }
    let guards = vec![Guard::Absent { keyspace: "stream".into(), key: stream_version(0) }];
    Batch { guards, operations, events, ..Batch::default() }
}

/// Reads all events in pages of 1 MiB. Returns their number, and the time it took.
fn read(store: &Store) -> (usize, Duration) {
    let started = Instant::now();
    let snapshot = store.snapshot();
    let mut scan = Scan {
        keyspace: "all".into(),
        start: vec![],
        end: None,
        direction: Direction::Forward,
        limit: usize::MAX,
        max_bytes: 1 << 20,
    };
    let mut count = 0;
    loop {
        let page = snapshot.scan(OWNER, &scan).expect("the store can be read");
        count += page.entries.len();
        if let Some((key, _)) = page.entries.last() {
            scan.start = [key, &[0][..]].concat();
        }
        if !page.more {
            assert_eq!(count as u64, snapshot.next_position());
            return (count, started.elapsed());
        }
    }
}
