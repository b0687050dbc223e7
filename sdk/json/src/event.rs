//! One event.

use exesdb_packed::Envelope;

use crate::content::{Content, Layout, push_content, push_number_field, push_time_field};
use crate::push_string;

/// About so many bytes has the text of packed events: the names of the fields are longer than what is around them there.
pub fn text_bytes(packed: &[u8]) -> usize {
    packed.len() * 2
}

/// Appends an event as a JSON object.
pub fn push_event(out: &mut Vec<u8>, position: u64, event: &Envelope<'_>, layout: Layout) {
    out.extend_from_slice(b"{\"stream\":");
    push_string(out, event.stream_id);
    push_number_field(out, "version", event.version);
    push_number_field(out, "position", position);
    out.extend_from_slice(b",\"id\":");
    push_string(out, event.id);
    out.extend_from_slice(b",\"type\":");
    push_string(out, event.event_type);
    let content = Content {
        content_type: event.content_type,
        data: event.data,
        data_is_json: event.data_is_json(),
        metadata: event.metadata,
        metadata_is_json: event.metadata_is_json(),
    };
    push_content(out, content, layout);
    if event.tags.len() > 0 {
        out.extend_from_slice(b",\"tags\":[");
        for (index, tag) in event.tags.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_string(out, tag);
        }
        out.push(b']');
    }
    push_time_field(out, "created", event.created);
    out.push(b'}');
}

/// Appends an event as one line of JSON, from which it can be imported byte for byte.
pub fn push_line(out: &mut Vec<u8>, position: u64, event: &Envelope<'_>) {
    push_event(out, position, event, Layout::Exact);
    out.push(b'\n');
}
