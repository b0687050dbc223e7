//! Events as they are packed, on their way from one store to the other.

use exesdb_packed::{Broken, EventParts, Events, Frame, Frames, Record, TooLong, push_envelope, push_event};

use crate::command::export::format::{PLACEHOLDER_TYPE, placeholder_id};

/// The events of a page up to a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Packed.
    pub(super) events: Vec<u8>,
    pub(super) count: u64,
    /// The position of the first.
    pub(super) first: u64,
    /// The position after the last.
    pub(super) end: u64,
}

impl Wanted {
    /// Those of a page that a component returned; none if there are none.
    pub(super) fn of(page: &[u8], up_to: u64) -> Result<Option<Self>, Broken> {
        Events::check(page)?;
        let mut wanted: Option<Self> = None;
        for frame in Frames::new(page) {
            let Frame { position, record: Record::Event(envelope) } = frame? else { continue };
            if position > up_to {
                break;
            }
            let wanted =
                wanted.get_or_insert(Self { events: Vec::new(), count: 0, first: position, end: position });
            push_envelope(&mut wanted.events, position, envelope).expect("it came from a frame");
            wanted.count += 1;
            wanted.end = position.saturating_add(1);
        }
        Ok(wanted)
    }
}

/// An event in place of the hidden events of a stream.
pub(super) fn placeholder(stream: &str, version: u64, created: u64) -> Result<Vec<u8>, TooLong> {
    let event = EventParts::<&str> {
        flags: 0,
        version,
        created,
        stream_id: stream,
        id: &placeholder_id(version),
        event_type: PLACEHOLDER_TYPE,
        content_type: "application/json",
        tags: &[],
        data: b"null",
        metadata: b"",
    };
    let mut packed = Vec::new();
    push_event(&mut packed, 0, &event)?;
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use exesdb_packed::{EventParts, Events, push_event, push_gap};

    use super::{Wanted, placeholder};

    fn page(positions: &[u64]) -> Vec<u8> {
        let mut page = Vec::new();
        for position in positions {
            let event = EventParts {
                flags: 0,
                version: 100,
                created: 7,
                stream_id: "s",
                id: &position.to_string(),
                event_type: "t",
                content_type: "a/b",
                tags: &["k:v"],
                data: b"data",
                metadata: b"",
            };
            push_event(&mut page, *position, &event).unwrap();
        }
        page
    }

    #[test]
    fn events_up_to_the_position_are_copied_as_they_are() {
        let whole = page(&[3, 4, 9]);
        let wanted = |positions: &[u64], end| {
            let (count, first) = (positions.len() as u64, positions[0]);
            Some(Wanted { events: page(positions), count, first, end })
        };
        let table = [
            (2, None),
            (3, wanted(&[3], 4)),
            (8, wanted(&[3, 4], 5)),
            (9, wanted(&[3, 4, 9], 10)),
            (u64::MAX, wanted(&[3, 4, 9], 10)),
        ];
        for (up_to, expected) in table {
            assert_eq!(Wanted::of(&whole, up_to), Ok(expected), "{up_to}");
        }
        assert_eq!(Wanted::of(&[], 9), Ok(None));
        assert_eq!(Wanted::of(&page(&[u64::MAX]), u64::MAX).unwrap().unwrap().end, u64::MAX);
    }

    #[test]
    fn a_broken_page_is_refused() {
        let whole = page(&[3, 4]);
        let mut gap = whole.clone();
        push_gap(&mut gap, 5, 1);
        for broken in [&whole[..whole.len() - 1], &gap, &[0xff; 40]] {
            assert!(Wanted::of(broken, 3).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_placeholder_has_its_version_and_its_time() {
        let packed = placeholder("s", 5, 6).unwrap();
        let events: Vec<_> = Events::new(&packed).collect::<Result<_, _>>().unwrap();
        let [(_, event)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((event.stream_id, event.version, event.created, event.data), ("s", 5, 6, &b"null"[..]));
        assert!(placeholder(&"s".repeat(1 << 16), 5, 6).is_err());
    }
}
