//! Finds what the grammar of JSON allows and responses cannot embed.
//!
//! serde_json checks the grammar, and by hand is checked only what it does not say: it limits the nesting of what it builds,
//! not of what it skips, and it sees lone surrogates only in strings that it copies. To let it copy each string of each event
//! would be a second parse, where this looks at eight bytes at a time and at most of the events no further.

use std::fmt;

/// Nesting depth of arrays and objects in `data` and `metadata`. Parsers commonly recurse, and their default limit is
/// often 128.
pub const NESTING_MAX: usize = 128;

/// The reason why JSON text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonIssue {
    /// The text breaks the grammar (RFC 8259), or continues after the value.
    NotJson,
    /// Arrays and objects are nested deeper than [`NESTING_MAX`].
    NestedTooDeep,
    /// A `\u` escape is half of a surrogate pair, which Unicode text cannot represent.
    LoneSurrogate,
}

impl fmt::Display for JsonIssue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => out.write_str("it is not one JSON value"),
            Self::NestedTooDeep => {
                write!(out, "arrays and objects are nested deeper than {NESTING_MAX} levels")
            }
            Self::LoneSurrogate => {
                out.write_str("a \\u escape is half of a surrogate pair; write both halves or neither")
            }
        }
    }
}

/// Checks text that is known to follow the JSON grammar for excessive nesting and lone surrogates.
///
/// # Errors
/// The first issue found.
pub fn find_issue(json: &str) -> Result<(), JsonIssue> {
    let mut rest = json.as_bytes();
    if needs_no_scan(rest) {
        return Ok(());
    }
    let mut depth = 0_usize;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = skip_string(rest)?,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return Err(JsonIssue::NestedTooDeep);
        }
    }
    Ok(())
}

/// Whether the text has no escape and too few opening brackets to exceed the nesting limit. This fast path covers most
/// events. It takes eight bytes at a time and ignores where strings begin and end.
fn needs_no_scan(json: &[u8]) -> bool {
    let (words, rest) = json.as_chunks::<8>();
    let mut escapes = 0;
    let mut opening = 0_usize;
    for word in words {
        let word = u64::from_le_bytes(*word);
        escapes |= marks(word, b'\\');
        // `[` and `{` differ in one bit. The highest byte of the product is the sum of the marks.
        let found = marks(word | u64::from_ne_bytes([b'[' ^ b'{'; 8]), b'{') >> 7;
        opening += (found.wrapping_mul(LOW) >> 56) as usize;
    }
    opening += rest.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    escapes == 0 && !rest.contains(&b'\\') && opening <= NESTING_MAX
}

/// The bytes after a string. `rest` begins after its opening quote.
fn skip_string(mut rest: &[u8]) -> Result<&[u8], JsonIssue> {
    let mut expects_low = false;
    loop {
        let plain = plain_bytes(rest);
        rest = rest.get(plain..).unwrap_or_default();
        let unit = match rest {
            [b'\\', b'u', after @ ..] => {
                let (digits, after) = after.split_at_checked(4).ok_or(JsonIssue::NotJson)?;
                rest = after;
                Some(code_unit(digits)?)
            }
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', after @ ..] => {
                rest = after;
                None
            }
            [b'"', after @ ..] if !expects_low => return Ok(after),
            [b'"', ..] => None,
            _ => return Err(JsonIssue::NotJson),
        };
        match (expects_low && plain == 0, unit) {
            (true, Some(0xdc00..=0xdfff)) => expects_low = false,
            _ if expects_low => return Err(JsonIssue::LoneSurrogate),
            (_, Some(0xdc00..=0xdfff)) => return Err(JsonIssue::LoneSurrogate),
            (_, Some(0xd800..=0xdbff)) => expects_low = true,
            _ => {}
        }
    }
}

/// The lowest bit of each byte.
const LOW: u64 = u64::from_ne_bytes([0x01; 8]);

/// The highest bit of each byte.
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// Marks the highest bit of each byte that equals `byte`. Marks after the first one may be false.
fn marks(word: u64, byte: u8) -> u64 {
    let zeroed = word ^ u64::from_ne_bytes([byte; 8]);
    zeroed.wrapping_sub(LOW) & !zeroed & HIGH
}

/// The number of bytes before the next quote, backslash or control character. It takes eight bytes at a time, because most
/// of an event is plain text.
pub(super) fn plain_bytes(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // As in `marks`: the subtraction sets the highest bit of each byte below a space.
        let control = word.wrapping_sub(u64::from_ne_bytes([b' '; 8])) & !word & HIGH;
        let found = marks(word, b'"') | marks(word, b'\\') | control;
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let there = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '));
    bytes.len() - rest.len() + there.unwrap_or(rest.len())
}

/// The value of hexadecimal digits.
fn code_unit(digits: &[u8]) -> Result<u32, JsonIssue> {
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(JsonIssue::NotJson)?;
        Ok(unit << 4 | digit)
    })
}

#[cfg(test)]
mod tests {
    use super::{JsonIssue, NESTING_MAX, find_issue};
    use crate::is_valid;
    use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    /// Pieces of JSON strings, each valid by itself except for halves of surrogate pairs.
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
        fn a_string_has_an_issue_exactly_if_serde_json_refuses_it(
            strings in prop::collection::vec(prop::collection::vec(piece(), 0..6), 0..4),
        ) {
            let strings: Vec<_> = strings.iter().map(|pieces| format!("\"{}\"", pieces.concat())).collect();
            let json = format!("[{}]", strings.join(","));
            let refused = serde_json::from_str::<Vec<String>>(&json).is_err();
            prop_assert_eq!(find_issue(&json).is_err(), refused, "{}", json);
            prop_assert_eq!(!is_valid(json.as_bytes()), refused, "{}", json);
        }
    }

    #[test]
    fn issues_are_found_only_where_they_are() {
        for (json, expected) in [
            ("1", Ok(())),
            (r#""[[[[""#, Ok(())),
            (r#""\"[\\""#, Ok(())),
            (r#"["\ud83d\ude00"]"#, Ok(())),
            (r#""\uD83D\uDE00\uD83D\uDE00""#, Ok(())),
            (r#""\u0000\u0041""#, Ok(())),
            (r#""\ud83d""#, Err(JsonIssue::LoneSurrogate)),
            (r#""\ud83dx""#, Err(JsonIssue::LoneSurrogate)),
            (r#""\ud83d\n""#, Err(JsonIssue::LoneSurrogate)),
            (r#""\ud83d\ud83d\ude00""#, Err(JsonIssue::LoneSurrogate)),
            (r#""\ude00""#, Err(JsonIssue::LoneSurrogate)),
            (r#"{"\ude00":1}"#, Err(JsonIssue::LoneSurrogate)),
            (r#""\\ud83d""#, Ok(())),
            (r#"["\ud83d","\ude00"]"#, Err(JsonIssue::LoneSurrogate)),
        ] {
            assert_eq!(find_issue(json), expected, "{json}");
        }
        assert_eq!(find_issue(&nested(NESTING_MAX)), Ok(()));
        assert_eq!(find_issue(&nested(NESTING_MAX + 1)), Err(JsonIssue::NestedTooDeep));
        for flat in ["[]", "{}", "\"[\",", "[\"{{{{{{{{\"],"] {
            assert_eq!(find_issue(&flat.repeat(NESTING_MAX + 1)), Ok(()), "{flat}");
        }
        for (at, length) in (0..40).flat_map(|length| (0..length).map(move |at| (at, length))) {
            let before = " ".repeat(at);
            let after = " ".repeat(length - at);
            let deep = format!("{before}{}{after}", nested(NESTING_MAX + 1));
            assert_eq!(find_issue(&deep), Err(JsonIssue::NestedTooDeep));
            let lone = format!("{before}\"{after}\\ud800{after}\"");
            assert_eq!(find_issue(&lone), Err(JsonIssue::LoneSurrogate), "{lone}");
        }
    }

    #[test]
    fn only_one_valid_value_is_accepted() {
        for good in ["1", " {\"a\":[null]} ", "1e999", "\"\\u0000\"", "-0", "\r1\n"] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in
            ["", "{", "1 2", "NaN", "'a'", "[1,]", "\"\\ud800\"", "{\"a\":1}}", "\u{feff}1", "\"a\tb\"", "01"]
        {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
        assert!(!is_valid(b"\"\xff\""));
        assert!(!is_valid(nested(100_000).as_bytes()));
        assert!(!is_valid(nested(NESTING_MAX + 1).as_bytes()));
        assert!(is_valid(nested(NESTING_MAX).as_bytes()));
    }
}
