//! Packed events for unit tests.

use exesdb_packed::{EventParts, push_event};

/// Appends an event of a stream at a position.
pub(crate) fn push(packed: &mut Vec<u8>, stream_id: &str, position: u64, version: u64, data: &[u8]) {
    push_of_type(packed, "t", stream_id, position, version, data);
}

/// Appends an event of this type.
pub(crate) fn push_of_type(
    packed: &mut Vec<u8>,
    event_type: &str,
    stream_id: &str,
    position: u64,
    version: u64,
    data: &[u8],
) {
    let event = EventParts::<'_, String> {
        flags: 0,
        version,
        created: 1,
        stream_id,
        id: "i",
        event_type,
        content_type: "c",
        tags: &[],
        data,
        metadata: b"",
    };
    push_event(packed, position, &event).expect("it is short");
}
