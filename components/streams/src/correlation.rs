//! The correlation and causation ids in an event's metadata, and whether they are indexed.

use serde_json::Value;

/// The name of the component's setting. `true` indexes the correlation and causation ids of newly appended events.
pub const SETTING: &str = "index-correlation";

/// Maximum length of an id in bytes, as for event types and tags.
pub const ID_BYTES_MAX: usize = 256;

/// The members of the metadata's JSON object.
const CORRELATION_ID: &str = "$correlationId";
const CAUSATION_ID: &str = "$causationId";

/// Whether keyspace `labels` indexes correlation and causation ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorrelationIndex {
    /// Ids are indexed.
    On,
    /// Ids are not indexed.
    Off,
}

impl CorrelationIndex {
    /// The value of [`SETTING`], by default off.
    #[must_use]
    pub fn of_setting(text: Option<&str>) -> Self {
        if text == Some("true") { Self::On } else { Self::Off }
    }
}

/// The ids in an event's metadata: JSON members that are texts of 1 to [`ID_BYTES_MAX`] bytes. Other values are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorrelationIds {
    /// `$correlationId`.
    pub correlation: Option<String>,
    /// `$causationId`.
    pub causation: Option<String>,
}

impl CorrelationIds {
    /// The ids in this metadata, which may be any bytes that a client sent. The names of the members must be written
    /// without escapes, so that metadata without them need not be parsed.
    #[must_use]
    pub fn of(metadata: &[u8]) -> Self {
        if !names_an_id(metadata) {
            return Self::default();
        }
        let Ok(Value::Object(mut members)) = serde_json::from_slice(metadata) else { return Self::default() };
        let mut id = |name| match members.remove(name) {
            Some(Value::String(id)) if (1..=ID_BYTES_MAX).contains(&id.len()) => Some(id),
            _ => None,
        };
        Self { correlation: id(CORRELATION_ID), causation: id(CAUSATION_ID) }
    }
}

fn names_an_id(metadata: &[u8]) -> bool {
    let dollars = metadata.iter().enumerate().filter(|(_, byte)| **byte == b'$');
    dollars
        .map(|(at, _)| &metadata[at..])
        .any(|rest| rest.starts_with(CORRELATION_ID.as_bytes()) || rest.starts_with(CAUSATION_ID.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{CorrelationIds, CorrelationIndex};

    #[test]
    fn only_true_switches_the_index_on() {
        assert_eq!(CorrelationIndex::of_setting(Some("true")), CorrelationIndex::On);
        for text in [None, Some("false"), Some("TRUE"), Some("1"), Some("")] {
            assert_eq!(CorrelationIndex::of_setting(text), CorrelationIndex::Off, "{text:?}");
        }
    }

    #[test]
    fn ids_are_string_members_of_an_object() {
        let long = "x".repeat(256);
        let table = [
            ("", None, None),
            ("{}", None, None),
            (r#"{"$correlationId":"a"}"#, Some("a"), None),
            (r#"{"$causationId":"b","x":{"$correlationId":"no"}}"#, None, Some("b")),
            (r#" {"a":"$","$correlationId":"a","$causationId":"b"} "#, Some("a"), Some("b")),
            (r#"{"$correlationId":"\u0061\n"}"#, Some("a\n"), None),
            (r#"{"$correlationId":"a","$correlationId":"b"}"#, Some("b"), None),
            (r#"{"$correlationId":""}"#, None, None),
            (r#"{"$correlationId":7,"$causationId":null}"#, None, None),
            (r#"{"$correlationId":["a"]}"#, None, None),
            (r#"["$correlationId"]"#, None, None),
            (r#"{"$correlationId":"a""#, None, None),
            (r#"{"\u0024correlationId":"a"}"#, None, None),
        ];
        for (metadata, correlation, causation) in table {
            let expected = CorrelationIds {
                correlation: correlation.map(str::to_owned),
                causation: causation.map(str::to_owned),
            };
            assert_eq!(CorrelationIds::of(metadata.as_bytes()), expected, "{metadata}");
        }
        let of =
            |id: &str| CorrelationIds::of(format!(r#"{{"$correlationId":"{id}"}}"#).as_bytes()).correlation;
        assert_eq!(of(&long), Some(long.clone()));
        assert_eq!(of(&format!("{long}x")), None);
        assert_eq!(CorrelationIds::of(b"\xff$correlationId"), CorrelationIds::default());
        // Deeper than the parser's limit.
        let deep = format!(r#"{{"$correlationId":"a","x":{}}}"#, "[".repeat(100_000));
        assert_eq!(CorrelationIds::of(deep.as_bytes()), CorrelationIds::default());
    }
}
