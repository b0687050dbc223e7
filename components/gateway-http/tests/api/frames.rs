//! Appends of binary frames.

use exesdb_gateway_http::body::decode_append_frames;
use exesdb_gateway_http::limits::{APPEND_EVENTS_MAX, EVENT_BYTES_MAX, TAGS_MAX};
use exesdb_gateway_http::problem::{Kind, Member};
use serde_json::json;

use crate::client::{Request, TestResponse};
use crate::store::TestStore;

/// The event of a frame.
struct Event<'a> {
    id: &'a str,
    event_type: &'a str,
    content_type: &'a str,
    tags: Vec<&'a str>,
    data: &'a [u8],
    metadata: &'a [u8],
}

const PLAIN: Event<'_> =
    Event { id: "i", event_type: "t", content_type: "a/b", tags: Vec::new(), data: b"\xff", metadata: b"" };

fn frame(event: &Event<'_>) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let bytes = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let fields = [
        vec![3],
        text(event.id),
        text(event.event_type),
        text(event.content_type),
        (event.tags.len() as u16).to_be_bytes().to_vec(),
        event.tags.iter().flat_map(|tag| text(tag)).collect(),
        bytes(event.data),
        bytes(event.metadata),
    ]
    .concat();
    bytes(&fields)
}

fn append(store: &mut TestStore, query: &str, body: Vec<u8>) -> TestResponse {
    Request::new("POST", &format!("/v1/stores/main/streams/s/events{query}"))
        .header("content-type", "application/vnd.exesdb.events")
        .body(body)
        .send(store)
}

#[test]
fn frames_are_appended() {
    let mut store = TestStore::default();
    let json = Event {
        content_type: "application/json",
        data: b"{\"a\": 1}",
        metadata: b"[2]",
        tags: vec!["k:v", "l"],
        ..PLAIN
    };
    let without_id = Event { id: "", metadata: b"null", ..PLAIN };
    let body = [frame(&json), frame(&without_id)].concat();
    let response = append(&mut store, "?expected_version=no_stream", body);
    assert_eq!(
        response.text(),
        r#"{"first_version":0,"last_version":1,"position":1,"history":"00000000000000aa"}"#
    );
    let events = store.events();
    let [first, second] = events.as_slice() else { panic!("two events were appended") };
    assert_eq!((first.data.as_slice(), first.metadata.as_slice()), (&b"{\"a\": 1}"[..], &b"[2]"[..]));
    assert_eq!((first.id.as_str(), first.tags.as_slice()), ("i", &["k:v".to_owned(), "l".to_owned()][..]));
    assert_eq!((second.id.len(), second.content_type.as_str()), (36, "a/b"));
    assert_eq!((second.data.as_slice(), second.metadata.as_slice()), (&b"\xff"[..], &b""[..]));
    let again = append(&mut store, "?expected_version=0", frame(&Event { id: "j", ..PLAIN }));
    assert_eq!((again.status, again.json()["actual_version"].clone()), (409, json!(1)));
}

#[test]
fn refused_frames_name_their_field() {
    let good = frame(&PLAIN);
    let then = |bad: &[u8]| [&good, bad].concat();
    let long = "x".repeat(300);
    let too_long = [&[0xff; 4][..], &good[4..]].concat();
    let trailing = {
        let mut frame = [&good[..], &[0]].concat();
        frame[3] += 1;
        frame
    };
    let cut = {
        let mut frame = good[..good.len() - 1].to_vec();
        frame[3] -= 1;
        frame
    };
    let json = Event { content_type: "application/json", ..PLAIN };
    let deep = "[".repeat(200);
    let (invalid, malformed) = (Kind::InvalidArgument, Kind::MalformedBody);
    for (body, kind, named) in [
        (Vec::new(), invalid, "body"),
        (b"{\"events\":[]}".to_vec(), malformed, "events[0]"),
        (vec![0], malformed, "events[0]"),
        (vec![0; 4], malformed, "events[0]"),
        (then(&[0, 0, 0]), malformed, "events[1]"),
        (then(&[0, 0, 0, 1, 1]), malformed, "events[1]"),
        (too_long, malformed, "events[0]"),
        (trailing, malformed, "events[0]"),
        (cut, malformed, "events[0].metadata"),
        (good[..good.len() - 1].to_vec(), malformed, "events[0]"),
        (frame(&Event { event_type: "", ..PLAIN }), invalid, "events[0].type"),
        (frame(&Event { event_type: &long, ..PLAIN }), invalid, "events[0].type"),
        (then(&frame(&Event { event_type: "a\0b", ..PLAIN })), invalid, "events[1].type"),
        (frame(&Event { id: &long, ..PLAIN }), invalid, "events[0].id"),
        (frame(&Event { id: "\n", ..PLAIN }), invalid, "events[0].id"),
        (frame(&Event { content_type: "", ..PLAIN }), invalid, "events[0].content_type"),
        (frame(&Event { content_type: "a/é", ..PLAIN }), invalid, "events[0].content_type"),
        (frame(&Event { tags: vec!["k", ""], ..PLAIN }), invalid, "events[0].tags[1]"),
        (frame(&Event { tags: vec![&long], ..PLAIN }), invalid, "events[0].tags[0]"),
        (frame(&Event { tags: vec!["k", "l", "k"], ..PLAIN }), invalid, "events[0].tags[2]"),
        (frame(&json), invalid, "events[0].data"),
        (frame(&Event { data: b"", ..json }), invalid, "events[0].data"),
        (frame(&Event { data: deep.as_bytes(), tags: Vec::new(), ..json }), invalid, "events[0].data"),
        (frame(&Event { data: b"1 2", tags: Vec::new(), ..json }), invalid, "events[0].data"),
        (frame(&Event { metadata: b"{", ..PLAIN }), invalid, "events[0].metadata"),
        (frame(&Event { metadata: b"\"\\ud800\"", ..PLAIN }), invalid, "events[0].metadata"),
        (frame(&Event { metadata: b"\xff", ..PLAIN }), invalid, "events[0].metadata"),
    ] {
        let problem = decode_append_frames(&body).expect_err(named);
        let field = problem.members.first().cloned();
        assert_eq!(
            (problem.kind, field),
            (kind, Some(("field", Member::Text(named.to_owned())))),
            "{problem:?}"
        );
        assert!(problem.detail.starts_with(&format!("{named}: ")), "{}", problem.detail);
    }
}

#[test]
fn problems_of_frames_state_the_limit() {
    let tags: Vec<String> = (0..=TAGS_MAX).map(|tag| tag.to_string()).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let data = vec![0; EVENT_BYTES_MAX + 1];
    let most = &data[..EVENT_BYTES_MAX];
    for (body, limit) in [
        (frame(&PLAIN).repeat(APPEND_EVENTS_MAX), None),
        (frame(&PLAIN).repeat(APPEND_EVENTS_MAX + 1), Some(APPEND_EVENTS_MAX)),
        (frame(&Event { tags: tags[..TAGS_MAX].to_vec(), ..PLAIN }), None),
        (frame(&Event { tags, ..PLAIN }), Some(TAGS_MAX)),
        (frame(&Event { data: most, ..PLAIN }), None),
        (frame(&Event { data: &data, ..PLAIN }), Some(EVENT_BYTES_MAX)),
        (frame(&Event { data: most, metadata: b"1", ..PLAIN }), Some(EVENT_BYTES_MAX)),
    ] {
        match (decode_append_frames(&body), limit) {
            (Ok(_), None) => {}
            (Err(problem), Some(limit)) => {
                assert_eq!(problem.kind, Kind::TooLarge, "{problem:?}");
                assert!(problem.members.contains(&("limit", Member::Number(limit as u64))), "{problem:?}");
            }
            (found, limit) => panic!("{limit:?}: {found:?}"),
        }
    }
}
