//! JSON text as bytes: what may be embedded into an answer, and how values are written.
//!
//! Events carry their JSON as the client wrote it. It is checked once when it comes in and copied from then on.

use std::fmt;

use crate::limits::JSON_NESTING_MAX;

/// Why text is refused as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hazard {
    /// It breaks the grammar (RFC 8259), or goes on behind the value.
    NotJson,
    /// Arrays and objects lie deeper than [`JSON_NESTING_MAX`].
    NestedTooDeep,
    /// A `\u` escape is one half of a surrogate pair, which no Unicode text can hold.
    LoneSurrogate,
}

impl fmt::Display for Hazard {
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

/// Looks for what would hurt readers in text that is a JSON value by its grammar already.
///
/// # Errors
/// The first hazard found.
pub fn find_hazard(json: &str) -> Result<(), Hazard> {
    let mut rest = json.as_bytes();
    if is_harmless(rest) {
        return Ok(());
    }
    let mut depth = 0_usize;
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

/// Whether there is no escape, and not enough that opens to lie too deep: what most events are, found out eight bytes at
/// a time without regard to where strings begin and end.
fn is_harmless(json: &[u8]) -> bool {
    let (words, rest) = json.as_chunks::<8>();
    let mut escapes = 0;
    let mut opening = 0_usize;
    for word in words {
        let word = u64::from_le_bytes(*word);
        escapes |= marks(word, b'\\');
        // `[` and `{` are one bit apart. The product's highest byte is the sum of the others' marks.
        let found = marks(word | u64::from_ne_bytes([b'[' ^ b'{'; 8]), b'{') >> 7;
        opening += (found.wrapping_mul(LOW) >> 56) as usize;
    }
    opening += rest.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    escapes == 0 && !rest.contains(&b'\\') && opening <= JSON_NESTING_MAX
}

/// What lies behind the string whose text begins here.
fn skip_string(mut rest: &[u8]) -> Result<&[u8], Hazard> {
    let mut expects_low = false;
    loop {
        let plain = plain_bytes(rest);
        rest = rest.get(plain..).unwrap_or_default();
        let unit = match rest {
            [b'\\', b'u', behind @ ..] => {
                let (digits, behind) = behind.split_at_checked(4).ok_or(Hazard::NotJson)?;
                rest = behind;
                Some(code_unit(digits)?)
            }
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', behind @ ..] => {
                rest = behind;
                None
            }
            [b'"', behind @ ..] if !expects_low => return Ok(behind),
            [b'"', ..] => None,
            _ => return Err(Hazard::NotJson),
        };
        match (expects_low && plain == 0, unit) {
            (true, Some(0xdc00..=0xdfff)) => expects_low = false,
            _ if expects_low => return Err(Hazard::LoneSurrogate),
            (_, Some(0xdc00..=0xdfff)) => return Err(Hazard::LoneSurrogate),
            (_, Some(0xd800..=0xdbff)) => expects_low = true,
            _ => {}
        }
    }
}

/// The lowest bit of each byte.
const LOW: u64 = u64::from_ne_bytes([0x01; 8]);

/// The highest bit of each byte.
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// A mark in the highest bit of each byte that is `byte`; there may be wrong ones behind the first.
fn marks(word: u64, byte: u8) -> u64 {
    let zeroed = word ^ u64::from_ne_bytes([byte; 8]);
    zeroed.wrapping_sub(LOW) & !zeroed & HIGH
}

/// How many bytes there are before the next quote, backslash or control character, eight at a time: most of an event is
/// plain text.
fn plain_bytes(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // As in `marks`: those below a space borrow from their highest bit.
        let control = word.wrapping_sub(u64::from_ne_bytes([b' '; 8])) & !word & HIGH;
        let found = marks(word, b'"') | marks(word, b'\\') | control;
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let there = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '));
    bytes.len() - rest.len() + there.unwrap_or(rest.len())
}

/// The number that hexadecimal digits make.
fn code_unit(digits: &[u8]) -> Result<u32, Hazard> {
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(Hazard::NotJson)?;
        Ok(unit << 4 | digit)
    })
}

/// One JSON value without hazards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound<'a> {
    /// The value, with the white space around it.
    pub text: &'a str,
    /// Whether it has line breaks. They are between its tokens, where JSON has them only.
    pub has_line_breaks: bool,
}

/// The bytes as JSON text that can stand inside an answer, if they are one JSON value without hazards.
///
/// What the store gives back is checked again, because another gateway may have appended it: one bad event
/// would otherwise spoil every page it is on. It is the largest part of the work of a read, so it is one pass.
pub fn embeddable(bytes: &[u8]) -> Option<Sound<'_>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut scanner = Scanner { rest: bytes, depth: 0, objects: 0, has_line_breaks: false };
    scanner.scan().ok()?;
    Some(Sound { text, has_line_breaks: scanner.has_line_breaks })
}

/// Goes through a JSON value once.
struct Scanner<'a> {
    rest: &'a [u8],
    /// How many arrays and objects are open.
    depth: usize,
    /// Which of them are objects: one bit for each, the innermost lowest. As many as [`JSON_NESTING_MAX`].
    objects: u128,
    has_line_breaks: bool,
}

const _: () = assert!(JSON_NESTING_MAX <= u128::BITS as usize, "each level has a bit");

impl Scanner<'_> {
    fn scan(&mut self) -> Result<(), Hazard> {
        loop {
            // A value begins here.
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
                _ => return Err(Hazard::NotJson),
            }
            // A value has ended here, and with it perhaps some that it is the last one of.
            while self.depth > 0 {
                match (self.token(), self.objects & 1) {
                    (Some(b','), 0) => break,
                    (Some(b','), _) => {
                        self.key()?;
                        break;
                    }
                    (Some(b']'), 0) | (Some(b'}'), 1) => self.close(),
                    _ => return Err(Hazard::NotJson),
                }
            }
            if self.depth == 0 {
                return if self.token().is_none() { Ok(()) } else { Err(Hazard::NotJson) };
            }
        }
    }

    /// The first byte of the next token, taken off.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        match self.rest {
            [byte, rest @ ..] if *byte > b' ' => {
                self.rest = rest;
                Some(*byte)
            }
            _ => self.token_behind_space(),
        }
    }

    fn token_behind_space(&mut self) -> Option<u8> {
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
    fn open(&mut self, object: u128) -> Result<(), Hazard> {
        if self.depth == JSON_NESTING_MAX {
            return Err(Hazard::NestedTooDeep);
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

    /// Closes what was just opened, if it is empty.
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

    /// The name of a field, and the colon behind it.
    #[inline]
    fn key(&mut self) -> Result<(), Hazard> {
        if self.token() != Some(b'"') {
            return Err(Hazard::NotJson);
        }
        self.rest = skip_string(self.rest)?;
        if self.token() == Some(b':') { Ok(()) } else { Err(Hazard::NotJson) }
    }

    fn literal(&mut self, rest: &[u8]) -> Result<(), Hazard> {
        self.rest = self.rest.strip_prefix(rest).ok_or(Hazard::NotJson)?;
        Ok(())
    }

    /// What follows the first byte of a number.
    #[inline]
    fn number(&mut self, first: u8) -> Result<(), Hazard> {
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

    /// Digits, at least one.
    fn digits(&mut self) -> Result<(), Hazard> {
        if self.some_digits() == 0 { Err(Hazard::NotJson) } else { Ok(()) }
    }

    #[inline]
    fn some_digits(&mut self) -> usize {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.rest = self.rest.get(count..).unwrap_or_default();
        count
    }
}

/// Whether a content type says that the bytes are JSON: `application/json` or any type with the suffix `+json`.
pub fn is_json(content_type: &str) -> bool {
    // Most are just this.
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
    use super::{Hazard, embeddable, find_hazard, is_json, push_string};
    use crate::limits::JSON_NESTING_MAX;
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
    use proptest::sample::select;
    use serde::de::IgnoredAny;

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
            prop_assert_eq!(embeddable(json.as_bytes()).is_none(), refused, "{}", json);
        }

        /// One pass finds what a parser and a search for hazards find.
        #[test]
        fn a_value_is_sound_where_a_parser_and_the_search_for_hazards_agree(text in near_json()) {
            let parsed = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            let expected = parsed && find_hazard(&text).is_ok();
            prop_assert_eq!(embeddable(text.as_bytes()).is_some(), expected, "{}", text);
        }

        #[test]
        fn bytes_are_sound_where_a_parser_takes_them(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(embeddable(&bytes).is_some(), serde_json::from_slice::<IgnoredAny>(&bytes).is_ok());
        }

        #[test]
        fn a_string_is_written_as_a_parser_reads_it(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("it is JSON"), text);
        }
    }

    /// JSON, mostly: values of small pieces, of which one may be replaced by another.
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
                .prop_map(|(before, inner, behind)| format!("{before}{inner}{behind}"));
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
        for flat in ["[]", "{}", "\"[\",", "[\"{{{{{{{{\"],"] {
            assert_eq!(find_hazard(&flat.repeat(JSON_NESTING_MAX + 1)), Ok(()), "{flat}");
        }
        for (at, length) in (0..40).flat_map(|length| (0..length).map(move |at| (at, length))) {
            let before = " ".repeat(at);
            let behind = " ".repeat(length - at);
            let deep = format!("{before}{}{behind}", nested(JSON_NESTING_MAX + 1));
            assert_eq!(find_hazard(&deep), Err(Hazard::NestedTooDeep));
            let lone = format!("{before}\"{behind}\\ud800{behind}\"");
            assert_eq!(find_hazard(&lone), Err(Hazard::LoneSurrogate), "{lone}");
        }
    }

    #[test]
    fn only_one_sound_value_is_embedded() {
        for good in ["1", " {\"a\":[null]} ", "1e999", "\"\\u0000\"", "-0"] {
            assert_eq!(embeddable(good.as_bytes()).map(|sound| sound.text), Some(good));
        }
        for bad in ["", "{", "1 2", "NaN", "'a'", "[1,]", "\"\\ud800\"", "{\"a\":1}}", "\u{feff}1"] {
            assert_eq!(embeddable(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(embeddable(b"\"\xff\""), None);
        assert_eq!(embeddable(nested(100_000).as_bytes()), None);
        assert_eq!(embeddable(nested(JSON_NESTING_MAX + 1).as_bytes()), None);
        assert!(embeddable(nested(JSON_NESTING_MAX).as_bytes()).is_some());
        for (text, expected) in [
            ("[1, \"\\n\"]", false),
            ("[1,\n2]", true),
            ("\r1", true),
            ("{\"a\"\n:1}", true),
            ("{\n}", true),
            ("1\n", true),
        ] {
            let found = embeddable(text.as_bytes()).map(|sound| sound.has_line_breaks);
            assert_eq!(found, Some(expected), "{text}");
        }
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
