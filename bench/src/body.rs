//! Bodies of appends. Ids and data are random, so that they do not compress, and cheap to make, because client and server
//! share the processors.

use std::fmt::Write as _;

use bytes::Bytes;
use exesdb_packed::{EventParts, push_event};

/// Bytes of an event's data, which is a JSON text.
pub(crate) const EVENT_BYTES: usize = 256;

/// Characters of an event's id: 22 of 6 bits each hold as many bits as a UUID.
const ID_BYTES: usize = 22;

/// The most bytes of an event besides its data and the name of its stream, in JSON and packed.
const REST_BYTES: usize = 112;

const EVENT_TYPE: &str = "order-placed";

/// The media type of packed events.
pub(crate) const PACKED_MEDIA_TYPE: &str = "application/vnd.exesdb.packed";

/// How the events of an append are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON document.
    Json,
    /// Packed events.
    Binary,
}

impl Form {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Binary => PACKED_MEDIA_TYPE,
        }
    }

    /// The query of an append to a stream of this many events.
    pub(crate) fn query(self, version: usize) -> String {
        match self {
            Self::Json => String::new(),
            Self::Binary => format!("?expected_version={}", expected(version, "no_stream")),
        }
    }

    /// The body of an append to a stream of this many events.
    pub(crate) fn body(
        self,
        random: &mut fastrand::Rng,
        stream: &str,
        version: usize,
        events: usize,
    ) -> Bytes {
        match self {
            Self::Json => json(random, version, events).into(),
            Self::Binary => packed(random, stream, events).into(),
        }
    }
}

fn expected(version: usize, no_stream: &str) -> String {
    version.checked_sub(1).map_or_else(|| no_stream.into(), |last| last.to_string())
}

fn json(random: &mut fastrand::Rng, version: usize, events: usize) -> Vec<u8> {
    let mut body = String::with_capacity(64 + events * (EVENT_BYTES + REST_BYTES));
    // Writing to a string cannot fail.
    let _ = write!(body, "{{\"expected_version\":{},\"events\":[", expected(version, "\"no_stream\""));
    let mut body = body.into_bytes();
    for index in 0..events {
        body.extend_from_slice(if index == 0 { b"{\"id\":\"" } else { b",{\"id\":\"" });
        push_random(&mut body, random, ID_BYTES);
        body.extend_from_slice(b"\",\"type\":\"");
        body.extend_from_slice(EVENT_TYPE.as_bytes());
        body.extend_from_slice(b"\",\"data\":\"");
        push_random(&mut body, random, EVENT_BYTES - 2);
        body.extend_from_slice(b"\"}");
    }
    body.extend_from_slice(b"]}");
    body
}

/// An append of a pipeline: its length, its expected version, and its events. The OpenAPI document of the host describes it.
pub(crate) fn pipelined(random: &mut fastrand::Rng, stream: &str, version: usize, events: usize) -> Bytes {
    const NO_STREAM: u8 = 1;
    const EXACT: u8 = 3;
    let (kind, last) = version.checked_sub(1).map_or((NO_STREAM, 0), |last| (EXACT, last as u64));
    let events = packed(random, stream, events);
    let length = u32::try_from(1 + 8 + events.len()).expect("appends of the bench are short");
    let mut append = Vec::with_capacity(4 + 1 + 8 + events.len());
    append.extend_from_slice(&length.to_le_bytes());
    append.push(kind);
    append.extend_from_slice(&last.to_le_bytes());
    append.extend_from_slice(&events);
    append.into()
}

fn packed(random: &mut fastrand::Rng, stream: &str, events: usize) -> Vec<u8> {
    let mut packed = Vec::with_capacity(events * (EVENT_BYTES + REST_BYTES + stream.len()));
    let (mut id, mut data) = (Vec::new(), Vec::new());
    for _ in 0..events {
        id.clear();
        push_random(&mut id, random, ID_BYTES);
        data.clear();
        data.push(b'"');
        push_random(&mut data, random, EVENT_BYTES - 2);
        data.push(b'"');
        let event = EventParts::<'_, &str> {
            flags: 0,
            version: 0,
            created: 0,
            stream_id: stream,
            id: std::str::from_utf8(&id).expect("the characters are ASCII"),
            event_type: EVENT_TYPE,
            content_type: "application/json",
            tags: &[],
            data: &data,
            metadata: b"",
        };
        push_event(&mut packed, 0, &event).expect("events of the bench are short");
    }
    packed
}

/// Appends random characters, ten of six bits from each number.
fn push_random(text: &mut Vec<u8>, random: &mut fastrand::Rng, length: usize) {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let end = text.len() + length;
    while text.len() < end {
        let bits = random.u64(..);
        for shift in (0..60).step_by(6).take(end - text.len()) {
            text.push(CHARACTERS[(bits >> shift) as usize % 64]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENT_BYTES, Form, ID_BYTES, REST_BYTES, pipelined};
    use exesdb_packed::Events;
    use std::collections::HashSet;

    #[test]
    fn json_has_the_workloads_events_and_expected_version() {
        let mut random = fastrand::Rng::new();
        let first: serde_json::Value =
            serde_json::from_slice(&Form::Json.body(&mut random, "s", 0, 1)).expect("JSON");
        assert_eq!(first["expected_version"], "no_stream");
        let text = |event: &serde_json::Value, name: &str| event[name].as_str().expect("a text").to_owned();
        assert_eq!(text(&first["events"][0], "data").len() + 2, EVENT_BYTES);
        let later: serde_json::Value =
            serde_json::from_slice(&Form::Json.body(&mut random, "s", 200, 100)).expect("JSON");
        assert_eq!(later["expected_version"], 199);
        let ids = later["events"].as_array().expect("events").iter().map(|event| text(event, "id"));
        let ids: HashSet<_> = ids.filter(|id| id.len() == ID_BYTES).collect();
        assert_eq!(ids.len(), 100);
        assert_eq!(Form::Json.query(200), "");
    }

    /// Checks packed events, and returns how many ids they have.
    fn check(packed: &[u8]) -> usize {
        let mut ids = HashSet::new();
        for event in Events::new(packed) {
            let (position, event) = event.expect("an event");
            assert_eq!((position, event.version, event.created, event.flags), (0, 0, 0, 0));
            assert_eq!((event.stream_id, event.event_type), ("s", "order-placed"));
            let data: String = serde_json::from_slice(event.data).expect("JSON");
            assert_eq!((data.len() + 2, event.id.len()), (EVENT_BYTES, ID_BYTES));
            ids.insert(event.id.to_owned());
        }
        ids.len()
    }

    #[test]
    fn packed_events_are_the_workloads_and_the_query_has_the_expected_version() {
        let body = Form::Binary.body(&mut fastrand::Rng::new(), "s", 200, 100);
        assert_eq!(check(&body), 100);
        assert!(body.len() < 100 * (EVENT_BYTES + REST_BYTES + 1));
        assert_eq!(Form::Binary.query(0), "?expected_version=no_stream");
        assert_eq!(Form::Binary.query(200), "?expected_version=199");
    }

    #[test]
    fn an_append_of_a_pipeline_has_its_length_and_its_expected_version() {
        for (version, expected) in [(0, [1, 0, 0, 0, 0, 0, 0, 0, 0]), (259, [3, 2, 1, 0, 0, 0, 0, 0, 0])] {
            let append = pipelined(&mut fastrand::Rng::new(), "s", version, 2);
            let (length, rest) = append.split_first_chunk().expect("a length");
            assert_eq!(u32::from_le_bytes(*length) as usize, rest.len());
            let (found, events) = rest.split_first_chunk().expect("an expected version");
            assert_eq!((*found, check(events)), (expected, 2));
        }
    }
}
