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
    let mut rest = json.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'"' => rest = skip_string(rest)?,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_NESTING_MAX {
            return Err(Hazard::NestedTooDeep);
        }
    }
    Ok(())
}

/// What lies behind the string whose text begins here.
fn skip_string(mut rest: &[u8]) -> Result<&[u8], Hazard> {
    let mut expects_low = false;
    loop {
        let plain = plain_bytes(rest);
        rest = &rest[plain..];
        let unit = match rest {
            [b'\\', b'u', behind @ ..] => {
                rest = behind.get(4..).unwrap_or_default();
                Some(code_unit(behind))
            }
            [b'\\', _, behind @ ..] => {
                rest = behind;
                None
            }
            [_, behind @ ..] if !expects_low => return Ok(behind),
            _ => None,
        };
        match (expects_low && plain == 0, unit) {
            (true, Some(0xdc00..=0xdfff)) => expects_low = false,
            _ if expects_low => return Err(Hazard::LoneSurrogate),
            (_, Some(0xdc00..=0xdfff)) => return Err(Hazard::LoneSurrogate),
            (_, Some(0xd800..=0xdbff)) => expects_low = true,
            _ if rest.is_empty() => return Ok(rest),
            _ => {}
        }
    }
}

/// How many bytes there are before the next quote or backslash, eight at a time: most of an event is plain text.
fn plain_bytes(bytes: &[u8]) -> usize {
    /// A mark in the highest bit of each byte that is `byte`; those behind the first may be wrong.
    fn marks(word: u64, byte: u8) -> u64 {
        let zeroed = word ^ u64::from_ne_bytes([byte; 8]);
        zeroed.wrapping_sub(u64::from_ne_bytes([0x01; 8])) & !zeroed & u64::from_ne_bytes([0x80; 8])
    }
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = marks(word, b'"') | marks(word, b'\\');
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let there = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    bytes.len() - rest.len() + there.unwrap_or(rest.len())
}

/// The number that the next four hexadecimal digits make.
fn code_unit(digits: &[u8]) -> u32 {
    digits.iter().take(4).fold(0, |unit, digit| unit << 4 | char::from(*digit).to_digit(16).unwrap_or(0))
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
    use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    /// Pieces of JSON strings, each sound by itself but for halves of surrogate pairs.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z\\[\\]{},é]{0,20}",
            Just(r"\\".to_owned()),
            Just(r#"\""#.to_owned()),
            Just(r"\n".to_owned()),
            (0xd7fe_u32..0xe002).prop_map(|unit| format!("\\u{unit:04x}")),
            Just(r"\uD83D\uDE00".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn a_string_has_a_hazard_where_a_parser_of_unicode_refuses_it(
            strings in prop::collection::vec(prop::collection::vec(piece(), 0..6), 0..4),
        ) {
            let strings: Vec<_> = strings.iter().map(|pieces| format!("\"{}\"", pieces.concat())).collect();
            let json = format!("[{}]", strings.join(","));
            let refused = serde_json::from_str::<Vec<String>>(&json).is_err();
            prop_assert_eq!(find_hazard(&json).is_err(), refused, "{}", json);
        }
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
