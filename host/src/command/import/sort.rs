//! Sorts the rows of a file of any size in bounded memory: an external merge sort with temporary files.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;

use uuid::Uuid;

/// Entries that are sorted in memory at a time. They take about 10 MiB.
const BUFFER_ENTRIES: usize = 1 << 17;
/// Entries of each run that are read at a time when the runs are merged.
const READ_ENTRIES: usize = 256;
/// Size of an entry on disk, in bytes.
const ENTRY_BYTES: usize = 72;

/// The sort key of a row: its time in nanoseconds since 1970 (0 without a time), then its number in the file.
pub(super) type RowKey = (i128, u64);

/// Where a row is in its file, and its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The digest of the row.
    pub(super) content: Uuid,
    /// The time and number of the row.
    pub(super) key: RowKey,
    /// Number of rows of the same stream before it in the file.
    pub(super) ordinal: u64,
    /// Where the row begins in the file, in bytes.
    pub(super) offset: u64,
    /// Length of the row in the file, in bytes.
    pub(super) length: u32,
    /// The line on which the row begins.
    pub(super) line: u64,
    /// Number of equal rows before it in the file.
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
        put(&self.key.0.to_be_bytes());
        put(&self.key.1.to_be_bytes());
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
            key: (i128::from_be_bytes(take(&mut rest)), u64::from_be_bytes(take(&mut rest))),
            ordinal: u64::from_be_bytes(take(&mut rest)),
            offset: u64::from_be_bytes(take(&mut rest)),
            line: u64::from_be_bytes(take(&mut rest)),
            length: u32::from_be_bytes(take(&mut rest)),
            occurrence: u32::from_be_bytes(take(&mut rest)),
        }
    }
}

/// The order of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By digest, then by number.
    Content,
    /// By time, then by number.
    Key,
}

impl By {
    fn compare(self, left: &Entry, right: &Entry) -> Ordering {
        match self {
            By::Content => left.content.cmp(&right.content).then_with(|| left.key.1.cmp(&right.key.1)),
            By::Key => left.key.cmp(&right.key),
        }
    }
}

/// Accepts entries in any order, and sorts them.
#[derive(Debug)]
pub(super) struct Sorter {
    by: By,
    buffer: Vec<Entry>,
    buffer_max: usize,
    /// Sorted runs on disk, each with the numbers of its first entry and of the one after its last.
    runs: Vec<(u64, u64)>,
    writer: Option<EntryWriter>,
}

impl Sorter {
    pub(super) fn new(by: By) -> Sorter {
        Sorter::with_buffer(by, BUFFER_ENTRIES)
    }

    fn with_buffer(by: By, buffer_max: usize) -> Sorter {
        Sorter { by, buffer: Vec::new(), buffer_max, runs: Vec::new(), writer: None }
    }

    pub(super) fn push(&mut self, entry: Entry) -> io::Result<()> {
        if self.buffer.len() == self.buffer_max {
            self.spill()?;
        }
        self.buffer.push(entry);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let by = self.by;
        self.buffer.sort_unstable_by(|left, right| by.compare(left, right));
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(EntryWriter::new()?),
        };
        let start = writer.entries;
        for entry in self.buffer.drain(..) {
            writer.push(&entry)?;
        }
        self.runs.push((start, writer.entries));
        Ok(())
    }

    /// All entries in order.
    pub(super) fn sorted(mut self) -> io::Result<Sorted> {
        let by = self.by;
        if self.writer.is_none() {
            self.buffer.sort_unstable_by(|left, right| by.compare(left, right));
            return Ok(Sorted::Memory(self.buffer.into_iter()));
        }
        self.spill()?;
        let file = self.writer.expect("the buffer was just spilled").finish()?;
        let mut runs: Vec<Run> = Vec::with_capacity(self.runs.len());
        let mut smallest = BinaryHeap::with_capacity(self.runs.len());
        for (index, (next, end)) in self.runs.into_iter().enumerate() {
            let mut run = Run { next, end, read: Vec::new() };
            if let Some(entry) = run.take(&file)? {
                smallest.push(Reverse(RunHead { by, entry, run: index }));
            }
            runs.push(run);
        }
        Ok(Sorted::Disk { file, runs, smallest, by })
    }
}

/// Entries in order.
#[derive(Debug)]
pub(super) enum Sorted {
    Memory(std::vec::IntoIter<Entry>),
    Disk { file: EntryFile, runs: Vec<Run>, smallest: BinaryHeap<Reverse<RunHead>>, by: By },
}

impl Sorted {
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        match self {
            Sorted::Memory(entries) => Ok(entries.next()),
            Sorted::Disk { file, runs, smallest, by } => {
                let Some(Reverse(RunHead { entry, run, .. })) = smallest.pop() else { return Ok(None) };
                if let Some(next) = runs[run].take(file)? {
                    smallest.push(Reverse(RunHead { by: *by, entry: next, run }));
                }
                Ok(Some(entry))
            }
        }
    }
}

/// A sorted run on disk that is being merged.
#[derive(Debug)]
pub(super) struct Run {
    next: u64,
    end: u64,
    /// Entries that were read ahead, in reverse order.
    read: Vec<Entry>,
}

impl Run {
    fn take(&mut self, file: &EntryFile) -> io::Result<Option<Entry>> {
        if self.read.is_empty() {
            let end = self.end.min(self.next + READ_ENTRIES as u64);
            self.read = file.read(self.next, end)?;
            self.read.reverse();
            self.next = end;
        }
        Ok(self.read.pop())
    }
}

/// The smallest remaining entry of a run.
#[derive(Debug)]
pub(super) struct RunHead {
    by: By,
    entry: Entry,
    run: usize,
}

impl Ord for RunHead {
    fn cmp(&self, other: &RunHead) -> Ordering {
        self.by.compare(&self.entry, &other.entry).then_with(|| self.run.cmp(&other.run))
    }
}

impl PartialOrd for RunHead {
    fn partial_cmp(&self, other: &RunHead) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for RunHead {
    fn eq(&self, other: &RunHead) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for RunHead {}

/// Writes entries to a temporary file.
#[derive(Debug)]
pub(super) struct EntryWriter {
    out: BufWriter<File>,
    entries: u64,
}

impl EntryWriter {
    pub(super) fn new() -> io::Result<EntryWriter> {
        Ok(EntryWriter { out: BufWriter::with_capacity(1 << 18, tempfile::tempfile()?), entries: 0 })
    }

    pub(super) fn push(&mut self, entry: &Entry) -> io::Result<()> {
        self.entries += 1;
        self.out.write_all(&entry.encode())
    }

    pub(super) fn finish(self) -> io::Result<EntryFile> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(EntryFile { file, entries: self.entries })
    }
}

/// A temporary file of entries.
#[derive(Debug)]
pub(super) struct EntryFile {
    file: File,
    entries: u64,
}

impl EntryFile {
    /// The entries with the numbers from `from` to `to`, exclusive.
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

    /// Finds an entry by its digest and occurrence, if the entries are sorted by these.
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
    use super::{By, Entry, EntryWriter, Sorter};
    use uuid::Uuid;

    /// Entries with few digests and times, in no order.
    fn entries(count: u64) -> Vec<Entry> {
        let entry = |row: u64| Entry {
            content: Uuid::from_u128(u128::from(row * 7 % 5)),
            key: (i128::from(row * 11 % 13) - 6, row),
            ordinal: row / 2,
            offset: row * 100,
            length: u32::MAX - row as u32,
            line: u64::MAX - row,
            occurrence: row as u32,
        };
        (0..count).map(entry).collect()
    }

    fn sorted(by: By, buffer_max: usize, entries: &[Entry]) -> Vec<Entry> {
        let mut sorter = Sorter::with_buffer(by, buffer_max);
        for entry in entries {
            sorter.push(*entry).unwrap();
        }
        let mut sorted = sorter.sorted().unwrap();
        std::iter::from_fn(|| sorted.next().unwrap()).collect()
    }

    #[test]
    fn entries_beyond_the_buffer_are_sorted_on_disk() {
        let entries = entries(1_000);
        let mut by_key = entries.clone();
        by_key.sort_by_key(|entry| entry.key);
        let mut by_content = entries.clone();
        by_content.sort_by_key(|entry| (entry.content, entry.key.1));
        for buffer_max in [1, 7, 333, 999, 1_000, 1_001] {
            assert_eq!(sorted(By::Key, buffer_max, &entries), by_key, "{buffer_max}");
            assert_eq!(sorted(By::Content, buffer_max, &entries), by_content, "{buffer_max}");
        }
        assert!(sorted(By::Key, 7, &[]).is_empty());
    }

    #[test]
    fn entries_are_found_by_digest_and_occurrence() {
        let mut entries = entries(100);
        entries.sort_by_key(|entry| (entry.content, entry.occurrence));
        let mut writer = EntryWriter::new().unwrap();
        for entry in &entries {
            writer.push(entry).unwrap();
        }
        let file = writer.finish().unwrap();
        for entry in &entries {
            assert_eq!(file.find(entry.content, entry.occurrence).unwrap(), Some(*entry));
        }
        assert_eq!(file.find(Uuid::from_u128(3), 100).unwrap(), None);
        assert_eq!(file.find(Uuid::from_u128(9), 0).unwrap(), None);
        assert_eq!(EntryWriter::new().unwrap().finish().unwrap().find(Uuid::nil(), 0).unwrap(), None);
    }
}
