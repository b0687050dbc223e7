//! Appends of packed events, alone and in a pipeline, and bytes that are no packed events.

use std::io::{BufReader, Write as _};

use exesdb_packed::{DATA_IS_JSON, EventParts, METADATA_IS_JSON, push_event};
use exesdb_tests::{Frame, Host, NO_EVENTS, take_frame};
use serde_json::{Value, json};

use crate::append::next_line;

const PACKED: &str = "application/vnd.exesdb.packed";

/// The path of pipelines.
const APPEND: &str = "/v1/stores/main/append";

/// Bytes of a frame before its envelope: the position, and the length with the kind in its two highest bits.
const HEAD_BYTES: usize = 12;

type Event = EventParts<'static, &'static str>;

/// A small event of the stream `s`.
fn event(id: &'static str) -> Event {
    EventParts {
        flags: 0,
        version: 0,
        created: 0,
        stream_id: "s",
        id,
        event_type: "t",
        content_type: "application/json",
        tags: &[],
        data: b"{\"a\": 1.50}",
        metadata: b"",
    }
}

/// The same event of another stream.
fn of(stream_id: &'static str, event: Event) -> Event {
    EventParts { stream_id, ..event }
}

/// JSON with everything that an event may have, bytes, and bytes that claim to be JSON.
fn kinds() -> [Event; 3] {
    [
        EventParts { event_type: "opened", tags: &["a", "ä"], metadata: b"{\"by\":1}", ..event("json") },
        EventParts { content_type: "image/jpeg", data: &[0xff, 0xd8, 0xff, 0xe0], ..event("bytes") },
        EventParts { flags: DATA_IS_JSON | METADATA_IS_JSON, data: b"{", metadata: b"{", ..event("claim") },
    ]
}

fn packed(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        push_event(&mut bytes, 0, event).expect("the event is small");
    }
    bytes
}

/// An append of a pipeline: its length, the kind and the number of the version that it expects, and its events.
fn framed(kind: u8, version: u64, events: &[u8]) -> Vec<u8> {
    let length = u32::try_from(9 + events.len()).expect("it is short");
    [&length.to_le_bytes()[..], &[kind], &version.to_le_bytes(), events].concat()
}

/// Checks that a stream has these events, byte for byte. Returns the flags that the host gave them.
#[track_caller]
fn stored(host: &Host, stream: &str, sent: &[Event]) -> Vec<u8> {
    let body = host.http.packed(&format!("{}/events", host.http.stream(stream)));
    let mut rest = body.as_slice();
    let frames = std::iter::from_fn(|| take_frame(&mut rest).expect("these are frames"));
    let frames: Vec<Frame<'_>> = frames.collect();
    assert_eq!(frames.len(), sent.len() + 1, "the last frame is the end of the response");
    let mut flags = Vec::new();
    for ((version, frame), sent) in (0_u64..).zip(&frames).zip(sent) {
        let Frame::Event { event: read, .. } = frame else { panic!("{frame:?}") };
        assert_eq!((read.version, read.stream_id, read.id), (version, stream, sent.id));
        assert_eq!((read.event_type, read.content_type), (sent.event_type, sent.content_type));
        assert_eq!((read.data, read.metadata), (sent.data, sent.metadata), "{}", sent.id);
        assert_eq!(read.tags.collect::<Vec<_>>(), sent.tags, "{}", sent.id);
        assert_ne!(read.created, 0, "{}", sent.id);
        flags.push(read.flags);
    }
    flags
}

#[test]
fn packed_events_are_appended_and_read_as_they_are() {
    let host = Host::start();
    let path = format!("{}/events", host.http.stream("s"));
    let append = |expected: &str, events: &[Event]| {
        host.http.post_bytes(&format!("{path}?expected_version={expected}"), PACKED, &packed(events))
    };
    let sent = kinds();
    let first = append("no_stream", &sent).expect(200).json;
    let places = (&first["first_version"], &first["last_version"], &first["position"]);
    assert_eq!(places, (&json!(0), &json!(2), &json!(2)));
    assert_eq!(append("no_stream", &sent).expect(200).json, first, "it was sent again");
    let refused = append("0", &[event("late")]).expect_problem(409, "wrong-expected-version");
    assert_eq!(refused.json["actual_version"], 2);
    assert_eq!(stored(&host, "s", &sent), [DATA_IS_JSON | METADATA_IS_JSON, 0, 0]);

    let read = host.http.get(&path).expect(200);
    assert!(read.text.contains(r#""data":{"a": 1.50}"#), "{}", read.text);
    let [json, bytes, claim] = [0_usize, 1, 2].map(|index| &read.json["events"][index]);
    assert_eq!((&json["metadata"], &json["tags"]), (&json!({ "by": 1 }), &json!(["a", "ä"])));
    assert_eq!((&bytes["data_base64"], &bytes["content_type"]), (&json!("/9j/4A=="), &json!("image/jpeg")));
    assert_eq!((&claim["data_base64"], &claim["metadata_base64"]), (&json!("ew=="), &json!("ew==")));
}

#[test]
fn a_pipeline_of_packed_appends_answers_each() {
    let host = Host::start();
    let [json, bytes, claim] = kinds();
    let appends = [
        framed(1, 0, &packed(&[of("a", json), of("a", bytes)])),
        framed(0, 0, &packed(&[of("b", claim)])),
        framed(3, 7, &packed(&[of("a", event("refused"))])),
        framed(3, 1, &packed(&[of("a", event("last"))])),
    ];
    let mut connection = BufReader::new(host.http.connect());
    let head = format!(
        "POST {APPEND} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {PACKED}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    connection.get_mut().write_all(head.as_bytes()).expect("the host reads");
    next_line(&mut connection, "HTTP/1.1 200");
    let mut answers: Vec<Value> = Vec::new();
    for append in &appends {
        // A chunk ends within it, and nothing follows it before its answer.
        let (begin, rest) = append.split_at(append.len() / 2);
        for part in [begin, rest] {
            let chunk = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
            connection.get_mut().write_all(&chunk).expect("the host reads");
        }
        let answer = next_line(&mut connection, "{");
        answers.push(serde_json::from_str(&answer).expect("an answer is a line of JSON"));
    }
    connection.get_mut().write_all(b"0\r\n\r\n").expect("the host reads");
    assert_eq!(answers[2]["type"], "urn:exesdb:problem:wrong-expected-version");
    let made = |answers: &[Value]| [0_usize, 1, 3].map(|index| answers[index].clone());
    assert_eq!(made(&answers).map(|answer| answer["last_version"].clone()), [json!(1), json!(0), json!(2)]);
    stored(&host, "a", &[json, bytes, event("last")]);
    stored(&host, "b", &[claim]);
    // The same in one piece, which gets the same answers.
    let again = host.http.post_bytes(APPEND, PACKED, &appends.concat()).expect(200);
    let again: Vec<Value> =
        again.text.lines().map(|line| serde_json::from_str(line).expect("lines are JSON")).collect();
    assert_eq!((again.len(), made(&again)), (answers.len(), made(&answers)));
    assert_eq!(host.http.read_all().len(), 4);
}

#[test]
fn bytes_that_are_no_packed_events_are_refused() {
    let host = Host::start();
    let good = packed(&[event("i")]);
    let with = |at: usize, byte: u8| {
        let mut changed = good.clone();
        changed[at] = byte;
        changed
    };
    let mut placed = Vec::new();
    push_event(&mut placed, 1, &event("i")).expect("the event is small");
    let (malformed, invalid) = ("malformed-body", "invalid-argument");
    for (body, kind, field) in [
        (Vec::new(), invalid, "body"),
        (b"{\"events\":[]}".to_vec(), malformed, "events[0]"),
        // Cut off in the head of the frame, in the envelope, and in a second frame.
        (good[..HEAD_BYTES - 1].to_vec(), malformed, "events[0]"),
        (good[..good.len() - 1].to_vec(), malformed, "events[0]"),
        ([&good[..], &good[..HEAD_BYTES + 8]].concat(), malformed, "events[1]"),
        // A length that is one beyond the body, and one that is far beyond it.
        (with(8, good[8] + 1), malformed, "events[0]"),
        (with(10, 0xff), malformed, "events[0]"),
        // A kind, a format and a flag that there are not.
        (with(11, 0xff), malformed, "events[0]"),
        (with(HEAD_BYTES, 2), malformed, "events[0]"),
        (with(HEAD_BYTES + 1, 4), malformed, "events[0]"),
        (placed, invalid, "events[0]"),
        (packed(&[of("other", event("i"))]), invalid, "events[0].stream"),
    ] {
        let response = host.http.post_bytes("/v1/stores/main/streams/s/events", PACKED, &body);
        let response = response.expect_problem(400, kind);
        assert_eq!(response.json["field"], field, "{body:?}: {}", response.text);
    }
    assert_eq!(host.http.read_all().len(), 0);
    host.http.post_bytes("/v1/stores/main/streams/s/events", PACKED, &good).expect(200);
    assert_eq!(host.traps(), NO_EVENTS);
}

#[test]
fn bytes_that_are_no_packed_append_end_a_pipeline() {
    let host = Host::start();
    let events = packed(&[event("i")]);
    let good = framed(0, 0, &events);
    let mut of_other_format = events.clone();
    of_other_format[HEAD_BYTES] = 2;
    let malformed = (400, "malformed-body");
    // What comes after the first append, and its problem.
    for (bad, (status, kind)) in [
        // A length that is more than an append may have, and one that is less than it must have.
        ([&[0xff; 4][..], &good[..]].concat(), (413, "too-large")),
        ([&[8, 0, 0, 0][..], &good[..]].concat(), malformed),
        // Expected versions that there are not.
        ([framed(4, 0, &events), good.clone()].concat(), malformed),
        ([framed(0, 1, &events), good.clone()].concat(), malformed),
        ([framed(0, 0, &events[..events.len() - 1]), good.clone()].concat(), malformed),
        ([framed(0, 0, &of_other_format), good.clone()].concat(), malformed),
        ([framed(0, 0, &[]), good.clone()].concat(), (400, "invalid-argument")),
        // The body ends within an append.
        (good[..good.len() - 1].to_vec(), malformed),
        (good[..3].to_vec(), malformed),
    ] {
        let response = host.http.post_bytes(APPEND, PACKED, &[&good[..], &bad[..]].concat()).expect(200);
        let answers: Vec<Value> =
            response.text.lines().map(|line| serde_json::from_str(line).expect("lines are JSON")).collect();
        let [first, last] = answers.as_slice() else { panic!("{bad:?}: {}", response.text) };
        assert_eq!(first["last_version"], 0, "{bad:?}: {}", response.text);
        let problem = format!("urn:exesdb:problem:{kind}");
        assert_eq!((&last["status"], &last["type"]), (&json!(status), &json!(problem)), "{bad:?}");
        let detail = last["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with("append 2 of the request: "), "{detail}");
    }
    assert_eq!(host.http.read_all().len(), 1, "nothing after the first append was made");
    assert_eq!(host.traps(), NO_EVENTS);
}
