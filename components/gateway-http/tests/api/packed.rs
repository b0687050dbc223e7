//! Appends and reads of packed events.

use exesdb_gateway_http::body::{Taken, check_packed, take_packed_append};
use exesdb_gateway_http::limits::{
    APPEND_EVENTS_MAX, EVENT_BYTES_MAX, PACKED_BYTES_MAX, REQUEST_TAGS_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX,
};
use exesdb_gateway_http::problem::{Kind, Member};
use exesdb_sdk::events::{EventData, pack, unpack};
use exesdb_sdk::packed::{EventParts, Events, push_event, push_gap, push_removed};
use exesdb_sdk::types::ExpectedVersion;
use proptest::prelude::{any, prop};
use proptest::{prop_assert_eq, proptest};
use serde_json::json;

use crate::client::{Request, TestResponse};
use crate::store::TestStore;

const MEDIA_TYPE: &str = "application/vnd.exesdb.packed";

/// Bytes of a frame before its envelope: the position, and the length with the kind in its two highest bits.
const HEAD_BYTES: usize = 12;

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

/// The event `j`, changed, after the event `i`.
fn second(change: impl FnOnce(&mut EventData)) -> Vec<u8> {
    let mut changed = event("j");
    change(&mut changed);
    pack("s", [&event("i"), &changed]).expect("the events are small")
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
    let first =
        EventData { metadata: b"[2]".to_vec(), tags: vec!["k:v".to_owned(), "l".to_owned()], ..event("i") };
    let bytes = EventData { content_type: "a/b".to_owned(), data: vec![0xff], ..event("j") };
    let packed = pack("s", [&first, &bytes]).unwrap();
    let response = append(&mut store, "?expected_version=no_stream", packed);
    assert_eq!(
        response.text(),
        r#"{"first_version":0,"last_version":1,"position":1,"history":"00000000000000aa"}"#
    );
    let events = store.events();
    assert_eq!((events[0].id.as_str(), events[1].data.as_slice()), ("i", &[0xff][..]));
    assert_eq!((&events[0].metadata, &events[0].tags), (&first.metadata, &first.tags));
    assert_eq!((events[1].id.as_str(), events[1].content_type.as_str()), ("j", "a/b"));
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

/// Neither the content type nor the flags of a client count: what is not JSON is never embedded in a page.
#[test]
fn what_only_claims_to_be_json_is_given_as_bytes() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    for not_json in [&b"\xff"[..], b"", b"{", b"1 2", b"\"\\ud800\"", deep.as_bytes()] {
        for flags in 0..4 {
            let claimed = EventData { data: not_json.to_vec(), metadata: not_json.to_vec(), ..event("i") };
            let mut body = Vec::new();
            push_event(&mut body, 0, &EventParts { flags, ..claimed.parts("s", 0, 0) }).unwrap();
            let mut store = TestStore::default();
            assert_eq!(append(&mut store, "", body).status, 200);
            let page = Request::get("/v1/stores/main/events").send(&mut store).json();
            let read = &page["events"][0];
            assert!(read["data_base64"].is_string() && read.get("data").is_none(), "{page}");
            assert_eq!(read.get("metadata_base64").is_some(), !not_json.is_empty(), "{page}");
            assert_eq!(store.events()[0].data, not_json);
        }
    }
}

#[test]
fn refused_events_name_their_field() {
    let long = "x".repeat(300);
    let placed = |position, version, created| {
        let of = event("i");
        let mut out = Vec::new();
        push_event(&mut out, position, &EventParts { version, ..of.parts("s", 0, created) }).unwrap();
        out
    };
    let good = pack("s", [&event("i")]).unwrap();
    let then = |bad: &[u8]| [&good, bad].concat();
    let with = |at: usize, byte: u8| {
        let mut changed = good.clone();
        changed[at] = byte;
        changed
    };
    // One byte more or less, and the length says so.
    let mut longer = [&good[..], &[0]].concat();
    longer[8] += 1;
    let mut shorter = good[..good.len() - 1].to_vec();
    shorter[8] -= 1;
    let (mut removed, mut gap) = (good.clone(), good.clone());
    push_removed(&mut removed, 0, 1);
    push_gap(&mut gap, 0, 3);
    let (invalid, malformed) = (Kind::InvalidArgument, Kind::MalformedBody);
    for (body, kind, named) in [
        (Vec::new(), invalid, "body"),
        (b"{\"events\":[]}".to_vec(), malformed, "events[0]"),
        (vec![0], malformed, "events[0]"),
        (vec![0; HEAD_BYTES], malformed, "events[0]"),
        (vec![0xff; HEAD_BYTES], malformed, "events[0]"),
        (then(&[0; 3]), malformed, "events[1]"),
        (then(&[0; HEAD_BYTES]), malformed, "events[1]"),
        (longer, malformed, "events[0]"),
        (shorter, malformed, "events[0]"),
        (with(10, 0xff), malformed, "events[0]"),
        // The format, a flag that there is not, and the first byte of the stream's name.
        (with(HEAD_BYTES, 2), malformed, "events[0]"),
        (with(HEAD_BYTES + 1, 4), malformed, "events[0]"),
        (with(HEAD_BYTES + 38, 0xff), malformed, "events[0]"),
        (removed, malformed, "events[1]"),
        (gap, malformed, "events[1]"),
        (placed(1, 0, 0), invalid, "events[0]"),
        (placed(0, 1, 0), invalid, "events[0]"),
        (placed(0, 0, 1), invalid, "events[0]"),
        (pack("other", [&event("i")]).unwrap(), invalid, "events[0].stream"),
        (then(&pack("other", [&event("i")]).unwrap()), invalid, "events[1].stream"),
        (pack("", [&event("i")]).unwrap(), invalid, "events[0].stream"),
        (second(|event| event.id.clear()), invalid, "events[1].id"),
        (second(|event| event.id = "\n".to_owned()), invalid, "events[1].id"),
        (second(|event| event.id.clone_from(&long)), invalid, "events[1].id"),
        (second(|event| event.event_type.clear()), invalid, "events[1].type"),
        (second(|event| event.event_type = "a\0b".to_owned()), invalid, "events[1].type"),
        (second(|event| event.event_type.clone_from(&long)), invalid, "events[1].type"),
        (second(|event| event.content_type.clear()), invalid, "events[1].content_type"),
        (second(|event| event.content_type = "a/é".to_owned()), invalid, "events[1].content_type"),
        (second(|event| event.tags.push(String::new())), invalid, "events[1].tags[1]"),
        (second(|event| event.tags.push(long.clone())), invalid, "events[1].tags[1]"),
        (second(|event| event.tags.push("k:v".to_owned())), invalid, "events[1].tags[1]"),
    ] {
        let problem = check_packed(&body, Some("s")).expect_err(named);
        let field = problem.members.first().cloned();
        assert_eq!(
            (problem.kind, field),
            (kind, Some(("field", Member::Text(named.to_owned())))),
            "{problem:?}"
        );
        assert!(problem.detail.starts_with(&format!("{named}: ")), "{}", problem.detail);
    }
    for length in 1..good.len() {
        let problem = check_packed(&good[..length], None).expect_err("an event is cut off");
        assert_eq!(problem.kind, malformed, "{length} bytes: {problem:?}");
    }
    // Where no stream is given, it is the first event's.
    let two = then(&pack("other", [&event("i")]).unwrap());
    assert!(check_packed(&two, None).unwrap_err().detail.starts_with("events[1].stream: "));
    let unnamed = pack(&"x".repeat(257), [&event("i")]).unwrap();
    assert!(check_packed(&unnamed, None).unwrap_err().detail.starts_with("events[0].stream: "));
}

#[test]
fn problems_of_packed_events_state_the_limit() {
    let many = |count: usize, event: &EventData| pack("s", vec![event; count]).unwrap();
    let tagged =
        |count: usize| EventData { tags: (0..count).map(|tag| tag.to_string()).collect(), ..event("i") };
    let tag = |number: usize| format!("{number:0>TAG_BYTES_MAX$}");
    let long_tags = EventData { tags: (0..TAGS_MAX).map(tag).collect(), ..event("i") };
    let of_long_tags = REQUEST_TAGS_BYTES_MAX / (TAGS_MAX * TAG_BYTES_MAX);
    let most = EventData { data: vec![0; EVENT_BYTES_MAX], ..event("i") };
    let with_metadata = EventData { metadata: b"1".to_vec(), ..most.clone() };
    let too_much = EventData { data: vec![0; EVENT_BYTES_MAX + 1], ..event("i") };
    for (body, refused) in [
        (many(APPEND_EVENTS_MAX, &event("i")), None),
        (many(APPEND_EVENTS_MAX + 1, &event("i")), Some(("events", APPEND_EVENTS_MAX))),
        (many(1, &tagged(TAGS_MAX)), None),
        (many(1, &tagged(TAGS_MAX + 1)), Some(("events[0].tags", TAGS_MAX))),
        // The number alone, before any of them is looked at.
        (second(|event| event.tags = vec![String::new(); 65_535]), Some(("events[1].tags", TAGS_MAX))),
        (many(of_long_tags, &long_tags), None),
        (many(of_long_tags + 1, &long_tags), Some(("events", REQUEST_TAGS_BYTES_MAX))),
        (many(1, &most), None),
        (many(2, &too_much), Some(("events[0]", EVENT_BYTES_MAX))),
        (many(1, &with_metadata), Some(("events[0]", EVENT_BYTES_MAX))),
    ] {
        match (check_packed(&body, Some("s")), refused) {
            (Ok("s"), None) => {}
            (Err(problem), Some((field, limit))) => {
                assert_eq!(problem.kind, Kind::TooLarge, "{problem:?}");
                let members =
                    [("field", Member::Text(field.to_owned())), ("limit", Member::Number(limit as u64))];
                assert!(members.iter().all(|member| problem.members.contains(member)), "{problem:?}");
            }
            (found, refused) => panic!("{refused:?}: {found:?}"),
        }
    }
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

    /// Some changed bytes of good events: what is accepted is the only form of its events.
    #[test]
    fn what_is_accepted_packs_to_the_same_bytes(
        count in 1_usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut bytes = pack("s", vec![&event("i"); count]).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(stream) = check_packed(&bytes, None) {
            let mut again = Vec::new();
            for (position, event) in Events::new(&bytes).map(Result::unwrap) {
                let tags: Vec<&str> = event.tags.collect();
                let parts = EventParts {
                    flags: event.flags,
                    version: event.version,
                    created: event.created,
                    stream_id: stream,
                    id: event.id,
                    event_type: event.event_type,
                    content_type: event.content_type,
                    tags: &tags,
                    data: event.data,
                    metadata: event.metadata,
                };
                push_event(&mut again, position, &parts).unwrap();
            }
            prop_assert_eq!(bytes, again);
        }
    }
}
