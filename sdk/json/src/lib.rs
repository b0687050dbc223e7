//! Events as JSON: the form that the HTTP API, exports and sinks share.
//!
//! Events carry their JSON as the client wrote it: it is validated when it arrives, and copied from then on.

mod content;
mod event;
mod issue;
mod timestamp;

pub use content::{Content, Layout, push_content, push_name, push_number_field, push_time_field};
pub use event::{push_event, push_line, text_bytes};
pub use issue::{JsonIssue, NESTING_MAX, find_issue};
pub use timestamp::{Timestamp, parse_rfc3339};

use issue::plain_bytes;
use serde::de::IgnoredAny;

/// Parses a number that consists of decimal digits only.
pub fn number(text: &str) -> Option<u64> {
    // `parse` alone would accept a plus sign.
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Whether bytes are one JSON value that a response can embed: its grammar, its nesting, and no lone surrogates.
pub fn is_valid(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes)
        .is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok() && find_issue(text).is_ok())
}

/// Appends a JSON string.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    if plain_bytes(text.as_bytes()) == text.len() {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    serde_json::to_writer(out, text).expect("writing a string into memory cannot fail");
}

/// Appends a JSON number.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    serde_json::to_writer(out, &number).expect("writing a number into memory cannot fail");
}

/// Appends `true` or `false`.
pub fn push_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::{prop_assert_eq, proptest};

    use super::push_string;

    proptest! {
        #[test]
        fn a_written_string_parses_to_itself(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("it is JSON"), text);
        }
    }
}
