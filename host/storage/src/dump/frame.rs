//! Frames: the pieces that a dump is made of, and the limits of each.

use std::io::{self, Read, Write};

use xxhash_rust::xxh3::Xxh3;

use super::KEYSPACES_MAX;
use super::decode::InvalidDump;
use super::{KeyspaceSummary, Progress};
use crate::head::Head;
use crate::history::HISTORIES_BYTES_MAX;
use crate::limits;
use crate::read::chunks::STRETCH_BYTES;

/// First bytes of a dump.
const MAGIC: [u8; 8] = *b"exesdump";

/// The version of the dump's format that this code writes.
pub const DUMP_VERSION: u32 = 2;

/// The version before it, which is read as well: it has no histories.
const DUMP_VERSION_WITHOUT_HISTORIES: u32 = 1;

/// Bytes of magic and version.
pub(super) const PREAMBLE_BYTES: usize = MAGIC.len() + 4;

/// Bytes of a frame's kind and length.
const FRAME_START_BYTES: usize = 5;

/// Bytes of a frame's checksum.
const CHECKSUM_BYTES: usize = 8;

/// Bytes of an entry beside its key and value.
pub(super) const ENTRY_START_BYTES: usize = 6;

/// Bytes of a head frame's payload.
pub(super) const HEAD_BYTES: usize = 4 + 4 * 8;

/// Bytes of two names.
const NAMES_BYTES_MAX: usize = 2 * (1 + limits::NAME_BYTES_MAX);

/// Bytes of a keyspace in the manifest.
pub(super) const MANIFEST_ENTRY_BYTES_MAX: usize = NAMES_BYTES_MAX + 2 * 8 + 16;

/// Bytes of an entries frame's payload: a stretch that the largest entry was added to, and what is beside its entries.
const ENTRIES_BYTES_MAX: usize = STRETCH_BYTES
    + limits::KEY_BYTES_MAX
    + limits::VALUE_BYTES_MAX
    + limits::PAGE_ENTRIES_MAX * ENTRY_START_BYTES;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Head = 1,
    Keyspace = 2,
    Entries = 3,
    Manifest = 4,
    Histories = 5,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Head, Self::Keyspace, Self::Entries, Self::Manifest, Self::Histories]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    /// Most bytes of a payload: nothing larger is ever held in memory, whatever a length claims.
    fn payload_bytes_max(self) -> usize {
        match self {
            Self::Head => HEAD_BYTES,
            Self::Keyspace => NAMES_BYTES_MAX,
            Self::Histories => HISTORIES_BYTES_MAX,
            Self::Entries => ENTRIES_BYTES_MAX,
            Self::Manifest => 4 + KEYSPACES_MAX * MANIFEST_ENTRY_BYTES_MAX + 16,
        }
    }
}

fn preamble() -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(&DUMP_VERSION.to_be_bytes());
    bytes
}

/// The checksum of a frame.
fn checksum(number: u64, start: &[u8], payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Xxh3::with_seed(number);
    hash.update(start);
    hash.update(payload);
    hash.digest().to_be_bytes()
}

/// Writes frames, and counts and digests what it has written.
pub(super) struct FrameWriter<'a> {
    out: &'a mut dyn Write,
    frames: u64,
    at: u64,
    digest: Xxh3,
}

impl<'a> FrameWriter<'a> {
    /// Begins a dump.
    pub(super) fn begin(out: &'a mut dyn Write) -> io::Result<Self> {
        let mut writer = Self { out, frames: 0, at: 0, digest: Xxh3::new() };
        writer.write(&preamble())?;
        Ok(writer)
    }

    pub(super) fn frame(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        assert!(payload.len() <= kind.payload_bytes_max(), "an encoder keeps to the limits of a frame");
        let mut start = [kind as u8; FRAME_START_BYTES];
        let bytes = u32::try_from(payload.len()).expect("every limit of a payload fits 32 bits");
        start[1..].copy_from_slice(&bytes.to_be_bytes());
        let checksum = checksum(self.frames, &start, payload);
        self.frames += 1;
        self.write(&start)?;
        self.write(payload)?;
        self.write(&checksum)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.digest.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Bytes written.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Digest of everything written.
    pub(super) fn digest(&self) -> u128 {
        self.digest.digest128()
    }
}

/// Reads frames, and counts and digests what it has read.
pub(super) struct FrameReader<'a> {
    input: &'a mut dyn Read,
    version: u32,
    frames: u64,
    at: u64,
    /// Where the current frame begins.
    frame_at: u64,
    digest: Xxh3,
    /// Digest of everything before the current frame.
    digest_before: u128,
    payload: Vec<u8>,
}

impl<'a> FrameReader<'a> {
    /// Begins to read a dump, which must be one, of the version known here.
    pub(super) fn begin(input: &'a mut dyn Read) -> Result<Self, InvalidDump> {
        let mut reader = Self {
            input,
            version: 0,
            frames: 0,
            at: 0,
            frame_at: 0,
            digest: Xxh3::new(),
            digest_before: 0,
            payload: Vec::new(),
        };
        let mut magic = [0; MAGIC.len()];
        match reader.exact(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Ok(()) | Err(InvalidDump::Truncated { .. }) => return Err(InvalidDump::NotADump),
            Err(error) => return Err(error),
        }
        let mut version = [0; 4];
        reader.exact(&mut version)?;
        match u32::from_be_bytes(version) {
            version @ (DUMP_VERSION | DUMP_VERSION_WITHOUT_HISTORIES) => {
                reader.version = version;
                Ok(reader)
            }
            found => Err(InvalidDump::UnknownVersion { found }),
        }
    }

    /// Reads the next frame, its checksum verified. Its payload is [`Self::payload`].
    pub(super) fn next(&mut self) -> Result<Kind, InvalidDump> {
        self.frame_at = self.at;
        self.digest_before = self.digest.digest128();
        let mut start = [0; FRAME_START_BYTES];
        self.exact(&mut start)?;
        let Some(kind) = Kind::of(start[0]) else {
            return Err(self.damaged(format!("a frame is of kind {}, which there is not", start[0])));
        };
        let claimed = u32::from_be_bytes([start[1], start[2], start[3], start[4]]) as usize;
        if claimed > kind.payload_bytes_max() {
            let max = kind.payload_bytes_max();
            return Err(self.damaged(format!("a frame claims {claimed} bytes, over the limit of {max}")));
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(claimed, 0);
        let read = self.exact(&mut payload);
        self.payload = payload;
        read?;
        let mut stored = [0; CHECKSUM_BYTES];
        self.exact(&mut stored)?;
        if stored != checksum(self.frames, &start, &self.payload) {
            return Err(self.damaged(format!("the checksum of frame {} does not agree", self.frames)));
        }
        self.frames += 1;
        Ok(kind)
    }

    /// Makes sure that the input ends here.
    pub(super) fn end(&mut self) -> Result<(), InvalidDump> {
        self.frame_at = self.at;
        match self.exact(&mut [0]) {
            Err(InvalidDump::Truncated { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(self.damaged("there are bytes behind its end".into())),
        }
    }

    /// Whether the dump's version has a list of histories.
    pub(super) fn has_histories(&self) -> bool {
        self.version != DUMP_VERSION_WITHOUT_HISTORIES
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Bytes read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Digest of everything before the frame that was read last.
    pub(super) fn digest_before(&self) -> u128 {
        self.digest_before
    }

    /// Says what is wrong with the frame that was read last.
    pub(super) fn damaged(&self, reason: String) -> InvalidDump {
        InvalidDump::Damaged { at: self.frame_at, reason }
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), InvalidDump> {
        match self.input.read_exact(bytes) {
            Ok(()) => {
                self.digest.update(bytes);
                self.at += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(InvalidDump::Truncated { at: self.at })
            }
            Err(source) => Err(InvalidDump::Io { at: self.at, source }),
        }
    }
}

/// The payload of a head frame.
pub(super) fn head_payload(format: u32, head: Head, taken_at: u64) -> Vec<u8> {
    let mut payload = Vec::with_capacity(HEAD_BYTES);
    payload.extend(format.to_be_bytes());
    for number in [head.sequence, head.next_position, head.chain, taken_at] {
        payload.extend(number.to_be_bytes());
    }
    payload
}

/// Adds two names to a payload.
pub(super) fn push_names(payload: &mut Vec<u8>, owner: &str, keyspace: &str) {
    for name in [owner, keyspace] {
        payload.push(u8::try_from(name.len()).expect("names are checked to be shorter than 256 bytes"));
        payload.extend(name.as_bytes());
    }
}

/// Adds an entry to a payload.
pub(super) fn push_entry(payload: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    payload.extend(u16::try_from(key.len()).expect("keys are checked to fit 16 bits").to_be_bytes());
    payload.extend(u32::try_from(value.len()).expect("values are checked to fit 32 bits").to_be_bytes());
    payload.extend(key);
    payload.extend(value);
}

/// The payload of the manifest frame.
pub(super) fn manifest_payload(keyspaces: &[KeyspaceSummary], digest: u128) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend(u32::try_from(keyspaces.len()).expect("keyspaces are counted and limited").to_be_bytes());
    for keyspace in keyspaces {
        push_names(&mut payload, &keyspace.owner, &keyspace.keyspace);
        payload.extend(keyspace.entries.to_be_bytes());
        payload.extend(keyspace.bytes.to_be_bytes());
        payload.extend(keyspace.digest.to_be_bytes());
    }
    payload.extend(digest.to_be_bytes());
    payload
}

/// What is counted of a keyspace while its entries come by.
pub(super) struct Tally {
    owner: String,
    keyspace: String,
    entries: u64,
    bytes: u64,
    digest: Xxh3,
}

impl Tally {
    pub(super) fn new(owner: &str, keyspace: &str) -> Self {
        Self { owner: owner.into(), keyspace: keyspace.into(), entries: 0, bytes: 0, digest: Xxh3::new() }
    }

    /// Counts the entries of one payload.
    pub(super) fn add(&mut self, entries: usize, payload: &[u8]) {
        self.entries += entries as u64;
        self.bytes += (payload.len() - entries * ENTRY_START_BYTES) as u64;
        self.digest.update(payload);
    }

    pub(super) fn summary(&self) -> KeyspaceSummary {
        KeyspaceSummary {
            owner: self.owner.clone(),
            keyspace: self.keyspace.clone(),
            entries: self.entries,
            bytes: self.bytes,
            digest: self.digest.digest128(),
        }
    }

    /// How far a walk has come that finished the keyspaces `before`.
    pub(super) fn progress<'s>(&'s self, before: &[KeyspaceSummary]) -> Progress<'s> {
        Progress {
            owner: &self.owner,
            keyspace: &self.keyspace,
            entries: self.entries + before.iter().map(|keyspace| keyspace.entries).sum::<u64>(),
            bytes: self.bytes + before.iter().map(|keyspace| keyspace.bytes).sum::<u64>(),
        }
    }
}
