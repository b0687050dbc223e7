//! The body of an append as binary frames.

use std::borrow::Cow;

use exesdb_sdk::arguments;

use super::content::resolve_bytes;
use super::event::{NewEvent, check_distinct};
use super::field::FieldPath;
use crate::frame::{AppendedEvent, take_appended};
use crate::limits::{APPEND_EVENTS_MAX, EVENT_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX};
use crate::problem::{Kind, Problem};
use crate::store_error::{Subject, problem};

/// Decodes 1 to [`APPEND_EVENTS_MAX`] frames. The id of an event without one is empty.
///
/// # Errors
/// The problem to respond with. Its `field` has the index of the frame: `events[3].type`.
pub fn decode_append_frames(body: &[u8]) -> Result<Vec<NewEvent<'_>>, Problem> {
    let path = FieldPath::new("body");
    let mut rest = body;
    let mut events = Vec::new();
    if rest.is_empty() {
        return Err(Problem::invalid("body", format!("must hold 1 to {APPEND_EVENTS_MAX} events")));
    }
    path.enter("events");
    while !rest.is_empty() {
        if events.len() == APPEND_EVENTS_MAX {
            return Err(Problem::too_large("events", APPEND_EVENTS_MAX, "events per append"));
        }
        path.go_to(events.len());
        let event = take_appended(&mut rest, TAGS_MAX).map_err(|malformed| {
            Problem::of_field(Kind::MalformedBody, path.name_of(malformed.field()), malformed.to_string())
        })?;
        events.push(checked(&path, event)?);
    }
    Ok(events)
}

fn checked<'a>(path: &FieldPath, event: AppendedEvent<'a>) -> Result<NewEvent<'a>, Problem> {
    let text = |field: &str, text: &str, bytes_max: usize| {
        arguments::check_text("", text, bytes_max)
            .or_else(|_| arguments::check_text(&path.name_of(field), text, bytes_max))
            .map_err(|error| problem(error, Subject::Store))
    };
    if !event.id.is_empty() {
        text("id", event.id, EVENT_ID_BYTES_MAX)?;
    }
    text("type", event.event_type, EVENT_TYPE_BYTES_MAX)?;
    if event.tags.len() > TAGS_MAX {
        return Err(Problem::too_large(path.name_of("tags"), TAGS_MAX, "tags"));
    }
    for (index, tag) in event.tags.iter().enumerate() {
        text(&format!("tags[{index}]"), tag, TAG_BYTES_MAX)?;
    }
    check_distinct(path, &event.tags)?;
    let content = resolve_bytes(path, event.content_type, event.data, event.metadata)?;
    Ok(NewEvent {
        id: event.id.into(),
        event_type: event.event_type.into(),
        content_type: content.content_type,
        data: content.data,
        metadata: content.metadata,
        tags: event.tags.into_iter().map(Cow::Borrowed).collect(),
    })
}
