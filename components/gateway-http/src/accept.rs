//! Content negotiation: the representation of a response that the header `accept` prefers.

use crate::body::PACKED_MEDIA_TYPE;
use crate::problem::{Kind, Problem, quoted};
use crate::request::Head;

/// A representation of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Representation {
    /// One JSON page.
    Json,
    /// Server-sent events.
    EventStream,
    /// All pages in one response, one JSON event on each line.
    Lines,
    /// All pages in one response, as the store keeps them.
    Packed,
}

/// The representations of a read with an end.
const BOUNDED: [Representation; 3] = [Representation::Json, Representation::Lines, Representation::Packed];

/// The representations of a read of events.
const ALL: [Representation; 4] =
    [Representation::Json, Representation::EventStream, Representation::Lines, Representation::Packed];

impl Representation {
    /// The representation's media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::EventStream => "text/event-stream",
            Self::Lines => "application/x-ndjson",
            Self::Packed => PACKED_MEDIA_TYPE,
        }
    }
}

/// How much the client prefers a representation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Preference {
    /// The quality value in thousandths; 0 if the representation is not acceptable.
    weight: u16,
    /// The index of the media range that names the representation; none if only a wildcard matches it.
    named_at: Option<usize>,
}

impl Preference {
    /// The highest rank wins: the greatest weight; with equal weights, a named representation before one that a wildcard
    /// matches; then the order of the header.
    fn rank(self) -> (u16, std::cmp::Reverse<usize>) {
        (self.weight, std::cmp::Reverse(self.named_at.unwrap_or(usize::MAX)))
    }
}

/// The representation for a read of events. An event stream has no end, so a `bounded` read (one with `count`, for
/// example) gets one only if the client accepts nothing else; the route then refuses it.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header excludes all of them.
pub fn event_representation(head: &Head<'_>, bounded: bool) -> Result<Representation, Problem> {
    if bounded && let Ok(representation) = negotiate(head, &BOUNDED) {
        return Ok(representation);
    }
    negotiate(head, &ALL)
}

/// The representation of what a durable subscription delivers: JSON, or an event stream.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header excludes both.
pub fn stream_or_json(head: &Head<'_>) -> Result<Representation, Problem> {
    negotiate(head, &[Representation::Json, Representation::EventStream])
}

/// The representation for a read of one item: JSON, or JSON on one line.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header excludes both.
pub fn json_or_line(head: &Head<'_>) -> Result<Representation, Problem> {
    negotiate(head, &[Representation::Json, Representation::Lines])
}

/// The preferred one of the `available` representations; the first of them if there is no header.
fn negotiate(head: &Head<'_>, available: &[Representation]) -> Result<Representation, Problem> {
    let Some(accept) = head.header("accept")?.filter(|accept| !accept.is_empty()) else {
        return Ok(Representation::Json);
    };
    let preferences =
        available.iter().map(|representation| (*representation, preference(&accept, *representation)));
    // `max_by_key` returns the last of equal elements; reversed, that is the first.
    match preferences.rev().max_by_key(|(_, preference)| preference.rank()) {
        Some((representation, preference)) if preference.weight > 0 => Ok(representation),
        _ => Err(not_acceptable(
            &accept,
            &available
                .iter()
                .map(|representation| representation.media_type())
                .collect::<Vec<_>>()
                .join(", "),
        )),
    }
}

/// Checks that lines are acceptable.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header excludes them.
pub fn require_lines(head: &Head<'_>) -> Result<(), Problem> {
    require(head, Representation::Lines)
}

/// Checks that an event stream is acceptable.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header excludes it.
pub fn require_event_stream(head: &Head<'_>) -> Result<(), Problem> {
    require(head, Representation::EventStream)
}

/// Checks that the only representation there is, which a wildcard includes, is acceptable.
fn require(head: &Head<'_>, only: Representation) -> Result<(), Problem> {
    match head.header("accept")? {
        Some(accept)
            if !accept.is_empty() && !accept.contains("*/*") && preference(&accept, only).weight == 0 =>
        {
            Err(not_acceptable(&accept, only.media_type()))
        }
        _ => Ok(()),
    }
}

/// Checks that JSON is acceptable.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header excludes it.
pub fn require_json(head: &Head<'_>) -> Result<(), Problem> {
    match head.header("accept")? {
        Some(accept) if !accept.is_empty() && preference(&accept, Representation::Json).weight == 0 => {
            Err(not_acceptable(&accept, "application/json"))
        }
        _ => Ok(()),
    }
}

fn not_acceptable(accept: &str, available: &str) -> Problem {
    let detail = format!("{} allows none of the forms there are: {available}", quoted(accept));
    Problem::of_field(Kind::NotAcceptable, "accept", detail)
}

/// The preference that the header states for a representation. A wildcard matches JSON only: a browser or curl that
/// accepts anything should get a page.
fn preference(accept: &str, representation: Representation) -> Preference {
    let mut preference = Preference::default();
    // The most specific media range decides.
    let mut specificity = 0;
    for (at, range) in accept.split(',').enumerate() {
        let name = essence(range).to_ascii_lowercase();
        let found = match name.as_str() {
            name if name == representation.media_type() => 3,
            "application/problem+json" | "application/*" if representation == Representation::Json => 2,
            "*/*" if representation == Representation::Json => 1,
            _ => 0,
        };
        if found > specificity {
            specificity = found;
            preference = Preference { weight: weight(range), named_at: (found == 3).then_some(at) };
        }
    }
    preference
}

/// The parameter `q` of a media range in thousandths; 1,000 if it is absent or malformed.
fn weight(range: &str) -> u16 {
    range
        .split(';')
        .skip(1)
        .find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
        })
        .and_then(|value| value.parse::<f32>().ok())
        .filter(|quality| (0.0..=1.0).contains(quality))
        .map_or(1_000, |quality| (quality * 1_000.0) as u16)
}

/// A media type without its parameters.
pub(crate) fn essence(media_type: &str) -> &str {
    media_type.split_once(';').map_or(media_type, |(essence, _)| essence).trim()
}

#[cfg(test)]
mod tests {
    use super::{Representation, event_representation, json_or_line, require_json};
    use crate::problem::Kind;
    use crate::request::Head;
    use exesdb_sdk::steps::Header;

    #[test]
    fn the_header_decides_the_representation() {
        let json = Ok(Representation::Json);
        let events = Ok(Representation::EventStream);
        let (lines, packed) = (Ok(Representation::Lines), Ok(Representation::Packed));
        let neither = Err(Kind::NotAcceptable);
        for (accept, expected, json_acceptable) in [
            ("", json, true),
            ("*/*", json, true),
            ("application/json", json, true),
            ("Application/*;q=0.5", json, true),
            ("text/html, application/xhtml+xml, */*;q=0.8", json, true),
            ("text/event-stream", events, false),
            ("text/event-stream, */*", events, true),
            ("TEXT/Event-Stream; q=0.9, application/json;q=0.1", events, true),
            ("text/event-stream; q=0.1, application/json", json, true),
            ("text/event-stream;q=0, */*", json, true),
            ("text/event-stream;q=0", neither, false),
            ("application/json;q=0, */*", neither, false),
            ("application/x-ndjson", lines, false),
            ("Application/X-NDJSON, */*;q=0.1", lines, true),
            ("application/x-ndjson;q=0.5, application/json", json, true),
            ("application/vnd.exesdb.packed", packed, false),
            ("Application/VND.exesdb.Packed", packed, false),
            ("application/x-ndjson, application/vnd.exesdb.packed", lines, false),
            ("application/vnd.exesdb.packed, application/x-ndjson", packed, false),
            ("application/json, text/event-stream", json, true),
            ("text/event-stream, application/json", events, true),
            ("*/*, text/event-stream", events, true),
            ("application/json;q=0.9, text/event-stream;q=0.8, */*;q=0.1", json, true),
            ("application/json;q=0.5, text/event-stream;q=0.8", events, true),
            ("application/json;q=0.5, application/x-ndjson;q=0.5", json, true),
            ("application/x-ndjson, application/vnd.exesdb.packed;q=0.9", lines, false),
            ("application/x-ndjson;q=0, application/vnd.exesdb.packed;q=0", neither, false),
            ("text/html", neither, false),
            ("text/*", neither, false),
            ("application/json;q=nonsense", json, true),
            ("application/json;q=-1;;=;q", json, true),
            (",,;;,", neither, false),
        ] {
            let headers = [Header { name: "Accept".to_owned(), value: accept.as_bytes().to_vec() }];
            let head = Head { method: "GET", path: "/", query: "", headers: &headers };
            assert_eq!(
                event_representation(&head, false).map_err(|problem| problem.kind),
                expected,
                "{accept}"
            );
            assert_eq!(require_json(&head).is_ok(), json_acceptable, "{accept}");
            let one = match expected {
                Ok(Representation::Lines) => lines,
                _ if json_acceptable => json,
                _ if accept.contains("application/x-ndjson") && !accept.contains("ndjson;q=0") => lines,
                _ => neither,
            };
            assert_eq!(json_or_line(&head).map_err(|problem| problem.kind), one, "{accept}");
        }
        let head = Head { method: "GET", path: "/", query: "", headers: &[] };
        assert_eq!(event_representation(&head, false), Ok(Representation::Json));
        assert_eq!(require_json(&head), Ok(()));
    }

    #[test]
    fn a_bounded_read_is_an_event_stream_only_if_nothing_else_is_acceptable() {
        for (accept, expected) in [
            ("application/json, text/event-stream", Representation::Json),
            ("text/event-stream, application/json", Representation::Json),
            ("text/event-stream, application/json;q=0.1", Representation::Json),
            ("text/event-stream, */*;q=0.1", Representation::Json),
            ("text/event-stream, application/x-ndjson", Representation::Lines),
            ("text/event-stream", Representation::EventStream),
            ("text/event-stream, application/json;q=0", Representation::EventStream),
        ] {
            let headers = [Header { name: "accept".to_owned(), value: accept.as_bytes().to_vec() }];
            let head = Head { method: "GET", path: "/", query: "", headers: &headers };
            assert_eq!(event_representation(&head, true), Ok(expected), "{accept}");
        }
    }
}
