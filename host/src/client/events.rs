//! Events: appends and reads. JSON that the client does not need to understand stays as it was sent.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use http::Method;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::error::ClientError;
use super::filter::Filter;
use super::http::Client;
use super::read_from::ReadFrom;

/// Maximum number of events or names in one page.
pub const PAGE_COUNT_MAX: u64 = 1_000;

/// The direction of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        }
    }
}

/// What a writer expects of a stream. The gateway refuses the write if it does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Nothing: the write is always accepted.
    Any,
    /// The stream has no events.
    NoStream,
    /// The stream has at least one event.
    StreamExists,
    /// The last event of the stream has this version.
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

/// An event to be appended.
#[derive(Debug, Clone, Serialize)]
pub struct NewEvent {
    /// Identifies the event in its stream. An event that is sent again with the same id is not added again.
    pub id: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The event's data, sent byte for byte.
    pub data: Box<RawValue>,
    /// The event's metadata, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// Tags by which the event can be found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// The body of an append.
#[derive(Debug, Serialize)]
pub struct AppendRequest<'a> {
    /// Condition on the stream, checked before anything is added.
    pub expected_version: ExpectedVersion,
    /// 1 to 1,000 events. All of them are added, or none.
    pub events: &'a [NewEvent],
}

/// The versions and position of appended events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// The version of the first event.
    pub first_version: u64,
    /// The version of the last event.
    pub last_version: u64,
    /// The position of the last event in the whole store.
    pub position: u64,
    /// The history that the position belongs to; none if the gateway does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
}

/// A page of events, in order.
#[derive(Debug, Deserialize)]
pub struct EventPage {
    /// The events as the gateway wrote them; see [`Event::parse`].
    pub events: Vec<Box<RawValue>>,
    /// Where the next page begins, in the same direction.
    #[serde(default)]
    pub next: Option<u64>,
    /// Whether the read reached the last event (backward: the first).
    pub end: bool,
    /// The history that the positions belong to; none if the gateway does not say.
    #[serde(default)]
    pub history: Option<String>,
}

/// An event of a store.
#[derive(Debug, Deserialize)]
pub struct Event {
    /// The name of its stream.
    pub stream: String,
    /// Its number in the stream, from 0.
    pub version: u64,
    /// Its number in the whole store, from 0.
    pub position: u64,
    /// The id that its writer gave it.
    pub id: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The data, if it is JSON. `null` is a value, too.
    #[serde(default, deserialize_with = "present")]
    pub data: Option<Box<RawValue>>,
    /// The data in base64, if it is not JSON.
    #[serde(default)]
    pub data_base64: Option<String>,
    /// Tags by which the event can be found.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The time of the append: RFC 3339, UTC.
    pub created: String,
}

/// Deserializes a member whose `null` is a value, and not the lack of one.
pub(crate) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

impl Event {
    /// Parses an event as the gateway wrote it.
    pub fn parse(raw: &RawValue) -> Result<Event, ClientError> {
        serde_json::from_str(raw.get()).map_err(|error| ClientError::Unreadable {
            url: "the gateway".to_owned(),
            detail: error.to_string(),
        })
    }
}

impl Client {
    /// Appends all the events or none, in order, to the end of one stream.
    pub async fn append(&self, stream: &str, request: &AppendRequest<'_>) -> Result<Appended, ClientError> {
        self.json(Method::POST, &self.path(&["streams", stream, "events"]), Some(request)).await
    }

    /// Reads one page of a stream, or (none) of the whole store, which can be filtered. `from` is a version or a position,
    /// inclusive; none is the first event, or the last one backward. `count` is at most [`PAGE_COUNT_MAX`].
    pub async fn read(
        &self,
        stream: Option<&str>,
        filter: &Filter,
        from: Option<ReadFrom>,
        count: u64,
        direction: Direction,
    ) -> Result<EventPage, ClientError> {
        let mut path = self.events_path(stream);
        let _ = write!(path, "?count={count}&direction={}", direction.as_str());
        if let Some(from) = from {
            path.push('&');
            from.push(&mut path);
        }
        filter.push(&mut path);
        self.json(Method::GET, &path, None::<&()>).await
    }

    /// The event at a version of a stream, or (none) at a position of the store; none if it is not there any more.
    pub async fn event_at(
        &self,
        stream: Option<&str>,
        place: u64,
    ) -> Result<Option<Box<RawValue>>, ClientError> {
        let from = Some(ReadFrom::of(place));
        let page = match self.read(stream, &Filter::default(), from, 1, Direction::Forward).await {
            Err(error) if matches!(error.problem_kind(), "stream-not-found" | "stream-deleted") => {
                return Ok(None);
            }
            page => page?,
        };
        let Some(event) = page.events.into_iter().next() else { return Ok(None) };
        let found = Event::parse(&event)?;
        let number = if stream.is_some() { found.version } else { found.position };
        Ok((number == place).then_some(event))
    }

    /// The position that the store's next event gets: one more than that of its last event.
    pub async fn end_position(&self) -> Result<u64, ClientError> {
        let page = self.read(None, &Filter::default(), None, 1, Direction::Backward).await?;
        match page.events.first() {
            None => Ok(0),
            Some(event) => Ok(Event::parse(event)?.position + 1),
        }
    }

    /// The URL of the events of a stream, or (none) of the whole store.
    pub(super) fn events_path(&self, stream: Option<&str>) -> String {
        match stream {
            Some(stream) => self.path(&["streams", stream, "events"]),
            None => self.path(&["events"]),
        }
    }
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
