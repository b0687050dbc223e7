//! Batches in several forms. A form is written at once, and not made of another one.

use crate::bindings::exports::tests::crossing::batches::{
    Changes, ChangesPacked, ChangesPutsPacked, EntriesPacked, Expectation, Guard, Location, LogEntry,
    LogPacked, Packed, Put, PutsPacked, Stamp, StampedPut, Typed,
};
use crate::frame;

/// The length in a packed guard of a value that must not be there.
const ABSENT: u32 = u32::MAX;

/// What is put.
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) key_stamps: &'a [Stamp],
    pub(crate) value_stamps: &'a [Stamp],
}

/// What must hold: the key has this value, or none.
pub(crate) struct Required<'a> {
    pub(crate) keyspace: &'a str,
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

/// Packed events.
struct Frames(Vec<u8>);

/// A list of the WIT.
trait List<T> {
    fn add(&mut self, item: T);
}

impl List<Entry<'_>> for Vec<Put> {
    fn add(&mut self, entry: Entry<'_>) {
        self.push(Put { key: entry.key.to_vec(), value: entry.value.to_vec() });
    }
}

impl List<Entry<'_>> for Vec<StampedPut> {
    fn add(&mut self, entry: Entry<'_>) {
        self.push(StampedPut {
            key: entry.key.to_vec(),
            value: entry.value.to_vec(),
            key_stamps: entry.key_stamps.to_vec(),
            value_stamps: entry.value_stamps.to_vec(),
        });
    }
}

impl List<Entry<'_>> for Vec<u8> {
    fn add(&mut self, Entry { key, value, key_stamps, value_stamps }: Entry<'_>) {
        push_numbers(self, [key.len(), value.len()]);
        self.extend_from_slice(&(key_stamps.len() as u16).to_le_bytes());
        self.extend_from_slice(&(value_stamps.len() as u16).to_le_bytes());
        for stamp in key_stamps.iter().chain(value_stamps) {
            push_numbers(self, [stamp.at as usize, stamp.offset as usize]);
        }
        self.extend_from_slice(key);
        self.extend_from_slice(value);
    }
}

impl List<Required<'_>> for Vec<Guard> {
    fn add(&mut self, required: Required<'_>) {
        let (keyspace, key) = (required.keyspace.to_owned(), required.key.to_vec());
        self.push(match required.value {
            None => Guard::Absent(Location { keyspace, key }),
            Some(value) => Guard::Equals(Expectation { keyspace, key, value: value.to_vec() }),
        });
    }
}

impl List<Required<'_>> for Vec<u8> {
    fn add(&mut self, Required { keyspace, key, value }: Required<'_>) {
        push_numbers(self, [keyspace.len(), key.len(), value.map_or(ABSENT as usize, <[u8]>::len)]);
        for bytes in [keyspace.as_bytes(), key, value.unwrap_or_default()] {
            self.extend_from_slice(bytes);
        }
    }
}

impl List<Frames> for Vec<LogEntry> {
    fn add(&mut self, mut frames: Frames) {
        frame::walk(&mut frames.0, |envelope| self.push(LogEntry::Event(envelope.to_vec())));
    }
}

impl List<Frames> for Vec<u8> {
    fn add(&mut self, frames: Frames) {
        *self = frames.0;
    }
}

/// What changes in a keyspace.
pub(crate) trait Puts {
    fn of(keyspace: &str) -> Self;
    fn put(&mut self, entry: Entry<'_>);
}

macro_rules! puts_and_stamped {
    ($($changes:ident)*) => {
        $(impl Puts for $changes {
            fn of(keyspace: &str) -> Self {
                Self { keyspace: keyspace.to_owned(), puts: vec![], stamped: vec![], deletes: vec![] }
            }

            fn put(&mut self, entry: Entry<'_>) {
                match (entry.key_stamps, entry.value_stamps) {
                    ([], []) => self.puts.add(entry),
                    _ => self.stamped.add(entry),
                }
            }
        })*
    };
}

puts_and_stamped!(Changes ChangesPutsPacked);

impl Puts for ChangesPacked {
    fn of(keyspace: &str) -> Self {
        Self { keyspace: keyspace.to_owned(), puts: vec![], deletes: vec![] }
    }

    fn put(&mut self, entry: Entry<'_>) {
        self.puts.add(entry);
    }
}

/// A form of a batch.
pub(crate) trait Batch {
    type Changes: Puts;

    fn new(required: Required<'_>, changes: Vec<Self::Changes>, frames: Vec<u8>) -> Self;
}

macro_rules! batches {
    ($($batch:ident of $changes:ident)*) => {
        $(impl Batch for $batch {
            type Changes = $changes;

            fn new(required: Required<'_>, changes: Vec<$changes>, frames: Vec<u8>) -> Self {
                let mut batch = Self { guards: vec![], changes, log: vec![], removes: vec![] };
                batch.guards.add(required);
                batch.log.add(Frames(frames));
                batch
            }
        })*
    };
}

batches!(Typed of Changes LogPacked of Changes PutsPacked of ChangesPutsPacked EntriesPacked of ChangesPacked Packed of ChangesPacked);

/// All batches in one list.
pub(crate) fn flat(batches: &[Packed]) -> Vec<u8> {
    let mut out = Vec::with_capacity(batches.iter().map(|batch| 2 * batch.log.len()).sum());
    let push = |out: &mut Vec<u8>, part: &[u8]| {
        push_numbers(out, [part.len()]);
        out.extend_from_slice(part);
    };
    for batch in batches {
        push(&mut out, &batch.guards);
        push(&mut out, &batch.log);
        push_numbers(&mut out, [batch.changes.len()]);
        for changes in &batch.changes {
            push(&mut out, changes.keyspace.as_bytes());
            push(&mut out, &changes.puts);
        }
    }
    out
}

fn push_numbers<const N: usize>(out: &mut Vec<u8>, numbers: [usize; N]) {
    for number in numbers {
        out.extend_from_slice(&(number as u32).to_le_bytes());
    }
}
