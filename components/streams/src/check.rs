//! Checks events and lists, all of which come from clients.

use std::collections::HashSet;

use exesdb_sdk::arguments::{check_content_type, check_text};
use exesdb_sdk::packed::{Envelope, Tags};
use exesdb_sdk::types::{Error, InvalidArgument, Problem, Version, code, invalid, too_large};

use crate::events::NewEvent;

/// Maximum number of events of one write or import, which is applied as one batch.
pub const EVENTS_MAX: usize = 1_000;

/// Maximum bytes of one event's data and metadata together. Each event is held in memory several times.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// Maximum bytes of the envelopes of one write or import, which is the host's limit for a batch.
pub const EVENTS_BYTES_MAX: usize = 8 << 20;

/// Highest version at which an event can be imported. Later appends never run out of versions, of which there are twice as
/// many, and clients with signed numbers can represent them.
pub const IMPORTED_VERSION_MAX: Version = i64::MAX as Version;

/// Maximum length of an event id in bytes.
pub const EVENT_ID_BYTES_MAX: usize = 128;

/// Maximum length of an event type in bytes.
pub const EVENT_TYPE_BYTES_MAX: usize = 256;

/// Maximum number of tags of one event. Each is an index entry.
pub const TAGS_MAX: usize = 32;

/// Maximum length of a tag in bytes.
pub const TAG_BYTES_MAX: usize = 256;

/// Checks the number of events of an append, each event, that all are of its stream, and that their ids differ.
///
/// # Errors
///
/// [`Error::Invalid`] names the argument; the problem `too-large` names it and the limit.
pub(crate) fn check_events(stream_id: &str, events: &[NewEvent<'_>]) -> Result<(), Error> {
    if events.is_empty() {
        return Err(invalid("events", format!("is empty; an append has 1 to {EVENTS_MAX} events")));
    }
    check_at_most("events", events.len(), EVENTS_MAX)?;
    let mut ids = HashSet::with_capacity(events.len());
    for (index, NewEvent { envelope, .. }) in events.iter().enumerate() {
        let argument = || format!("events[{index}]");
        check_event(envelope).map_err(|error| within(error, argument))?;
        if envelope.stream_id != stream_id {
            let message = format!("is {:?}, but the append is to {stream_id:?}", envelope.stream_id);
            return Err(within(invalid("stream-id", message), argument));
        }
        if !ids.insert(envelope.id) {
            let message =
                format!("is {:?}, as of another event of this append; event ids must differ", envelope.id);
            return Err(within(invalid("id", message), argument));
        }
    }
    Ok(())
}

/// Checks the length of a list.
///
/// # Errors
///
/// The problem `too-large` names the argument and the limit.
pub(crate) fn check_at_most(argument: &str, length: usize, max: usize) -> Result<(), Error> {
    if length <= max {
        return Ok(());
    }
    Err(too_large(format!("{argument}: {length} of them, over the limit of {max}")))
}

/// Checks the total bytes of some events.
///
/// # Errors
///
/// The problem `too-large` names the argument and the limit.
pub(crate) fn check_bytes(argument: &str, bytes: impl Iterator<Item = usize>) -> Result<(), Error> {
    let bytes = bytes.fold(0, usize::saturating_add);
    if bytes <= EVENTS_BYTES_MAX {
        return Ok(());
    }
    Err(too_large(format!(
        "{argument}: they have {bytes} bytes, over the limit of {EVENTS_BYTES_MAX} bytes for what is written as one"
    )))
}

/// Checks one event.
///
/// # Errors
///
/// [`Error::Invalid`] names the argument in the event; the problem `too-large` the limit.
pub(crate) fn check_event(event: &Envelope<'_>) -> Result<(), Error> {
    check_text("id", event.id, EVENT_ID_BYTES_MAX)?;
    check_text("event-type", event.event_type, EVENT_TYPE_BYTES_MAX)?;
    check_content_type("content-type", event.content_type)?;
    let bytes = event.data.len().saturating_add(event.metadata.len());
    if bytes > EVENT_BYTES_MAX {
        return Err(too_large(format!(
            "data and metadata have {bytes} bytes, over the limit of {EVENT_BYTES_MAX} bytes for one event"
        )));
    }
    check_tags(event.tags)
}

/// Checks the number of tags, each tag, and that they differ.
///
/// # Errors
///
/// [`Error::Invalid`] names the tag; the problem `too-large` the limit.
fn check_tags(tags: Tags<'_>) -> Result<(), Error> {
    check_at_most("tags", tags.len(), TAGS_MAX)?;
    for (index, tag) in tags.enumerate() {
        check_text("", tag, TAG_BYTES_MAX).map_err(|error| within(error, || format!("tags[{index}]")))?;
        if tags.take(index).any(|other| other == tag) {
            return Err(invalid(
                format!("tags[{index}]"),
                format!("is {tag:?}, as one before it; tags must differ"),
            ));
        }
    }
    Ok(())
}

/// Prefixes an error with the name of the argument that contains the one at fault.
pub(crate) fn within(error: impl Into<Error>, whole: impl FnOnce() -> String) -> Error {
    match error.into() {
        Error::Invalid(InvalidArgument { argument, message }) => {
            let whole = whole();
            let argument = if argument.is_empty() { whole } else { format!("{whole}.{argument}") };
            Error::Invalid(InvalidArgument { argument, message })
        }
        Error::Problem(problem) if problem.code == code::TOO_LARGE => {
            Error::Problem(Problem { message: format!("{}: {}", whole(), problem.message), ..problem })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::events::{EventData, pack};
    use exesdb_sdk::types::Error;

    use super::{EVENT_BYTES_MAX, check_bytes, check_events};
    use crate::events::read_new;

    fn event(id: &str) -> EventData {
        EventData {
            id: id.into(),
            event_type: "opened".into(),
            content_type: "application/json".into(),
            data: b"{}".to_vec(),
            metadata: Vec::new(),
            tags: Vec::new(),
        }
    }

    fn many(count: usize) -> Vec<EventData> {
        (0..count).map(|index| event(&index.to_string())).collect()
    }

    /// The argument that the error names, or its message about a limit.
    fn complaint(events: &[EventData]) -> String {
        let packed = pack("s", events).unwrap();
        let events = read_new("events", &packed).unwrap();
        let bytes = events.iter().map(|event| event.bytes.len());
        match check_events("s", &events).and_then(|()| check_bytes("events", bytes)) {
            Ok(()) => "none".into(),
            Err(Error::Invalid(invalid)) => invalid.argument,
            Err(Error::Problem(problem)) => problem.message,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_largest_append_is_accepted() {
        assert_eq!(complaint(&many(1_000)), "none");
        let mut largest = event(&"i".repeat(128));
        largest.event_type = "t".repeat(256);
        largest.data = vec![0; EVENT_BYTES_MAX - 3];
        largest.metadata = vec![0; 3];
        largest.tags = (0..32).map(|tag| format!("{tag:0256}")).collect();
        assert_eq!(complaint(&[largest]), "none");
    }

    #[test]
    fn errors_name_the_argument() {
        let changed = |change: fn(&mut EventData)| {
            let mut events = many(4);
            change(&mut events[3]);
            complaint(&events)
        };
        assert_eq!(complaint(&[]), "events");
        assert_eq!(changed(|event| event.id = String::new()), "events[3].id");
        assert_eq!(changed(|event| event.id = "a\u{1f}".into()), "events[3].id");
        assert_eq!(changed(|event| event.id = "i".repeat(129)), "events[3].id");
        assert_eq!(changed(|event| event.id = "0".into()), "events[3].id");
        assert_eq!(changed(|event| event.event_type = String::new()), "events[3].event-type");
        assert_eq!(changed(|event| event.event_type = "t".repeat(257)), "events[3].event-type");
        assert_eq!(changed(|event| event.content_type = "é".into()), "events[3].content-type");
        assert_eq!(changed(|event| event.content_type = String::new()), "events[3].content-type");
        assert_eq!(changed(|event| event.tags = vec!["a".into(), String::new()]), "events[3].tags[1]");
        assert_eq!(changed(|event| event.tags = vec!["a\n".into()]), "events[3].tags[0]");
        assert_eq!(changed(|event| event.tags = vec!["x".repeat(257)]), "events[3].tags[0]");
        assert_eq!(
            changed(|event| event.tags = vec!["a".into(), "b".into(), "a".into()]),
            "events[3].tags[2]"
        );
    }

    #[test]
    fn errors_name_the_limit() {
        let complaint_1001 = complaint(&many(1_001));
        assert!(
            complaint_1001.contains("1001") && complaint_1001.contains("limit of 1000"),
            "{complaint_1001}"
        );
        let mut large = many(2);
        large[1].data = vec![0; EVENT_BYTES_MAX];
        large[1].metadata = vec![0];
        let message = complaint(&large);
        assert!(message.starts_with("events[1]:") && message.contains("1048577 bytes"), "{message}");
        assert!(message.contains("limit of 1048576 bytes"), "{message}");
        let mut tagged = many(3);
        tagged[2].tags = (0..33).map(|tag| tag.to_string()).collect();
        assert_eq!(complaint(&tagged), "events[2]: tags: 33 of them, over the limit of 32");
        let mut together = many(8);
        for event in &mut together {
            event.data = vec![0; EVENT_BYTES_MAX];
        }
        let message = complaint(&together);
        assert!(message.starts_with("events: ") && message.contains("limit of 8388608 bytes"), "{message}");
    }
}
