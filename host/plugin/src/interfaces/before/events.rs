//! Events, which are records in version 0.1 and bytes in version 0.2.

use exesdb_packed::{Envelope, EventParts, Events, TooLong, push_event};

use crate::bindings::next::types::PackedPage;
use crate::bindings::streams::EventPage;
use crate::bindings::types::{Error, EventData, InvalidArgument, RecordedEvent};

/// Limits of an event's texts and of the number of its tags, as the contract says.
const STREAM_ID_BYTES_MAX: usize = 256;
const EVENT_ID_BYTES_MAX: usize = 128;
const EVENT_TYPE_BYTES_MAX: usize = 256;
const CONTENT_TYPE_BYTES_MAX: usize = 128;
const TAG_BYTES_MAX: usize = 256;
const TAGS_MAX: usize = 32;
/// Bytes of an event's data and metadata together.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Where an event is to be stored; 0 for what the store decides.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) position: u64,
    pub(super) version: u64,
    pub(super) created: u64,
}

/// Packs the events of an append. Each must fit into the layout; the component checks everything else.
pub(super) fn pack(stream_id: &str, events: &[EventData]) -> Result<Vec<u8>, Error> {
    if stream_id.len() > STREAM_ID_BYTES_MAX {
        return Err(long("stream-id", stream_id.len(), STREAM_ID_BYTES_MAX));
    }
    let mut packed = Vec::new();
    for (index, event) in events.iter().enumerate() {
        push(&mut packed, stream_id, Place::default(), event)
            .map_err(|error| within(error, &format!("events[{index}]")))?;
    }
    Ok(packed)
}

/// Appends the frame of an event. An error has the name of an argument within the event.
pub(super) fn push(
    packed: &mut Vec<u8>,
    stream_id: &str,
    Place { position, version, created }: Place,
    event: &EventData,
) -> Result<(), Error> {
    let parts = EventParts {
        flags: 0,
        version,
        created,
        stream_id,
        id: &event.id,
        event_type: &event.event_type,
        content_type: &event.content_type,
        tags: &event.tags,
        data: &event.data,
        metadata: &event.metadata,
    };
    push_event(packed, position, &parts).map_err(|too_long| refusal(&parts, too_long))
}

/// The error that the component would have for what does not even fit into the layout.
fn refusal(event: &EventParts<'_, String>, too_long: TooLong) -> Error {
    let texts = [
        ("stream-id", event.stream_id, STREAM_ID_BYTES_MAX),
        ("id", event.id, EVENT_ID_BYTES_MAX),
        ("event-type", event.event_type, EVENT_TYPE_BYTES_MAX),
        ("content-type", event.content_type, CONTENT_TYPE_BYTES_MAX),
    ];
    if let Some((argument, text, most)) = texts.into_iter().find(|(_, text, most)| text.len() > *most) {
        return long(argument, text.len(), most);
    }
    let bytes = event.data.len().saturating_add(event.metadata.len());
    if bytes > EVENT_BYTES_MAX {
        return Error::TooLarge(format!(
            "data and metadata have {bytes} bytes, over the limit of {EVENT_BYTES_MAX} bytes for one event"
        ));
    }
    if event.tags.len() > TAGS_MAX {
        let count = event.tags.len();
        return Error::TooLarge(format!("tags: {count} of them, over the limit of {TAGS_MAX}"));
    }
    match event.tags.iter().enumerate().find(|(_, tag)| tag.len() > TAG_BYTES_MAX) {
        Some((index, tag)) => long(&format!("tags[{index}]"), tag.len(), TAG_BYTES_MAX),
        None => Error::TooLarge(too_long.to_string()),
    }
}

fn long(argument: &str, length: usize, most: usize) -> Error {
    let message = format!("has {length} bytes; it may have {most}");
    Error::Invalid(InvalidArgument { argument: argument.to_owned(), message })
}

/// Prefixes an error with the name of the argument that contains the one at fault.
pub(super) fn within(error: Error, whole: &str) -> Error {
    match error {
        Error::Invalid(InvalidArgument { argument, message }) => {
            Error::Invalid(InvalidArgument { argument: format!("{whole}.{argument}"), message })
        }
        Error::TooLarge(message) => Error::TooLarge(format!("{whole}: {message}")),
        error => error,
    }
}

/// A page with its events as records. `durable_position` is of before the page was read.
pub(in crate::interfaces) fn page(page: PackedPage, durable_position: u64) -> Result<EventPage, Error> {
    let events = Events::new(&page.events).map(|event| event.map(recorded)).collect::<Result<Vec<_>, _>>();
    let events = events
        .map_err(|broken| Error::Other(format!("the streams component returned a broken page: {broken}")))?;
    Ok(EventPage { events, next: page.next, end: page.end, durable_position })
}

fn recorded((position, event): (u64, Envelope<'_>)) -> RecordedEvent {
    RecordedEvent {
        stream_id: event.stream_id.to_owned(),
        version: event.version,
        position,
        id: event.id.to_owned(),
        event_type: event.event_type.to_owned(),
        content_type: event.content_type.to_owned(),
        data: event.data.to_owned(),
        metadata: event.metadata.to_owned(),
        tags: event.tags.map(str::to_owned).collect(),
        created: event.created,
    }
}

#[cfg(test)]
mod tests {
    use exesdb_packed::{push_gap, push_removed};

    use super::{Place, pack, page, push};
    use crate::bindings::next::types::PackedPage;
    use crate::bindings::types::{Error, EventData};

    fn event() -> EventData {
        EventData {
            id: "i".into(),
            event_type: "t".into(),
            content_type: "c".into(),
            data: b"data".to_vec(),
            metadata: b"meta".to_vec(),
            tags: vec!["a".into(), String::new(), "ü".into()],
        }
    }

    fn read(events: Vec<u8>) -> Result<crate::bindings::streams::EventPage, Error> {
        page(PackedPage { events, next: Some(4), end: true, last_version: Some(9) }, 17)
    }

    #[test]
    fn what_is_packed_is_read_again() {
        let place = Place { position: 7, version: 8, created: 9 };
        let mut packed = Vec::new();
        assert!(push(&mut packed, "s", place, &event()).is_ok());
        let page = read(packed).unwrap();
        assert_eq!((page.next, page.end, page.durable_position), (Some(4), true, 17));
        let one = page.events.into_iter().next().unwrap();
        assert_eq!((one.position, one.version, one.created), (7, 8, 9));
        assert_eq!((one.stream_id.as_str(), one.id.as_str()), ("s", "i"));
        assert_eq!((one.event_type.as_str(), one.content_type.as_str()), ("t", "c"));
        assert_eq!((one.data, one.metadata, one.tags), (event().data, event().metadata, event().tags));
        let two = read(pack("s", &[event(), event()]).unwrap()).unwrap().events;
        let places = two.iter().map(|event| (event.position, event.version, event.created));
        assert_eq!(places.collect::<Vec<_>>(), [(0, 0, 0); 2]);
        assert!(pack("s", &[]).unwrap().is_empty());
    }

    #[test]
    fn a_page_that_is_broken_is_an_error_that_names_the_component() {
        let good = pack("s", &[event()]).unwrap();
        let with = |push: fn(&mut Vec<u8>)| {
            let mut page = good.clone();
            push(&mut page);
            page
        };
        let pages = [
            good[..good.len() - 1].to_vec(),
            with(|page| page.push(0)),
            with(|page| page[12] = 9),
            with(|page| push_gap(page, 1, 1)),
            with(|page| push_removed(page, 1, 1)),
            vec![0xff; 40],
        ];
        for broken in pages {
            match read(broken) {
                Err(Error::Other(text)) => {
                    assert!(text.starts_with("the streams component returned a broken page: "), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_packed_is_refused_as_the_component_would() {
        let long = || "x".repeat(usize::from(u16::MAX) + 1);
        let refused = |stream_id: &str, change: fn(&mut EventData, String)| {
            let mut events = [event(), event()];
            change(&mut events[1], long());
            match pack(stream_id, &events) {
                Err(Error::Invalid(invalid)) => format!("{} {}", invalid.argument, invalid.message),
                Err(Error::TooLarge(text)) => text,
                other => panic!("{other:?}"),
            }
        };
        let bytes = "has 65536 bytes; it may have";
        let table = [
            (refused(&long(), |_, _| ()), format!("stream-id {bytes} 256")),
            (refused("s", |event, long| event.id = long), format!("events[1].id {bytes} 128")),
            (refused("s", |event, long| event.event_type = long), format!("events[1].event-type {bytes} 256")),
            (
                refused("s", |event, long| event.content_type = long),
                format!("events[1].content-type {bytes} 128"),
            ),
            (refused("s", |event, long| event.tags[2] = long), format!("events[1].tags[2] {bytes} 256")),
            (
                refused("s", |event, _| event.tags = vec![String::new(); 1 << 16]),
                "events[1]: tags: 65536 of them, over the limit of 32".to_owned(),
            ),
            (
                refused("s", |event, _| event.data = vec![0; 1 << 30]),
                "events[1]: data and metadata have 1073741828 bytes, over the limit of 1048576 bytes for one event"
                    .to_owned(),
            ),
        ];
        for (refused, expected) in table {
            assert_eq!(refused, expected);
        }
    }
}
