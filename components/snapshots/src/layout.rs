//! The keys and values of the keyspaces. The crate's documentation has the table.

use exesdb_sdk::fields::{Decoder, Encoder, Malformed};
use exesdb_sdk::snapshots::{RecordedSnapshot, SnapshotData, SnapshotId, SnapshotInfo};
use exesdb_sdk::types::{Error, Version, damaged};

/// Key by stream -> snapshot.
pub const SNAPSHOTS: &str = "snapshots";
/// Key by stream -> info.
pub const INFOS: &str = "infos";
/// Key by source -> info.
pub const SOURCES: &str = "sources";

/// The format of snapshots and infos that this version writes and reads.
const FORMAT: u8 = 1;

/// Terminates a stream id or a source id in a key. Neither has control characters, so the entries of a stream or source are
/// contiguous, and keys are in the byte order of ids.
const SEPARATOR: u8 = 0;

/// The key of a snapshot and of its info: stream, source, version.
#[must_use]
pub fn key_by_stream(id: &SnapshotId) -> Vec<u8> {
    key(&id.stream_id, &id.source_id, id.version)
}

/// The key of a snapshot in the index of sources: source, stream, version.
#[must_use]
pub fn key_by_source(id: &SnapshotId) -> Vec<u8> {
    key(&id.source_id, &id.stream_id, id.version)
}

/// The prefix of all keys that begin with this id.
#[must_use]
pub fn prefix_of_one(first: &str) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(first.len() + 1);
    prefix.extend_from_slice(first.as_bytes());
    prefix.push(SEPARATOR);
    prefix
}

/// The prefix of all keys that begin with these two ids.
#[must_use]
pub fn prefix_of_two(first: &str, second: &str) -> Vec<u8> {
    let mut prefix = prefix_of_one(first);
    prefix.extend_from_slice(second.as_bytes());
    prefix.push(SEPARATOR);
    prefix
}

/// Appends the inverted version, so that the newest snapshot comes first.
fn key(first: &str, second: &str, version: Version) -> Vec<u8> {
    let mut key = prefix_of_two(first, second);
    key.extend_from_slice(&(!version).to_be_bytes());
    key
}

/// The id in a key that [`key_by_stream`] made; none if it did not.
#[must_use]
pub fn id_by_stream(key: &[u8]) -> Option<SnapshotId> {
    let (stream_id, source_id, version) = parts(key)?;
    Some(SnapshotId { stream_id, source_id, version })
}

/// The id in a key that [`key_by_source`] made; none if it did not.
#[must_use]
pub fn id_by_source(key: &[u8]) -> Option<SnapshotId> {
    let (source_id, stream_id, version) = parts(key)?;
    Some(SnapshotId { stream_id, source_id, version })
}

fn parts(key: &[u8]) -> Option<(String, String, Version)> {
    let mut parts = key.splitn(3, |byte| *byte == SEPARATOR);
    let mut text = || String::from_utf8(parts.next()?.to_owned()).ok();
    let (first, second) = (text()?, text()?);
    let version = u64::from_be_bytes(parts.next()?.try_into().ok()?);
    Some((first, second, !version))
}

/// Encodes the value of a snapshot.
#[must_use]
pub fn encode_snapshot(created: u64, snapshot: &SnapshotData) -> Vec<u8> {
    let bytes = snapshot.content_type.len() + snapshot.data.len() + snapshot.metadata.len();
    let mut encoder = Encoder::with_capacity(19 + bytes);
    encoder.u8(FORMAT);
    encoder.u64(created);
    encoder.text(&snapshot.content_type);
    encoder.bytes(&snapshot.data);
    encoder.bytes(&snapshot.metadata);
    encoder.finish()
}

/// Decodes the value of a snapshot.
///
/// # Errors
///
/// [`Malformed`] if [`encode_snapshot`] did not write it.
pub fn decode_snapshot(id: SnapshotId, value: &[u8]) -> Result<RecordedSnapshot, Malformed> {
    let mut decoder = Decoder::new(value);
    decoder.format(FORMAT)?;
    let created = decoder.u64()?;
    let snapshot = SnapshotData {
        content_type: decoder.text()?.to_owned(),
        data: decoder.bytes()?.to_owned(),
        metadata: decoder.bytes()?.to_owned(),
    };
    decoder.end()?;
    Ok(RecordedSnapshot { id, snapshot, created })
}

/// Encodes the value of a snapshot's info.
#[must_use]
pub fn encode_info(created: u64, content_type: &str, size: usize) -> Vec<u8> {
    let mut encoder = Encoder::with_capacity(19 + content_type.len());
    encoder.u8(FORMAT);
    encoder.u64(created);
    encoder.text(content_type);
    encoder.u64(size as u64);
    encoder.finish()
}

/// Decodes the value of an info.
///
/// # Errors
///
/// [`Malformed`] if [`encode_info`] did not write it.
pub fn decode_info(id: SnapshotId, value: &[u8]) -> Result<SnapshotInfo, Malformed> {
    let mut decoder = Decoder::new(value);
    decoder.format(FORMAT)?;
    let created = decoder.u64()?;
    let info = SnapshotInfo { id, created, content_type: decoder.text()?.to_owned(), size: decoder.u64()? };
    decoder.end()?;
    Ok(info)
}

/// The first key after this one.
pub(crate) fn key_after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The error for a key that this component did not write.
pub(crate) fn malformed_key(keyspace: &str, key: &[u8]) -> Error {
    damaged(keyspace, key, "the key is not two ids and a version of 8 bytes")
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::snapshots::{SnapshotData, SnapshotId};

    use super::{
        decode_info, decode_snapshot, encode_info, encode_snapshot, id_by_source, id_by_stream,
        key_by_source, key_by_stream, prefix_of_one, prefix_of_two,
    };

    fn id(stream_id: &str, source_id: &str, version: u64) -> SnapshotId {
        SnapshotId { stream_id: stream_id.into(), source_id: source_id.into(), version }
    }

    #[test]
    fn the_bytes_of_keys_are_fixed() {
        let place = id("st", "s", 258);
        assert_eq!(key_by_stream(&place), b"st\0s\0\xff\xff\xff\xff\xff\xff\xfe\xfd");
        assert_eq!(key_by_source(&place), b"s\0st\0\xff\xff\xff\xff\xff\xff\xfe\xfd");
        for place in [place, id("a", "", u64::MAX), id("a", "b", 0)] {
            assert_eq!(id_by_stream(&key_by_stream(&place)), Some(place.clone()));
            assert_eq!(id_by_source(&key_by_source(&place)), Some(place));
        }
        for odd in [
            &b"a\0b\0\0\0\0\0\0\0\0"[..],
            b"a\0b\0\0\0\0\0\0\0\0\0\0",
            b"a\0",
            b"",
            b"\xff\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(id_by_stream(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn keys_are_in_the_order_of_lists() {
        let ordered = [
            id("a", "", u64::MAX),
            id("a", "", 0),
            id("a", "s", 256),
            id("a", "s", 255),
            id("a", "s ", 9),
            id("a", "t", 1),
            id("a ", "", 3),
            id("ab", "", 3),
        ];
        let keys: Vec<_> = ordered.iter().map(key_by_stream).collect();
        assert!(keys.is_sorted());
        let of_a = keys.iter().filter(|key| key.starts_with(&prefix_of_one("a"))).count();
        let of_a_and_s = keys.iter().filter(|key| key.starts_with(&prefix_of_two("a", "s"))).count();
        assert_eq!((of_a, of_a_and_s), (6, 2));
    }

    fn snapshot() -> SnapshotData {
        SnapshotData { content_type: "c/t".into(), data: b"data".to_vec(), metadata: b"{}".to_vec() }
    }

    #[test]
    fn the_bytes_of_a_snapshot_are_fixed() {
        let value = encode_snapshot(258, &snapshot());
        assert_eq!(value, b"\x01\0\0\0\0\0\0\x01\x02\0\x03c/t\0\0\0\x04data\0\0\0\x02{}");
        let read = decode_snapshot(id("s", "", 7), &value).unwrap();
        assert_eq!((read.id, read.created), (id("s", "", 7), 258));
        assert_eq!(read.snapshot, snapshot());
        for length in 0..value.len() {
            decode_snapshot(id("s", "", 7), &value[..length]).unwrap_err();
        }
    }

    #[test]
    fn the_bytes_of_an_info_are_fixed() {
        let value = encode_info(258, "c/t", 4);
        assert_eq!(value, b"\x01\0\0\0\0\0\0\x01\x02\0\x03c/t\0\0\0\0\0\0\0\x04");
        let read = decode_info(id("s", "", 7), &value).unwrap();
        assert_eq!((read.id, read.created), (id("s", "", 7), 258));
        assert_eq!((read.content_type.as_str(), read.size), ("c/t", 4));
        for length in 0..value.len() {
            decode_info(id("s", "", 7), &value[..length]).unwrap_err();
        }
    }
}
