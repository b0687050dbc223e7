//! The binary frames of a response (`application/vnd.exesdb.events`), as the document describes them.

/// One frame of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// An event.
    Event(Box<FramedEvent>),
    /// The end of the response.
    End {
        /// The position of the next page, if any.
        next: Option<u64>,
        /// Whether the read reached the end.
        end: bool,
        /// The number of durable positions.
        durable_position: u64,
    },
}

/// The fields of the frame of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FramedEvent {
    /// The position in the store.
    pub position: u64,
    /// The version in the stream.
    pub version: u64,
    /// Microseconds since 1970.
    pub created: u64,
    /// The stream's name.
    pub stream: String,
    /// The event's id.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// The media type of `data`.
    pub content_type: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The data of the event.
    pub data: Vec<u8>,
    /// The metadata, as JSON; empty if there is none.
    pub metadata: Vec<u8>,
}

/// Removes the first frame from `bytes`; `None` if it is incomplete.
///
/// # Errors
///
/// When the kind does not occur in responses, or the fields do not fill the frame exactly.
pub fn take_frame(bytes: &mut &[u8]) -> Result<Option<Frame>, String> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let Some((frame, rest)) = rest.split_at_checked(u32::from_be_bytes(*length) as usize) else {
        return Ok(None);
    };
    let mut fields = Fields(frame);
    let [kind] = fields.array("kind")?;
    let frame = match kind {
        1 => Frame::Event(Box::new(FramedEvent {
            position: fields.number("position")?,
            version: fields.number("version")?,
            created: fields.number("created")?,
            stream: fields.text("stream")?,
            id: fields.text("id")?,
            event_type: fields.text("type")?,
            content_type: fields.text("content type")?,
            tags: {
                let count = u16::from_be_bytes(fields.array("tags")?);
                (0..count).map(|_| fields.text("tags")).collect::<Result<_, _>>()?
            },
            data: fields.bytes("data")?,
            metadata: fields.bytes("metadata")?,
        })),
        2 => {
            let goes_on = fields.flag("whether it goes on")?;
            let next = fields.number("next")?;
            Frame::End {
                next: goes_on.then_some(next),
                end: fields.flag("end")?,
                durable_position: fields.number("durable position")?,
            }
        }
        kind => return Err(format!("a response has no frame of kind {kind}")),
    };
    if !fields.0.is_empty() {
        return Err(format!("{} bytes follow the last field of a frame of kind {kind}", fields.0.len()));
    }
    *bytes = rest;
    Ok(Some(frame))
}

/// The remaining fields of a frame.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize, field: &str) -> Result<&'a [u8], String> {
        let split = self.0.split_at_checked(length);
        let (taken, rest) = split.ok_or_else(|| format!("{field} goes beyond the end of its frame"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], String> {
        Ok(self.take(N, field)?.try_into().expect("so many were taken"))
    }

    fn number(&mut self, field: &str) -> Result<u64, String> {
        Ok(u64::from_be_bytes(self.array(field)?))
    }

    fn flag(&mut self, field: &str) -> Result<bool, String> {
        match self.array(field)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("{field} is {other}, neither 0 nor 1")),
        }
    }

    fn text(&mut self, field: &str) -> Result<String, String> {
        let length = u16::from_be_bytes(self.array(field)?);
        let bytes = self.take(length.into(), field)?;
        String::from_utf8(bytes.to_vec()).map_err(|error| format!("{field} is not UTF-8: {error}"))
    }

    fn bytes(&mut self, field: &str) -> Result<Vec<u8>, String> {
        let length = u32::from_be_bytes(self.array(field)?);
        Ok(self.take(length as usize, field)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, take_frame};

    /// A frame with these bytes after its length.
    fn framed(frame: &[u8]) -> Vec<u8> {
        [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], frame].concat()
    }

    fn event() -> Vec<u8> {
        let numbers = [7u64, 3, 1].iter().flat_map(|number| number.to_be_bytes());
        let texts =
            ["s", "i", "t", "a/b"].iter().flat_map(|text| [&[0, text.len() as u8], text.as_bytes()].concat());
        let rest = [0, 1, 0, 1, b'x', 0, 0, 0, 2, 0xff, 0xfe, 0, 0, 0, 0];
        [1].into_iter().chain(numbers).chain(texts).chain(rest).collect()
    }

    #[test]
    fn an_incomplete_frame_is_left_alone() {
        let end = [&[2, 1][..], &[0, 0, 0, 0, 0, 0, 0, 9], &[0], &[0, 0, 0, 0, 0, 0, 1, 0]].concat();
        let bytes = [framed(&event()), framed(&end)].concat();
        for length in 0..bytes.len() {
            let mut rest = &bytes[..length];
            let mut frames = 0;
            while take_frame(&mut rest).unwrap().is_some() {
                frames += 1;
            }
            assert_eq!(frames, usize::from(length >= event().len() + 4));
        }
        let mut rest = bytes.as_slice();
        let Ok(Some(Frame::Event(event))) = take_frame(&mut rest) else { panic!("an event comes first") };
        assert_eq!((event.position, event.version, event.created), (7, 3, 1));
        assert_eq!((event.stream.as_str(), event.content_type.as_str()), ("s", "a/b"));
        assert_eq!((event.tags, event.data), (vec!["x".to_owned()], vec![0xff, 0xfe]));
        let end = Frame::End { next: Some(9), end: false, durable_position: 256 };
        assert_eq!((take_frame(&mut rest), rest), (Ok(Some(end)), &[][..]));
    }

    #[test]
    fn frames_of_other_kinds_are_refused() {
        let mut long = event();
        long.push(0);
        let short = &event()[..event().len() - 1];
        let mut no_text = event();
        no_text[27] = 0xff;
        for wrong in [&[][..], &[3], &[2, 2], &long, short, &no_text] {
            assert!(take_frame(&mut framed(wrong).as_slice()).is_err(), "{wrong:?}");
        }
    }
}
