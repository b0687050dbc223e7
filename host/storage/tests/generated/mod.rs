//! Generated batches and entries.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use exesdb_packed::{EventParts, push_event, push_gap};
use exesdb_storage::{
    Batch, Changes, Entry, EntryCommit, EntryContent, Guard, LogId, Operation, STAMP_BYTES, Stamp, Term,
    push_put,
};
use exesdb_test_support::Rng;

pub(crate) const OWNERS: [&str; 2] = ["orders", "streams"];
pub(crate) const KEYSPACES: [&str; 3] = ["a", "b", "c"];

fn keyspace(random: &mut Rng) -> String {
    KEYSPACES[random.usize(..KEYSPACES.len())].into()
}

/// Keys from a set so small that they collide, some of them prefixes of others.
fn key(random: &mut Rng) -> Vec<u8> {
    (0..random.usize(1..3)).map(|_| random.u8(..3)).collect()
}

fn value(random: &mut Rng) -> Vec<u8> {
    let bytes = if random.u8(..20) == 0 { random.usize(..6_000) } else { random.usize(..3) };
    (0..bytes).map(|_| random.u8(..2)).collect()
}

fn guard(random: &mut Rng, end: u64) -> Guard {
    let (keyspace, key) = (keyspace(random), key(random));
    match random.u8(..8) {
        0..3 => Guard::Absent { keyspace, key },
        3 => Guard::Equals { keyspace, key, value: value(random) },
        4..6 => Guard::RangeEmpty { keyspace, start: key, end: random.bool().then(|| self::key(random)) },
        _ => Guard::LogEndsAt { position: end.saturating_sub(random.u64(..2)) },
    }
}

/// Adds a place for a stamp to some of the bytes.
fn stamps(random: &mut Rng, bytes: &mut Vec<u8>, positions: u32) -> Vec<Stamp> {
    if positions == 0 || random.bool() {
        return vec![];
    }
    let at = u32::try_from(bytes.len()).unwrap();
    bytes.extend([0xff; STAMP_BYTES]);
    vec![Stamp { at, event: random.u32(..positions) }]
}

fn operation(random: &mut Rng, positions: u32) -> Operation {
    let (keyspace, mut key) = (keyspace(random), key(random));
    if random.u8(..4) == 0 {
        return Operation::Delete { keyspace, key };
    }
    let mut value = value(random);
    let key_stamps = stamps(random, &mut key, positions);
    let value_stamps = stamps(random, &mut value, positions);
    Operation::Put { keyspace, key, value, key_stamps, value_stamps, chain: None }
}

fn changes(random: &mut Rng, positions: u32) -> Changes {
    let mut puts = Vec::new();
    for _ in 0..random.usize(..3) {
        let (mut key, mut value) = (key(random), value(random));
        let key_stamps = stamps(random, &mut key, positions);
        let value_stamps = stamps(random, &mut value, positions);
        push_put(&mut puts, &key, &value, &key_stamps, &value_stamps);
    }
    Changes {
        keyspace: keyspace(random),
        puts,
        deletes: (0..random.usize(..2)).map(|_| key(random)).collect(),
    }
}

/// Frames of events and gaps, and the number of their positions.
pub(crate) fn frames(random: &mut Rng) -> (Vec<u8>, u32) {
    let (mut frames, mut positions) = (Vec::new(), 0);
    for _ in 0..random.usize(..4) {
        if random.u8(..5) == 0 {
            let gap = random.u32(1..4);
            push_gap(&mut frames, 0, gap.into());
            positions += gap;
            continue;
        }
        let event = EventParts {
            flags: 0,
            version: random.u64(..100),
            created: 1,
            stream_id: "s",
            id: "e",
            event_type: "t",
            content_type: "c",
            tags: &[] as &[&str],
            data: &value(random),
            metadata: b"",
        };
        push_event(&mut frames, 0, &event).unwrap();
        positions += 1;
    }
    (frames, positions)
}

/// A well-formed batch of any shape for a store whose log ends at about `end`.
pub(crate) fn batch(random: &mut Rng, end: u64) -> Batch {
    let (log, positions) = if random.bool() { frames(random) } else { Default::default() };
    // Positions without records, which a store with a log refuses.
    let events = if log.is_empty() && random.u8(..10) == 0 { 2 } else { 0 };
    let guards = if random.bool() { random.usize(..3) } else { 0 };
    let removes = if random.u8(..4) == 0 { random.usize(..3) } else { 0 };
    Batch {
        guards: (0..guards).map(|_| guard(random, end)).collect(),
        operations: (0..random.usize(..4)).map(|_| operation(random, positions + events)).collect(),
        changes: (0..random.usize(..2)).map(|_| changes(random, positions + events)).collect(),
        events,
        log,
        // Some of them are after the end of the log.
        removes: (0..removes).map(|_| random.u64(..end + 2)).collect(),
    }
}

fn commit(random: &mut Rng, end: u64, proposed: Term) -> EntryCommit {
    let fence = match random.u8(..6) {
        0 => Some(proposed),
        1 => Some(Term { term: proposed.term, replica: proposed.replica + 1 }),
        _ => None,
    };
    EntryCommit {
        owner: OWNERS[random.usize(..OWNERS.len())].into(),
        fence,
        topics: (0..random.usize(..2)).map(|_| "orders-1".to_owned()).collect(),
        batches: (0..random.usize(..4)).map(|_| batch(random, end)).collect(),
    }
}

/// The entry with this index, for a store whose log ends at about `end`.
pub(crate) fn entry(random: &mut Rng, index: u64, end: u64) -> Entry {
    let id = LogId { term: 1 + index / 20, leader: 1 + index / 20 % 3, index };
    let content = match random.u8(..12) {
        0 => EntryContent::Blank,
        1 => EntryContent::Membership((0..random.usize(..20)).map(|_| random.u8(..)).collect()),
        _ => EntryContent::Commits(
            (0..random.usize(1..4)).map(|_| commit(random, end, id.proposed_under())).collect(),
        ),
    };
    // Clocks of leaders differ, and may be behind what was applied.
    Entry { id, time: 1_000 + index * 10 - random.u64(..50), content }
}

/// Entries from `first` on.
pub(crate) fn entries(random: &mut Rng, first: u64, count: u64) -> Vec<Entry> {
    (first..first + count).map(|index| entry(random, index, index * 2)).collect()
}
