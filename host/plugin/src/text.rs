//! Bounds and escapes text that a component chose, before it is shown in logs and messages.

/// The longest prefix of `text` of at most `bytes` bytes that ends at a character boundary.
pub(crate) fn truncated(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

/// At most `bytes` bytes of `text`, with control characters escaped: they could forge a line of the log or move a
/// terminal's cursor.
pub(crate) fn printable(text: &str, bytes: usize) -> String {
    let escaped: String = text
        .chars()
        .take(bytes)
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect();
    truncated(&escaped, bytes)
}

#[cfg(test)]
mod tests {
    use super::{printable, truncated};

    #[test]
    fn text_is_truncated_at_a_character_boundary() {
        assert_eq!(truncated("aé", 2), "a");
        assert_eq!(truncated("aé", 3), "aé");
        assert_eq!(truncated("aé", 9), "aé");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\nlevel=error b", 100), "a\\nlevel=error b");
        assert_eq!(printable("\u{1b}[2J", 100), "\\u{1b}[2J");
        assert_eq!(printable(&"x".repeat(10), 4), "xxxx");
    }
}
