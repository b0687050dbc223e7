//! The records of the log, as values of its keyspace. The key is the position: `u64`, big-endian.
//!
//! | kind | offset 0 | offset 1 | offset 9 |
//! |---|---|---|---|
//! | event | 4 | link: `u64`, big-endian | envelope |
//! | event of format 2 | 2 | link | its fields; see [`old_event`](super::old_event) |
//! | removed event | 3 | link | nothing |
//! | gap | 5 | link | number of positions: `u64`, big-endian |
//!
//! A link is the [chain](crate::chain) after the record. A removed event keeps the link that it had.

use std::borrow::Cow;

use super::old_event;
use crate::stamp::STAMP_BYTES;

/// The offset of the link in a record.
pub(crate) const LINK_AT: u32 = 1;

const OLD_EVENT: u8 = 2;
const REMOVED: u8 = 3;
const EVENT: u8 = 4;
const GAP: u8 = 5;

/// Bytes before the content: kind and link.
const HEAD_BYTES: usize = 1 + STAMP_BYTES;

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored<'a> {
    /// The envelope of an event.
    Event(Cow<'a, [u8]>),
    /// An event that was removed, and its link.
    Removed(u64),
    /// So many positions without events, this one included.
    Gap(u64),
}

impl<'a> Stored<'a> {
    /// Reads a record. `is_json` is asked about the data and metadata of events of format 2, which do not say it.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn read(value: &'a [u8], is_json: fn(&[u8]) -> bool) -> Result<Self, &'static str> {
        let Some((head, content)) = value.split_first_chunk::<HEAD_BYTES>() else {
            return Err("the record has no link");
        };
        let link = u64::from_be_bytes(head[1..].try_into().expect("eight bytes"));
        match (head[0], content.len()) {
            (EVENT, _) => {
                exesdb_packed::Envelope::read(content).map_err(|broken| broken.what)?;
                Ok(Self::Event(Cow::Borrowed(content)))
            }
            (OLD_EVENT, _) => {
                old_event::turn(content, is_json).map(|envelope| Self::Event(Cow::Owned(envelope)))
            }
            (REMOVED, 0) => Ok(Self::Removed(link)),
            (GAP, STAMP_BYTES) => match u64::from_be_bytes(content.try_into().expect("eight bytes")) {
                0 => Err("the record is a gap of no positions"),
                positions => Ok(Self::Gap(positions)),
            },
            (REMOVED | GAP, _) => Err("the record has a wrong length"),
            _ => Err("the record has an unknown kind"),
        }
    }

    /// How many positions the record takes.
    pub(crate) fn positions(&self) -> u64 {
        match self {
            Self::Gap(positions) => *positions,
            Self::Event(_) | Self::Removed(_) => 1,
        }
    }
}

/// The link of a record; `None` if it is too short to have one.
pub(super) fn link_of(value: &[u8]) -> Option<u64> {
    let (head, _) = value.split_first_chunk::<HEAD_BYTES>()?;
    Some(u64::from_be_bytes(head[1..].try_into().expect("eight bytes")))
}

/// The record of an event, with zeros for the link.
pub(crate) fn event_value(envelope: &[u8]) -> Vec<u8> {
    value(EVENT, 0, envelope)
}

/// The record of a gap, with zeros for the link.
pub(crate) fn gap_value(positions: u64) -> Vec<u8> {
    value(GAP, 0, &positions.to_be_bytes())
}

/// The record that replaces an event's; none if there is no event.
pub(crate) fn removed_value(record: &[u8]) -> Option<Vec<u8>> {
    let link = link_of(record)?;
    matches!(record[0], EVENT | OLD_EVENT).then(|| value(REMOVED, link, &[]))
}

fn value(kind: u8, link: u64, content: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD_BYTES + content.len());
    value.push(kind);
    value.extend_from_slice(&link.to_be_bytes());
    value.extend_from_slice(content);
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::borrow::Cow;

    use exesdb_packed::EventParts;

    use super::{Stored, event_value, gap_value, removed_value};

    fn read(value: &[u8]) -> Result<Stored<'_>, &'static str> {
        Stored::read(value, |_| false)
    }

    fn envelope() -> Vec<u8> {
        let mut envelope = Vec::new();
        let parts: EventParts<'_, &str> = EventParts {
            flags: 0,
            version: 1,
            created: 2,
            stream_id: "s",
            id: "i",
            event_type: "t",
            content_type: "c",
            tags: &[],
            data: b"d",
            metadata: b"",
        };
        parts.push(&mut envelope).unwrap();
        envelope
    }

    #[test]
    fn records_read_as_they_were_written() {
        let envelope = envelope();
        let mut event = event_value(&envelope);
        assert_eq!(event, [&[4, 0, 0, 0, 0, 0, 0, 0, 0], &envelope[..]].concat());
        assert_eq!(read(&event), Ok(Stored::Event(Cow::Borrowed(&envelope))));
        assert_eq!(read(&gap_value(258)), Ok(Stored::Gap(258)));
        assert_eq!(gap_value(258), [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        event[1..9].copy_from_slice(&7_u64.to_be_bytes());
        let removed = removed_value(&event).unwrap();
        assert_eq!(removed, [3, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(read(&removed), Ok(Stored::Removed(7)));
        assert_eq!(removed_value(&removed), None, "it was removed before");
        assert_eq!(removed_value(&gap_value(1)), None);
        assert_eq!(removed_value(b""), None);
    }

    #[test]
    fn damaged_records_are_refused() {
        let event = event_value(&envelope());
        for length in 0..event.len() {
            assert!(read(&event[..length]).is_err(), "{length}");
        }
        for (value, what) in [
            ([&event[..], b"x"].concat(), "bytes follow the envelope"),
            ([3; 10].to_vec(), "the record has a wrong length"),
            ([5; 9].to_vec(), "the record has a wrong length"),
            (gap_value(0), "the record is a gap of no positions"),
            ([6; 9].to_vec(), "the record has an unknown kind"),
            ([2; 9].to_vec(), "an event of format 2 ends too early"),
        ] {
            assert_eq!(read(&value), Err(what));
        }
    }
}
