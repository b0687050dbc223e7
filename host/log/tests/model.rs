//! Random operations of several groups, reopenings and losses of power, compared with maps in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use exesdb_log::disk::MemoryDisk;
use exesdb_log::{Log, LogError, Noted};
use exesdb_test_support::{Rng, number, random, time_below};
use scratch::{Contents, contents, noted, open, outcome, small};

/// Lives of a log in a case, each with its operations.
const LIVES: usize = 12;
const OPERATIONS: usize = 60;

/// Cases, unless `EXESDB_LOG_MODEL_CASES` says otherwise.
const CASES: u64 = 40;

const GROUPS: u64 = 4;

#[derive(Clone, Debug)]
enum Operation {
    Append { first: u64, entries: Vec<Bytes> },
    State(Bytes),
    Truncate(u64),
    Purge(Noted),
    Committed(Noted),
    Remove,
}

fn entries(random: &mut Rng) -> Vec<Bytes> {
    let number = 1 + random.usize(..4);
    let entry = |random: &mut Rng| {
        let len = if random.u8(..10) == 0 { 24_000 / number } else { random.usize(..4_000) };
        Bytes::from(vec![random.u8(..); len])
    };
    (0..number).map(|_| entry(random)).collect()
}

fn draw(model: &Contents, group: u64, random: &mut Rng) -> Operation {
    let of_group = model.get(&group);
    let next = of_group.and_then(|group| group.next).unwrap_or_else(|| random.u64(..3));
    let purged = of_group.and_then(|group| group.purged.as_ref()).map_or(0, |purged| purged.index);
    match random.u8(..100) {
        0..62 => Operation::Append { first: next, entries: entries(random) },
        62..70 => Operation::State(vec![random.u8(..); random.usize(..40)].into()),
        70..76 => Operation::Truncate(random.u64((purged + 1)..=next.max(purged + 1))),
        // A snapshot may be beyond the end.
        76..78 => Operation::Purge(noted(next + random.u64(..5))),
        78..92 => Operation::Purge(noted(random.u64(purged..=next.max(purged)))),
        92..99 => Operation::Committed(noted(random.u64(..=next))),
        _ => Operation::Remove,
    }
}

fn apply(model: &mut Contents, group: u64, operation: &Operation) {
    if let Operation::Remove = operation {
        model.remove(&group);
        return;
    }
    let of_group = model.entry(group).or_default();
    match operation.clone() {
        Operation::Append { first, entries } => {
            of_group.next = Some(first + entries.len() as u64);
            of_group.entries.extend((first..).zip(entries));
        }
        Operation::State(state) => of_group.state = Some(state),
        Operation::Truncate(from) => {
            of_group.entries.retain(|index, _| *index < from);
            of_group.next = of_group.next.map(|next| next.min(from));
        }
        Operation::Purge(purged) => {
            if of_group.purged.as_ref().is_some_and(|before| before.index > purged.index) {
                return;
            }
            of_group.entries.retain(|index, _| *index > purged.index);
            of_group.next = Some(of_group.next.unwrap_or(0).max(purged.index + 1));
            of_group.purged = Some(purged);
        }
        Operation::Committed(committed) => of_group.committed = Some(committed),
        Operation::Remove => {}
    }
}

fn submit(
    log: &Log,
    group: u64,
    operation: &Operation,
    callback: impl FnOnce(Result<(), LogError>) + Send + 'static,
) -> Result<(), LogError> {
    match operation.clone() {
        Operation::Append { first, entries } => log.append(group, first, &entries, callback),
        Operation::State(state) => log.set_state(group, state, callback),
        Operation::Truncate(from) => log.truncate(group, from, callback),
        Operation::Purge(purged) => log.purge(group, purged, callback),
        Operation::Committed(committed) => log.note_committed(group, committed),
        Operation::Remove => log.remove(group, callback),
    }
}

/// What happened in one life: what the log had after each accepted operation, and how many of them were certainly synced.
struct Life {
    after: Vec<Contents>,
    synced: Arc<AtomicUsize>,
    refused: usize,
    segments: u64,
}

fn live(log: &Log, begun_with: Contents, random: &mut Rng) -> Life {
    let mut life = Life { after: vec![begun_with], synced: Arc::default(), refused: 0, segments: 0 };
    for _ in 0..OPERATIONS {
        let group = random.u64(..GROUPS);
        let mut model = life.after.last().unwrap().clone();
        let operation = draw(&model, group, random);
        let (number, synced) = (life.after.len(), Arc::clone(&life.synced));
        let callback = move |outcome: Result<(), LogError>| {
            if outcome.is_ok() {
                synced.fetch_max(number, Ordering::SeqCst);
            }
        };
        match submit(log, group, &operation, callback) {
            Ok(()) => {
                apply(&mut model, group, &operation);
                life.after.push(model);
            }
            Err(LogError::Full { .. } | LogError::GroupFull { .. }) => life.refused += 1,
            Err(LogError::Poisoned { .. }) => break,
            Err(error) => panic!("{operation:?}: {error}"),
        }
        life.segments = life.segments.max(log.sizes().segments);
        match random.u8(..40) {
            0 => assert_eq!(&contents(log), life.after.last().unwrap(), "what was accepted can be read"),
            1 => {
                // Everything before is synced when this is.
                let (callback, outcome) = outcome();
                log.remove(GROUPS, callback).ok();
                outcome.recv().ok();
            }
            _ => {}
        }
    }
    life
}

#[test]
fn the_log_behaves_like_maps() {
    let mut random = random();
    let (mut cuts, mut lost, mut refused, mut segments) = (0, 0, 0, 0);
    for _ in 0..number("EXESDB_LOG_MODEL_CASES", CASES) {
        let disk = MemoryDisk::new();
        let mut model = BTreeMap::new();
        for _ in 0..LIVES {
            let (log, recovery) = open(&disk, small()).unwrap();
            assert_eq!(recovery.broken, []);
            assert_eq!(contents(&log), model);
            let is_cut = random.bool();
            if is_cut {
                disk.fail_after(random.u64(..200));
            }
            let life = live(&log, model, &mut random);
            refused += life.refused;
            segments = segments.max(life.segments);
            if !is_cut {
                drop(log);
                model = life.after.last().unwrap().clone();
                continue;
            }
            std::thread::sleep(time_below(&mut random, std::time::Duration::from_millis(2)));
            disk.cut(&mut |below| random.usize(..below));
            drop(log);
            if random.u8(..3) == 0 {
                // The power fails once more, while the log is opened.
                disk.fail_after(random.u64(..30));
                drop(open(&disk, small()));
                disk.cut(&mut |below| random.usize(..below));
            }
            let (log, recovery) = open(&disk, small()).unwrap();
            assert_eq!(recovery.broken, []);
            let found = contents(&log);
            // What is left is what there was after one of the operations, from the last one that was synced on.
            let synced = life.synced.load(Ordering::SeqCst);
            let left = (synced..life.after.len()).rev().find(|number| life.after[*number] == found);
            let Some(left) = left else {
                let earlier = life.after.iter().position(|after| *after == found);
                panic!("{synced} of {} were synced, and what is left is {earlier:?}", life.after.len());
            };
            cuts += 1;
            lost += life.after.len() - 1 - left;
            model = found;
        }
    }
    println!(
        "{cuts} losses of power lost {lost} operations that were not synced; {refused} were refused; \
         at most {segments} segments"
    );
    assert!(cuts > 0 && lost > 0);
}
