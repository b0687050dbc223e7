//! Values: what lies where. The crate's documentation has the table.

use exesdb_sdk::fields::{Malformed, Reader, Writer};
use exesdb_sdk::snapshots::{RecordedSnapshot, SnapshotData, SnapshotInfo};
use exesdb_sdk::types::Version;

/// Stream id and version -> snapshot.
pub const SNAPSHOTS: &str = "snapshots";
/// Stream id and version -> info.
pub const INFOS: &str = "infos";

/// The format of snapshots and infos that this version writes and reads.
const FORMAT: u8 = 1;

/// The value of a snapshot.
#[must_use]
pub fn encode_snapshot(created: u64, snapshot: &SnapshotData) -> Vec<u8> {
    let bytes = snapshot.content_type.len() + snapshot.data.len() + snapshot.metadata.len();
    let mut writer = Writer::with_capacity(19 + bytes);
    writer.u8(FORMAT);
    writer.u64(created);
    writer.text(&snapshot.content_type);
    writer.bytes(&snapshot.data);
    writer.bytes(&snapshot.metadata);
    writer.finish()
}

/// Reads the value of a snapshot.
///
/// # Errors
///
/// [`Malformed`] if [`encode_snapshot`] did not write it.
pub fn decode_snapshot(
    stream_id: &str,
    version: Version,
    value: &[u8],
) -> Result<RecordedSnapshot, Malformed> {
    let mut reader = Reader::new(value);
    reader.format(FORMAT)?;
    let snapshot = RecordedSnapshot {
        stream_id: stream_id.to_owned(),
        version,
        created: reader.u64()?,
        content_type: reader.text()?.to_owned(),
        data: reader.bytes()?.to_owned(),
        metadata: reader.bytes()?.to_owned(),
    };
    reader.end()?;
    Ok(snapshot)
}

/// The value of an info.
#[must_use]
pub fn encode_info(created: u64, snapshot: &SnapshotData) -> Vec<u8> {
    let mut writer = Writer::with_capacity(19 + snapshot.content_type.len());
    writer.u8(FORMAT);
    writer.u64(created);
    writer.text(&snapshot.content_type);
    writer.u64(snapshot.data.len() as u64);
    writer.finish()
}

/// Reads the value of an info.
///
/// # Errors
///
/// [`Malformed`] if [`encode_info`] did not write it.
pub fn decode_info(version: Version, value: &[u8]) -> Result<SnapshotInfo, Malformed> {
    let mut reader = Reader::new(value);
    reader.format(FORMAT)?;
    let created = reader.u64()?;
    let info =
        SnapshotInfo { version, created, content_type: reader.text()?.to_owned(), size: reader.u64()? };
    reader.end()?;
    Ok(info)
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::snapshots::SnapshotData;

    use super::{decode_info, decode_snapshot, encode_info, encode_snapshot};

    fn snapshot() -> SnapshotData {
        SnapshotData { content_type: "c/t".into(), data: b"data".to_vec(), metadata: b"{}".to_vec() }
    }

    #[test]
    fn a_snapshot_is_these_bytes() {
        let value = encode_snapshot(258, &snapshot());
        assert_eq!(value, b"\x01\0\0\0\0\0\0\x01\x02\0\x03c/t\0\0\0\x04data\0\0\0\x02{}");
        let read = decode_snapshot("s", 7, &value).unwrap();
        assert_eq!((read.stream_id.as_str(), read.version, read.created), ("s", 7, 258));
        assert_eq!(
            (read.content_type, read.data, read.metadata),
            ("c/t".into(), b"data".to_vec(), b"{}".to_vec())
        );
        for length in 0..value.len() {
            decode_snapshot("s", 7, &value[..length]).unwrap_err();
        }
    }

    #[test]
    fn an_info_is_these_bytes() {
        let value = encode_info(258, &snapshot());
        assert_eq!(value, b"\x01\0\0\0\0\0\0\x01\x02\0\x03c/t\0\0\0\0\0\0\0\x04");
        let read = decode_info(7, &value).unwrap();
        assert_eq!((read.version, read.created, read.content_type.as_str(), read.size), (7, 258, "c/t", 4));
        for length in 0..value.len() {
            decode_info(7, &value[..length]).unwrap_err();
        }
    }
}
