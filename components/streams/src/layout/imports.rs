//! Where the numbers of imported rows lie.

use exesdb_sdk::arguments::check_stream_id;
use xxhash_rust::xxh3::xxh3_128;

use super::DIGEST_BYTES;

/// Stream id, zero byte and digest of a source -> how many rows of the source were imported into the stream.
pub const IMPORTS: &str = "imports";

/// The key in keyspace `imports` of a stream and a source. No stream id has a zero byte. Two sources may have the same key
/// by design; who does that gets rows of one counted as rows of the other, in their own streams.
#[must_use]
pub fn import_key(stream_id: &str, source: &str) -> Vec<u8> {
    let digest = xxh3_128(source.as_bytes()).to_be_bytes();
    [stream_id.as_bytes(), &[0], &digest[..DIGEST_BYTES]].concat()
}

/// The stream in a key that [`import_key`] made.
#[must_use]
pub fn stream_of_import(key: &[u8]) -> Option<&str> {
    let (rest, _) = key.split_last_chunk::<DIGEST_BYTES>()?;
    let (0, stream_id) = rest.split_last()? else { return None };
    let stream_id = std::str::from_utf8(stream_id).ok()?;
    check_stream_id("", stream_id).is_ok().then_some(stream_id)
}

#[cfg(test)]
mod tests {
    use super::{import_key, stream_of_import};

    #[test]
    fn the_key_of_an_import_is_these_bytes() {
        // XXH3 of 128 bits of "abc" is 06b05ab6733a618578af5f94892f3950.
        let key = import_key("s/1", "abc");
        assert_eq!(key, b"s/1\0\x06\xb0\x5a\xb6\x73\x3a\x61\x85\x78\xaf\x5f\x94");
        assert_eq!(stream_of_import(&key), Some("s/1"));
        for bad in [&key[..key.len() - 1], &key[3..], &key[4..], &[b"\xff", &key[3..]].concat(), b""] {
            assert_eq!(stream_of_import(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(stream_of_import(&[b"a\0b", &key[3..]].concat()), None);
        assert_ne!(import_key("s/1", "abd"), key);
    }
}
