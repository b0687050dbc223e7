//! Keys of entries that belong to a stream: the stream id, a zero byte, and what tells the stream's entries apart.
//!
//! Stream ids have no control characters, so the zero byte ends one beyond doubt: no stream's entries lie among those of
//! a stream whose id begins with the same characters.

use crate::types::Version;

/// Ends the stream id.
const SEPARATOR: u8 = 0;

/// The key of the stream's entry of this name.
#[must_use]
pub fn named(stream_id: &str, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(stream_id.len() + 1 + name.len());
    key.extend_from_slice(stream_id.as_bytes());
    key.push(SEPARATOR);
    key.extend_from_slice(name);
    key
}

/// The key of the stream's entry for a version: 8 bytes, big-endian, so that keys are in the order of versions.
#[must_use]
pub fn versioned(stream_id: &str, version: Version) -> Vec<u8> {
    named(stream_id, &version.to_be_bytes())
}

/// The first key behind all entries of the stream.
#[must_use]
pub fn end(stream_id: &str) -> Vec<u8> {
    let mut end = stream_id.as_bytes().to_owned();
    end.push(SEPARATOR + 1);
    end
}

/// The version in a key that [`versioned`] made for this stream.
#[must_use]
pub fn version_in(key: &[u8], stream_id: &str) -> Option<Version> {
    let version = key.strip_prefix(stream_id.as_bytes())?.strip_prefix(&[SEPARATOR])?;
    Some(u64::from_be_bytes(version.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{end, named, version_in, versioned};

    #[test]
    fn one_streams_keys_are_not_anothers() {
        assert_eq!(version_in(&versioned("a", 7), "a"), Some(7));
        assert_eq!(version_in(&versioned("ab", 7), "a"), None);
        assert_eq!(version_in(&named("a", b"short"), "a"), None);
        for other in ["a ", "a!", "ab", "aa", "b"] {
            let key = versioned(other, 0);
            assert!(key >= end("a") || key < versioned("a", 0), "{other:?} lies among the versions of `a`");
        }
        assert!(versioned("a", u64::MAX) < end("a"));
        assert!(versioned("a", 255) < versioned("a", 256));
    }
}
