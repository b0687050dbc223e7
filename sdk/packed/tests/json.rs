//! Which parts of an event are asked about, and that the flags say what was found and nothing else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use exesdb_packed::{
    Broken, DATA_IS_JSON, Envelope, EventParts, Frames, METADATA_IS_JSON, Record, push_envelope, push_event,
    push_gap, push_removed, says_json, set_json_flags,
};

const BOTH: u8 = DATA_IS_JSON | METADATA_IS_JSON;

fn parts<'a>(
    flags: u8,
    content_type: &'a str,
    data: &'a [u8],
    metadata: &'a [u8],
) -> EventParts<'a, &'a str> {
    EventParts {
        flags,
        version: 5,
        created: 6,
        stream_id: "s",
        id: "i",
        event_type: "t",
        content_type,
        tags: &["k:1"],
        data,
        metadata,
    }
}

/// The check of these tests.
fn is_json(bytes: &[u8]) -> bool {
    bytes == b"{}"
}

fn flags_of(frames: &[u8]) -> Vec<u8> {
    let flags = |record: Record<'_>| match record {
        Record::Event(envelope) => Some(Envelope::read(envelope).unwrap().flags),
        Record::Removed { .. } | Record::Gap { .. } => None,
    };
    Frames::new(frames).filter_map(|frame| flags(frame.unwrap().record)).collect()
}

#[test]
fn a_content_type_says_json_with_any_parameters_and_in_any_case() {
    for json in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json ;x",
        "application/cloudevents+json",
        "text/x+JSON;a=b",
    ] {
        assert!(says_json(json), "{json}");
    }
    for other in ["", "text/plain", "application/jsonl", "json", "application/json+zip", "text/x;+json"] {
        assert!(!says_json(other), "{other}");
    }
}

#[test]
fn flags_say_what_was_found_and_nothing_else_changes() {
    type Case<'a> = (&'a str, &'a [u8], &'a [u8], u8);
    let cases: [Case<'_>; 8] = [
        ("application/json", b"{}", b"", DATA_IS_JSON),
        ("application/json", b"{", b"{}", METADATA_IS_JSON),
        ("application/x+json; v=1", b"{}", b"{}", BOTH),
        ("text/plain", b"{}", b"{}", METADATA_IS_JSON),
        ("text/plain", b"{}", b"{", 0),
        ("text/plain", b"", b"", 0),
        ("application/json", b"", b"", 0),
        ("application/json", b"{}", b"{", DATA_IS_JSON),
    ];
    for claimed in 0..=BOTH {
        let (mut frames, mut right) = (Vec::new(), Vec::new());
        for (position, (content_type, data, metadata, flags)) in (0..).zip(cases) {
            for (out, flags) in [(&mut frames, claimed), (&mut right, flags)] {
                push_event(out, position, &parts(flags, content_type, data, metadata)).unwrap();
                push_gap(out, 0, 3);
                push_removed(out, 0, 3);
            }
        }
        set_json_flags(&mut frames, is_json).unwrap();
        assert_eq!(frames, right, "claimed {claimed}");
    }
}

#[test]
fn only_what_may_be_json_is_asked_about() {
    let mut frames = Vec::new();
    for (content_type, data, metadata) in
        [("application/json", "a", "b"), ("text/plain", "c", "d"), ("text/plain", "e", "")]
    {
        push_event(&mut frames, 0, &parts(0, content_type, data.as_bytes(), metadata.as_bytes())).unwrap();
    }
    let mut asked = Vec::new();
    set_json_flags(&mut frames, |bytes| {
        asked.push(String::from_utf8(bytes.to_vec()).unwrap());
        false
    })
    .unwrap();
    assert_eq!(asked, ["a", "b", "d"]);
    assert_eq!(set_json_flags(&mut [], |_| panic!("there is nothing to ask about")), Ok(()));
}

#[test]
fn broken_frames_are_refused_with_their_place() {
    let mut first = Vec::new();
    push_event(&mut first, 0, &parts(BOTH, "application/json", b"{", b"")).unwrap();
    let at = first.len();
    let mut envelope = Vec::new();
    parts(0, "c", b"", b"").push(&mut envelope).unwrap();
    envelope[1] = 4;
    let mut unknown_flag = first.clone();
    push_envelope(&mut unknown_flag, 0, &envelope).unwrap();
    let cut = [&first[..], &first[..at - 1]].concat();
    for (mut frames, what) in
        [(unknown_flag, "the envelope has an unknown flag"), (cut, "the frame ends too early")]
    {
        assert_eq!(set_json_flags(&mut frames, is_json), Err(Broken { at, what }));
        assert_eq!(flags_of(&frames[..at]), [0], "what the first event claimed is gone");
    }
}
