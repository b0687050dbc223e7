//! The frames of a response of packed events (`application/vnd.exesdb.packed`), as the document describes them.

use exesdb_packed::Envelope;

/// Bytes of a frame before its content: a place, and the length of the content with the kind in its two highest bits.
const HEAD_BYTES: usize = 12;

/// One frame of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// An event.
    Event {
        /// The position in the store.
        position: u64,
        /// The event at it.
        event: Envelope<'a>,
    },
    /// The end of the response.
    End {
        /// The place to go on from, if any.
        next: Option<u64>,
        /// Whether the read reached the end.
        end: bool,
        /// The number of durable positions.
        durable_position: u64,
    },
}

/// Removes the first frame from `bytes`; `None` if it is incomplete.
///
/// # Errors
///
/// When the kind does not occur in responses, or the content is none of that kind.
pub fn take_frame<'a>(bytes: &mut &'a [u8]) -> Result<Option<Frame<'a>>, String> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let [place @ .., l0, l1, l2, l3] = *head;
    let (place, length) = (u64::from_le_bytes(place), u32::from_le_bytes([l0, l1, l2, l3]));
    let (kind, length) = (length >> 30, length & (u32::MAX >> 2));
    let Some((content, rest)) = rest.split_at_checked(length as usize) else { return Ok(None) };
    let frame = match kind {
        0 => {
            let event = Envelope::read(content).map_err(|broken| broken.to_string())?;
            Frame::Event { position: place, event }
        }
        3 => {
            let content = <[u8; 9]>::try_from(content)
                .map_err(|_| format!("the end of a response has 9 bytes, not {length}"))?;
            let [end, durable_position @ ..] = content;
            Frame::End {
                next: (place != u64::MAX).then_some(place),
                end: match end {
                    0 => false,
                    1 => true,
                    other => return Err(format!("whether the end is reached is {other}, neither 0 nor 1")),
                },
                durable_position: u64::from_le_bytes(durable_position),
            }
        }
        kind => return Err(format!("a response has no frame of the kind {kind}")),
    };
    *bytes = rest;
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use exesdb_packed::{EventParts, push_event, push_gap, push_removed};

    use super::{Frame, take_frame};

    fn event() -> Vec<u8> {
        let parts = EventParts {
            flags: 0,
            version: 3,
            created: 1,
            stream_id: "s",
            id: "i",
            event_type: "t",
            content_type: "a/b",
            tags: &["x"],
            data: &[0xff, 0xfe],
            metadata: b"",
        };
        let mut out = Vec::new();
        push_event(&mut out, 7, &parts).unwrap();
        out
    }

    /// An end without a place to go on from.
    const END: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\x09\0\0\xc0\x01\0\x01\0\0\0\0\0\0";

    #[test]
    fn an_incomplete_frame_is_left_alone() {
        let end = b"\x09\0\0\0\0\0\0\0\x09\0\0\xc0\0\0\x01\0\0\0\0\0\0";
        let bytes = [&event()[..], end].concat();
        for length in 0..bytes.len() {
            let mut rest = &bytes[..length];
            let mut frames = 0;
            while take_frame(&mut rest).unwrap().is_some() {
                frames += 1;
            }
            assert_eq!(frames, usize::from(length >= event().len()));
        }
        let mut rest = bytes.as_slice();
        let Ok(Some(Frame::Event { position, event })) = take_frame(&mut rest) else {
            panic!("an event comes first")
        };
        assert_eq!((position, event.version, event.created), (7, 3, 1));
        assert_eq!((event.stream_id, event.content_type), ("s", "a/b"));
        assert_eq!((event.tags.collect::<Vec<_>>(), event.data), (vec!["x"], &[0xff, 0xfe][..]));
        let end = Frame::End { next: Some(9), end: false, durable_position: 256 };
        assert_eq!((take_frame(&mut rest), rest), (Ok(Some(end)), &[][..]));
        let last = Frame::End { next: None, end: true, durable_position: 256 };
        assert_eq!(take_frame(&mut &*END), Ok(Some(last)));
    }

    #[test]
    fn what_no_response_has_is_refused() {
        let with = |bytes: &[u8], at: usize, byte: u8| {
            let mut changed = bytes.to_vec();
            changed[at] = byte;
            changed
        };
        let mut longer = [event(), vec![0]].concat();
        longer[8] += 1;
        let mut shorter = event();
        shorter[8] -= 1;
        let (mut removed, mut gap) = (Vec::new(), Vec::new());
        push_removed(&mut removed, 1, 1);
        push_gap(&mut gap, 1, 1);
        // An unknown format of an envelope, a text that is not UTF-8; an end that is too long, and one that is neither.
        let (format, text) = (with(&event(), 12, 2), with(&event(), 12 + 38, 0xff));
        let (long_end, neither) = (with(&[END, &[0]].concat(), 8, 10), with(END, 12, 2));
        for wrong in [longer, shorter, removed, gap, format, text, long_end, neither] {
            assert!(take_frame(&mut wrong.as_slice()).is_err(), "{wrong:?}");
        }
    }
}
