//! The head of the log: how far it has come, and the hash chain over everything that is chained.
//!
//! Every batch's journal record contains the head, so the head is exactly as old as the data that it describes.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::stamp::STAMP_BYTES;

/// Bytes of an encoded head: three numbers, and the engine's sequence number.
pub(crate) const HEAD_BYTES: usize = 32;

/// How far the log of a store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogHead {
    /// Batches applied since the store was created; 0 in a new store.
    pub sequence: u64,
    /// Position of the next event.
    pub next_position: u64,
    /// The hash chain up to the last chained event; see [`chain`]. 0 before the first.
    pub chain: u64,
}

impl fmt::Display for LogHead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, next_position, chain } = self;
        write!(out, "batch {sequence} with next position {next_position} and chain {chain:016x}")
    }
}

/// A head as a journal record contains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordedHead {
    pub(crate) head: LogHead,
    /// The engine's sequence number of the record is at least this. The engine keeps that number outside of the record's
    /// checksum, and silently skips a record whose number is too low.
    pub(crate) engine_floor: u64,
}

impl RecordedHead {
    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let numbers = [self.head.sequence, self.head.next_position, self.head.chain, self.engine_floor];
        for (field, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// `None` if the bytes are not a head.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD_BYTES] = bytes.try_into().ok()?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let [sequence, next_position, chain, engine_floor] =
            <[[u8; 8]; 4]>::try_from(numbers).ok()?.map(u64::from_be_bytes);
        Some(Self { head: LogHead { sequence, next_position, chain }, engine_floor })
    }
}

/// The chain after an entry: the XXH3 (64 bits) of the chain before it (8 bytes, big-endian), its key, and its value with
/// zeros in the eight bytes from `at`, which is where the result is kept. Key and value are as they are stored, including
/// positions.
///
/// A value that does not have eight bytes at `at` is hashed as it is. This crate writes none, so no stored chain matches.
#[must_use]
pub fn chain(previous: u64, key: &[u8], value: &[u8], at: u32) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&previous.to_be_bytes());
    hash.update(key);
    let at = at as usize;
    match value.get(at + STAMP_BYTES..) {
        Some(after) => {
            hash.update(&value[..at]);
            hash.update(&[0; STAMP_BYTES]);
            hash.update(after);
        }
        None => hash.update(value),
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::{LogHead, RecordedHead, chain};

    #[test]
    fn an_encoded_head_decodes_and_other_lengths_do_not() {
        let recorded = RecordedHead {
            head: LogHead { sequence: 1, next_position: 2, chain: u64::MAX },
            engine_floor: 4,
        };
        let bytes = recorded.encode();
        assert_eq!(RecordedHead::decode(&bytes), Some(recorded));
        assert_eq!(bytes[..8], 1u64.to_be_bytes());
        assert_eq!(RecordedHead::decode(&bytes[1..]), None);
        assert_eq!(RecordedHead::decode(&[]), None);
    }

    #[test]
    fn the_chain_covers_every_byte_except_its_own_place() {
        let whole = chain(7, b"key", b"before........behind", 6);
        assert_eq!(whole, chain(7, b"key", b"beforeXXXXXXXXbehind", 6));
        assert_eq!(
            whole,
            xxhash_rust::xxh3::xxh3_64(b"\0\0\0\0\0\0\0\x07keybefore\0\0\0\0\0\0\0\0behind"),
            "the definition in the format's documentation"
        );
        for other in [
            chain(8, b"key", b"before........behind", 6),
            chain(7, b"kez", b"before........behind", 6),
            chain(7, b"key", b"beforf........behind", 6),
            chain(7, b"key", b"before........behine", 6),
            chain(7, b"key", b"before........behind", 7),
        ] {
            assert_ne!(whole, other);
        }
        assert_ne!(chain(7, b"key", b"short", 0), chain(7, b"key", b"shorT", 0));
        assert_ne!(chain(7, b"key", b"short", u32::MAX), whole);
    }
}
