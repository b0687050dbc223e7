//! Whether bytes are JSON that can be embedded in other JSON.

use serde::de::IgnoredAny;

/// Most nested arrays and objects: 128, the limit of the gateway and of most JSON parsers. Clients parse the JSON as a part of
/// a larger document.
const NESTING_MAX: usize = 128;

/// Whether the bytes are one JSON value, in UTF-8, that every parser reads: not nested deeper than [`NESTING_MAX`], and
/// without an escape that is half of a surrogate pair.
pub fn is_json(bytes: &[u8]) -> bool {
    // serde_json checks of a text that it ignores neither that it is UTF-8 nor its escapes, and counts no levels.
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    serde_json::from_str::<IgnoredAny>(text).is_ok() && (needs_no_scan(bytes) || is_embeddable(bytes))
}

/// Whether there are no escapes, and too few opening brackets for too many levels, as in most events.
fn needs_no_scan(json: &[u8]) -> bool {
    let opening = json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    opening <= NESTING_MAX && !json.contains(&b'\\')
}

/// Checks the nesting and the surrogates of what follows the grammar of JSON.
fn is_embeddable(json: &[u8]) -> bool {
    let (mut in_text, mut depth) = (false, 0_usize);
    // Whether the last character was the first half of a surrogate pair.
    let mut is_half = false;
    let mut rest = json;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if !in_text {
            match byte {
                b'"' => in_text = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            if depth > NESTING_MAX {
                return false;
            }
            continue;
        }
        let unit = if *byte == b'\\' { escaped(&mut rest) } else { None };
        match (is_half, unit) {
            (true, Some(0xdc00..=0xdfff)) => is_half = false,
            (true, _) | (false, Some(0xdc00..=0xdfff)) => return false,
            (false, Some(0xd800..=0xdbff)) => is_half = true,
            (false, _) => in_text = *byte != b'"',
        }
    }
    true
}

/// Takes what follows a backslash. Returns the code unit if the escape gives it by its number.
fn escaped(rest: &mut &[u8]) -> Option<u32> {
    let (kind, after) = rest.split_first()?;
    *rest = after;
    if *kind != b'u' {
        return None;
    }
    let (digits, after) = after.split_at_checked(4)?;
    *rest = after;
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    digits.iter().try_fold(0, |unit, byte| digit(byte).map(|digit| unit << 4 | digit))
}

#[cfg(test)]
mod tests {
    use super::{NESTING_MAX, is_json};

    fn nested(depth: usize, open: &str, close: &str) -> String {
        format!("{}1{}", open.repeat(depth), close.repeat(depth))
    }

    #[test]
    fn one_whole_value_is_json() {
        for json in ["1", " null\n", "\"\"", "[]", "{\"a\":[1.5e999,\"\u{e9}\"]}", "\"\\\\\"", "\"\\\"[\\n\""]
        {
            assert!(is_json(json.as_bytes()), "{json}");
        }
        for other in [
            "",
            " ",
            "{",
            "1 2",
            "{}x",
            "[1,]",
            "{a:1}",
            "'a'",
            "NaN",
            "01",
            "\"\t\"",
            "\"\\x\"",
            "\u{feff}1",
        ] {
            assert!(!is_json(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn json_is_utf_8() {
        for bytes in [&b"\"\xff\""[..], b"\xff", b"{\"\xc3\":1}", b"\"\xed\xa0\x80\""] {
            assert!(!is_json(bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_levels_of_json_are_limited() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"\\n\":", "}]")] {
            let levels = NESTING_MAX / open.matches(['[', '{']).count();
            assert!(is_json(nested(levels, open, close).as_bytes()), "{open}");
            assert!(!is_json(nested(levels + 1, open, close).as_bytes()), "{open}");
        }
        // Brackets of siblings, and brackets in strings, do not nest.
        assert!(is_json(format!("[{}1]", "[],".repeat(1_000)).as_bytes()));
        assert!(is_json(format!("\"{}\"", "[".repeat(1_000)).as_bytes()));
        assert!(is_json(format!("[\"\\\"{}\"]", "[".repeat(1_000)).as_bytes()));
        assert!(!is_json("[".repeat(1 << 20).as_bytes()));
    }

    #[test]
    fn halves_of_surrogate_pairs_are_refused() {
        for json in
            [r#""\uD83D\uDE00""#, r#"["\ud83d\ude00\ud83d\ude00", "\ud7ff\ue000"]"#, r#"{"\\ud83d":1}"#]
        {
            assert!(is_json(json.as_bytes()), "{json}");
        }
        for half in [
            r#""\uD83D""#,
            r#""\uDE00""#,
            r#""\uD83D \uDE00""#,
            r#""\uD83Dx""#,
            r#""\uD83D\n""#,
            r#""\uD83D\uD83D\uDE00""#,
            r#""\uDE00\uD83D""#,
            r#"{"\uD83D":"\uDE00"}"#,
            r#"["\\\uD83D"]"#,
        ] {
            assert!(!is_json(half.as_bytes()), "{half}");
        }
    }
}
