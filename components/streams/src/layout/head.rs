//! The heads of streams.

use exesdb_sdk::fields::{Decoder, Encoder, Malformed};
use exesdb_sdk::types::{Position, StreamState, Version};

/// The format of the head of a stream of which nothing was ever hidden.
const HEAD_FORMAT: u8 = 1;
/// The format of any other head.
const EXTENDED_HEAD_FORMAT: u8 = 2;
/// The format of the head of a stream that was deleted and begun again.
const REVIVED_HEAD_FORMAT: u8 = 3;
/// Bytes of the longest head.
pub const HEAD_BYTES_MAX: usize = 74;
/// The bit of a head's state byte that is set when the times of the stream's events are not in order.
const UNORDERED: u8 = 0x80;
/// The state of a stream: the value in keyspace `streams`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The position of the first event, which identifies the stream in keys: it is short and unique, and streams that
    /// begin consecutively are adjacent.
    pub origin: Position,
    /// The version of the last event.
    pub last_version: Version,
    /// The time of the first event: microseconds since 1970-01-01T00:00:00 UTC.
    pub created: u64,
    /// The time of the last event.
    pub updated: u64,
    /// Whether the stream is live, deleted or tombstoned.
    pub state: StreamState,
    /// The first version that may be visible, as stored. Earlier versions of this component stored points far beyond the
    /// end; use [`Head::truncated_before`].
    pub truncate_before: Version,
    /// The number of newest events that are kept; 0 for all.
    pub max_count: u64,
    /// The number of seconds for which events are kept; 0 for no limit.
    pub max_age_seconds: u64,
    /// The events with lower versions were removed, or never existed.
    pub reclaimed_before: Version,
    /// The first version of the stream's present life, which begins with the first append after a deletion; 0 for a stream
    /// that was never deleted, or whose head an earlier version of this component wrote.
    pub life_begins: Version,
    /// Whether an event may be older than the one before it, as after an import. Then a binary search by time is impossible.
    pub is_unordered: bool,
}

impl Head {
    /// The offset of the origin in the value. For a new stream, the commit writes it.
    pub const ORIGIN_AT: u32 = 1;

    /// The head of a live stream of which nothing is hidden.
    #[must_use]
    pub fn new(origin: Position, last_version: Version, created: u64, updated: u64) -> Self {
        Self {
            origin,
            last_version,
            created,
            updated,
            state: StreamState::Live,
            truncate_before: 0,
            max_count: 0,
            max_age_seconds: 0,
            reclaimed_before: 0,
            life_begins: 0,
            is_unordered: false,
        }
    }

    /// The version of the next event. Versions never reach `u64::MAX`; see [`crate::check::IMPORTED_VERSION_MAX`].
    #[must_use]
    pub fn next_version(&self) -> Version {
        self.last_version.saturating_add(1)
    }

    /// The first version that may be visible: at most that of the next event, so that no future event is hidden.
    #[must_use]
    pub fn truncated_before(&self) -> Version {
        self.truncate_before.min(self.next_version())
    }

    /// Whether events of the stream are or may become hidden, or its times are unordered. Then the value has additional
    /// fields, and keyspace `retained` an entry.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        *self != Self::new(self.origin, self.last_version, self.created, self.updated)
    }

    /// Encodes the value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let is_extended = self.is_extended();
        let mut encoder = Encoder::with_capacity(HEAD_BYTES_MAX);
        encoder.u8(match (is_extended, self.life_begins) {
            (false, _) => HEAD_FORMAT,
            (true, 0) => EXTENDED_HEAD_FORMAT,
            (true, _) => REVIVED_HEAD_FORMAT,
        });
        encoder.u64(self.origin);
        encoder.u64(self.last_version);
        encoder.u64(self.created);
        encoder.u64(self.updated);
        if is_extended {
            let state = match self.state {
                StreamState::Live => 0,
                StreamState::Deleted => 1,
                StreamState::Tombstoned => 2,
            };
            encoder.u8(state | if self.is_unordered { UNORDERED } else { 0 });
            encoder.u64(self.truncate_before);
            encoder.u64(self.max_count);
            encoder.u64(self.max_age_seconds);
            encoder.u64(self.reclaimed_before);
            if self.life_begins != 0 {
                encoder.u64(self.life_begins);
            }
        }
        encoder.finish()
    }

    /// Decodes a value.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if [`Head::encode`] did not write it.
    pub fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(value);
        let format = decoder.u8()?;
        if ![HEAD_FORMAT, EXTENDED_HEAD_FORMAT, REVIVED_HEAD_FORMAT].contains(&format) {
            return Err(Malformed::Format(format));
        }
        let mut head = Self::new(decoder.u64()?, decoder.u64()?, decoder.u64()?, decoder.u64()?);
        if format != HEAD_FORMAT {
            let state = decoder.u8()?;
            head.is_unordered = state & UNORDERED != 0;
            head.state = match state & !UNORDERED {
                0 => StreamState::Live,
                1 => StreamState::Deleted,
                2 => StreamState::Tombstoned,
                other => return Err(Malformed::Format(other)),
            };
            head.truncate_before = decoder.u64()?;
            head.max_count = decoder.u64()?;
            head.max_age_seconds = decoder.u64()?;
            head.reclaimed_before = decoder.u64()?;
        }
        if format == REVIVED_HEAD_FORMAT {
            head.life_begins = decoder.u64()?;
        }
        decoder.end()?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::fields::Malformed;
    use exesdb_sdk::types::StreamState;

    use super::Head;

    #[test]
    fn the_bytes_of_a_head_are_fixed() {
        let head = Head::new(4, 2, 3, 256);
        let bytes = [
            1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 0,
        ];
        assert!(!head.is_extended());
        assert_eq!(head.encode(), bytes);
        assert_eq!(Head::decode(&bytes), Ok(head));
        assert_eq!(Head::decode(&bytes[..32]), Err(Malformed::Short));
        assert_eq!(Head::decode(&[&bytes[..], &[0]].concat()), Err(Malformed::Long));
        assert_eq!(Head::decode(&[4]), Err(Malformed::Format(4)));
        assert_eq!(Head::decode(&[]), Err(Malformed::Short));
    }

    #[test]
    fn the_bytes_of_an_extended_head_are_fixed() {
        let head = Head {
            state: StreamState::Tombstoned,
            truncate_before: 5,
            max_count: 6,
            max_age_seconds: 7,
            reclaimed_before: 8,
            ..Head::new(4, 2, 3, 256)
        };
        let bytes = [
            2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1,
            0, //
            2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
            8,
        ];
        assert_eq!(head.encode(), bytes);
        assert_eq!(Head::decode(&bytes), Ok(head));
        for length in 0..bytes.len() {
            assert_eq!(Head::decode(&bytes[..length]), Err(Malformed::Short), "{length}");
        }
        let mut other_state = bytes;
        other_state[33] = 3;
        assert_eq!(Head::decode(&other_state), Err(Malformed::Format(3)));
        let plain = Head::new(4, 2, 3, 256);
        for extended in [
            Head { state: StreamState::Deleted, ..plain },
            Head { truncate_before: 1, ..plain },
            Head { max_count: 1, ..plain },
            Head { max_age_seconds: 1, ..plain },
            Head { reclaimed_before: 1, ..plain },
            Head { is_unordered: true, ..plain },
            Head { is_unordered: true, state: StreamState::Tombstoned, ..plain },
        ] {
            assert!(extended.is_extended());
            assert_eq!(extended.encode().len(), 66);
            assert_eq!(Head::decode(&extended.encode()), Ok(extended));
        }
    }

    #[test]
    fn the_bytes_of_the_head_of_a_revived_stream_are_fixed() {
        let head = Head { life_begins: 258, truncate_before: 5, ..Head::new(4, 300, 3, 256) };
        let bytes = head.encode();
        assert_eq!((bytes[0], bytes.len()), (3, 74));
        assert_eq!(bytes[66..], [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(bytes[1..66], Head { life_begins: 0, ..head }.encode()[1..]);
        assert_eq!(Head::decode(&bytes), Ok(head));
        for length in 0..bytes.len() {
            assert_eq!(Head::decode(&bytes[..length]), Err(Malformed::Short), "{length}");
        }
        assert_eq!(Head::decode(&[&bytes[..], &[0]].concat()), Err(Malformed::Long));
    }
}
