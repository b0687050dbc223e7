//! JSON text as bytes: what may be embedded into an answer, and how values are written.
//!
//! Events carry their JSON as the client wrote it. It is checked once when it comes in and copied from then on.

use std::fmt;

use serde::de::IgnoredAny;

use crate::limits::JSON_NESTING_MAX;

/// Why JSON that is correct by its grammar is refused all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hazard {
    /// Arrays and objects lie deeper than [`JSON_NESTING_MAX`].
    NestedTooDeep,
    /// A `\u` escape is one half of a surrogate pair, which no Unicode text can hold.
    LoneSurrogate,
}

impl fmt::Display for Hazard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NestedTooDeep => {
                write!(out, "arrays and objects are nested deeper than {JSON_NESTING_MAX} levels")
            }
            Self::LoneSurrogate => {
                out.write_str("a \\u escape is half of a surrogate pair; write both halves or neither")
            }
        }
    }
}

/// Looks for what would hurt readers in text that is a JSON value by its grammar already.
///
/// # Errors
/// The first hazard found.
pub fn find_hazard(json: &str) -> Result<(), Hazard> {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut expects_low = false;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        if !in_string {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > JSON_NESTING_MAX {
                return Err(Hazard::NestedTooDeep);
            }
            continue;
        }
        let mut unit = None;
        match byte {
            b'"' => in_string = false,
            b'\\' if bytes.next() == Some(b'u') => unit = Some(code_unit(&mut bytes)),
            _ => {}
        }
        match (expects_low, unit) {
            (true, Some(0xdc00..=0xdfff)) => expects_low = false,
            (true, _) | (false, Some(0xdc00..=0xdfff)) => return Err(Hazard::LoneSurrogate),
            (false, Some(0xd800..=0xdbff)) => expects_low = true,
            (false, _) => {}
        }
    }
    Ok(())
}

/// The number that the next four hexadecimal digits make.
fn code_unit(bytes: &mut std::str::Bytes<'_>) -> u32 {
    bytes.take(4).fold(0, |unit, digit| unit << 4 | char::from(digit).to_digit(16).unwrap_or(0))
}

/// The bytes as JSON text that can stand inside an answer, if they are one JSON value without hazards.
///
/// What the store gives back is checked again, because another gateway may have appended it: one bad event
/// would otherwise spoil every page it is on.
pub fn embeddable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    find_hazard(text).ok()?;
    Some(text)
}

/// Whether a content type says that the bytes are JSON: `application/json` or any type with the suffix `+json`.
pub fn is_json(content_type: &str) -> bool {
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
    use super::{Hazard, embeddable, find_hazard, is_json};
    use crate::limits::JSON_NESTING_MAX;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn hazards_are_found_and_nothing_else_is() {
        for (json, expected) in [
            ("1", Ok(())),
            (r#""[[[[""#, Ok(())),
            (r#""\"[\\""#, Ok(())),
            (r#"["\ud83d\ude00"]"#, Ok(())),
            (r#""\uD83D\uDE00\uD83D\uDE00""#, Ok(())),
            (r#""\u0000\u0041""#, Ok(())),
            (r#""\ud83d""#, Err(Hazard::LoneSurrogate)),
            (r#""\ud83dx""#, Err(Hazard::LoneSurrogate)),
            (r#""\ud83d\n""#, Err(Hazard::LoneSurrogate)),
            (r#""\ud83d\ud83d\ude00""#, Err(Hazard::LoneSurrogate)),
            (r#""\ude00""#, Err(Hazard::LoneSurrogate)),
            (r#"{"\ude00":1}"#, Err(Hazard::LoneSurrogate)),
            (r#""\\ud83d""#, Ok(())),
            (r#"["\ud83d","\ude00"]"#, Err(Hazard::LoneSurrogate)),
        ] {
            assert_eq!(find_hazard(json), expected, "{json}");
        }
        assert_eq!(find_hazard(&nested(JSON_NESTING_MAX)), Ok(()));
        assert_eq!(find_hazard(&nested(JSON_NESTING_MAX + 1)), Err(Hazard::NestedTooDeep));
        assert_eq!(find_hazard(&"[]".repeat(JSON_NESTING_MAX + 1)), Ok(()));
    }

    #[test]
    fn only_one_sound_value_is_embedded() {
        for good in ["1", " {\"a\":[null]} ", "1e999", "\"\\u0000\"", "-0"] {
            assert_eq!(embeddable(good.as_bytes()), Some(good));
        }
        for bad in ["", "{", "1 2", "NaN", "'a'", "[1,]", "\"\\ud800\"", "{\"a\":1}}", "\u{feff}1"] {
            assert_eq!(embeddable(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(embeddable(b"\"\xff\""), None);
        assert_eq!(embeddable(nested(100_000).as_bytes()), None);
    }

    #[test]
    fn json_content_types() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "text/plain", "application/jsonl", "json", "application/json+zip", "text/x;+json"] {
            assert!(!is_json(other), "{other}");
        }
    }
}
