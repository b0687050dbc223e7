//! An event of an export.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::client::ClientError;

/// An event to be sent.
#[derive(Debug)]
pub(super) struct EventLine {
    /// The name of its stream.
    pub(super) stream: String,
    /// Its version.
    pub(super) version: u64,
    /// The time of the event, as the gateway writes it.
    pub(super) created: String,
    /// Its line in the file, from 1.
    pub(super) line: u64,
    /// The JSON to be sent.
    event: Box<RawValue>,
}

impl Serialize for EventLine {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.event.serialize(serializer)
    }
}

impl EventLine {
    /// Parses an event as the gateway wrote it. It is sent without its position, which belongs to the original store.
    pub(super) fn parse(event: &RawValue, line: u64) -> Result<EventLine, String> {
        let text = |error: serde_json::Error| error.to_string();
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(event.get()).map_err(text)?;
        members.remove("position").ok_or("the event has no position")?;
        for member in ["stream", "version", "id", "type", "created"] {
            if !members.contains_key(member) {
                return Err(format!("the event has no {member}"));
            }
        }
        let event = serde_json::to_string(&members).map_err(text)?;
        Ok(EventLine {
            stream: serde_json::from_str(members["stream"].get()).map_err(text)?,
            version: serde_json::from_str(members["version"].get()).map_err(text)?,
            created: serde_json::from_str(members["created"].get()).map_err(text)?,
            line,
            event: RawValue::from_string(event).map_err(text)?,
        })
    }

    /// Size of the JSON to be sent, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.event.get().len()
    }

    /// Says why the store refused the event, and what to do. `is_part` says that earlier events may be in another export.
    pub(super) fn rejection(&self, error: &ClientError, is_part: bool) -> String {
        let version = self.version;
        let text = format!("its event of version {version} was not imported");
        let last = match error {
            ClientError::Refused { problem, .. } if error.problem_kind() == "wrong-expected-version" => {
                problem.actual_version
            }
            _ => None,
        };
        match last {
            Some(last) if version > last.saturating_add(1) => {
                let (first, before) = (last + 1, version - 1);
                let missing = if first == before {
                    format!("version {first} is")
                } else {
                    format!("versions {first} to {before} are")
                };
                let advice = if is_part {
                    "import the earlier parts of the export first; if they do not have them either, retention, deletion or \
                     scavenging had hidden them, and only a new store takes the export"
                } else {
                    "the export does not have what retention, deletion or scavenging had hidden by then; import it into a new \
                     store"
                };
                format!("{text}: {missing} missing here; {advice}")
            }
            Some(_) => format!(
                "{text}: the store has another event there, so it is another stream of the same name; import the export into \
                 another store"
            ),
            None => format!("{text}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::EventLine;
    use crate::client::{ClientError, Problem};

    const EVENT: &str = r#"{"stream":"s","version":4,"position":9,"id":"i","type":"t","data":{"b":1e400},"metadata":null,"created":"c"}"#;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn events_are_sent_without_their_positions() {
        let event = EventLine::parse(&raw(EVENT), 2).unwrap();
        assert_eq!((event.stream.as_str(), event.version, event.created.as_str()), ("s", 4, "c"));
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"created":"c","data":{"b":1e400},"id":"i","metadata":null,"stream":"s","type":"t","version":4}"#
        );
        let without_id = EVENT.replace("\"id\"", "\"ids\"");
        let negative = EVENT.replace("\"version\":4", "\"version\":-4");
        let hostile = ["[]", "1", "{}", r#"{"position":1}"#, &without_id, &negative];
        for text in hostile {
            assert!(EventLine::parse(&raw(text), 2).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rejection_says_what_is_missing() {
        let event = EventLine::parse(&raw(EVENT), 2).unwrap();
        let wrong_version = |actual| {
            format!(
                r#"{{"type":"urn:exesdb:problem:wrong-expected-version","title":"T","status":409,"actual_version":{actual}}}"#
            )
        };
        let other = r#"{"type":"urn:exesdb:problem:stream-deleted","title":"T","status":409}"#.to_owned();
        let table = [
            (wrong_version(0), false, "versions 1 to 3 are missing here; the export does not have"),
            (wrong_version(0), true, "versions 1 to 3 are missing here; import the earlier parts"),
            (wrong_version(2), false, "version 3 is missing here"),
            (wrong_version(3), false, "another event there"),
            (wrong_version(9), false, "another event there"),
            (other, false, "its event of version 4 was not imported: T (409)"),
        ];
        for (body, is_part, expected) in table {
            let problem: Problem = serde_json::from_str(&body).unwrap();
            let error = ClientError::Refused { url: String::new(), problem: Box::new(problem) };
            let text = event.rejection(&error, is_part);
            assert!(text.contains(expected), "{text}");
        }
    }
}
