//! Appends of packed events, which go to the store as they came.

use exesdb_sdk::arguments;
use exesdb_sdk::packed::{Envelope, Events};
use exesdb_sdk::types::ExpectedVersion;

use super::content::{check_content_type, check_size};
use super::event::check_distinct;
use super::field::FieldPath;
use crate::limits::{
    APPEND_EVENTS_MAX, EVENT_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX, PACKED_BYTES_MAX, REQUEST_TAGS_BYTES_MAX,
    TAG_BYTES_MAX, TAGS_MAX,
};
use crate::problem::{Kind, Problem};
use crate::store_error::{Subject, problem};

/// The media type of packed events: the layout of `exesdb:store/types`.
pub const MEDIA_TYPE: &str = "application/vnd.exesdb.packed";

/// Bytes of an append before its frames in a sequence of appends: its length, the kind of its expected version, and that
/// version.
const HEAD_BYTES: usize = 4 + EXPECTED_BYTES;

/// Bytes of an expected version: its kind and its number.
const EXPECTED_BYTES: usize = 1 + 8;

/// Checks 1 to [`APPEND_EVENTS_MAX`] packed events of one stream. Returns the stream. Whether data is JSON is the host's to
/// find out, which says it in the flags.
///
/// # Errors
/// The problem to respond with. Its `field` has the index of the event: `events[3].type`.
pub fn check_packed<'a>(packed: &'a [u8], stream: Option<&'a str>) -> Result<&'a str, Problem> {
    let path = FieldPath::new("body");
    let mut stream = stream;
    let (mut count, mut tag_bytes) = (0, 0);
    path.enter("events");
    for event in Events::new(packed) {
        if count == APPEND_EVENTS_MAX {
            return Err(Problem::too_large("events", APPEND_EVENTS_MAX, "events per append"));
        }
        path.go_to(count);
        let (position, envelope) = event
            .map_err(|broken| Problem::of_field(Kind::MalformedBody, path.name_of(""), broken.to_string()))?;
        check_event(&path, position, &envelope, stream.get_or_insert(envelope.stream_id))?;
        tag_bytes += envelope.tags.map(str::len).sum::<usize>();
        count += 1;
    }
    if tag_bytes > REQUEST_TAGS_BYTES_MAX {
        return Err(Problem::too_large("events", REQUEST_TAGS_BYTES_MAX, "bytes of tags per request"));
    }
    match stream {
        Some(stream) if count > 0 => Ok(stream),
        _ => Err(Problem::invalid("body", format!("must hold 1 to {APPEND_EVENTS_MAX} events"))),
    }
}

fn check_event(
    path: &FieldPath,
    position: u64,
    envelope: &Envelope<'_>,
    stream: &str,
) -> Result<(), Problem> {
    let text = |field: &str, text: &str, bytes_max: usize| {
        arguments::check_text("", text, bytes_max)
            .or_else(|_| arguments::check_text(&path.name_of(field), text, bytes_max))
            .map_err(|error| problem(error, Subject::Store))
    };
    if (position, envelope.version, envelope.created) != (0, 0, 0) {
        let detail = "has a position, version or time; they are 0 in an event to append";
        return Err(Problem::invalid(path.name_of(""), detail));
    }
    text("stream", envelope.stream_id, arguments::STREAM_ID_BYTES_MAX)?;
    if envelope.stream_id != stream {
        return Err(Problem::invalid(path.name_of("stream"), "is not the stream that is appended to"));
    }
    text("id", envelope.id, EVENT_ID_BYTES_MAX)?;
    text("type", envelope.event_type, EVENT_TYPE_BYTES_MAX)?;
    check_content_type(path, envelope.content_type)?;
    if envelope.tags.len() > TAGS_MAX {
        return Err(Problem::too_large(path.name_of("tags"), TAGS_MAX, "tags"));
    }
    for (index, tag) in envelope.tags.enumerate() {
        text(&format!("tags[{index}]"), tag, TAG_BYTES_MAX)?;
    }
    if envelope.tags.len() > 1 {
        check_distinct(path, &envelope.tags.collect::<Vec<_>>())?;
    }
    check_size(path, envelope.data, envelope.metadata)
}

/// An append in a sequence of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken<'a> {
    /// It is not all there. It has so many bytes, as far as that is known.
    Incomplete(usize),
    /// The expected version, and packed events that were not checked yet.
    Append(ExpectedVersion, &'a [u8]),
}

/// Takes the first append off a sequence: the length of what follows (4 bytes), the kind of the expected version (1 byte: 0
/// any, 1 no stream, 2 stream exists, 3 exactly), that version (8 bytes; 0 for the other kinds), and packed events. Numbers are
/// little-endian.
///
/// # Errors
/// The problem to respond with.
pub fn take_packed_append<'a>(bytes: &mut &'a [u8]) -> Result<Taken<'a>, Problem> {
    let malformed = |detail: String| Problem::of_field(Kind::MalformedBody, "body", detail);
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(Taken::Incomplete(HEAD_BYTES));
    };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > PACKED_BYTES_MAX {
        return Err(Problem::too_large("body", PACKED_BYTES_MAX, "bytes per append"));
    }
    if length < EXPECTED_BYTES {
        return Err(malformed(format!(
            "an append of {length} bytes is too short; it has {EXPECTED_BYTES} at least"
        )));
    }
    let Some((append, rest)) = rest.split_at_checked(length) else {
        return Ok(Taken::Incomplete(4 + length));
    };
    let (expected, frames) = append.split_first_chunk::<EXPECTED_BYTES>().expect("the length was checked");
    let [kind, version @ ..] = *expected;
    let expected = match (kind, u64::from_le_bytes(version)) {
        (0, 0) => ExpectedVersion::Any,
        (1, 0) => ExpectedVersion::NoStream,
        (2, 0) => ExpectedVersion::StreamExists,
        (3, version) => ExpectedVersion::Exact(version),
        (kind, version) => {
            return Err(malformed(format!(
                "no expected version has the kind {kind} and the number {version}"
            )));
        }
    };
    *bytes = rest;
    Ok(Taken::Append(expected, frames))
}
