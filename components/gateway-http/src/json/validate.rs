//! Validates JSON text before a response embeds it.

use std::fmt;

use crate::limits::JSON_NESTING_MAX;

/// The reason why JSON text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonIssue {
    /// The text breaks the grammar (RFC 8259), or continues after the value.
    NotJson,
    /// Arrays and objects are nested deeper than [`JSON_NESTING_MAX`].
    NestedTooDeep,
    /// A `\u` escape is half of a surrogate pair, which Unicode text cannot represent.
    LoneSurrogate,
}

impl fmt::Display for JsonIssue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => out.write_str("it is not one JSON value"),
            Self::NestedTooDeep => {
                write!(out, "arrays and objects are nested deeper than {JSON_NESTING_MAX} levels")
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
        if depth > JSON_NESTING_MAX {
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
    escapes == 0 && !rest.contains(&b'\\') && opening <= JSON_NESTING_MAX
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

/// One JSON value that a response can embed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidJson<'a> {
    /// The value with its surrounding white space.
    pub text: &'a str,
    /// Whether it contains line breaks. JSON allows them between tokens only.
    pub has_line_breaks: bool,
}

/// Validates one JSON value: its grammar, its nesting, and that it has no lone surrogates.
///
/// Events that the store returns are validated again, because another gateway may have appended them, and one invalid
/// event would corrupt every page it is on. This is the largest part of the work of a read, so it takes one pass.
pub fn validate(bytes: &[u8]) -> Option<ValidJson<'_>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut scanner = Scanner { rest: bytes, depth: 0, objects: 0, has_line_breaks: false };
    scanner.scan().ok()?;
    Some(ValidJson { text, has_line_breaks: scanner.has_line_breaks })
}

/// Scans a JSON value in one pass.
struct Scanner<'a> {
    rest: &'a [u8],
    /// The number of open arrays and objects.
    depth: usize,
    /// One bit for each of them, the innermost lowest: 1 for an object, 0 for an array.
    objects: u128,
    has_line_breaks: bool,
}

const _: () = assert!(JSON_NESTING_MAX <= u128::BITS as usize, "each level has a bit");

impl Scanner<'_> {
    fn scan(&mut self) -> Result<(), JsonIssue> {
        loop {
            // Here a value begins.
            match self.token() {
                Some(b'"') => self.rest = skip_string(self.rest)?,
                Some(b'{') => {
                    self.open(1)?;
                    if !self.closes(b'}') {
                        self.key()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.open(0)?;
                    if !self.closes(b']') {
                        continue;
                    }
                }
                Some(b't') => self.literal(b"rue")?,
                Some(b'f') => self.literal(b"alse")?,
                Some(b'n') => self.literal(b"ull")?,
                Some(first @ (b'-' | b'0'..=b'9')) => self.number(first)?,
                _ => return Err(JsonIssue::NotJson),
            }
            // Here a value has ended, and perhaps the arrays and objects around it.
            while self.depth > 0 {
                match (self.token(), self.objects & 1) {
                    (Some(b','), 0) => break,
                    (Some(b','), _) => {
                        self.key()?;
                        break;
                    }
                    (Some(b']'), 0) | (Some(b'}'), 1) => self.close(),
                    _ => return Err(JsonIssue::NotJson),
                }
            }
            if self.depth == 0 {
                return if self.token().is_none() { Ok(()) } else { Err(JsonIssue::NotJson) };
            }
        }
    }

    /// Takes the first byte of the next token.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        match self.rest {
            [byte, rest @ ..] if *byte > b' ' => {
                self.rest = rest;
                Some(*byte)
            }
            _ => self.token_after_space(),
        }
    }

    fn token_after_space(&mut self) -> Option<u8> {
        loop {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.has_line_breaks = true,
                _ => return Some(*byte),
            }
        }
    }

    #[inline]
    fn open(&mut self, object: u128) -> Result<(), JsonIssue> {
        if self.depth == JSON_NESTING_MAX {
            return Err(JsonIssue::NestedTooDeep);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | object;
        Ok(())
    }

    #[inline]
    fn close(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
    }

    /// Closes the array or object that was just opened, if it is empty.
    #[inline]
    fn closes(&mut self, end: u8) -> bool {
        let before = self.rest;
        let closes = self.token() == Some(end);
        if closes {
            self.close();
        } else {
            self.rest = before;
        }
        closes
    }

    /// The name of a field, and the colon after it.
    #[inline]
    fn key(&mut self) -> Result<(), JsonIssue> {
        if self.token() != Some(b'"') {
            return Err(JsonIssue::NotJson);
        }
        self.rest = skip_string(self.rest)?;
        if self.token() == Some(b':') { Ok(()) } else { Err(JsonIssue::NotJson) }
    }

    fn literal(&mut self, rest: &[u8]) -> Result<(), JsonIssue> {
        self.rest = self.rest.strip_prefix(rest).ok_or(JsonIssue::NotJson)?;
        Ok(())
    }

    /// The rest of a number after its first byte.
    #[inline]
    fn number(&mut self, first: u8) -> Result<(), JsonIssue> {
        match (first, self.rest.first()) {
            (b'0', _) => {}
            (b'-', Some(b'0')) => self.rest = self.rest.get(1..).unwrap_or_default(),
            (b'-', _) => self.digits()?,
            _ => {
                self.some_digits();
            }
        }
        if let Some(rest) = self.rest.strip_prefix(b".") {
            self.rest = rest;
            self.digits()?;
        }
        if let [b'e' | b'E', rest @ ..] = self.rest {
            self.rest = match rest {
                [b'+' | b'-', rest @ ..] => rest,
                _ => rest,
            };
            self.digits()?;
        }
        Ok(())
    }

    /// One or more digits.
    fn digits(&mut self) -> Result<(), JsonIssue> {
        if self.some_digits() == 0 { Err(JsonIssue::NotJson) } else { Ok(()) }
    }

    #[inline]
    fn some_digits(&mut self) -> usize {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.rest = self.rest.get(count..).unwrap_or_default();
        count
    }
}

#[cfg(test)]
mod tests {
    use super::{JsonIssue, find_issue, validate};
    use crate::limits::JSON_NESTING_MAX;
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
    use proptest::sample::select;
    use serde::de::IgnoredAny;

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
            prop_assert_eq!(validate(json.as_bytes()).is_none(), refused, "{}", json);
        }

        /// `validate` agrees with serde_json followed by `find_issue`.
        #[test]
        fn validate_accepts_what_serde_json_and_find_issue_accept(text in near_json()) {
            let parsed = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            let expected = parsed && find_issue(&text).is_ok();
            prop_assert_eq!(validate(text.as_bytes()).is_some(), expected, "{}", text);
        }

        #[test]
        fn validate_accepts_the_bytes_that_serde_json_accepts(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(validate(&bytes).is_some(), serde_json::from_slice::<IgnoredAny>(&bytes).is_ok());
        }
    }

    /// Text that is mostly JSON: values made of small pieces, some of them invalid.
    fn near_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            select(
                &[
                    "null",
                    "true",
                    "false",
                    "0",
                    "-0",
                    "12",
                    "-3.50",
                    "1e9",
                    "2E+07",
                    "1.5e-3",
                    "01",
                    "-",
                    "1.",
                    ".5",
                    "1e",
                    "+1",
                    "nul",
                    "True",
                    "",
                    "\u{b}",
                    "\"\\q\"",
                    "\"\\u12g4\"",
                    "\"\\u12",
                    "\"a\tb\"",
                    "\"\\",
                    "\"",
                    "-a",
                    "1e+",
                    "0x1",
                ][..]
            )
            .prop_map(str::to_owned),
            prop::collection::vec(piece(), 0..3).prop_map(|pieces| format!("\"{}\"", pieces.concat())),
            (0_i64..1_000_000).prop_map(|number| number.to_string()),
        ];
        let space = || select(&["", "", "", " ", "\n", "\r\t ", ",", "\u{a0}"][..]);
        leaf.prop_recursive(4, 24, 4, move |inner| {
            let value = (space(), inner, space())
                .prop_map(|(before, inner, after)| format!("{before}{inner}{after}"));
            let field = (
                select(&["\"a\"", "\"\"", "a", "1", "\"\\ud800\""][..]),
                select(&[":", ":", ":", " : ", "", "="][..]),
                value.clone(),
            );
            prop_oneof![
                prop::collection::vec(value, 0..4).prop_map(|values| format!("[{}]", values.join(","))),
                prop::collection::vec(field, 0..4).prop_map(|fields| {
                    let fields: Vec<_> = fields
                        .into_iter()
                        .map(|(name, colon, value)| format!("{name}{colon}{value}"))
                        .collect();
                    format!("{{{}}}", fields.join(","))
                }),
                (select(&["[", "{", "]", "}", "[}", "{]", "[[]"][..])).prop_map(str::to_owned),
            ]
        })
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
        assert_eq!(find_issue(&nested(JSON_NESTING_MAX)), Ok(()));
        assert_eq!(find_issue(&nested(JSON_NESTING_MAX + 1)), Err(JsonIssue::NestedTooDeep));
        for flat in ["[]", "{}", "\"[\",", "[\"{{{{{{{{\"],"] {
            assert_eq!(find_issue(&flat.repeat(JSON_NESTING_MAX + 1)), Ok(()), "{flat}");
        }
        for (at, length) in (0..40).flat_map(|length| (0..length).map(move |at| (at, length))) {
            let before = " ".repeat(at);
            let after = " ".repeat(length - at);
            let deep = format!("{before}{}{after}", nested(JSON_NESTING_MAX + 1));
            assert_eq!(find_issue(&deep), Err(JsonIssue::NestedTooDeep));
            let lone = format!("{before}\"{after}\\ud800{after}\"");
            assert_eq!(find_issue(&lone), Err(JsonIssue::LoneSurrogate), "{lone}");
        }
    }

    #[test]
    fn only_one_valid_value_is_accepted() {
        for good in ["1", " {\"a\":[null]} ", "1e999", "\"\\u0000\"", "-0"] {
            assert_eq!(validate(good.as_bytes()).map(|json| json.text), Some(good));
        }
        for bad in ["", "{", "1 2", "NaN", "'a'", "[1,]", "\"\\ud800\"", "{\"a\":1}}", "\u{feff}1"] {
            assert_eq!(validate(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(validate(b"\"\xff\""), None);
        assert_eq!(validate(nested(100_000).as_bytes()), None);
        assert_eq!(validate(nested(JSON_NESTING_MAX + 1).as_bytes()), None);
        assert!(validate(nested(JSON_NESTING_MAX).as_bytes()).is_some());
        for (text, expected) in [
            ("[1, \"\\n\"]", false),
            ("[1,\n2]", true),
            ("\r1", true),
            ("{\"a\"\n:1}", true),
            ("{\n}", true),
            ("1\n", true),
        ] {
            let found = validate(text.as_bytes()).map(|json| json.has_line_breaks);
            assert_eq!(found, Some(expected), "{text}");
        }
    }
}
