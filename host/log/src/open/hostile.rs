//! Files that nobody wrote by mistake: every link is right, and what the records say is not.

use std::sync::Arc;

use bytes::Bytes;
use exesdb_test_support::{Rng, number, random};

use crate::checkpoint::{Groups, Header, encode};
use crate::disk::{Folder as _, MemoryDisk};
use crate::group::{Group, Noted};
use crate::limits::{INDEX_MAX, SEGMENT_BYTES_MIN};
use crate::log::Log;
use crate::mark::{Mark, Place, create};
use crate::options::Options;
use crate::ranges::{Ranges, Span};
use crate::record::{Kind, Op, encode_entries, push};
use crate::segment::Name;

/// Folders, unless `EXESDB_LOG_HOSTILE_ROUNDS` says otherwise.
const ROUNDS: u64 = 3_000;
const INCARNATION: u64 = 7;

fn options() -> Options {
    let segment_bytes = SEGMENT_BYTES_MIN;
    // The first rotation finds a log that is long, and copies.
    Options { segment_bytes, node_bytes: 4 * segment_bytes, copied_bytes: 4_096, ..Options::default() }
}

/// Mostly small numbers, which collide, and sometimes the largest ones.
fn index(random: &mut Rng) -> u64 {
    match random.u8(..40) {
        0 => u64::MAX,
        1 => INDEX_MAX - random.u64(..3),
        2 => random.u64(..),
        _ => random.u64(..12),
    }
}

fn noted(random: &mut Rng) -> Noted {
    Noted { index: index(random), note: vec![1; random.usize(..10)].into() }
}

fn payload(kind: Kind, random: &mut Rng) -> Vec<u8> {
    let mut payload = match kind {
        Kind::Entries | Kind::Copied => {
            let entries: Vec<Bytes> =
                (0..1 + random.usize(..3)).map(|_| vec![2; random.usize(..900)].into()).collect();
            encode_entries(index(random), &entries)
        }
        Kind::State => vec![3; random.usize(..260)],
        Kind::Truncate => index(random).to_be_bytes().to_vec(),
        Kind::Purge => Op::Purge(noted(random)).payload().to_vec(),
        Kind::Committed => Op::Committed(noted(random)).payload().to_vec(),
        Kind::Checkpoint => encode(&header(random.u64(..5), random.u64(..)), &groups(random)),
        Kind::Remove => Vec::new(),
        Kind::Opened => vec![4; 8],
    };
    bend(&mut payload, random);
    payload
}

/// Now and then changes a byte, or the length.
fn bend(payload: &mut Vec<u8>, random: &mut Rng) {
    match random.u8(..30) {
        0 if !payload.is_empty() => {
            let at = random.usize(..payload.len());
            payload[at] = random.u8(..);
        }
        1 => payload.truncate(random.usize(..=payload.len())),
        2 => payload.push(random.u8(..)),
        _ => {}
    }
}

fn header(segment: u64, before: u64) -> Header {
    Header { incarnation: INCARNATION, segment, before }
}

fn groups(random: &mut Rng) -> Groups {
    let mut groups = Groups::new();
    for id in 0..random.u64(..6) {
        let mut entries = Ranges::default();
        let mut next = index(random);
        let purged = random.bool().then(|| Noted { index: next, note: Bytes::new() });
        next = next.saturating_add(u64::from(purged.is_some()));
        for segment in 0..random.u64(..4) {
            let last = next.saturating_add(random.u64(..5));
            entries.cover(Span { first: next, last }, segment);
            next = last.saturating_add(1);
        }
        let committed = random.bool().then(|| noted(random));
        let state = random.bool().then(|| Bytes::from_static(b"vote"));
        groups.insert(id, Group { state, purged, committed, next: Some(next), entries });
    }
    groups
}

fn segment(id: u64, random: &mut Rng) -> (Vec<u8>, Place) {
    let before = random.u64(..);
    let mut checkpoint = encode(&header(id, before), &groups(random));
    bend(&mut checkpoint, random);
    let mut bytes = Vec::new();
    let mut link = push(&mut bytes, Kind::Checkpoint, 0, &checkpoint, before);
    for _ in 0..random.usize(..25) {
        const KINDS: [Kind; 9] = [
            Kind::Entries,
            Kind::Copied,
            Kind::State,
            Kind::Truncate,
            Kind::Purge,
            Kind::Committed,
            Kind::Remove,
            Kind::Checkpoint,
            Kind::Opened,
        ];
        let kind = if random.bool() { Kind::Entries } else { KINDS[random.usize(..KINDS.len())] };
        let payload = payload(kind, random);
        link = push(&mut bytes, kind, random.u64(..5), &payload, link);
    }
    (bytes.clone(), Place { segment: id, offset: bytes.len() as u64, link })
}

/// A folder with some segments and a mark that mostly fits the last one.
fn folder(random: &mut Rng) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let folder = disk.folder();
    let mut synced = Place { segment: 1, offset: 0, link: 0 };
    for id in 1..=1 + random.u64(..3) {
        let id = if random.u8(..100) == 0 { INDEX_MAX } else { id };
        let (mut bytes, end) = segment(id, random);
        if random.u8(..3) > 0 {
            synced = end;
        }
        if random.bool() {
            bytes.resize(SEGMENT_BYTES_MIN as usize, 0);
        }
        let name = Name::Segment(id).to_string();
        folder.create(&name).and_then(|file| file.write(0, &bytes)).expect("the disk works");
    }
    if random.u8(..10) == 0 {
        synced = Place { segment: index(random), offset: index(random), link: index(random) };
    }
    if random.bool() {
        synced = Place { segment: 1, offset: 0, link: 0 };
    }
    create(&folder, Mark { turn: index(random), incarnation: INCARNATION, synced }).expect("the disk works");
    disk
}

#[test]
fn hostile_files_never_panic_the_log() {
    let mut random = random();
    let (mut opened, mut served, mut broken) = (0, 0, 0);
    for _ in 0..number("EXESDB_LOG_HOSTILE_ROUNDS", ROUNDS) {
        let disk = folder(&mut random);
        for _ in 0..2 {
            let Ok((log, recovery)) = Log::open_in(Arc::new(disk.folder()), options()) else { break };
            opened += 1;
            broken += recovery.broken.len();
            for group in log.groups() {
                let info = log.group(group).expect("it is listed");
                if let Ok(entries) = log.read(group, info.first.unwrap_or(0)..u64::MAX, 1 << 20) {
                    served += entries.len();
                }
                // Whatever the files say, the log goes on or refuses by name, and never panics.
                for _ in 0..3 {
                    let next = log.group(group).and_then(|info| info.next).unwrap_or(0);
                    log.append(group, next, &[vec![5; 20_000].into()], |_| {}).ok();
                }
                log.purge(group, Noted { index: random.u64(..9), note: Bytes::new() }, |_| {}).ok();
            }
            log.close();
            if let Some(reason) = log.poisoned() {
                assert!(!reason.contains("panic") && !reason.contains("attempt to"), "{reason}");
                assert!(reason.contains("a checkpoint has"), "{reason}");
            }
        }
    }
    println!("{opened} were opened, {served} entries served, {broken} groups broken");
    assert!(opened > 0 && served > 0 && broken > 0);
}
