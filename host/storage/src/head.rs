//! The head of the log: how far it has come, and the hash chain over everything that is chained.
//!
//! Every batch's journal record contains the head, so the head is exactly as old as the data that it describes.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::stamp::STAMP_BYTES;

/// Bytes of an encoded head without a time: three numbers, and the engine's sequence number.
const HEAD_BYTES: usize = 32;

/// Bytes of an encoded head with a time.
pub(crate) const HEAD_BYTES_MAX: usize = HEAD_BYTES + 8;

/// How far the log of a store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogHead {
    /// Batches applied since the store was created; 0 in a new store.
    pub sequence: u64,
    /// Position of the next event.
    pub next_position: u64,
    /// The hash chain up to the last chained event; see [`chain`]. 0 before the first.
    pub chain: u64,
    /// The highest time that an applied [commit](crate::Commit::time) came with; 0 in a store whose log has not begun.
    pub time: u64,
}

impl LogHead {
    /// Whether both are the heads after the same batch, as far as the durable mark tells: it has no time.
    pub(crate) fn agrees_with(&self, marked: Self) -> bool {
        Self { time: marked.time, ..*self } == marked
    }
}

impl fmt::Display for LogHead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, next_position, chain, time: _ } = self;
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
    /// Without a time it has the same bytes as in format 2, whose software refuses others.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let LogHead { sequence, next_position, chain, time } = self.head;
        let numbers = [sequence, next_position, chain, self.engine_floor, time];
        let count = if time == 0 { HEAD_BYTES / 8 } else { numbers.len() };
        numbers[..count].iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    /// `None` if the bytes are not a head.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if !Self::may_have(bytes.len()) {
            return None;
        }
        let mut numbers = [0; HEAD_BYTES_MAX / 8];
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
            *number = u64::from_be_bytes(*bytes);
        }
        let [sequence, next_position, chain, engine_floor, time] = numbers;
        Some(Self { head: LogHead { sequence, next_position, chain, time }, engine_floor })
    }

    /// Whether a head may have so many bytes.
    pub(crate) fn may_have(bytes: usize) -> bool {
        bytes == HEAD_BYTES || bytes == HEAD_BYTES_MAX
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
        for (time, length) in [(0, 32), (258, 40)] {
            let head = LogHead { sequence: 1, next_position: 2, chain: u64::MAX, time };
            let recorded = RecordedHead { head, engine_floor: 4 };
            let bytes = recorded.encode();
            assert_eq!(bytes.len(), length);
            assert_eq!(RecordedHead::decode(&bytes), Some(recorded));
            assert_eq!(bytes[..8], 1u64.to_be_bytes());
            assert_eq!(bytes[24..32], 4u64.to_be_bytes());
            assert_eq!(bytes[32..], time.to_be_bytes()[..length - 32]);
            for other in [&bytes[1..], &[&bytes[..], &[0; 8]].concat()[1..]] {
                assert_eq!(RecordedHead::decode(other), None);
            }
        }
        assert_eq!(RecordedHead::decode(&[0; 48]), None);
        assert_eq!(RecordedHead::decode(&[]), None);
    }

    #[test]
    fn heads_agree_whatever_their_times() {
        let marked = LogHead { sequence: 1, next_position: 2, chain: 3, time: 0 };
        assert!(LogHead { time: 7, ..marked }.agrees_with(marked));
        for other in [
            LogHead { sequence: 2, ..marked },
            LogHead { next_position: 3, ..marked },
            LogHead { chain: 4, ..marked },
        ] {
            assert!(!other.agrees_with(marked));
        }
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
