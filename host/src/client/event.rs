//! The shapes of events as they travel: JSON that the client does not need to understand stays as it was sent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::ClientError;

/// What the writer expects of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Nothing.
    Any,
    /// It has no events.
    NoStream,
    /// It has at least one event.
    StreamExists,
    /// Its last event has this version.
    Exact(u64),
}

impl FromStr for ExpectedVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "any" => Ok(ExpectedVersion::Any),
            "no_stream" => Ok(ExpectedVersion::NoStream),
            "stream_exists" => Ok(ExpectedVersion::StreamExists),
            number => number.parse().map(ExpectedVersion::Exact).map_err(|_| {
                "write any, no_stream, stream_exists or the version of the last event".to_owned()
            }),
        }
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExpectedVersion::Any => f.write_str("any"),
            ExpectedVersion::NoStream => f.write_str("no_stream"),
            ExpectedVersion::StreamExists => f.write_str("stream_exists"),
            ExpectedVersion::Exact(version) => write!(f, "{version}"),
        }
    }
}

impl Serialize for ExpectedVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ExpectedVersion::Exact(version) => serializer.serialize_u64(*version),
            word => serializer.collect_str(word),
        }
    }
}

/// An event that is to be appended.
#[derive(Debug, Clone, Serialize)]
pub struct NewEvent {
    /// Identifies the event in its stream: sent again, it is not added again.
    pub id: String,
    /// What kind of event it is.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The event itself, as it was written.
    pub data: Box<RawValue>,
    /// About the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// What it can be found by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// The body of an append.
#[derive(Debug, Serialize)]
pub struct AppendRequest<'a> {
    /// Checked before anything is added.
    pub expected_version: ExpectedVersion,
    /// 1 to 1,000 events: all are added, or none.
    pub events: &'a [NewEvent],
}

/// Where the events of an append stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// The version of the first event.
    pub first_version: u64,
    /// The version of the last event.
    pub last_version: u64,
    /// The position of the last event in the whole store.
    pub position: u64,
    /// The history that the position belongs to, as the gateway wrote it; none if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
}

/// Some events in order.
#[derive(Debug, Deserialize)]
pub struct EventPage {
    /// As the gateway wrote them; see [`Event::parse`].
    pub events: Vec<Box<RawValue>>,
    /// Where to go on from in the same direction.
    #[serde(default)]
    pub next: Option<u64>,
    /// The read reached the end (backward: the beginning) of what there was.
    pub end: bool,
    /// The history that the positions belong to, as the gateway wrote it.
    #[serde(default)]
    pub history: Option<String>,
}

/// An event as it stands in the store.
#[derive(Debug, Deserialize)]
pub struct Event {
    /// The stream it belongs to.
    pub stream: String,
    /// Its place in the stream, from 0.
    pub version: u64,
    /// Its place in the whole store, from 0.
    pub position: u64,
    /// What its writer called it.
    pub id: String,
    /// What kind of event it is.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The event itself, when it is JSON: `null` is a value, too.
    #[serde(default, deserialize_with = "present")]
    pub data: Option<Box<RawValue>>,
    /// The event itself, when it is not JSON.
    #[serde(default)]
    pub data_base64: Option<String>,
    /// What it can be found by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When it was appended: RFC 3339, UTC.
    pub created: String,
}

/// A member that may be `null`, which is a value and not the lack of one.
pub(crate) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

impl Event {
    /// Reads an event as the gateway wrote it.
    pub fn parse(raw: &RawValue) -> Result<Event, ClientError> {
        serde_json::from_str(raw.get()).map_err(|error| ClientError::Unreadable {
            url: "the gateway".to_owned(),
            detail: error.to_string(),
        })
    }
}

/// Some names of streams, in byte order.
#[derive(Debug, Deserialize)]
pub struct StreamPage {
    /// The names.
    pub streams: Vec<String>,
    /// More follow after the last one.
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::ExpectedVersion;

    #[test]
    fn expected_versions_are_words_or_numbers() {
        let cases = [
            ("any", Some("\"any\"")),
            ("no_stream", Some("\"no_stream\"")),
            ("stream_exists", Some("\"stream_exists\"")),
            ("0", Some("0")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("18446744073709551616", None),
            ("-1", None),
            ("ANY", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let json = text.parse::<ExpectedVersion>().ok().map(|it| serde_json::to_string(&it).unwrap());
            assert_eq!(json.as_deref(), expected, "{text}");
        }
    }
}
