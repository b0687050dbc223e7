//! Frames: what a connection for messages of groups carries, in one long request and its answer.
//!
//! ```text
//! frame      length u32 (of what follows it), kind u8, id u64, content; numbers are big-endian
//!   1        ask: a message
//!   2        ping: nothing
//!   3        answer: the answer to the message with this id
//!   4        refused: why there is no answer to it, as UTF-8
//!   5        alive: clock u64 (microseconds since 1970); it answers the ping with this id, or none (0)
//!   6        end: why no more follows, as UTF-8
//! ```
//!
//! The side that connected sends 1 and 2, the other one the rest.

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::{ANSWER_BYTES_MAX, MESSAGE_BYTES_MAX, REASON_BYTES_MAX};

/// Bytes of kind and id.
const HEAD: usize = 9;
/// Bytes of the length.
const LENGTH: usize = 4;

/// A frame, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Ask { id: u64, message: Bytes },
    Ping { id: u64 },
    Answer { id: u64, answer: Bytes },
    Refused { id: u64, reason: String },
    Alive { id: u64, clock: u64 },
    End { reason: String },
}

/// Why bytes are no frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {found} bytes, where {HEAD} to {max} are possible")]
    Length { found: usize, max: usize },
    #[error("a frame of kind {found}, which was not expected")]
    Kind { found: u8 },
    #[error("a frame of kind {kind} with {found} bytes of content")]
    Content { kind: u8, found: usize },
    #[error("the last frame is cut short")]
    Cut,
}

/// Which side is read, and so which kinds come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Asks,
    Answers,
}

impl Frame {
    /// Everything before the content, and the content.
    pub(crate) fn encode(self) -> ([u8; LENGTH + HEAD], Bytes) {
        let (kind, id, content) = match self {
            Self::Ask { id, message } => (1, id, message),
            Self::Ping { id } => (2, id, Bytes::new()),
            Self::Answer { id, answer } => (3, id, answer),
            Self::Refused { id, reason } => (4, id, cut(reason)),
            Self::Alive { id, clock } => (5, id, Bytes::copy_from_slice(&clock.to_be_bytes())),
            Self::End { reason } => (6, 0, cut(reason)),
        };
        let length = u32::try_from(HEAD + content.len()).expect("contents are within their limits");
        let mut head = [0; LENGTH + HEAD];
        head[..LENGTH].copy_from_slice(&length.to_be_bytes());
        head[LENGTH] = kind;
        head[LENGTH + 1..].copy_from_slice(&u64::to_be_bytes(id));
        (head, content)
    }

    fn decode(side: Side, bytes: Bytes) -> Result<Self, FrameError> {
        let mut content = bytes;
        let (kind, id) = (content.get_u8(), content.get_u64());
        let found = content.len();
        let text = |content: Bytes| {
            let content = &content[..found.min(REASON_BYTES_MAX)];
            String::from_utf8_lossy(content).into_owned()
        };
        match (side, kind) {
            (Side::Asks, 1) => Ok(Self::Ask { id, message: content }),
            (Side::Asks, 2) if found == 0 => Ok(Self::Ping { id }),
            (Side::Answers, 3) => Ok(Self::Answer { id, answer: content }),
            (Side::Answers, 4) => Ok(Self::Refused { id, reason: text(content) }),
            (Side::Answers, 5) if found == 8 => Ok(Self::Alive { id, clock: content.get_u64() }),
            (Side::Answers, 6) => Ok(Self::End { reason: text(content) }),
            (Side::Asks, 2) | (Side::Answers, 5) => Err(FrameError::Content { kind, found }),
            _ => Err(FrameError::Kind { found: kind }),
        }
    }
}

/// A reason of at most its limit.
fn cut(reason: String) -> Bytes {
    let mut bytes = Bytes::from(reason);
    bytes.truncate(REASON_BYTES_MAX);
    bytes
}

/// Makes frames of bytes as they arrive. It keeps one frame that is not whole, and takes no room for what has not arrived.
pub(crate) struct Decoder {
    side: Side,
    bytes: BytesMut,
}

impl Decoder {
    pub(crate) fn new(side: Side) -> Self {
        Self { side, bytes: BytesMut::new() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame that is whole.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(length) = self.bytes.first_chunk::<LENGTH>() else { return Ok(None) };
        let found = u32::from_be_bytes(*length) as usize;
        let max = HEAD
            + match self.side {
                Side::Asks => MESSAGE_BYTES_MAX,
                Side::Answers => ANSWER_BYTES_MAX,
            };
        if !(HEAD..=max).contains(&found) {
            return Err(FrameError::Length { found, max });
        }
        if self.bytes.len() < LENGTH + found {
            return Ok(None);
        }
        self.bytes.advance(LENGTH);
        let frame = self.bytes.split_to(found).freeze();
        if self.bytes.is_empty() {
            // What a large frame took is given back.
            self.bytes = BytesMut::new();
        }
        Frame::decode(self.side, frame).map(Some)
    }

    /// Whether the bytes end between two frames.
    pub(crate) fn end(&self) -> Result<(), FrameError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(FrameError::Cut) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Decoder, Frame, FrameError, Side};
    use crate::limits::{ANSWER_BYTES_MAX, MESSAGE_BYTES_MAX, REASON_BYTES_MAX};

    fn bytes(frame: Frame) -> Vec<u8> {
        let (head, content) = frame.encode();
        [&head[..], &content].concat()
    }

    fn all() -> [(Side, Frame); 6] {
        let content = Bytes::from_static(b"content");
        [
            (Side::Asks, Frame::Ask { id: 1, message: content.clone() }),
            (Side::Asks, Frame::Ping { id: 2 }),
            (Side::Answers, Frame::Answer { id: u64::MAX, answer: content }),
            (Side::Answers, Frame::Refused { id: 4, reason: "no".into() }),
            (Side::Answers, Frame::Alive { id: 0, clock: 5 }),
            (Side::Answers, Frame::End { reason: "enough".into() }),
        ]
    }

    fn decode(side: Side, bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        let mut decoder = Decoder::new(side);
        decoder.push(bytes);
        decoder.next()
    }

    #[test]
    fn frames_are_read_back_byte_by_byte() {
        for side in [Side::Asks, Side::Answers] {
            let frames = all().into_iter().filter(|(of, _)| *of == side).map(|(_, frame)| frame);
            let frames: Vec<_> = frames.collect();
            let mut decoder = Decoder::new(side);
            let mut read = Vec::new();
            for byte in frames.iter().flat_map(|frame| bytes(frame.clone())) {
                decoder.push(&[byte]);
                while let Some(frame) = decoder.next().expect("they are frames") {
                    read.push(frame);
                }
            }
            assert_eq!(read, frames);
            assert_eq!(decoder.end(), Ok(()));
        }
    }

    #[test]
    fn what_is_no_frame_of_the_side_is_refused() {
        for (side, frame) in all() {
            let other = if side == Side::Asks { Side::Answers } else { Side::Asks };
            let kind = bytes(frame.clone())[4];
            assert_eq!(decode(other, &bytes(frame)), Err(FrameError::Kind { found: kind }));
        }
        let frame = |length: u32, kind: u8, content: &[u8]| {
            [&length.to_be_bytes()[..], &[kind], &[0; 8], content].concat()
        };
        let length = |found, max| Err(FrameError::Length { found, max });
        let asks = MESSAGE_BYTES_MAX + 9;
        assert_eq!(decode(Side::Asks, &frame(8, 1, &[])), length(8, asks));
        assert_eq!(decode(Side::Asks, &frame(u32::MAX, 1, &[])), length(u32::MAX as usize, asks));
        let longer = u32::try_from(asks + 1).expect("it fits");
        assert_eq!(decode(Side::Asks, &longer.to_be_bytes()), length(asks + 1, asks));
        let answers = ANSWER_BYTES_MAX + 9;
        let longer = u32::try_from(answers + 1).expect("it fits");
        assert_eq!(decode(Side::Answers, &longer.to_be_bytes()), length(answers + 1, answers));
        for kind in [0, 7, 255] {
            assert_eq!(decode(Side::Asks, &frame(9, kind, &[])), Err(FrameError::Kind { found: kind }));
        }
        assert_eq!(decode(Side::Asks, &frame(10, 2, b"x")), Err(FrameError::Content { kind: 2, found: 1 }));
        assert_eq!(decode(Side::Answers, &frame(9, 5, &[])), Err(FrameError::Content { kind: 5, found: 0 }));
    }

    #[test]
    fn a_frame_that_is_cut_waits_for_its_rest() {
        let whole = bytes(Frame::Ask { id: 1, message: Bytes::from_static(b"content") });
        for len in 1..whole.len() {
            let mut decoder = Decoder::new(Side::Asks);
            decoder.push(&whole[..len]);
            assert_eq!(decoder.next(), Ok(None), "{len}");
            assert_eq!(decoder.end(), Err(FrameError::Cut), "{len}");
        }
    }

    #[test]
    fn long_reasons_are_cut() {
        let frame = bytes(Frame::End { reason: "ä".repeat(REASON_BYTES_MAX) });
        assert_eq!(frame.len(), 13 + REASON_BYTES_MAX);
        assert!(matches!(decode(Side::Answers, &frame), Ok(Some(Frame::End { .. }))));
    }

    #[test]
    fn mutated_frames_are_read_or_refused() {
        let mut random = exesdb_test_support::random();
        for (side, frame) in all() {
            let whole = bytes(frame);
            for _ in 0..500 {
                let mut bytes = whole.clone();
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(..bytes.len());
                    bytes[at] = random.u8(..);
                }
                drop(decode(side, &bytes));
            }
        }
    }
}
