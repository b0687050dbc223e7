//! JSON text as bytes.
//!
//! Events carry their JSON as the client wrote it: it is validated when it arrives, and copied from then on.

mod issue;

pub use issue::{JsonIssue, find_issue};

use issue::plain_bytes;
use serde::de::IgnoredAny;

/// Whether bytes are one JSON value that a response can embed: its grammar, its nesting, and no lone surrogates.
pub fn is_valid(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes)
        .is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok() && find_issue(text).is_ok())
}

/// Whether a content type says that the bytes are JSON: `application/json` or any type with the suffix `+json`.
pub fn is_json(content_type: &str) -> bool {
    // The most common case.
    if content_type == "application/json" {
        return true;
    }
    let essence = essence(content_type);
    essence.eq_ignore_ascii_case("application/json")
        || essence.rsplit_once('+').is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"))
}

/// A media type without its parameters.
pub fn essence(media_type: &str) -> &str {
    media_type.split_once(';').map_or(media_type, |(essence, _)| essence).trim()
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

    use super::{is_json, push_string};

    proptest! {
        #[test]
        fn a_written_string_parses_to_itself(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("it is JSON"), text);
        }
    }

    #[test]
    fn content_types_of_json_are_recognised() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "text/plain", "application/jsonl", "json", "application/json+zip", "text/x;+json"] {
            assert!(!is_json(other), "{other}");
        }
    }
}
