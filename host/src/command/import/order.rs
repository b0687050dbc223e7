//! Puts the rows of a file of any size in order, in bounded memory: what does not fit is sorted in parts on the disk.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;

use uuid::Uuid;

/// Entries that are sorted in memory at a time: about 10 MiB.
const PART_ENTRIES: usize = 1 << 17;
/// Entries of each part that are read at a time when the parts are merged.
const READ_ENTRIES: usize = 256;
/// Bytes of an entry on the disk.
const ENTRY_BYTES: usize = 72;

/// Where a row stands in an import: its time in nanoseconds (0 without), and its number in the file.
pub(super) type Place = (i128, u64);

/// Where a row lies in its file, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The digest of what the row says.
    pub(super) content: Uuid,
    /// Its time and its number.
    pub(super) place: Place,
    /// How many rows of its stream come before it in the file.
    pub(super) ordinal: u64,
    /// Where it begins in the file, in bytes.
    pub(super) offset: u64,
    /// How many bytes it has there.
    pub(super) length: u32,
    /// On which line it begins.
    pub(super) line: u64,
    /// How many rows before it in the file say the same.
    pub(super) occurrence: u32,
}

impl Entry {
    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(self.content.as_bytes());
        put(&self.place.0.to_be_bytes());
        put(&self.place.1.to_be_bytes());
        put(&self.ordinal.to_be_bytes());
        put(&self.offset.to_be_bytes());
        put(&self.line.to_be_bytes());
        put(&self.length.to_be_bytes());
        put(&self.occurrence.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Entry {
        fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
            let (first, after) = rest.split_first_chunk::<N>().expect("the parts make an entry");
            *rest = after;
            *first
        }
        let mut rest = &bytes[..];
        Entry {
            content: Uuid::from_bytes(take(&mut rest)),
            place: (i128::from_be_bytes(take(&mut rest)), u64::from_be_bytes(take(&mut rest))),
            ordinal: u64::from_be_bytes(take(&mut rest)),
            offset: u64::from_be_bytes(take(&mut rest)),
            line: u64::from_be_bytes(take(&mut rest)),
            length: u32::from_be_bytes(take(&mut rest)),
            occurrence: u32::from_be_bytes(take(&mut rest)),
        }
    }
}

/// What entries are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// What they say, and equal ones by their number.
    Content,
    /// Their places.
    Place,
}

impl By {
    fn compare(self, left: &Entry, right: &Entry) -> Ordering {
        match self {
            By::Content => left.content.cmp(&right.content).then_with(|| left.place.1.cmp(&right.place.1)),
            By::Place => left.place.cmp(&right.place),
        }
    }
}

/// Takes entries in any order and gives them back in one.
#[derive(Debug)]
pub(super) struct Sorter {
    by: By,
    part: Vec<Entry>,
    part_max: usize,
    /// Sorted parts on the disk: entries from one number to another.
    parts: Vec<(u64, u64)>,
    disk: Option<Disk>,
}

impl Sorter {
    pub(super) fn new(by: By) -> Sorter {
        Sorter::with_part(by, PART_ENTRIES)
    }

    fn with_part(by: By, part_max: usize) -> Sorter {
        Sorter { by, part: Vec::new(), part_max, parts: Vec::new(), disk: None }
    }

    pub(super) fn push(&mut self, entry: Entry) -> io::Result<()> {
        if self.part.len() == self.part_max {
            self.spill()?;
        }
        self.part.push(entry);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let by = self.by;
        self.part.sort_unstable_by(|left, right| by.compare(left, right));
        let disk = match &mut self.disk {
            Some(disk) => disk,
            None => self.disk.insert(Disk::new()?),
        };
        let start = disk.entries;
        for entry in self.part.drain(..) {
            disk.push(&entry)?;
        }
        self.parts.push((start, disk.entries));
        Ok(())
    }

    /// All entries in order.
    pub(super) fn sorted(mut self) -> io::Result<Sorted> {
        let by = self.by;
        if self.disk.is_none() {
            self.part.sort_unstable_by(|left, right| by.compare(left, right));
            return Ok(Sorted::Memory(self.part.into_iter()));
        }
        self.spill()?;
        let disk = self.disk.expect("it was just written to").finish()?;
        let mut runs: Vec<Run> = Vec::with_capacity(self.parts.len());
        let mut heads = BinaryHeap::with_capacity(self.parts.len());
        for (index, (next, end)) in self.parts.into_iter().enumerate() {
            let mut run = Run { next, end, read: Vec::new() };
            if let Some(entry) = run.take(&disk)? {
                heads.push(Reverse(Head { by, entry, run: index }));
            }
            runs.push(run);
        }
        Ok(Sorted::Disk { disk, runs, heads, by })
    }
}

/// Entries in order.
#[derive(Debug)]
pub(super) enum Sorted {
    Memory(std::vec::IntoIter<Entry>),
    Disk { disk: Entries, runs: Vec<Run>, heads: BinaryHeap<Reverse<Head>>, by: By },
}

impl Sorted {
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        match self {
            Sorted::Memory(entries) => Ok(entries.next()),
            Sorted::Disk { disk, runs, heads, by } => {
                let Some(Reverse(Head { entry, run, .. })) = heads.pop() else { return Ok(None) };
                if let Some(next) = runs[run].take(disk)? {
                    heads.push(Reverse(Head { by: *by, entry: next, run }));
                }
                Ok(Some(entry))
            }
        }
    }
}

/// A sorted part on the disk.
#[derive(Debug)]
pub(super) struct Run {
    next: u64,
    end: u64,
    /// What was read ahead, the next one last.
    read: Vec<Entry>,
}

impl Run {
    fn take(&mut self, disk: &Entries) -> io::Result<Option<Entry>> {
        if self.read.is_empty() {
            let end = self.end.min(self.next + READ_ENTRIES as u64);
            self.read = disk.read(self.next, end)?;
            self.read.reverse();
            self.next = end;
        }
        Ok(self.read.pop())
    }
}

/// The first entry that is left of a part.
#[derive(Debug)]
pub(super) struct Head {
    by: By,
    entry: Entry,
    run: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        self.by.compare(&self.entry, &other.entry).then_with(|| self.run.cmp(&other.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// Entries that are being written to a file of no name.
#[derive(Debug)]
pub(super) struct Disk {
    out: BufWriter<File>,
    entries: u64,
}

impl Disk {
    pub(super) fn new() -> io::Result<Disk> {
        Ok(Disk { out: BufWriter::with_capacity(1 << 18, tempfile::tempfile()?), entries: 0 })
    }

    pub(super) fn push(&mut self, entry: &Entry) -> io::Result<()> {
        self.entries += 1;
        self.out.write_all(&entry.encode())
    }

    pub(super) fn finish(self) -> io::Result<Entries> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Entries { file, entries: self.entries })
    }
}

/// Entries in a file.
#[derive(Debug)]
pub(super) struct Entries {
    file: File,
    entries: u64,
}

impl Entries {
    /// The entries from one number to another, which are few.
    fn read(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        let count = usize::try_from(to - from).expect("few entries are read at a time");
        let mut bytes = vec![0; count * ENTRY_BYTES];
        self.file.read_exact_at(&mut bytes, from * ENTRY_BYTES as u64)?;
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        Ok(entries.iter().map(Entry::decode).collect())
    }

    fn get(&self, number: u64) -> io::Result<Entry> {
        let mut bytes = [0; ENTRY_BYTES];
        self.file.read_exact_at(&mut bytes, number * ENTRY_BYTES as u64)?;
        Ok(Entry::decode(&bytes))
    }

    /// Of entries that are sorted by their content, the one that says this and is the so many-th to do so.
    pub(super) fn find(&self, content: Uuid, occurrence: u32) -> io::Result<Option<Entry>> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.get(middle)?;
            if (entry.content, entry.occurrence) < (content, occurrence) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == self.entries {
            return Ok(None);
        }
        Ok(Some(self.get(low)?).filter(|entry| (entry.content, entry.occurrence) == (content, occurrence)))
    }
}

#[cfg(test)]
mod tests {
    use super::{By, Disk, Entry, Sorter};
    use uuid::Uuid;

    /// Entries of few contents and times, in no order.
    fn entries(count: u64) -> Vec<Entry> {
        let entry = |row: u64| Entry {
            content: Uuid::from_u128(u128::from(row * 7 % 5)),
            place: (i128::from(row * 11 % 13) - 6, row),
            ordinal: row / 2,
            offset: row * 100,
            length: u32::MAX - row as u32,
            line: u64::MAX - row,
            occurrence: row as u32,
        };
        (0..count).map(entry).collect()
    }

    fn sorted(by: By, part_max: usize, entries: &[Entry]) -> Vec<Entry> {
        let mut sorter = Sorter::with_part(by, part_max);
        for entry in entries {
            sorter.push(*entry).unwrap();
        }
        let mut sorted = sorter.sorted().unwrap();
        std::iter::from_fn(|| sorted.next().unwrap()).collect()
    }

    #[test]
    fn what_does_not_fit_into_memory_is_sorted_all_the_same() {
        let entries = entries(1_000);
        let mut by_place = entries.clone();
        by_place.sort_by_key(|entry| entry.place);
        let mut by_content = entries.clone();
        by_content.sort_by_key(|entry| (entry.content, entry.place.1));
        for part_max in [1, 7, 333, 999, 1_000, 1_001] {
            assert_eq!(sorted(By::Place, part_max, &entries), by_place, "{part_max}");
            assert_eq!(sorted(By::Content, part_max, &entries), by_content, "{part_max}");
        }
        assert!(sorted(By::Place, 7, &[]).is_empty());
    }

    #[test]
    fn entries_are_found_by_what_they_say() {
        let mut entries = entries(100);
        entries.sort_by_key(|entry| (entry.content, entry.occurrence));
        let mut disk = Disk::new().unwrap();
        for entry in &entries {
            disk.push(entry).unwrap();
        }
        let disk = disk.finish().unwrap();
        for entry in &entries {
            assert_eq!(disk.find(entry.content, entry.occurrence).unwrap(), Some(*entry));
        }
        assert_eq!(disk.find(Uuid::from_u128(3), 100).unwrap(), None);
        assert_eq!(disk.find(Uuid::from_u128(9), 0).unwrap(), None);
        assert_eq!(Disk::new().unwrap().finish().unwrap().find(Uuid::nil(), 0).unwrap(), None);
    }
}
