//! One event.

use crate::broken::{Broken, TooLong};

/// The flag of data that was checked to be JSON.
pub const DATA_IS_JSON: u8 = 1;

/// The flag of metadata that was checked to be JSON.
pub const METADATA_IS_JSON: u8 = 2;

const FORMAT: u8 = 1;
const FLAGS: u8 = DATA_IS_JSON | METADATA_IS_JSON;
const FLAGS_AT: usize = 1;
const VERSION_AT: usize = 4;
const CREATED_AT: usize = 12;

/// Bytes before the lengths of the tags.
const FIXED_BYTES: usize = 36;

/// Bytes of the length of a tag.
const TAG_LENGTH_BYTES: usize = 2;

/// The parts of an event that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct EventParts<'a, T> {
    /// [`DATA_IS_JSON`] and [`METADATA_IS_JSON`], of what was checked.
    pub flags: u8,
    /// The number of the event in its stream; 0 before that is decided.
    pub version: u64,
    /// Microseconds since 1970-01-01T00:00:00 UTC; 0 before that is decided.
    pub created: u64,
    /// The stream's id.
    pub stream_id: &'a str,
    /// The event's id.
    pub id: &'a str,
    /// The event's type.
    pub event_type: &'a str,
    /// The media type of the data.
    pub content_type: &'a str,
    /// The event's labels.
    pub tags: &'a [T],
    /// The payload.
    pub data: &'a [u8],
    /// JSON about the event; empty for none.
    pub metadata: &'a [u8],
}

impl<T: AsRef<str>> EventParts<'_, T> {
    /// The length of the envelope in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = self.texts().iter().map(|text| text.len()).sum::<usize>();
        let tags = self.tags.iter().map(|tag| TAG_LENGTH_BYTES + tag.as_ref().len()).sum::<usize>();
        FIXED_BYTES + texts + tags + self.data.len() + self.metadata.len()
    }

    /// Appends the envelope.
    ///
    /// # Errors
    ///
    /// [`TooLong`]; then nothing was appended.
    pub fn push(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let begin = out.len();
        out.reserve(self.bytes());
        self.push_parts(out).inspect_err(|_| out.truncate(begin))
    }

    fn push_parts(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.extend_from_slice(&[FORMAT, self.flags & FLAGS]);
        out.extend_from_slice(&u16_of("the list of tags", self.tags.len())?.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.created.to_le_bytes());
        for (part, text) in
            ["the stream id", "the event id", "the event type", "the content type"].iter().zip(self.texts())
        {
            out.extend_from_slice(&u16_of(part, text.len())?.to_le_bytes());
        }
        for (part, bytes) in [("the data", self.data), ("the metadata", self.metadata)] {
            let length = u32::try_from(bytes.len()).map_err(|_| TooLong { part, most: u32::MAX as usize })?;
            out.extend_from_slice(&length.to_le_bytes());
        }
        for tag in self.tags {
            out.extend_from_slice(&u16_of("a tag", tag.as_ref().len())?.to_le_bytes());
        }
        for text in self.texts() {
            out.extend_from_slice(text.as_bytes());
        }
        for tag in self.tags {
            out.extend_from_slice(tag.as_ref().as_bytes());
        }
        out.extend_from_slice(self.data);
        out.extend_from_slice(self.metadata);
        Ok(())
    }

    fn texts(&self) -> [&str; 4] {
        [self.stream_id, self.id, self.event_type, self.content_type]
    }
}

fn u16_of(part: &'static str, length: usize) -> Result<u16, TooLong> {
    u16::try_from(length).map_err(|_| TooLong { part, most: u16::MAX.into() })
}

/// An event that is read where it lies. It was checked when it was [read](Envelope::read).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// [`DATA_IS_JSON`] and [`METADATA_IS_JSON`].
    pub flags: u8,
    /// The number of the event in its stream.
    pub version: u64,
    /// Microseconds since 1970-01-01T00:00:00 UTC.
    pub created: u64,
    /// The stream's id.
    pub stream_id: &'a str,
    /// The event's id.
    pub id: &'a str,
    /// The event's type.
    pub event_type: &'a str,
    /// The media type of the data.
    pub content_type: &'a str,
    /// The event's labels.
    pub tags: Tags<'a>,
    /// The payload.
    pub data: &'a [u8],
    /// JSON about the event; empty for none.
    pub metadata: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Checks and reads an envelope, which is all of the bytes.
    ///
    /// # Errors
    ///
    /// [`Broken`], at 0.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Broken> {
        Self::parse(bytes).map_err(|what| Broken { at: 0, what })
    }

    fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "the envelope ends too early";
        let (fixed, rest) = bytes.split_first_chunk::<FIXED_BYTES>().ok_or(SHORT)?;
        if fixed[0] != FORMAT {
            return Err("the envelope has an unknown format");
        }
        let flags = fixed[FLAGS_AT];
        if flags & !FLAGS != 0 {
            return Err("the envelope has an unknown flag");
        }
        let u16_at = |at: usize| usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
        let u32_at = |at: usize| {
            let bytes = fixed[at..at + 4].try_into().expect("four bytes");
            usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| SHORT)
        };
        let u64_at = |at: usize| u64::from_le_bytes(fixed[at..at + 8].try_into().expect("eight bytes"));
        let (lengths, rest) = rest.split_at_checked(TAG_LENGTH_BYTES * u16_at(2)).ok_or(SHORT)?;
        let (lengths, _) = lengths.as_chunks::<TAG_LENGTH_BYTES>();
        let tag_bytes = lengths.iter().map(|length| usize::from(u16::from_le_bytes(*length))).sum::<usize>();
        let text_lengths = [u16_at(20), u16_at(22), u16_at(24), u16_at(26)];
        let text_bytes = text_lengths.iter().sum::<usize>() + tag_bytes;
        let (texts, rest) = rest.split_at_checked(text_bytes).ok_or(SHORT)?;
        let (data, metadata) = rest.split_at_checked(u32_at(28)?).ok_or(SHORT)?;
        match metadata.len().cmp(&u32_at(32)?) {
            std::cmp::Ordering::Less => return Err(SHORT),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => return Err("bytes follow the envelope"),
        }
        // All texts are checked at once, and then that none of them ends within a character.
        const NOT_TEXT: &str = "a text of the envelope is not UTF-8";
        let mut texts = std::str::from_utf8(texts).map_err(|_| NOT_TEXT)?;
        let mut next = |length: usize| {
            let (text, rest) = texts.split_at_checked(length).ok_or(NOT_TEXT)?;
            texts = rest;
            Ok::<_, &'static str>(text)
        };
        let [stream_id, id, event_type, content_type] =
            [next(text_lengths[0])?, next(text_lengths[1])?, next(text_lengths[2])?, next(text_lengths[3])?];
        let tags = Tags { lengths, texts };
        tags.check().ok_or(NOT_TEXT)?;
        let (version, created) = (u64_at(VERSION_AT), u64_at(CREATED_AT));
        Ok(Self { flags, version, created, stream_id, id, event_type, content_type, tags, data, metadata })
    }

    /// Whether the data was checked to be JSON.
    #[must_use]
    pub fn data_is_json(&self) -> bool {
        self.flags & DATA_IS_JSON != 0
    }

    /// Whether the metadata was checked to be JSON.
    #[must_use]
    pub fn metadata_is_json(&self) -> bool {
        self.flags & METADATA_IS_JSON != 0
    }
}

/// The tags of an event, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags<'a> {
    lengths: &'a [[u8; TAG_LENGTH_BYTES]],
    texts: &'a str,
}

impl<'a> Tags<'a> {
    fn check(mut self) -> Option<()> {
        while !self.lengths.is_empty() {
            self.split_first()?;
        }
        Some(())
    }

    fn split_first(&mut self) -> Option<&'a str> {
        let (length, lengths) = self.lengths.split_first()?;
        let (tag, texts) = self.texts.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        *self = Self { lengths, texts };
        Some(tag)
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.split_first()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.lengths.len(), Some(self.lengths.len()))
    }
}

impl ExactSizeIterator for Tags<'_> {}

/// Writes the version into an envelope.
///
/// # Panics
///
/// If the bytes are shorter than an envelope.
pub fn set_version(envelope: &mut [u8], version: u64) {
    envelope[VERSION_AT..VERSION_AT + 8].copy_from_slice(&version.to_le_bytes());
}

/// Writes the time into an envelope: microseconds since 1970-01-01T00:00:00 UTC.
///
/// # Panics
///
/// If the bytes are shorter than an envelope.
pub fn set_created(envelope: &mut [u8], created: u64) {
    envelope[CREATED_AT..CREATED_AT + 8].copy_from_slice(&created.to_le_bytes());
}

/// Writes the flags into an envelope.
pub(crate) fn set_flags(envelope: &mut [u8], flags: u8) {
    envelope[FLAGS_AT] = flags;
}
