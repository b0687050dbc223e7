//! A request of events.

use std::fmt::Write as _;

use exesdb_json::{Layout, push_event};
use exesdb_sdk::packed::Envelope;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::settings::Settings;

/// An event with its position.
pub type Event<'a> = (u64, Envelope<'a>);

/// A request: a POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names, in lower case, and values of visible ASCII.
    pub headers: Vec<(String, String)>,
    /// JSON.
    pub body: Vec<u8>,
}

/// The request of these events, at least one. `now` is in seconds since 1970-01-01T00:00:00 UTC.
#[must_use]
pub fn request(events: &[Event<'_>], subscription: &str, now: u64, settings: &Settings) -> Request {
    let body = body(events, settings.events_per_request > 1);
    let id = events.first().map_or("", |(_, event)| event.id);
    let mut headers = settings.headers.clone();
    let mut push = |name: &str, value: String| headers.push((name.to_owned(), value));
    push("content-type", "application/json".to_owned());
    push("content-length", body.len().to_string());
    push("exesdb-event-id", header_text(id));
    push("exesdb-subscription", header_text(subscription));
    push("exesdb-timestamp", now.to_string());
    if let Some(secret) = &settings.secret {
        push("exesdb-signature", format!("t={now},v1={}", signature(secret, now, &body)));
    }
    Request { headers, body }
}

/// An event as an object, or events as an array.
fn body(events: &[Event<'_>], is_array: bool) -> Vec<u8> {
    let mut body = Vec::new();
    if is_array {
        body.push(b'[');
    }
    for (index, (position, event)) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        push_event(&mut body, *position, event, Layout::Kept);
    }
    if is_array {
        body.push(b']');
    }
    body
}

/// HMAC-SHA-256 of the time, a dot and the body, in hex. The time is signed so that a request cannot be sent again later.
fn signature(secret: &str, now: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key may have any length");
    mac.update(format!("{now}.").as_bytes());
    mac.update(body);
    let mut hex = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(hex, "{byte:02x}").expect("a String takes all");
    }
    hex
}

/// A text as the value of a header: everything but visible ASCII is percent-encoded, and so is the percent sign.
fn header_text(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes all");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::events::EventData;
    use exesdb_sdk::packed::Events;
    use exesdb_sdk::sinks::testing::{Event, batch};
    use serde_json::Value;

    use super::{header_text, request, signature};
    use crate::settings::Settings;

    fn settings(given: &[(&str, &str)]) -> Settings {
        let get = |name: &str| match name {
            "url" => Some("http://a".to_owned()),
            name => given.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned()),
        };
        Settings::read(get).unwrap()
    }

    fn packed(count: usize) -> Vec<u8> {
        let event = |index| EventData {
            id: format!("id {index}"),
            event_type: "t".into(),
            content_type: "text/plain".into(),
            data: b"hello".to_vec(),
            ..EventData::default()
        };
        batch((0..count).map(|index| ("s", event(index)))).events
    }

    #[test]
    fn one_event_is_an_object_and_several_are_an_array() {
        for (given, count, is_array) in [("1", 1, false), ("2", 1, true), ("2", 2, true)] {
            let packed = packed(count);
            let events: Vec<_> = Events::new(&packed).map(Result::unwrap).collect();
            let request = request(&events, "s", 7, &settings(&[("events_per_request", given)]));
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let first = if is_array { &body[0] } else { &body };
            assert_eq!((body.is_array(), first["id"].as_str()), (is_array, Some("id 0")));
            assert_eq!(first["data_base64"], "aGVsbG8=");
            assert_eq!(body.as_array().map_or(1, Vec::len), count);
        }
    }

    #[test]
    fn an_event_says_where_it_is_and_has_its_data_as_json() {
        let data = EventData {
            content_type: "application/json".into(),
            data: br#"{"a": 1}"#.to_vec(),
            ..EventData::default()
        };
        let batch = batch([Event::new("s", data).at(41).version(7).created(1)]);
        let events: Vec<_> = Events::new(&batch.events).map(Result::unwrap).collect();
        let body: Value = serde_json::from_slice(&request(&events, "s", 7, &settings(&[])).body).unwrap();
        assert_eq!((&body["position"], &body["version"]), (&41.into(), &7.into()));
        assert_eq!(
            (&body["data"]["a"], &body["created"]),
            (&1.into(), &"1970-01-01T00:00:00.000001Z".into())
        );
    }

    #[test]
    fn headers_say_what_the_request_is() {
        let packed = packed(1);
        let events: Vec<_> = Events::new(&packed).map(Result::unwrap).collect();
        let settings = settings(&[("headers", "authorization: x"), ("secret", "key")]);
        let request = request(&events, "näme", 1_700_000_000, &settings);
        let header = |name: &str| {
            let found = request.headers.iter().filter(|(header, _)| header == name);
            let values: Vec<&str> = found.map(|(_, value)| value.as_str()).collect();
            assert_eq!(values.len(), 1, "{name}");
            values[0].to_owned()
        };
        assert_eq!(header("authorization"), "x");
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("content-length"), request.body.len().to_string());
        assert_eq!(header("exesdb-event-id"), "id%200");
        assert_eq!(header("exesdb-subscription"), "n%C3%A4me");
        assert_eq!(header("exesdb-timestamp"), "1700000000");
        let expected = format!("t=1700000000,v1={}", signature("key", 1_700_000_000, &request.body));
        assert_eq!(header("exesdb-signature"), expected);
    }

    #[test]
    fn without_a_secret_nothing_is_signed() {
        let packed = packed(1);
        let events: Vec<_> = Events::new(&packed).map(Result::unwrap).collect();
        let request = request(&events, "s", 1, &settings(&[]));
        assert!(request.headers.iter().all(|(name, _)| name != "exesdb-signature"));
    }

    #[test]
    fn the_signature_is_the_hmac_of_time_and_body() {
        // By `printf '1700000000.{}' | openssl dgst -sha256 -hmac key`.
        let expected = "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(signature("key", 1_700_000_000, b"{}"), expected);
    }

    #[test]
    fn what_no_header_can_have_is_encoded() {
        assert_eq!(header_text("a-1_%\r\n\u{e9} "), "a-1_%25%0D%0A%C3%A9%20");
    }
}
