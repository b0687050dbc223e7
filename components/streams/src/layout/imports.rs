//! The layout of the numbers of imported rows.

use exesdb_sdk::arguments::check_stream_id;
use xxhash_rust::xxh3::xxh3_128;

use super::DIGEST_BYTES;

/// Stream id, zero byte and digest of a source -> [`ImportedRows`] of the source in the stream.
pub const IMPORTS: &str = "imports";

/// How many rows of a source a stream has imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportedRows {
    /// The number of rows, at least 1.
    pub rows: u64,
    /// How many of the stream's first rows in the source are all among them.
    pub leading_rows: u64,
}

impl ImportedRows {
    /// Encodes both numbers, 8 bytes each, big-endian.
    #[must_use]
    pub fn encode(self) -> [u8; 16] {
        let number = (u128::from(self.rows) << 64) | u128::from(self.leading_rows);
        number.to_be_bytes()
    }

    /// Decodes what [`ImportedRows::encode`] wrote.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<ImportedRows> {
        let (rows, leading_rows) = value.split_first_chunk::<8>()?;
        let rows = u64::from_be_bytes(*rows);
        let leading_rows = u64::from_be_bytes(leading_rows.try_into().ok()?);
        (rows > 0 && leading_rows <= rows).then_some(ImportedRows { rows, leading_rows })
    }
}

/// The key in keyspace `imports` of a stream and a source. No stream id has a zero byte. A client can construct two sources
/// with the same key; then rows of one count as rows of the other, in that client's streams.
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
    use super::{ImportedRows, import_key, stream_of_import};

    #[test]
    fn the_value_of_an_import_has_two_numbers() {
        let value = ImportedRows { rows: 258, leading_rows: 3 };
        assert_eq!(value.encode(), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(ImportedRows::decode(&value.encode()), Some(value));
        for (rows, leading_rows) in [(0, 0), (1, 2)] {
            assert_eq!(ImportedRows::decode(&ImportedRows { rows, leading_rows }.encode()), None);
        }
        assert_eq!(ImportedRows::decode(&value.encode()[1..]), None);
        assert_eq!(ImportedRows::decode(&[1; 17]), None);
    }

    #[test]
    fn the_bytes_of_the_key_of_an_import_are_fixed() {
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
