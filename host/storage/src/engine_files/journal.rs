//! Reading the engine's journals before the engine does.
//!
//! fjall takes the first bytes that it cannot parse for the end of a journal, and truncates the file there. That is right
//! for the unsynced tail of a crash, but silent loss in case of damage, the more so in a journal that others follow. This
//! reader changes nothing. It finds where the intact records of a file end, what lies after them, and which batches they
//! hold; [`recovery`](super::recovery) decides what that means.
//!
//! The format, as fjall 3.1.13 writes it (numbers little-endian):
//!
//! ```text
//! record   start item* end
//! start    1u8, items u32, sequence number of the engine u64
//! item     2u8, kind u8 (0 value, 1 tombstone, 2 weak tombstone), compression u8 (0 none, 1 LZ4), keyspace u64,
//!          key length u16, value length u32, stored value length u32, key, stored value
//! end      3u8, XXH3 (64 bits) of all items u64, "FJL" 3u8
//! ```
//!
//! After the last record there is nothing, or zeros: a file is created with 64 MiB of them, as a hole, and the committer
//! may write some of them ahead of the records.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::format;
use crate::head::{HEAD_BYTES_MAX, RecordedHead};

/// Bytes read from a file at once: few calls, and little memory compared with that of an open store.
const READ_BYTES: usize = 256 * 1024;

const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TRAILER: [u8; 4] = *b"FJL\x03";

/// Bytes of an item before its key: the tag and the fields.
const ITEM_BYTES: usize = 21;

/// File name extension of journals; the stem is their number.
const EXTENSION: &str = "jnl";

/// The contents of one journal file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) path: PathBuf,
    /// The number in the file's name. Numbers ascend in the order of writing.
    pub(crate) id: u64,
    /// Number of intact records.
    pub(crate) records: u64,
    /// The last head in the intact records.
    pub(crate) last: Option<RecordedHead>,
    /// Offset at which the intact records end.
    pub(crate) valid_end: u64,
    /// What follows them, unless it is nothing or zeros.
    pub(crate) bad_tail: Option<BadTail>,
    /// Numbers of the keyspaces that the intact records name.
    pub(crate) keyspaces: BTreeSet<u64>,
}

/// Bytes after the last intact record that are not padding. They begin at [`Journal::valid_end`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadTail {
    /// What is wrong with the record at their beginning.
    pub(crate) what: String,
    /// Offset after the last byte that is not zero.
    pub(crate) end: u64,
}

/// The sequence numbers of the last record, which the next one must follow.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    sequence: Option<u64>,
    engine: Option<u64>,
}

/// An intact record.
struct Record {
    engine: u64,
    head: Option<RecordedHead>,
    keyspaces: BTreeSet<u64>,
}

/// The outcome of reading a record.
enum Outcome {
    Intact(Record),
    /// The file ends here.
    End,
    /// What is wrong with the record.
    Bad(String),
}

/// Lists the journals of a database in order, without reading them.
pub(crate) fn list(data: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        // fjall itself refuses any other name with this extension, and names the file.
        let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(id) = id {
            journals.push((id, path));
        }
    }
    journals.sort_unstable();
    Ok(journals)
}

/// The path of a journal.
pub(crate) fn path(data: &Path, id: u64) -> PathBuf {
    data.join(format!("{id}.{EXTENSION}"))
}

/// Reads the journals, the oldest first. Only batches up to `flushed_through` may be missing between two records.
pub(crate) fn read(journals: &[(u64, PathBuf)], flushed_through: u64) -> io::Result<Vec<Journal>> {
    let mut progress = Progress::default();
    journals.iter().map(|(id, path)| read_one(*id, path, flushed_through, &mut progress)).collect()
}

fn read_one(id: u64, path: &Path, flushed_through: u64, progress: &mut Progress) -> io::Result<Journal> {
    let mut reader = JournalReader {
        file: BufReader::with_capacity(READ_BYTES, File::open(path)?),
        at: 0,
        buffer: vec![0; READ_BYTES],
    };
    let mut journal = Journal {
        path: path.to_owned(),
        id,
        records: 0,
        last: None,
        valid_end: 0,
        bad_tail: None,
        keyspaces: BTreeSet::new(),
    };
    let bad = loop {
        let record = match reader.record()? {
            Outcome::Intact(record) => record,
            Outcome::End => return Ok(journal),
            Outcome::Bad(what) => break what,
        };
        if let Err(what) = progress.follow(&record, flushed_through) {
            break what;
        }
        journal.records += 1;
        journal.last = record.head.or(journal.last);
        journal.valid_end = reader.at;
        journal.keyspaces.extend(record.keyspaces);
    };
    let end = last_set_byte(reader.file.get_ref(), journal.valid_end..u64::MAX, &mut reader.buffer)?;
    if end > journal.valid_end {
        journal.bad_tail = Some(BadTail { what: bad, end });
    }
    Ok(journal)
}

impl Progress {
    /// Checks that a record follows the last one, and notes it as the last.
    fn follow(&mut self, record: &Record, flushed_through: u64) -> Result<(), String> {
        if let Some(last) = self.engine.filter(|last| *last >= record.engine) {
            return Err(format!("its engine sequence number {} follows {last}", record.engine));
        }
        if let Some(RecordedHead { head, engine_floor }) = record.head {
            if record.engine < engine_floor {
                return Err(format!(
                    "its engine sequence number {} is below the {engine_floor} that it was written under",
                    record.engine
                ));
            }
            // Sequence 0 is the record that the database was created with.
            let next = self.sequence.map(|last| last.saturating_add(1));
            if let Some(next) = next.filter(|next| *next != head.sequence)
                && (head.sequence < next || head.sequence > flushed_through.saturating_add(1))
            {
                return Err(format!("it is batch {}, and batch {next} was expected", head.sequence));
            }
            self.sequence = Some(head.sequence);
        }
        self.engine = Some(record.engine);
        Ok(())
    }
}

struct JournalReader {
    file: BufReader<File>,
    /// Offset of the next byte.
    at: u64,
    buffer: Vec<u8>,
}

impl JournalReader {
    /// Reads one record.
    fn record(&mut self) -> io::Result<Outcome> {
        let mut tag = [0];
        if !self.exact(&mut tag)? {
            return Ok(Outcome::End);
        }
        let mut start = [0; 12];
        if tag[0] != TAG_START {
            return Ok(Outcome::Bad(format!("it begins with {} and not with {TAG_START}", tag[0])));
        }
        if !self.exact(&mut start)? {
            return Ok(cut_short());
        }
        let items = u32::from_le_bytes(array(&start[..4]));
        let mut record =
            Record { engine: u64::from_le_bytes(array(&start[4..])), head: None, keyspaces: BTreeSet::new() };
        let mut hash = Xxh3::new();
        for item in 0..items {
            if let Some(bad) = self.item(&mut hash, &mut record, item)? {
                return Ok(bad);
            }
        }
        let mut end = [0; 13];
        if !self.exact(&mut end)? {
            return Ok(cut_short());
        }
        if end[0] != TAG_END || end[9..] != TRAILER {
            return Ok(Outcome::Bad(format!("its {items} items are not followed by an end")));
        }
        let (stored, found) = (u64::from_le_bytes(array(&end[1..9])), hash.digest());
        if stored != found {
            return Ok(Outcome::Bad(format!("its checksum is {found:016x}, and {stored:016x} was stored")));
        }
        Ok(Outcome::Intact(record))
    }

    /// Reads one item into the record and its hash. Returns an outcome if the record ends here.
    fn item(&mut self, hash: &mut Xxh3, record: &mut Record, index: u32) -> io::Result<Option<Outcome>> {
        let mut fields = [0; ITEM_BYTES];
        if !self.exact(&mut fields)? {
            return Ok(Some(cut_short()));
        }
        let [tag, kind, compression] = array(&fields[..3]);
        let value_bytes = u32::from_le_bytes(array(&fields[13..17]));
        let stored_bytes = u32::from_le_bytes(array(&fields[17..]));
        let plain = compression == 0;
        if tag != TAG_ITEM || kind > 2 || compression > 1 || (plain && value_bytes != stored_bytes) {
            return Ok(Some(Outcome::Bad(format!("its item {index} is none"))));
        }
        hash.update(&fields);
        let keyspace = u64::from_le_bytes(array(&fields[3..11]));
        record.keyspaces.insert(keyspace);
        let key_bytes = usize::from(u16::from_le_bytes(array(&fields[11..13])));
        let mut key = [0; format::HEAD_KEY.len()];
        let maybe_head = keyspace == format::META_NUMBER && plain && kind == 0;
        if maybe_head && key_bytes == key.len() && RecordedHead::may_have(stored_bytes as usize) {
            let mut value = [0; HEAD_BYTES_MAX];
            let value = &mut value[..stored_bytes as usize];
            if !(self.exact(&mut key)? && self.exact(value)?) {
                return Ok(Some(cut_short()));
            }
            hash.update(&key);
            hash.update(value);
            if key == *format::HEAD_KEY {
                record.head = RecordedHead::decode(value);
            }
            return Ok(None);
        }
        Ok((!self.hash_bytes(hash, key_bytes as u64 + u64::from(stored_bytes))?).then(cut_short))
    }

    /// Hashes the next `bytes`; `false` if the file ends before. Holds no more than the buffer in memory, whatever a length
    /// claims.
    fn hash_bytes(&mut self, hash: &mut Xxh3, mut bytes: u64) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut whole = true;
        while bytes > 0 && whole {
            let part = buffer.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
            whole = self.exact(&mut buffer[..part])?;
            hash.update(&buffer[..part]);
            bytes -= part as u64;
        }
        self.buffer = buffer;
        Ok(whole)
    }

    /// Fills `bytes`; `false` if the file ends before.
    fn exact(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.file.read_exact(bytes) {
            Ok(()) => {
                self.at += bytes.len() as u64;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Offset after the last byte of a range that is not zero; the range's start if all are. Holes of the file are skipped: a
/// new journal is a hole of 64 MiB.
pub(crate) fn last_set_byte(file: &File, range: Range<u64>, buffer: &mut [u8]) -> io::Result<u64> {
    let (mut at, mut last) = (range.start, range.start);
    while at < range.end {
        at = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break,
            // The file system does not know its holes.
            Err(_) => at,
        };
        let wanted = usize::try_from(range.end.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read_at(&mut buffer[..wanted], at)?;
        if read == 0 {
            break;
        }
        let bytes = &buffer[..read];
        if bytes.iter().fold(0, |all, byte| all | byte) != 0 {
            let set = bytes.iter().rposition(|byte| *byte != 0).expect("a byte is not zero");
            last = at + set as u64 + 1;
        }
        at += read as u64;
    }
    Ok(last)
}

fn cut_short() -> Outcome {
    Outcome::Bad("it is cut short".into())
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller took as many bytes as it asks for")
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn fuzzed_journals_are_read_up_to_a_bad_tail() {
        let folder = tempfile::tempdir().expect("there is room for a test's folder");
        let path = folder.path().join("0.jnl");
        exesdb_fuzz::fuzz_file("journals", &path, |bytes| {
            let journals = read(&[(0, path.clone())], 1).expect("the file can be read");
            let [journal] = journals.as_slice() else { panic!("{} journals of one file", journals.len()) };
            let end = journal.bad_tail.as_ref().map_or(journal.valid_end, |tail| tail.end);
            assert!(journal.valid_end <= end && end <= bytes.len() as u64, "{journal:?}");
            assert!(bytes[end as usize..].iter().all(|byte| *byte == 0), "only zeros follow: {journal:?}");
        });
    }
}
