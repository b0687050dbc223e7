//! Frames, the pieces of a dump: writing and reading them, and what their payloads consist of.

use std::io::{self, Read, Write};

use xxhash_rust::xxh3::Xxh3;

use super::error::InvalidDump;
use super::format::{
    CHECKSUM_BYTES, DUMP_VERSION, DUMP_VERSION_WITHOUT_HISTORIES, DUMP_VERSION_WITHOUT_REPLICA,
    DUMP_VERSION_WITHOUT_TIME, ENTRY_START_BYTES, FRAME_START_BYTES, HEAD_BYTES, HEAD_BYTES_WITHOUT_TIME,
    Kind, MAGIC, PREAMBLE_BYTES,
};
use super::summary::{KeyspaceSummary, Progress};
use crate::format::{FORMAT_WITHOUT_LOG, REPLICA_FORMAT_VERSION};
use crate::head::LogHead;

fn preamble(version: u32) -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(&version.to_be_bytes());
    bytes
}

/// The checksum of a frame.
fn checksum(number: u64, start: &[u8], payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Xxh3::with_seed(number);
    hash.update(start);
    hash.update(payload);
    hash.digest().to_be_bytes()
}

/// Writes frames; counts and digests the bytes.
pub(super) struct FrameWriter<'a> {
    out: &'a mut dyn Write,
    version: u32,
    frames: u64,
    at: u64,
    digest: Xxh3,
}

impl<'a> FrameWriter<'a> {
    /// Begins a dump of a store of this format with its preamble.
    pub(super) fn begin(out: &'a mut dyn Write, format: u32) -> io::Result<Self> {
        let version = match format {
            FORMAT_WITHOUT_LOG => DUMP_VERSION_WITHOUT_TIME,
            REPLICA_FORMAT_VERSION => DUMP_VERSION,
            _ => DUMP_VERSION_WITHOUT_REPLICA,
        };
        let mut writer = Self { out, version, frames: 0, at: 0, digest: Xxh3::new() };
        writer.write(&preamble(version))?;
        Ok(writer)
    }

    /// Whether the head of a dump of this version has the store's time.
    pub(super) fn has_time(&self) -> bool {
        self.version >= DUMP_VERSION_WITHOUT_REPLICA
    }

    pub(super) fn frame(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        assert!(payload.len() <= kind.payload_bytes_max(), "an encoder respects the limits of a frame");
        let mut start = [kind as u8; FRAME_START_BYTES];
        let bytes = u32::try_from(payload.len()).expect("every limit of a payload fits into 32 bits");
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

    /// Number of bytes written.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Digest of everything written.
    pub(super) fn digest(&self) -> u128 {
        self.digest.digest128()
    }
}

/// Reads frames; counts and digests the bytes.
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
    /// Begins to read a dump. Its first bytes and its version must be known ones.
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
            version @ (DUMP_VERSION
            | DUMP_VERSION_WITHOUT_REPLICA
            | DUMP_VERSION_WITHOUT_TIME
            | DUMP_VERSION_WITHOUT_HISTORIES) => {
                reader.version = version;
                Ok(reader)
            }
            found => Err(InvalidDump::UnknownVersion { found }),
        }
    }

    /// Reads the next frame and verifies its checksum. Its payload is [`Self::payload`].
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

    /// Checks that the input ends here.
    pub(super) fn end(&mut self) -> Result<(), InvalidDump> {
        self.frame_at = self.at;
        match self.exact(&mut [0]) {
            Err(InvalidDump::Truncated { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(self.damaged("there are bytes after its end".into())),
        }
    }

    /// Whether a dump of this version has a list of histories.
    pub(super) fn has_histories(&self) -> bool {
        self.version != DUMP_VERSION_WITHOUT_HISTORIES
    }

    /// Whether a dump of this version has the state of a replica.
    pub(super) fn is_of_replica(&self) -> bool {
        self.version == DUMP_VERSION
    }

    /// Bytes of the head of a dump of this version.
    pub(super) fn head_bytes(&self) -> usize {
        if self.version >= DUMP_VERSION_WITHOUT_REPLICA { HEAD_BYTES } else { HEAD_BYTES_WITHOUT_TIME }
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Number of bytes read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Digest of everything before the current frame.
    pub(super) fn digest_before(&self) -> u128 {
        self.digest_before
    }

    /// The error for a malformed current frame.
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

/// The payload of a head frame, with or without the store's time.
pub(super) fn head_payload(format: u32, head: LogHead, taken_at: u64, has_time: bool) -> Vec<u8> {
    let mut payload = Vec::with_capacity(HEAD_BYTES);
    payload.extend(format.to_be_bytes());
    for number in [head.sequence, head.next_position, head.chain, taken_at] {
        payload.extend(number.to_be_bytes());
    }
    if has_time {
        payload.extend(head.time.to_be_bytes());
    }
    payload
}

/// Appends two names to a payload.
pub(super) fn push_names(payload: &mut Vec<u8>, owner: &str, keyspace: &str) {
    for name in [owner, keyspace] {
        payload.push(u8::try_from(name.len()).expect("names are checked to be shorter than 256 bytes"));
        payload.extend(name.as_bytes());
    }
}

/// Appends an entry to a payload.
pub(super) fn push_entry(payload: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    payload.extend(u16::try_from(key.len()).expect("keys are checked to fit into 16 bits").to_be_bytes());
    payload.extend(u32::try_from(value.len()).expect("values are checked to fit into 32 bits").to_be_bytes());
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

/// Counts and digests the entries of a keyspace.
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

    /// Progress of a walk that has finished the keyspaces `before`.
    pub(super) fn progress<'s>(&'s self, before: &[KeyspaceSummary]) -> Progress<'s> {
        Progress {
            owner: &self.owner,
            keyspace: &self.keyspace,
            entries: self.entries + before.iter().map(|keyspace| keyspace.entries).sum::<u64>(),
            bytes: self.bytes + before.iter().map(|keyspace| keyspace.bytes).sum::<u64>(),
        }
    }
}
