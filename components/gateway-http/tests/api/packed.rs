//! Appends and reads of packed events.

use exesdb_gateway_http::body::{Taken, check_packed, take_packed_append};
use exesdb_gateway_http::limits::{APPEND_EVENTS_MAX, EVENT_BYTES_MAX, PACKED_BYTES_MAX, TAGS_MAX};
use exesdb_gateway_http::problem::{Kind, Member};
use exesdb_sdk::events::{EventData, pack, unpack};
use exesdb_sdk::packed::{EventParts, push_event, push_gap};
use exesdb_sdk::types::ExpectedVersion;
use proptest::prelude::any;
use proptest::proptest;
use serde_json::json;

use crate::client::{Request, TestResponse};
use crate::store::TestStore;

const MEDIA_TYPE: &str = "application/vnd.exesdb.packed";

fn event(id: &str) -> EventData {
    EventData {
        id: id.to_owned(),
        event_type: "t".to_owned(),
        content_type: "application/json".to_owned(),
        data: b"{\"a\": 1}".to_vec(),
        metadata: Vec::new(),
        tags: vec!["k:v".to_owned()],
    }
}

fn append(store: &mut TestStore, query: &str, body: Vec<u8>) -> TestResponse {
    Request::new("POST", &format!("/v1/stores/main/streams/s/events{query}"))
        .header("content-type", MEDIA_TYPE)
        .body(body)
        .send(store)
}

#[test]
fn packed_events_are_appended_and_read_as_they_are() {
    let mut store = TestStore::default();
    let bytes = EventData { content_type: "a/b".to_owned(), data: vec![0xff], ..event("j") };
    let packed = pack("s", [&event("i"), &bytes]).unwrap();
    let response = append(&mut store, "?expected_version=no_stream", packed);
    assert_eq!(
        response.text(),
        r#"{"first_version":0,"last_version":1,"position":1,"history":"00000000000000aa"}"#
    );
    let events = store.events();
    assert_eq!((events[0].id.as_str(), events[1].data.as_slice()), ("i", &[0xff][..]));
    let again = append(&mut store, "?expected_version=0", pack("s", [&event("k")]).unwrap());
    assert_eq!((again.status, &again.json()["actual_version"]), (409, &json!(1)));
    // The host has found out what is JSON, so it can be embedded.
    let page = Request::get("/v1/stores/main/events").send(&mut store).json();
    assert_eq!(
        (&page["events"][0]["data"], &page["events"][1]["data_base64"]),
        (&json!({"a": 1}), &json!("/w=="))
    );

    let read = Request::get("/v1/stores/main/events").header("accept", MEDIA_TYPE).send(&mut store);
    assert_eq!((read.status, read.header("content-type")), (200, Some(MEDIA_TYPE)));
    let (frames, end) = read.body.split_at(read.body.len() - 21);
    assert_eq!(unpack(frames).unwrap(), store.events());
    assert_eq!(end, [&[2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0xc0, 1, 2][..], &[0; 7]].concat());
}

#[test]
fn refused_events_name_their_field() {
    let one = |change: &dyn Fn(&mut EventData)| {
        let mut changed = event("j");
        change(&mut changed);
        pack("s", [&event("i"), &changed]).unwrap()
    };
    let long = "x".repeat(300);
    let placed = |position, version, created| {
        let of = event("i");
        let mut out = Vec::new();
        push_event(&mut out, position, &EventParts { version, ..of.parts("s", 0, created) }).unwrap();
        out
    };
    let mut gap = pack("s", [&event("i")]).unwrap();
    push_gap(&mut gap, 0, 3);
    let good = pack("s", [&event("i")]).unwrap();
    let (invalid, malformed) = (Kind::InvalidArgument, Kind::MalformedBody);
    for (body, kind, named) in [
        (Vec::new(), invalid, "body"),
        (b"{\"events\":[]}".to_vec(), malformed, "events[0]"),
        (vec![0], malformed, "events[0]"),
        (good[..good.len() - 1].to_vec(), malformed, "events[0]"),
        ([&good[..], &[0; 3]].concat(), malformed, "events[1]"),
        (gap, malformed, "events[1]"),
        (placed(1, 0, 0), invalid, "events[0]"),
        (placed(0, 1, 0), invalid, "events[0]"),
        (placed(0, 0, 1), invalid, "events[0]"),
        (pack("other", [&event("i")]).unwrap(), invalid, "events[0].stream"),
        (pack("", [&event("i")]).unwrap(), invalid, "events[0].stream"),
        (one(&|event| event.id.clear()), invalid, "events[1].id"),
        (one(&|event| event.id.clone_from(&long)), invalid, "events[1].id"),
        (one(&|event| event.event_type = "a\0".to_owned()), invalid, "events[1].type"),
        (one(&|event| event.content_type.clear()), invalid, "events[1].content_type"),
        (one(&|event| event.content_type = "a/é".to_owned()), invalid, "events[1].content_type"),
        (one(&|event| event.tags.push(String::new())), invalid, "events[1].tags[1]"),
        (one(&|event| event.tags.push("k:v".to_owned())), invalid, "events[1].tags[1]"),
        (one(&|event| event.tags = vec![String::new(); TAGS_MAX + 1]), Kind::TooLarge, "events[1].tags"),
        (one(&|event| event.data = vec![0; EVENT_BYTES_MAX + 1]), Kind::TooLarge, "events[1]"),
    ] {
        let problem = check_packed(&body, Some("s")).expect_err(named);
        let field = problem.members.first().cloned();
        assert_eq!(
            (problem.kind, field),
            (kind, Some(("field", Member::Text(named.to_owned())))),
            "{problem:?}"
        );
    }
    let many = |count| pack("s", vec![&event("i"); count]).unwrap();
    assert_eq!(check_packed(&many(APPEND_EVENTS_MAX), None), Ok("s"));
    assert_eq!(check_packed(&many(APPEND_EVENTS_MAX + 1), None).unwrap_err().kind, Kind::TooLarge);
}

/// An append of a sequence.
pub(crate) fn framed(kind: u8, version: u64, events: &[u8]) -> Vec<u8> {
    let length = u32::try_from(9 + events.len()).expect("it is short");
    [&length.to_le_bytes()[..], &[kind], &version.to_le_bytes(), events].concat()
}

#[test]
fn appends_are_taken_off_a_sequence() {
    let events = pack("s", [&event("i")]).unwrap();
    let expected = [
        ExpectedVersion::Any,
        ExpectedVersion::NoStream,
        ExpectedVersion::StreamExists,
        ExpectedVersion::Exact(7),
    ];
    for (kind, expected) in (0..).zip(expected) {
        let version = if kind == 3 { 7 } else { 0 };
        let bytes = [framed(kind, version, &events), vec![1]].concat();
        let mut rest = bytes.as_slice();
        assert_eq!(take_packed_append(&mut rest), Ok(Taken::Append(expected, &events)));
        assert_eq!(rest, [1]);
        for length in 0..bytes.len() - 1 {
            let whole = if length < 4 { 13 } else { bytes.len() - 1 };
            assert_eq!(take_packed_append(&mut &bytes[..length]), Ok(Taken::Incomplete(whole)), "{length}");
        }
    }
    for (bytes, kind) in [
        (framed(4, 0, &events), Kind::MalformedBody),
        (framed(0, 1, &events), Kind::MalformedBody),
        (framed(2, 1, &events), Kind::MalformedBody),
        (vec![8, 0, 0, 0], Kind::MalformedBody),
        (vec![0; 4], Kind::MalformedBody),
        (u32::try_from(PACKED_BYTES_MAX + 1).unwrap().to_le_bytes().to_vec(), Kind::TooLarge),
        (vec![0xff; 4], Kind::TooLarge),
    ] {
        assert_eq!(take_packed_append(&mut bytes.as_slice()).unwrap_err().kind, kind, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        drop(check_packed(&bytes, None));
        drop(take_packed_append(&mut bytes.as_slice()));
    }
}
