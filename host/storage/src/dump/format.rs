//! The numbers of the dump format.

use crate::history::HISTORIES_BYTES_MAX;
use crate::limits;
use crate::read::CHUNK_BYTES;
use crate::replica::APPLIED_BYTES;

/// Most keyspaces of a dump. 4,096: an owner has at most [32](limits::OWNER_KEYSPACES_MAX), and a process that hosts a
/// hundred owners is a large one. A reader of a dump holds its manifest in memory.
pub(super) const KEYSPACES_MAX: usize = 4096;

const _: () = assert!(KEYSPACES_MAX * MANIFEST_ENTRY_BYTES_MAX < 1024 * 1024);

/// First bytes of a dump.
pub(super) const MAGIC: [u8; 8] = *b"exesdump";

/// The version of the dump format: of a replica.
pub(super) const DUMP_VERSION: u32 = 4;

/// The version of dumps of a store with an event log that is no replica. It has no state of a replica.
pub(super) const DUMP_VERSION_WITHOUT_REPLICA: u32 = 3;

/// The version of dumps of a store without a log. Its head has no time, as the store has none, so that the software which
/// reads the store reads the dump as well.
pub(super) const DUMP_VERSION_WITHOUT_TIME: u32 = 2;

/// The version before, which is only read; it has no histories.
pub(super) const DUMP_VERSION_WITHOUT_HISTORIES: u32 = 1;

/// Bytes of magic and version.
pub(super) const PREAMBLE_BYTES: usize = MAGIC.len() + 4;

/// Bytes of a frame's kind and length.
pub(super) const FRAME_START_BYTES: usize = 5;

/// Bytes of a frame's checksum.
pub(super) const CHECKSUM_BYTES: usize = 8;

/// Bytes of an entry besides its key and value.
pub(super) const ENTRY_START_BYTES: usize = 6;

/// Bytes of a head frame's payload without a time of the store.
pub(super) const HEAD_BYTES_WITHOUT_TIME: usize = 4 + 4 * 8;

/// Bytes of a head frame's payload.
pub(super) const HEAD_BYTES: usize = HEAD_BYTES_WITHOUT_TIME + 8;

/// Most bytes of an owner's and a keyspace's name.
const NAMES_BYTES_MAX: usize = 2 * (1 + limits::NAME_BYTES_MAX);

/// Most bytes of a keyspace in the manifest.
const MANIFEST_ENTRY_BYTES_MAX: usize = NAMES_BYTES_MAX + 2 * 8 + 16;

/// Most bytes of an entries frame's payload: a chunk with the largest entry added, and the lengths of its entries.
const ENTRIES_BYTES_MAX: usize = CHUNK_BYTES
    + limits::KEY_BYTES_MAX
    + limits::VALUE_BYTES_MAX
    + limits::PAGE_ENTRIES_MAX * ENTRY_START_BYTES;

/// Kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Head = 1,
    Keyspace = 2,
    Entries = 3,
    Manifest = 4,
    Histories = 5,
    Replica = 6,
}

impl Kind {
    pub(super) fn of(byte: u8) -> Option<Self> {
        [Self::Head, Self::Keyspace, Self::Entries, Self::Manifest, Self::Histories, Self::Replica]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    /// Most bytes of a payload. Nothing larger is held in memory, whatever a length claims.
    pub(super) fn payload_bytes_max(self) -> usize {
        match self {
            Self::Head => HEAD_BYTES,
            Self::Keyspace => NAMES_BYTES_MAX,
            Self::Histories => HISTORIES_BYTES_MAX,
            Self::Replica => APPLIED_BYTES + limits::MEMBERSHIP_BYTES_MAX,
            Self::Entries => ENTRIES_BYTES_MAX,
            Self::Manifest => 4 + KEYSPACES_MAX * MANIFEST_ENTRY_BYTES_MAX + 16,
        }
    }
}
