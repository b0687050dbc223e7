//! The opaque text with which a client continues a list of snapshots.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exesdb_sdk::arguments;
use exesdb_sdk::steps::snapshots::SnapshotId;

use crate::limits::SOURCE_BYTES_MAX;

/// The cursor after a snapshot: base64 of its version (8 bytes, big-endian), its stream, a zero byte, and its source. No
/// name contains a zero byte.
pub fn encode(id: &SnapshotId) -> String {
    let bytes =
        [&id.version.to_be_bytes()[..], id.stream_id.as_bytes(), &[0], id.source_id.as_bytes()].concat();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The snapshot that a cursor names; none if the text is not a cursor.
pub fn decode(text: &str) -> Option<SnapshotId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (version, names) = bytes.split_first_chunk()?;
    let (stream, source) = std::str::from_utf8(names).ok()?.split_once('\0')?;
    arguments::check_stream_id("", stream).ok()?;
    arguments::check_part("", source, SOURCE_BYTES_MAX).ok()?;
    let version = u64::from_be_bytes(*version);
    Some(SnapshotId { stream_id: stream.to_owned(), source_id: source.to_owned(), version })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::{decode, encode};
    use exesdb_sdk::steps::snapshots::SnapshotId;

    #[test]
    fn a_cursor_decodes_to_what_it_encodes() {
        for (stream, source, version) in [("s", "", 0), ("a/é", "p q", u64::MAX), ("a", "b", 1)] {
            let id = SnapshotId { stream_id: stream.to_owned(), source_id: source.to_owned(), version };
            let text = encode(&id);
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
            assert_eq!(decode(&text), Some(id));
        }
    }

    #[test]
    fn other_text_is_not_a_cursor() {
        let long = "x".repeat(257);
        for bytes in [
            &b""[..],
            b"1234567",
            b"12345678",
            b"12345678s",
            b"12345678\0p",
            b"12345678s\0p\0q",
            b"12345678s\n\0",
            b"12345678\xff\0",
            format!("12345678{long}\0").as_bytes(),
            format!("12345678s\0{long}").as_bytes(),
        ] {
            assert_eq!(decode(&URL_SAFE_NO_PAD.encode(bytes)), None, "{bytes:?}");
        }
        for text in ["", "?", "====", "MTIzNDU2Nzhz\n"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
