//! The rules for the arguments of an append. Everything here is a claim of a client.

use std::collections::HashSet;

use exesdb_sdk::arguments::{check_content_type, check_stream_id, check_text, invalid};
use exesdb_sdk::streams::AppendRequest;
use exesdb_sdk::types::{Error, EventData};

/// Most events of one append: they are checked, decided and written as one.
pub const EVENTS_MAX: usize = 1_000;

/// Most bytes of one event's data and metadata together: an event is held in memory several times on its way.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// Longest event id, in bytes: it is a part of a key.
pub const EVENT_ID_BYTES_MAX: usize = 128;

/// Longest event type, in bytes.
pub const EVENT_TYPE_BYTES_MAX: usize = 256;

/// Checks the arguments of one append.
///
/// # Errors
///
/// [`Error::Invalid`] names the argument; [`Error::TooLarge`] names it and the limit.
pub fn check_append(request: &AppendRequest) -> Result<(), Error> {
    check_stream_id("stream-id", &request.stream_id)?;
    if request.events.is_empty() {
        return Err(invalid("events", format!("is empty; an append has 1 to {EVENTS_MAX} events")));
    }
    if request.events.len() > EVENTS_MAX {
        return Err(Error::TooLarge(format!(
            "events: {} of them, over the limit of {EVENTS_MAX} events in one append",
            request.events.len()
        )));
    }
    let mut ids = HashSet::with_capacity(request.events.len());
    for (index, event) in request.events.iter().enumerate() {
        check_event(index, event)?;
        if !ids.insert(event.id.as_str()) {
            return Err(invalid(
                format!("events[{index}].id"),
                format!("is {:?}, as of another event of this append; event ids must differ", event.id),
            ));
        }
    }
    Ok(())
}

fn check_event(index: usize, event: &EventData) -> Result<(), Error> {
    check_text(&format!("events[{index}].id"), &event.id, EVENT_ID_BYTES_MAX)?;
    check_text(&format!("events[{index}].event-type"), &event.event_type, EVENT_TYPE_BYTES_MAX)?;
    check_content_type(&format!("events[{index}].content-type"), &event.content_type)?;
    let bytes = event.data.len().saturating_add(event.metadata.len());
    if bytes > EVENT_BYTES_MAX {
        return Err(Error::TooLarge(format!(
            "events[{index}]: data and metadata have {bytes} bytes, over the limit of {EVENT_BYTES_MAX} bytes for \
             one event"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::streams::AppendRequest;
    use exesdb_sdk::types::{Error, EventData, ExpectedVersion};

    use super::{EVENT_BYTES_MAX, check_append};

    fn event(id: &str) -> EventData {
        EventData {
            id: id.into(),
            event_type: "opened".into(),
            content_type: "application/json".into(),
            data: b"{}".to_vec(),
            metadata: Vec::new(),
        }
    }

    fn request(events: Vec<EventData>) -> AppendRequest {
        AppendRequest { stream_id: "s".into(), expected: ExpectedVersion::Any, events }
    }

    fn many(count: usize) -> Vec<EventData> {
        (0..count).map(|index| event(&index.to_string())).collect()
    }

    /// The argument that is named, or the message about a limit.
    fn complaint(request: &AppendRequest) -> String {
        match check_append(request) {
            Ok(()) => "none".into(),
            Err(Error::Invalid(invalid)) => invalid.argument,
            Err(Error::TooLarge(message)) => message,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_allowed_passes() {
        assert_eq!(complaint(&request(many(1_000))), "none");
        let mut largest = event(&"i".repeat(128));
        largest.event_type = "t".repeat(256);
        largest.data = vec![0; EVENT_BYTES_MAX - 3];
        largest.metadata = vec![0; 3];
        assert_eq!(complaint(&request(vec![largest])), "none");
    }

    #[test]
    fn every_broken_rule_names_its_argument() {
        let changed = |change: fn(&mut EventData)| {
            let mut events = many(4);
            change(&mut events[3]);
            complaint(&request(events))
        };
        assert_eq!(complaint(&request(Vec::new())), "events");
        assert_eq!(complaint(&AppendRequest { stream_id: "a\0b".into(), ..request(many(1)) }), "stream-id");
        assert_eq!(complaint(&AppendRequest { stream_id: String::new(), ..request(many(1)) }), "stream-id");
        assert_eq!(changed(|event| event.id = String::new()), "events[3].id");
        assert_eq!(changed(|event| event.id = "a\u{1f}".into()), "events[3].id");
        assert_eq!(changed(|event| event.id = "i".repeat(129)), "events[3].id");
        assert_eq!(changed(|event| event.id = "0".into()), "events[3].id");
        assert_eq!(changed(|event| event.event_type = String::new()), "events[3].event-type");
        assert_eq!(changed(|event| event.event_type = "t".repeat(257)), "events[3].event-type");
        assert_eq!(changed(|event| event.content_type = "é".into()), "events[3].content-type");
        assert_eq!(changed(|event| event.content_type = String::new()), "events[3].content-type");
    }

    #[test]
    fn every_limit_is_named_with_its_value() {
        let complaint_1001 = complaint(&request(many(1_001)));
        assert!(
            complaint_1001.contains("1001") && complaint_1001.contains("1000 events"),
            "{complaint_1001}"
        );
        let mut large = many(2);
        large[1].data = vec![0; EVENT_BYTES_MAX];
        large[1].metadata = vec![0];
        let message = complaint(&request(large));
        assert!(message.starts_with("events[1]:") && message.contains("1048577 bytes"), "{message}");
        assert!(message.contains("limit of 1048576 bytes"), "{message}");
    }
}
