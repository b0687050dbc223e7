//! The layout, byte by byte, and every way to break it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use exesdb_packed::{
    Broken, DATA_IS_JSON, Envelope, EventParts, Events, Frame, Frames, METADATA_IS_JSON, Record, TooLong,
    push_envelope, push_event, push_gap, push_removed, set_created, set_version,
};
use proptest::prelude::{any, prop};
use proptest::{prop_assert_eq, proptest};

const PARTS: EventParts<'_, &str> = EventParts {
    flags: DATA_IS_JSON,
    version: 5,
    created: 6,
    stream_id: "s",
    id: "i",
    event_type: "ty",
    content_type: "c",
    tags: &["k:1", "ä"],
    data: b"data",
    metadata: b"{}",
};

const ENVELOPE: &[u8] = b"\x01\x01\x02\0\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\
    \x01\0\x01\0\x02\0\x01\0\x04\0\0\0\x02\0\0\0\x03\0\x02\0sityck:1\xc3\xa4data{}";

fn envelope() -> Vec<u8> {
    let mut out = Vec::new();
    PARTS.push(&mut out).unwrap();
    out
}

/// The envelope with another byte.
fn with(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = envelope();
    bytes[at] = byte;
    bytes
}

#[test]
fn the_bytes_of_an_envelope_are_fixed() {
    assert_eq!(envelope(), ENVELOPE);
    assert_eq!(PARTS.bytes(), ENVELOPE.len());
    let read = Envelope::read(ENVELOPE).unwrap();
    assert!(read.data_is_json() && !read.metadata_is_json());
    assert_eq!((read.version, read.created), (5, 6));
    assert_eq!((read.stream_id, read.id, read.event_type, read.content_type), ("s", "i", "ty", "c"));
    assert_eq!((read.tags.len(), read.tags.collect::<Vec<_>>()), (2, vec!["k:1", "ä"]));
    assert_eq!((read.data, read.metadata), (&b"data"[..], &b"{}"[..]));
}

#[test]
fn version_and_time_are_written_in_place() {
    let mut bytes = envelope();
    set_version(&mut bytes, u64::MAX);
    set_created(&mut bytes, 258);
    let read = Envelope::read(&bytes).unwrap();
    assert_eq!((read.version, read.created, read.stream_id), (u64::MAX, 258, "s"));
}

#[test]
fn a_broken_envelope_is_refused() {
    for length in 0..ENVELOPE.len() {
        assert!(Envelope::read(&ENVELOPE[..length]).is_err(), "{length} bytes");
    }
    let longer = [ENVELOPE, b"x"].concat();
    for (bytes, what) in [
        (Vec::new(), "the envelope ends too early"),
        (with(0, 2), "the envelope has an unknown format"),
        (with(1, 4), "the envelope has an unknown flag"),
        (with(1, 255), "the envelope has an unknown flag"),
        (with(3, 255), "the envelope ends too early"),
        (with(21, 255), "the envelope ends too early"),
        (with(31, 255), "the envelope ends too early"),
        (with(35, 255), "the envelope ends too early"),
        (with(37, 255), "the envelope ends too early"),
        (with(40, 0xff), "a text of the envelope is not UTF-8"),
        // The first tag ends within a character: the second is one byte shorter, so that the sum is the same.
        ([&ENVELOPE[..36], b"\x04\0\x01\0", &ENVELOPE[40..]].concat(), "a text of the envelope is not UTF-8"),
        (longer, "bytes follow the envelope"),
    ] {
        assert_eq!(Envelope::read(&bytes), Err(Broken { at: 0, what }), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_appended() {
    let long = "x".repeat(65_536);
    let many = vec!["t"; 65_536];
    let none: &[&str] = &[];
    let mut out = b"before".to_vec();
    let plain = EventParts { tags: none, ..PARTS };
    for (parts, part) in [
        (EventParts { stream_id: &long, ..plain }, "the stream id"),
        (EventParts { id: &long, ..plain }, "the event id"),
        (EventParts { event_type: &long, ..plain }, "the event type"),
        (EventParts { content_type: &long, ..plain }, "the content type"),
        (EventParts { tags: &[&long], ..plain }, "a tag"),
        (EventParts { tags: &many, ..plain }, "the list of tags"),
    ] {
        assert_eq!(parts.push(&mut out), Err(TooLong { part, most: 65_535 }));
        assert_eq!(push_event(&mut out, 0, &parts), Err(TooLong { part, most: 65_535 }));
        assert_eq!(out, b"before");
    }
    let huge = vec![0; 1 << 30];
    let huge = EventParts { data: &huge, ..plain };
    assert_eq!(push_event(&mut out, 0, &huge), Err(TooLong { part: "the event", most: (1 << 30) - 1 }));
    assert_eq!(out, b"before");
}

#[test]
fn the_bytes_of_frames_are_fixed() {
    let mut bytes = Vec::new();
    push_event(&mut bytes, 258, &PARTS).unwrap();
    push_removed(&mut bytes, 259, 7);
    push_gap(&mut bytes, 260, 3);
    let length = u8::try_from(ENVELOPE.len()).unwrap();
    let head = [2, 1, 0, 0, 0, 0, 0, 0, length, 0, 0, 0];
    let removed = b"\x03\x01\0\0\0\0\0\0\x08\0\0\x40\x07\0\0\0\0\0\0\0";
    let gap = b"\x04\x01\0\0\0\0\0\0\x08\0\0\x80\x03\0\0\0\0\0\0\0";
    assert_eq!(bytes, [&head[..], ENVELOPE, removed, gap].concat());
    let frames: Vec<Frame<'_>> = Frames::new(&bytes).map(Result::unwrap).collect();
    let frame = |position, record| Frame { position, record };
    assert_eq!(
        frames,
        [
            frame(258, Record::Event(ENVELOPE)),
            frame(259, Record::Removed { link: 7 }),
            frame(260, Record::Gap { positions: 3 }),
        ]
    );
    let mut copied = Vec::new();
    push_envelope(&mut copied, 258, ENVELOPE).unwrap();
    assert_eq!(bytes[..copied.len()], copied);
}

#[test]
fn broken_frames_are_refused_with_their_place() {
    let mut event = Vec::new();
    push_event(&mut event, 1, &PARTS).unwrap();
    let after = event.len();
    let frame = |head: &[u8], content: &[u8]| [&[0; 8], head, content].concat();
    for (bad, what) in [
        (b"x".to_vec(), "the frame ends too early"),
        (frame(&[9, 0, 0, 0], b"12345678"), "the frame ends too early"),
        (frame(&[255, 255, 255, 0x3f], b""), "the frame ends too early"),
        (frame(&[4, 0, 0, 0x40], b"1234"), "the mark of a removed event has not 8 bytes"),
        (frame(&[4, 0, 0, 0x80], b"1234"), "the mark of a gap has not 8 bytes"),
        (frame(&[8, 0, 0, 0x80], &[0; 8]), "the gap has no positions"),
        (
            [&[255; 8][..], &[8, 0, 0, 0x80], &[1, 0, 0, 0, 0, 0, 0, 0]].concat(),
            "the gap ends after the last position",
        ),
        (frame(&[0, 0, 0, 0xc0], b""), "the frame has an unknown kind"),
    ] {
        let bytes = [&event[..], &bad].concat();
        let mut frames = Frames::new(&bytes);
        assert!(frames.next().unwrap().is_ok());
        assert_eq!(frames.next(), Some(Err(Broken { at: after, what })));
        assert_eq!(frames.next(), None);
        assert_eq!(Events::check(&bytes), Err(Broken { at: after, what }));
    }
    for length in 1..after {
        assert!(Frames::new(&event[..length]).next().unwrap().is_err(), "{length} bytes");
    }
}

#[test]
fn a_list_of_events_has_nothing_but_whole_events() {
    let mut event = Vec::new();
    push_event(&mut event, 9, &PARTS).unwrap();
    let after = event.len();
    assert_eq!(Events::check(&[]), Ok(0));
    assert_eq!(Events::check(&event.repeat(3)), Ok(3));
    let (position, read) = Events::new(&event).next().unwrap().unwrap();
    assert_eq!((position, read.id), (9, "i"));
    let (mut removed, mut gap, mut broken) = (event.clone(), event.clone(), event.clone());
    push_removed(&mut removed, 10, 1);
    push_gap(&mut gap, 10, 1);
    push_envelope(&mut broken, 10, &with(0, 9)).unwrap();
    for (bytes, what) in [
        (removed, "the frame is no event"),
        (gap, "the frame is no event"),
        (broken, "the envelope has an unknown format"),
    ] {
        assert_eq!(Events::check(&bytes), Err(Broken { at: after, what }));
        assert_eq!(Events::new(&[&bytes[..], &event].concat()).count(), 2, "nothing follows an error");
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        numbers in any::<(u64, u64, u64)>(),
        texts in prop::array::uniform4(".{0,20}"),
        tags in prop::collection::vec(".{0,5}", 0..5),
        data in any::<Vec<u8>>(),
        metadata in any::<Vec<u8>>(),
        flags in 0_u8..4,
    ) {
        let (position, version, created) = numbers;
        let [stream_id, id, event_type, content_type] = &texts;
        let parts = EventParts {
            flags, version, created, stream_id, id, event_type, content_type,
            tags: &tags, data: &data, metadata: &metadata,
        };
        let mut bytes = Vec::new();
        push_event(&mut bytes, position, &parts).unwrap();
        let (found, read) = Events::new(&bytes).next().unwrap().unwrap();
        prop_assert_eq!((found, read.version, read.created), (position, version, created));
        prop_assert_eq!([read.stream_id, read.id, read.event_type, read.content_type], texts.each_ref().map(String::as_str));
        prop_assert_eq!(read.tags.collect::<Vec<_>>(), tags);
        prop_assert_eq!((read.data, read.metadata), (&data[..], &metadata[..]));
        prop_assert_eq!(read.metadata_is_json(), flags & METADATA_IS_JSON != 0);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        let _ = Events::check(&bytes);
        let _ = Envelope::read(&bytes);
    }
}
