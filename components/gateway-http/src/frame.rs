//! Events as binary frames: `application/vnd.exesdb.events`.
//!
//! A frame is the length of what follows (4 bytes), its kind (1 byte), and its fields. Whole numbers are big-endian. A
//! text is its length in 2 bytes and its UTF-8; bytes are their length in 4 bytes and themselves; tags are their number
//! in 2 bytes and that many texts.
//!
//! | kind | what | fields |
//! |---|---|---|
//! | 1 | a recorded event | position, version, time in microseconds since 1970 (8 bytes each); stream, id, type, content type (texts); tags; data, metadata (bytes) |
//! | 2 | the end of a response | 1 if there is a next version or position to read from, else 0 (1 byte); that number (8 bytes); 1 if the read reached the end, else 0 (1 byte); durable position (8 bytes) |
//! | 3 | an event to append | id, type, content type (texts); tags; data, metadata (bytes) |

use std::fmt;

use exesdb_sdk::packed::Envelope;

/// The media type of a sequence of frames.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.exesdb.events";

/// The kind of a recorded event.
const RECORDED: u8 = 1;

/// The kind of the end of a response.
const END: u8 = 2;

/// The kind of an event to append.
const APPENDED: u8 = 3;

/// Bytes of the length prefix of a frame.
const LENGTH_BYTES: usize = 4;

/// Appends a recorded event. All that an envelope can hold fits.
pub(crate) fn push_event(out: &mut Vec<u8>, position: u64, event: &Envelope<'_>) {
    let start = begin(out, RECORDED);
    out.extend_from_slice(&position.to_be_bytes());
    out.extend_from_slice(&event.version.to_be_bytes());
    out.extend_from_slice(&event.created.to_be_bytes());
    for text in [event.stream_id, event.id, event.event_type, event.content_type] {
        push_text(out, text);
    }
    push_u16(out, event.tags.len());
    event.tags.for_each(|tag| push_text(out, tag));
    push_bytes(out, event.data);
    push_bytes(out, event.metadata);
    finish(out, start);
}

/// Appends the end of a response.
pub(crate) fn push_end(out: &mut Vec<u8>, next: Option<u64>, end: bool, durable_position: u64) {
    let start = begin(out, END);
    out.push(u8::from(next.is_some()));
    out.extend_from_slice(&next.unwrap_or(0).to_be_bytes());
    out.push(u8::from(end));
    out.extend_from_slice(&durable_position.to_be_bytes());
    finish(out, start);
}

fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind]);
    start
}

fn finish(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).expect("an envelope has less than 1 GiB");
    let prefix = out.get_mut(start..start + LENGTH_BYTES).expect("the frame was begun here");
    prefix.copy_from_slice(&length.to_be_bytes());
}

fn push_u16(out: &mut Vec<u8>, number: usize) {
    let number = u16::try_from(number).expect("the layout of an envelope has 16 bits for it");
    out.extend_from_slice(&number.to_be_bytes());
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    push_u16(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("an envelope has less than 1 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The reason why bytes are not frames of events to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The body ends within the length prefix of a frame.
    TruncatedLength,
    /// The frame is longer than the rest of the body.
    TruncatedFrame {
        /// The length that the prefix states.
        length: u32,
        /// Bytes after the prefix.
        rest: usize,
    },
    /// The frame is empty, or its kind is not that of an event to append.
    Kind(Option<u8>),
    /// A field ends beyond its frame.
    TruncatedField(&'static str),
    /// A text is not UTF-8.
    NotText(&'static str),
    /// This many bytes follow the last field in the frame.
    TrailingBytes(usize),
}

impl Malformed {
    /// The field at fault; empty for the frame as a whole.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::TruncatedField(field) | Self::NotText(field) => field,
            _ => "",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TruncatedLength => {
                write!(out, "the body ends within the {LENGTH_BYTES} bytes of a frame's length")
            }
            Self::TruncatedFrame { length, rest } => {
                write!(out, "the frame's length is {length}, but only {rest} bytes follow")
            }
            Self::Kind(None) => write!(out, "the frame is empty; it begins with its kind, {APPENDED}"),
            Self::Kind(Some(kind)) => {
                write!(out, "the frame is of kind {kind}; events to append are {APPENDED}")
            }
            Self::TruncatedField(_) => out.write_str("goes beyond the end of its frame"),
            Self::NotText(_) => out.write_str("is not UTF-8"),
            Self::TrailingBytes(rest) => write!(out, "{rest} bytes follow the last field in the frame"),
        }
    }
}

/// An event to append, borrowed from its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendedEvent<'a> {
    /// The event's id; empty if it has none.
    pub id: &'a str,
    /// The event's type.
    pub event_type: &'a str,
    /// The media type of `data`.
    pub content_type: &'a str,
    /// The first `tags_max + 1` tags at most.
    pub tags: Vec<&'a str>,
    /// The payload.
    pub data: &'a [u8],
    /// JSON; empty for none.
    pub metadata: &'a [u8],
}

/// Takes the first frame off `body`, which must not be empty. At most `tags_max + 1` tags are kept, which bounds the
/// memory that a frame can take.
///
/// # Errors
/// [`Malformed`].
pub fn take_appended<'a>(body: &mut &'a [u8], tags_max: usize) -> Result<AppendedEvent<'a>, Malformed> {
    let (length, rest) = body.split_first_chunk::<LENGTH_BYTES>().ok_or(Malformed::TruncatedLength)?;
    let length = u32::from_be_bytes(*length);
    let truncated = Malformed::TruncatedFrame { length, rest: rest.len() };
    let (frame, remaining) =
        usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length)).ok_or(truncated)?;
    let mut fields = match frame.split_first() {
        Some((&APPENDED, fields)) => Fields { rest: fields },
        other => return Err(Malformed::Kind(other.map(|(kind, _)| *kind))),
    };
    let id = fields.text("id")?;
    let event_type = fields.text("type")?;
    let content_type = fields.text("content_type")?;
    let count = fields.u16("tags")?;
    let mut tags = Vec::new();
    for _ in 0..count {
        let tag = fields.text("tags")?;
        if tags.len() <= tags_max {
            tags.push(tag);
        }
    }
    let data = fields.bytes("data")?;
    let metadata = fields.bytes("metadata")?;
    if !fields.rest.is_empty() {
        return Err(Malformed::TrailingBytes(fields.rest.len()));
    }
    *body = remaining;
    Ok(AppendedEvent { id, event_type, content_type, tags, data, metadata })
}

/// The unread fields of one frame.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::TruncatedField(field))?;
        self.rest = rest;
        Ok(taken)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::TruncatedField(field))?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, Malformed> {
        let length = self.u16(field)?;
        std::str::from_utf8(self.take(field, length.into())?).map_err(|_| Malformed::NotText(field))
    }

    fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::TruncatedField(field))?;
        self.rest = rest;
        let length = u32::from_be_bytes(*bytes);
        self.take(field, usize::try_from(length).map_err(|_| Malformed::TruncatedField(field))?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Malformed, push_end, push_event, take_appended};
    use exesdb_sdk::packed::{self, EventParts, Events};

    fn event() -> Vec<u8> {
        let parts = EventParts {
            flags: 0,
            version: 2,
            created: 4,
            stream_id: "s",
            id: "é",
            event_type: "t",
            content_type: "a/b",
            tags: &["k:v"],
            data: &[9, 8],
            metadata: b"1",
        };
        let mut out = Vec::new();
        packed::push_event(&mut out, 3, &parts).unwrap();
        out
    }

    #[test]
    fn the_bytes_of_a_recorded_event_are_fixed() {
        let mut out = vec![7];
        let packed = event();
        let (position, envelope) = Events::new(&packed).next().unwrap().unwrap();
        push_event(&mut out, position, &envelope);
        let expected = [
            &[7, 0, 0, 0, 58, 1][..],
            &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4],
            &[0, 1, b's', 0, 2, 0xc3, 0xa9, 0, 1, b't', 0, 3, b'a', b'/', b'b'],
            &[0, 1, 0, 3, b'k', b':', b'v'],
            &[0, 0, 0, 2, 9, 8, 0, 0, 0, 1, b'1'],
        ]
        .concat();
        assert_eq!(out, expected);
        assert_eq!(out.len(), 5 + 58);
    }

    #[test]
    fn the_bytes_of_the_end_are_fixed() {
        for (next, end, expected) in
            [(Some(5), false, [1, 0, 0, 0, 0, 0, 0, 0, 5, 0]), (None, true, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1])]
        {
            let mut out = Vec::new();
            push_end(&mut out, next, end, 258);
            assert_eq!(out, [&[0, 0, 0, 19, 2][..], &expected, &[0, 0, 0, 0, 0, 0, 1, 2]].concat());
        }
    }

    /// A frame with one tag.
    fn appended() -> Vec<u8> {
        let fields = b"\x03\0\x01i\0\x01t\0\x03a/b\0\x01\0\x01k\0\0\0\x02\x09\x08\0\0\0\x011";
        [&(fields.len() as u32).to_be_bytes()[..], fields].concat()
    }

    #[test]
    fn an_event_to_append_is_decoded() {
        let bytes = [appended(), vec![5]].concat();
        let mut body = bytes.as_slice();
        let event = take_appended(&mut body, 32).unwrap();
        assert_eq!((event.id, event.event_type, event.content_type), ("i", "t", "a/b"));
        assert_eq!((event.tags, event.data, event.metadata), (vec!["k"], &[9, 8][..], &b"1"[..]));
        assert_eq!(body, [5]);
    }

    #[test]
    fn truncated_and_extended_frames_are_rejected() {
        let whole = appended();
        for length in 0..whole.len() {
            let found = take_appended(&mut &whole[..length], 32).unwrap_err();
            if length < 4 {
                assert_eq!(found, Malformed::TruncatedLength);
            } else {
                assert!(matches!(found, Malformed::TruncatedFrame { .. }), "{found:?}");
            }
            // With a matching length prefix, a field is truncated or missing.
            let mut shorter = whole[..length].to_vec();
            if let Some(place) = shorter.first_chunk_mut() {
                *place = (length as u32 - 4).to_be_bytes();
                let found = take_appended(&mut shorter.as_slice(), 32).unwrap_err();
                assert!(matches!(found, Malformed::TruncatedField(_) | Malformed::Kind(None)), "{found:?}");
            }
        }
        let mut longer = [whole, vec![0, 0]].concat();
        longer[3] += 2;
        assert_eq!(take_appended(&mut longer.as_slice(), 32), Err(Malformed::TrailingBytes(2)));
    }

    #[test]
    fn malformed_frames_are_rejected() {
        let with = |at: usize, bytes: &[u8]| {
            let mut frame = appended();
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            frame
        };
        let data = appended().len() - 5 - 6;
        for (frame, expected) in [
            (with(0, &[0xff; 4]), Malformed::TruncatedFrame { length: u32::MAX, rest: appended().len() - 4 }),
            (with(0, &[0; 4]), Malformed::Kind(None)),
            (with(4, &[1]), Malformed::Kind(Some(1))),
            (with(4, &[2]), Malformed::Kind(Some(2))),
            (with(4, &[0xff]), Malformed::Kind(Some(0xff))),
            (with(5, &[0xff; 2]), Malformed::TruncatedField("id")),
            (with(7, &[0xff]), Malformed::NotText("id")),
            (with(8, &[0xff; 2]), Malformed::TruncatedField("type")),
            (with(11, &[0xff; 2]), Malformed::TruncatedField("content_type")),
            (with(16, &[0xff; 2]), Malformed::TruncatedField("tags")),
            (with(18, &[0xff; 2]), Malformed::TruncatedField("tags")),
            (with(20, &[0xff]), Malformed::NotText("tags")),
            (with(data, &[0xff; 4]), Malformed::TruncatedField("data")),
            (with(data + 6, &[0xff; 4]), Malformed::TruncatedField("metadata")),
        ] {
            assert_eq!(take_appended(&mut frame.as_slice(), 32), Err(expected), "{frame:?}");
        }
        // Excess empty tags are not kept.
        let fields = [&b"\x03\0\0\0\x01t\0\x03a/b\xff\xff"[..], &[0; 2 * 65_535], &[0; 8]].concat();
        let frame = [&(fields.len() as u32).to_be_bytes()[..], &fields].concat();
        assert_eq!(take_appended(&mut frame.as_slice(), 32).unwrap().tags.len(), 33);
    }
}
