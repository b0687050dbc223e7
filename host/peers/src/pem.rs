//! PEM, as files and messages have it: bytes as lines of base64 between two marks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes of base64 in a line, as RFC 7468 has it.
const LINE: usize = 64;

/// Writes bytes as PEM.
pub(crate) fn encode(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines = text.as_bytes().chunks(LINE).map(String::from_utf8_lossy);
    let body: String = lines.flat_map(|line| [line, "\n".into()]).collect();
    format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n")
}
