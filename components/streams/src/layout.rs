//! The keys and values of the keyspaces. The crate's documentation has the table.

mod head;
mod imports;

use exesdb_sdk::types::{Position, Range, Version};
use exesdb_sdk::view::prefix_end;
use xxhash_rust::xxh3::xxh3_128;

pub use head::{HEAD_BYTES_MAX, Head};
pub use imports::{IMPORTS, ImportedRows, import_key, stream_of_import};

/// Stream id -> [`Head`].
pub const STREAMS: &str = "streams";
/// Stream id -> nothing, for the streams whose head [`Head::is_extended`].
pub const RETAINED: &str = "retained";
/// Origin of a stream and version -> position, for the last event of each append.
pub const INDEX: &str = "index";
/// Origin of a stream and digest of an event id -> version.
pub const IDS: &str = "ids";
/// Digest of a label and position -> position, for the last and the first event of an append that has the label.
pub const LABELS: &str = "labels";

/// Bytes of a digest in a key. With an origin or position the key has 20 bytes, which the storage engine's memory tables
/// hold inline; longer keys cost a pointer dereference for every comparison.
pub const DIGEST_BYTES: usize = 12;

/// The key in keyspace `index` of the append whose last event has this version.
#[must_use]
pub fn index_key(origin: Position, version: Version) -> Vec<u8> {
    [origin.to_be_bytes(), version.to_be_bytes()].concat()
}

/// The version in a key that [`index_key`] made for this stream.
#[must_use]
pub fn version_in(key: &[u8], origin: Position) -> Option<Version> {
    number(key.strip_prefix(&origin.to_be_bytes())?)
}

/// The key of an event id in keyspace `ids`. Two ids of one stream may have the same key, by chance or on purpose, so a
/// decoder must compare the event's id. A cryptographic digest would not help: a client that can append an id which blocks
/// another one can append that other one as well.
#[must_use]
pub fn id_key(origin: Position, event_id: &str) -> Vec<u8> {
    let digest = xxh3_128(event_id.as_bytes()).to_be_bytes();
    [&origin.to_be_bytes()[..], &digest[..DIGEST_BYTES]].concat()
}

/// The kinds of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LabelKind {
    /// The event's type.
    Type,
    /// A tag.
    Tag,
    /// The correlation id in the metadata.
    Correlation,
    /// The causation id in the metadata.
    Causation,
}

impl LabelKind {
    /// Distinguishes labels with the same text.
    fn byte(self) -> u8 {
        match self {
            Self::Type => b't',
            Self::Tag => b'g',
            Self::Correlation => b'c',
            Self::Causation => b'k',
        }
    }
}

/// The prefix of a label's keys. Two labels may have the same digest, by chance or on purpose, so a decoder must compare the
/// events' texts.
pub type LabelDigest = [u8; DIGEST_BYTES];

/// Bytes of a label's kind and its longest text: a type, a tag and an id have at most 256 bytes.
const LABEL_BYTES: usize = 1 + 256;

/// The digest of a label.
#[must_use]
pub fn label_digest(kind: LabelKind, text: &str) -> LabelDigest {
    // Contiguous, because digesting bytes at once takes a fraction of the time that a digest takes which is fed.
    let mut buffer = [0; LABEL_BYTES];
    let digest = match buffer.get_mut(..=text.len()) {
        Some(label) => {
            label[0] = kind.byte();
            label[1..].copy_from_slice(text.as_bytes());
            xxh3_128(label)
        }
        // No event has such a label, but a filter may ask for it.
        None => xxh3_128(&[&[kind.byte()], text.as_bytes()].concat()),
    };
    let digest = digest.to_be_bytes();
    std::array::from_fn(|at| digest[at])
}

/// The key in keyspace `labels` for an append whose last event with the label has this position.
#[must_use]
pub fn label_key(digest: LabelDigest, position: Position) -> Vec<u8> {
    [&digest[..], &position.to_be_bytes()].concat()
}

/// The digest and the position in a key that [`label_key`] made.
#[must_use]
pub fn label_in(key: &[u8]) -> Option<(LabelDigest, Position)> {
    let (digest, position) = key.split_at_checked(DIGEST_BYTES)?;
    Some((digest.try_into().ok()?, number(position)?))
}

/// The entries of a label whose last event is at or after `from`.
#[must_use]
pub fn label_range(digest: LabelDigest, from: Position) -> Range {
    Range { keyspace: LABELS.to_owned(), start: label_key(digest, from), end: prefix_end(&digest) }
}

/// Decodes a key or value that is a version or a position.
#[must_use]
pub fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::Xxh3Default;

    use super::{
        DIGEST_BYTES, LabelKind, id_key, index_key, label_digest, label_in, label_key, label_range,
        version_in,
    };

    #[test]
    fn the_bytes_of_keys_are_fixed() {
        assert_eq!(index_key(258, 3), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(version_in(&index_key(258, 3), 258), Some(3));
        assert_eq!(version_in(&index_key(258, 3), 259), None);
        assert_eq!(version_in(&index_key(258, 3)[..15], 258), None);
        // XXH3 of 128 bits of "abc" is 06b05ab6733a618578af5f94892f3950.
        let key = b"\0\0\0\0\0\0\x01\x02\x06\xb0\x5a\xb6\x73\x3a\x61\x85\x78\xaf\x5f\x94";
        assert_eq!(id_key(258, "abc"), key);
    }

    #[test]
    fn the_bytes_of_labels_are_fixed() {
        // A tag `abc` is digested as `gabc`.
        let digest: [u8; 12] = id_key(0, "gabc")[8..].try_into().unwrap();
        assert_eq!(label_digest(LabelKind::Tag, "abc"), digest);
        assert_eq!(label_digest(LabelKind::Type, "bc"), id_key(0, "tbc")[8..]);
        assert_eq!(label_digest(LabelKind::Correlation, ""), id_key(0, "c")[8..]);
        assert_eq!(label_digest(LabelKind::Causation, "x"), id_key(0, "kx")[8..]);
        let order_placed = b"\x95\xb2\xc6\x79\x3c\xf2\x82\xff\x04\x53\xbf\x4f";
        assert_eq!(&label_digest(LabelKind::Type, "order-placed"), order_placed);
        // XXH3 treats few and many bytes differently; 256 is the longest label of an event, a filter may ask for longer ones.
        for length in [0, 3, 16, 128, 240, 255, 256, 257, 1_000] {
            let text = "b".repeat(length);
            let mut parts = Xxh3Default::new();
            parts.update(b"g");
            parts.update(text.as_bytes());
            let expected = &parts.digest128().to_be_bytes()[..DIGEST_BYTES];
            assert_eq!(label_digest(LabelKind::Tag, &text), expected, "{length} bytes");
        }
        let key = label_key(digest, 258);
        assert_eq!((&key[..12], &key[12..]), (&digest[..], &[0, 0, 0, 0, 0, 0, 1, 2][..]));
        assert_eq!(label_in(&key), Some((digest, 258)));
        assert_eq!(label_in(&key[..19]), None);
        assert_eq!(label_in(&key[..11]), None);
        let range = label_range(digest, 259);
        assert!(key < range.start && label_key(digest, u64::MAX) < range.end.unwrap());
    }
}
