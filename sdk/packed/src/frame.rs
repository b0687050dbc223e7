//! Frames: events with their positions, and what stands in the log instead of an event.

use crate::broken::{Broken, TooLong};
use crate::envelope::{Envelope, EventParts};

/// Bytes of a frame before its content: position, kind and length.
pub(crate) const HEAD_BYTES: usize = 12;

const KIND_SHIFT: u32 = 30;
const LENGTH_MASK: u32 = (1 << KIND_SHIFT) - 1;

/// The bits of a frame's kind.
#[derive(Clone, Copy)]
enum Kind {
    Event = 0,
    Removed = 1,
    Gap = 2,
}

/// What stands at a position of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The bytes of an [`Envelope`], not checked yet.
    Event(&'a [u8]),
    /// An event that was removed.
    Removed {
        /// Its link of the hash chain.
        link: u64,
    },
    /// Positions without events.
    Gap {
        /// How many, counted from the frame's position; at least 1.
        positions: u64,
    },
}

/// A position with what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The position of the event, or the first of a gap; 0 for an event that was not stored yet.
    pub position: u64,
    /// What stands there.
    pub record: Record<'a>,
}

/// The frames of a list, one after the other. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// Reads a list of frames.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    /// Reads on at an offset at which a frame begins, or the list ends.
    pub(crate) fn after(bytes: &'a [u8], at: usize) -> Self {
        Self { rest: &bytes[at..], at }
    }

    /// The offset of the next frame.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    fn parse(&self) -> Result<(Frame<'a>, usize), &'static str> {
        const SHORT: &str = "the frame ends too early";
        let (head, rest) = self.rest.split_first_chunk::<HEAD_BYTES>().ok_or(SHORT)?;
        let position = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
        let word = u32::from_le_bytes(head[8..].try_into().expect("four bytes"));
        let content =
            usize::try_from(word & LENGTH_MASK).ok().and_then(|length| rest.get(..length)).ok_or(SHORT)?;
        let number = || content.try_into().map(u64::from_le_bytes);
        let record = match word >> KIND_SHIFT {
            0 => Record::Event(content),
            1 => {
                Record::Removed { link: number().map_err(|_| "the mark of a removed event has not 8 bytes")? }
            }
            2 => match number().map_err(|_| "the mark of a gap has not 8 bytes")? {
                0 => return Err("the gap has no positions"),
                positions if position.checked_add(positions).is_none() => {
                    return Err("the gap ends after the last position");
                }
                positions => Record::Gap { positions },
            },
            _ => return Err("the frame has an unknown kind"),
        };
        Ok((Frame { position, record }, HEAD_BYTES + content.len()))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.parse() {
            Ok((frame, bytes)) => {
                self.rest = &self.rest[bytes..];
                self.at += bytes;
                Some(Ok(frame))
            }
            Err(what) => {
                self.rest = &[];
                Some(Err(Broken { at: self.at, what }))
            }
        }
    }
}

/// The events of a list that has nothing else, as a page or a write: positions with checked envelopes. After an error
/// there are no more.
#[derive(Clone, Debug)]
pub struct Events<'a>(Frames<'a>);

impl<'a> Events<'a> {
    /// Reads a list of events.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Frames::new(bytes))
    }

    /// Checks all of them. Returns their number.
    ///
    /// # Errors
    ///
    /// [`Broken`]: the first that is.
    pub fn check(bytes: &'a [u8]) -> Result<usize, Broken> {
        Self::new(bytes).try_fold(0, |count, event| event.map(|_| count + 1))
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<(u64, Envelope<'a>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.0.at;
        let event = self.0.next()?.and_then(|frame| match frame.record {
            Record::Event(envelope) => {
                let envelope = Envelope::read(envelope).map_err(|broken| Broken { at, ..broken })?;
                Ok((frame.position, envelope))
            }
            Record::Removed { .. } | Record::Gap { .. } => Err(Broken { at, what: "the frame is no event" }),
        });
        if event.is_err() {
            self.0.rest = &[];
        }
        Some(event)
    }
}

/// Appends the frame of an event.
///
/// # Errors
///
/// [`TooLong`]; then nothing was appended.
pub fn push_event<T: AsRef<str>>(
    out: &mut Vec<u8>,
    position: u64,
    event: &EventParts<'_, T>,
) -> Result<(), TooLong> {
    let begin = out.len();
    push_head(out, position, Kind::Event, length_of(event.bytes())?);
    event.push(out).inspect_err(|_| out.truncate(begin))
}

/// Appends the frame of an event whose envelope exists already.
///
/// # Errors
///
/// [`TooLong`]; then nothing was appended.
pub fn push_envelope(out: &mut Vec<u8>, position: u64, envelope: &[u8]) -> Result<(), TooLong> {
    push_head(out, position, Kind::Event, length_of(envelope.len())?);
    out.extend_from_slice(envelope);
    Ok(())
}

fn length_of(bytes: usize) -> Result<u32, TooLong> {
    let length = u32::try_from(bytes).ok().filter(|length| *length <= LENGTH_MASK);
    length.ok_or(TooLong { part: "the event", most: LENGTH_MASK as usize })
}

/// Appends the frame of a removed event.
pub fn push_removed(out: &mut Vec<u8>, position: u64, link: u64) {
    push_head(out, position, Kind::Removed, 8);
    out.extend_from_slice(&link.to_le_bytes());
}

/// Appends the frame of a gap of so many positions, at least 1.
pub fn push_gap(out: &mut Vec<u8>, position: u64, positions: u64) {
    push_head(out, position, Kind::Gap, 8);
    out.extend_from_slice(&positions.to_le_bytes());
}

fn push_head(out: &mut Vec<u8>, position: u64, kind: Kind, length: u32) {
    out.extend_from_slice(&position.to_le_bytes());
    out.extend_from_slice(&(length | (kind as u32) << KIND_SHIFT).to_le_bytes());
}
