//! Checks of arguments that the interfaces of `exesdb:store` share, and their errors. Arguments come from clients and are
//! unchecked.

use crate::types::Error;

pub use crate::types::InvalidArgument;

/// Maximum length of a stream id in bytes. It is part of several keys, and of URL paths, where it is percent-encoded.
pub const STREAM_ID_BYTES_MAX: usize = 256;

/// Maximum length of a media type in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 128;

/// Maximum number of entries per call: as many as a page of a few MiB can hold.
pub const COUNT_MAX: u32 = 1_000;

impl From<InvalidArgument> for Error {
    fn from(argument: InvalidArgument) -> Self {
        Self::Invalid(argument)
    }
}

fn invalid(argument: &str, message: impl Into<String>) -> InvalidArgument {
    InvalidArgument { argument: argument.to_owned(), message: message.into() }
}

/// Checks a text of 1 to `bytes_max` bytes without control characters.
///
/// # Errors
///
/// [`InvalidArgument`], which names the argument.
pub fn check_text(argument: &str, text: &str, bytes_max: usize) -> Result<(), InvalidArgument> {
    if text.is_empty() {
        return Err(invalid(argument, format!("is empty; it must have 1 to {bytes_max} bytes")));
    }
    check_part(argument, text, bytes_max)
}

/// Checks a text of 0 to `bytes_max` bytes without control characters, such as a prefix.
///
/// # Errors
///
/// [`InvalidArgument`], which names the argument.
pub fn check_part(argument: &str, text: &str, bytes_max: usize) -> Result<(), InvalidArgument> {
    if text.len() > bytes_max {
        return Err(invalid(argument, format!("has {} bytes; it may have {bytes_max}", text.len())));
    }
    match text.char_indices().find(|(_, character)| character.is_control()) {
        Some((at, character)) => Err(invalid(
            argument,
            format!("has the control character U+{:04X} at byte {at}; none is allowed", u32::from(character)),
        )),
        None => Ok(()),
    }
}

/// Checks a stream id.
///
/// # Errors
///
/// [`InvalidArgument`], which names the argument.
pub fn check_stream_id(argument: &str, stream_id: &str) -> Result<(), InvalidArgument> {
    check_text(argument, stream_id, STREAM_ID_BYTES_MAX)
}

/// Checks a media type: visible ASCII and spaces, as in `text/plain; charset=utf-8`.
///
/// # Errors
///
/// [`InvalidArgument`], which names the argument.
pub fn check_content_type(argument: &str, content_type: &str) -> Result<(), InvalidArgument> {
    check_text(argument, content_type, CONTENT_TYPE_BYTES_MAX)?;
    if content_type.is_ascii() {
        return Ok(());
    }
    Err(invalid(argument, "has characters outside of ASCII; a media type has none"))
}

/// Checks the number of entries that a call requests.
///
/// # Errors
///
/// [`InvalidArgument`], which names the argument.
pub fn check_count(argument: &str, count: u32) -> Result<(), InvalidArgument> {
    if (1..=COUNT_MAX).contains(&count) {
        return Ok(());
    }
    Err(invalid(argument, format!("is {count}; it must be 1 to {COUNT_MAX}")))
}

#[cfg(test)]
mod tests {
    use super::{InvalidArgument, check_content_type, check_count, check_part, check_stream_id};

    fn message(outcome: Result<(), InvalidArgument>) -> String {
        match outcome {
            Ok(()) => "ok".into(),
            Err(InvalidArgument { argument, message }) => format!("{argument} {message}"),
        }
    }

    #[test]
    fn stream_ids() {
        let check = |id: &str| message(check_stream_id("stream-id", id));
        assert_eq!(check("order-7"), "ok");
        assert_eq!(check("Überweisung / 漢字 ✓ \u{10ffff}"), "ok");
        assert_eq!(check(&"x".repeat(256)), "ok");
        assert_eq!(check(""), "stream-id is empty; it must have 1 to 256 bytes");
        assert_eq!(check(&"x".repeat(257)), "stream-id has 257 bytes; it may have 256");
        assert_eq!(check(&"ü".repeat(129)), "stream-id has 258 bytes; it may have 256");
        for (id, named) in
            [("a\0", "U+0000"), ("a\n", "U+000A"), ("a\u{7f}", "U+007F"), ("a\u{85}", "U+0085")]
        {
            assert!(check(id).contains(&format!("{named} at byte 1")), "{id:?}: {}", check(id));
        }
    }

    #[test]
    fn parts_may_be_empty() {
        assert_eq!(message(check_part("prefix", "", 256)), "ok");
        assert!(message(check_part("prefix", "\t", 256)).starts_with("prefix has the control character"));
    }

    #[test]
    fn content_types() {
        let check = |content_type: &str| message(check_content_type("content-type", content_type));
        assert_eq!(check("application/json"), "ok");
        assert_eq!(check("text/plain; charset=utf-8"), "ok");
        assert_eq!(check(""), "content-type is empty; it must have 1 to 128 bytes");
        assert_eq!(check(&"x".repeat(129)), "content-type has 129 bytes; it may have 128");
        assert!(check("text/\u{e4}").contains("outside of ASCII"));
        assert!(check("text/plain\r\nx: y").contains("U+000D"));
    }

    #[test]
    fn counts() {
        let check = |count| message(check_count("count", count));
        assert_eq!((check(1), check(1_000)), ("ok".into(), "ok".into()));
        assert_eq!(check(0), "count is 0; it must be 1 to 1000");
        assert_eq!(check(1_001), "count is 1001; it must be 1 to 1000");
        assert_eq!(check(u32::MAX), "count is 4294967295; it must be 1 to 1000");
    }
}
