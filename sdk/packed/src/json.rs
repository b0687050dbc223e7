//! What of an event is JSON: whether its content type says so, and the flags of what was checked.

use crate::broken::Broken;
use crate::envelope::{DATA_IS_JSON, Envelope, METADATA_IS_JSON, set_flags};
use crate::frame::{Frames, HEAD_BYTES, Record};

const JSON: &str = "application/json";

/// Whether a content type says that the data is JSON: `application/json` or any type that ends with `+json`, in upper or
/// lower case, with any parameters.
#[must_use]
pub fn says_json(content_type: &str) -> bool {
    // The most common case.
    if content_type == JSON {
        return true;
    }
    let essence = content_type.split_once(';').map_or(content_type, |(essence, _)| essence).trim();
    essence.eq_ignore_ascii_case(JSON)
        || essence.rsplit_once('+').is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"))
}

/// The flags of an event. `is_json` is asked about the data if the content type says that it is JSON, and about the
/// metadata if there is any.
#[must_use]
pub fn json_flags(
    content_type: &str,
    data: &[u8],
    metadata: &[u8],
    mut is_json: impl FnMut(&[u8]) -> bool,
) -> u8 {
    let of_data = if says_json(content_type) && is_json(data) { DATA_IS_JSON } else { 0 };
    let of_metadata = if !metadata.is_empty() && is_json(metadata) { METADATA_IS_JSON } else { 0 };
    of_data | of_metadata
}

/// Sets and clears the [flags](json_flags) of all events of a list of frames, whatever they were before.
///
/// # Errors
///
/// [`Broken`]: the first frame or envelope that is. The flags of the events before it are right.
pub fn set_json_flags(frames: &mut [u8], mut is_json: impl FnMut(&[u8]) -> bool) -> Result<(), Broken> {
    let mut at = 0;
    loop {
        let mut rest = Frames::after(frames, at);
        let Some(frame) = rest.next().transpose()? else { return Ok(()) };
        let next = rest.at();
        if let Record::Event(envelope) = frame.record {
            let event = Envelope::read(envelope).map_err(|broken| Broken { at, ..broken })?;
            let flags = json_flags(event.content_type, event.data, event.metadata, &mut is_json);
            set_flags(&mut frames[at + HEAD_BYTES..next], flags);
        }
        at = next;
    }
}
