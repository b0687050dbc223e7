//! The ids of histories, and positions with the history they belong to, as clients send and receive them.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::query::number;

/// The header that names the history of the positions in a response.
pub const HISTORY_HEADER: &str = "exesdb-history";

/// The number of digits of a history id.
const DIGITS: usize = 16;

/// The id of a history of the store, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryId(pub u64);

impl HistoryId {
    /// Parses an id; none if the text is not 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex { u64::from_str_radix(text, 16).ok().map(Self) } else { None }
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl Serialize for HistoryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Parses the id of a server-sent event, which is the event's position with its history, such as `41@00f1e2d3c4b5a697`,
/// or the position alone.
pub fn parse_event_id(text: &str) -> Option<(u64, Option<HistoryId>)> {
    match text.split_once('@') {
        None => Some((number(text)?, None)),
        Some((position, history)) => Some((number(position)?, Some(HistoryId::parse(history)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::{HistoryId, parse_event_id};

    #[test]
    fn event_ids_are_positions_with_or_without_a_history() {
        for (text, expected) in [
            ("0", Some((0, None))),
            ("18446744073709551615", Some((u64::MAX, None))),
            ("7@00000000000000ab", Some((7, Some(HistoryId(0xab))))),
            ("7@00000000000000AB", Some((7, Some(HistoryId(0xab))))),
            ("", None),
            ("@00000000000000ab", None),
            ("7@", None),
            ("7@ab", None),
            ("7@00000000000000abc", None),
            ("7@+0000000000000ab", None),
            ("7@00000000000000a\u{e9}", None),
            ("7@00000000000000ab@", None),
            ("-1@00000000000000ab", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(parse_event_id(text), expected, "{text}");
        }
    }
}
