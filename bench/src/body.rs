//! Bodies of appends. Ids and data are random, so that they do not compress, and cheap to make, because client and server
//! share the processors.

use std::fmt::Write as _;

use bytes::Bytes;

/// Bytes of an event's data, which is a JSON text.
pub(crate) const EVENT_BYTES: usize = 256;

/// Characters of an event's id: 22 of 6 bits each hold as many bits as a UUID.
const ID_BYTES: usize = 22;

/// The most bytes of an event besides its data, in JSON and in binary.
const REST_BYTES: usize = 96;

const EVENT_TYPE: &str = "order-placed";

/// How the events of an append are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON document.
    Json,
    /// Binary frames.
    Binary,
}

impl Form {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Binary => "application/vnd.exesdb.events",
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
    pub(crate) fn body(self, random: &mut fastrand::Rng, version: usize, events: usize) -> Bytes {
        match self {
            Self::Json => json(random, version, events).into(),
            Self::Binary => frames(random, events).into(),
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

/// One frame for each event; the OpenAPI document of the host describes them.
fn frames(random: &mut fastrand::Rng, events: usize) -> Vec<u8> {
    const CONTENT_TYPE: &str = "application/json";
    /// The kind of a frame: an event to append.
    const APPENDED: u8 = 3;
    // What follows the length prefix: the kind; id, type and content type with lengths of two bytes each; the number of
    // tags in two bytes; data and metadata with lengths of four bytes each.
    const LENGTH: usize =
        1 + (2 + ID_BYTES) + (2 + EVENT_TYPE.len()) + (2 + CONTENT_TYPE.len()) + 2 + (4 + EVENT_BYTES) + 4;
    let mut body = Vec::with_capacity(events * (EVENT_BYTES + REST_BYTES));
    for _ in 0..events {
        body.extend_from_slice(&(LENGTH as u32).to_be_bytes());
        body.push(APPENDED);
        body.extend_from_slice(&(ID_BYTES as u16).to_be_bytes());
        push_random(&mut body, random, ID_BYTES);
        for text in [EVENT_TYPE, CONTENT_TYPE] {
            body.extend_from_slice(&(text.len() as u16).to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        body.extend_from_slice(&0_u16.to_be_bytes());
        body.extend_from_slice(&(EVENT_BYTES as u32).to_be_bytes());
        body.push(b'"');
        push_random(&mut body, random, EVENT_BYTES - 2);
        body.push(b'"');
        body.extend_from_slice(&0_u32.to_be_bytes());
    }
    body
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
    use super::{EVENT_BYTES, Form, ID_BYTES, REST_BYTES};
    use std::collections::HashSet;

    #[test]
    fn json_has_the_workloads_events_and_expected_version() {
        let mut random = fastrand::Rng::new();
        let first: serde_json::Value =
            serde_json::from_slice(&Form::Json.body(&mut random, 0, 1)).expect("JSON");
        assert_eq!(first["expected_version"], "no_stream");
        let text = |event: &serde_json::Value, name: &str| event[name].as_str().expect("a text").to_owned();
        assert_eq!(text(&first["events"][0], "data").len() + 2, EVENT_BYTES);
        let later: serde_json::Value =
            serde_json::from_slice(&Form::Json.body(&mut random, 200, 100)).expect("JSON");
        assert_eq!(later["expected_version"], 199);
        let ids = later["events"].as_array().expect("events").iter().map(|event| text(event, "id"));
        let ids: HashSet<_> = ids.filter(|id| id.len() == ID_BYTES).collect();
        assert_eq!(ids.len(), 100);
        assert_eq!(Form::Json.query(200), "");
    }

    #[test]
    fn frames_have_the_workloads_events_and_the_query_the_expected_version() {
        let body = Form::Binary.body(&mut fastrand::Rng::new(), 200, 100);
        let (mut rest, mut ids) = (&body[..], HashSet::new());
        while let Some((length, after)) = rest.split_first_chunk() {
            let (frame, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            assert!(frame.len() < EVENT_BYTES + REST_BYTES);
            assert_eq!(frame[..3], [3, 0, 22]);
            ids.insert(&frame[3..25]);
            assert_eq!(frame[25..57], *b"\0\x0corder-placed\0\x10application/json");
            assert_eq!(frame[57..63], [0, 0, 0, 0, 1, 0]);
            let data: String = serde_json::from_slice(&frame[63..63 + EVENT_BYTES]).expect("JSON");
            assert_eq!(data.len() + 2, EVENT_BYTES);
            assert_eq!(frame[63 + EVENT_BYTES..], [0; 4]);
            rest = after;
        }
        assert_eq!(ids.len(), 100);
        assert_eq!(Form::Binary.query(0), "?expected_version=no_stream");
        assert_eq!(Form::Binary.query(200), "?expected_version=199");
    }
}
