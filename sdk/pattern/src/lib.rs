//! Patterns: a JSON object of which an event must have everything. The subscriptions component has one for a durable
//! subscription, the host for a topic.

use std::fmt;

use exesdb_packed::{DATA_IS_JSON, Envelope, METADATA_IS_JSON};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// Maximum length of a pattern in bytes. It is tried on every event that is read.
pub const PATTERN_BYTES_MAX: usize = 4_096;

/// Maximum number of items in all arrays of a pattern. Each is compared with every item of an array in an event.
pub const PATTERN_ITEMS_MAX: usize = 16;

/// The members that an event has for a pattern, in the order in which they are compared.
const MEMBERS: [&str; 6] = ["stream", "type", "content_type", "tags", "metadata", "data"];

/// A pattern that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(Map<String, Value>);

impl Pattern {
    /// Checks a pattern.
    ///
    /// # Errors
    ///
    /// What is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("has {} bytes; at most {PATTERN_BYTES_MAX} are allowed", text.len()));
        }
        let Ok(Value::Object(members)) = serde_json::from_str(text) else {
            return Err(r#"is no JSON object; {"type":"paid"} would be one"#.to_owned());
        };
        if let Some(name) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            let there_are = MEMBERS.map(|name| format!("`{name}`")).join(", ");
            return Err(format!("has the member `{name}`; an event has {there_are}"));
        }
        let items: usize = members.values().map(items).sum();
        if items > PATTERN_ITEMS_MAX {
            return Err(format!("has {items} items in arrays; at most {PATTERN_ITEMS_MAX} are allowed"));
        }
        Ok(Self(members))
    }

    /// Whether an event has everything that the pattern has.
    #[must_use]
    pub fn matches(&self, event: &Envelope<'_>) -> bool {
        let wanted = MEMBERS.iter().filter_map(|name| Some((*name, self.0.get(*name)?)));
        wanted.into_iter().all(|(name, wanted)| match name {
            "stream" => wanted == event.stream_id,
            "type" => wanted == event.event_type,
            "content_type" => wanted == event.content_type,
            "tags" => has_tags(wanted, event),
            "metadata" => event.flags & METADATA_IS_JSON != 0 && has_json(wanted, event.metadata),
            _ => event.flags & DATA_IS_JSON != 0 && has_json(wanted, event.data),
        })
    }
}

/// The number of items in all arrays of a value.
fn items(value: &Value) -> usize {
    match value {
        Value::Array(array) => array.len() + array.iter().map(items).sum::<usize>(),
        Value::Object(members) => members.values().map(items).sum(),
        _ => 0,
    }
}

fn has_tags(wanted: &Value, event: &Envelope<'_>) -> bool {
    let Value::Array(wanted) = wanted else { return false };
    wanted.iter().all(|wanted| event.tags.clone().any(|tag| wanted == tag))
}

/// Whether JSON has everything that a value has. What the value does not name is skipped unread, whatever numbers and nesting
/// it has.
fn has_json(wanted: &Value, json: &[u8]) -> bool {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Has(wanted).deserialize(&mut deserializer).unwrap_or(false)
}

/// Finds out whether what is deserialized has everything that a value has.
struct Has<'w>(&'w Value);

impl<'de> DeserializeSeed<'de> for Has<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Has<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(self.0.is_null())
    }

    fn visit_bool<E>(self, there: bool) -> Result<bool, E> {
        Ok(*self.0 == there)
    }

    fn visit_u64<E>(self, there: u64) -> Result<bool, E> {
        Ok(self.is_number(&Number::from(there)))
    }

    fn visit_i64<E>(self, there: i64) -> Result<bool, E> {
        Ok(self.is_number(&Number::from(there)))
    }

    fn visit_f64<E>(self, there: f64) -> Result<bool, E> {
        Ok(Number::from_f64(there).is_some_and(|there| self.is_number(&there)))
    }

    fn visit_str<E>(self, there: &str) -> Result<bool, E> {
        Ok(self.0 == there)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut there: A) -> Result<bool, A::Error> {
        let wanted = self.0.as_object();
        let mut missing = wanted.map_or(0, Map::len);
        let mut found: Vec<String> = Vec::new();
        while let Some(name) = there.next_key::<String>()? {
            let Some(value) = wanted.and_then(|wanted| wanted.get(&name)) else {
                there.next_value::<IgnoredAny>()?;
                continue;
            };
            let has = there.next_value::<&RawValue>().map(|there| has_json(value, there.get().as_bytes()))?;
            // Of two members of one name the last counts, as for everybody who parses the whole.
            if let Some(at) = found.iter().position(|found| *found == name) {
                found.swap_remove(at);
                missing += 1;
            }
            if has {
                found.push(name);
                missing -= 1;
            }
        }
        Ok(wanted.is_some() && missing == 0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut there: A) -> Result<bool, A::Error> {
        let mut missing: Vec<&Value> = self.0.as_array().into_iter().flatten().collect();
        while let Some(item) = there.next_element::<&RawValue>()? {
            missing.retain(|wanted| !has_json(wanted, item.get().as_bytes()));
        }
        Ok(self.0.is_array() && missing.is_empty())
    }
}

impl Has<'_> {
    fn is_number(&self, there: &Number) -> bool {
        self.0.as_number().is_some_and(|wanted| are_equal(wanted, there))
    }
}

/// Whether two numbers are equal, however they are written.
fn are_equal(one: &Number, other: &Number) -> bool {
    one == other || (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
}

#[cfg(test)]
mod tests {
    use exesdb_packed::{DATA_IS_JSON, Envelope, EventParts, Events, METADATA_IS_JSON, push_event};

    use super::{PATTERN_BYTES_MAX, Pattern};

    /// With a number and a nesting that not every parser takes, and a member that comes twice.
    const DATA: &str = r#"{"n":1,"big":18446744073709551615,"to":{"name":"a","zip":7},"items":[{"k":1,"v":2},{"k":3}],"no":null,"x":1e999,"y":DEEP,"n2":1,"n2":2}"#;

    fn with(flags: u8, check: impl Fn(&Envelope<'_>)) {
        let deep = format!("{}{}", "[".repeat(126), "]".repeat(126));
        let data = DATA.replace("DEEP", &deep);
        let event = EventParts {
            flags,
            version: 3,
            created: 0,
            stream_id: "case-1",
            id: "i",
            event_type: "paid",
            content_type: "application/json",
            tags: &["eu", "new"],
            data: data.as_bytes(),
            metadata: br#"{"user":"u"}"#,
        };
        let mut packed = Vec::new();
        push_event(&mut packed, 0, &event).unwrap();
        check(&Events::new(&packed).next().unwrap().unwrap().1);
    }

    #[test]
    fn an_event_matches_if_it_has_everything() {
        with(DATA_IS_JSON | METADATA_IS_JSON, |event| {
            for (pattern, expected) in [
                ("{}", true),
                (r#"{"type":"paid"}"#, true),
                (r#"{"type":"paid","stream":"case-1","content_type":"application/json"}"#, true),
                (r#"{"type":"Paid"}"#, false),
                (r#"{"type":"paid","stream":"case-2"}"#, false),
                (r#"{"type":["paid"]}"#, false),
                (r#"{"tags":["new"]}"#, true),
                (r#"{"tags":["new","eu"]}"#, true),
                (r#"{"tags":["old"]}"#, false),
                (r#"{"tags":"new"}"#, false),
                (r#"{"data":{"n":1}}"#, true),
                (r#"{"data":{"n":1.0}}"#, true),
                (r#"{"data":{"n":2}}"#, false),
                (r#"{"data":{"big":18446744073709551615}}"#, true),
                (r#"{"data":{"big":18446744073709551614}}"#, false),
                (r#"{"data":{"to":{"zip":7}}}"#, true),
                (r#"{"data":{"to":{"zip":"7"}}}"#, false),
                (r#"{"data":{"to":{}}}"#, true),
                (r#"{"data":{"n":{}}}"#, false),
                (r#"{"data":{"items":[{"k":3},{"v":2}]}}"#, true),
                (r#"{"data":{"items":[{"k":3,"v":2}]}}"#, false),
                (r#"{"data":{"no":null}}"#, true),
                (r#"{"data":{"absent":null}}"#, false),
                (r#"{"data":{"n2":2}}"#, true),
                (r#"{"data":{"n2":1}}"#, false),
                (r#"{"data":{"x":1}}"#, false),
                (r#"{"data":{"y":[[]]}}"#, true),
                (r#"{"data":{"items":[]}}"#, true),
                (r#"{"data":{"items":{}}}"#, false),
                (r#"{"data":[]}"#, false),
                (r#"{"metadata":{"user":"u"}}"#, true),
                (r#"{"metadata":{"user":"v"},"type":"paid"}"#, false),
            ] {
                assert_eq!(Pattern::parse(pattern).unwrap().matches(event), expected, "{pattern}");
            }
        });
        // Bytes that were not checked to be JSON are none.
        with(0, |event| {
            for pattern in [r#"{"data":{}}"#, r#"{"metadata":{}}"#] {
                assert!(!Pattern::parse(pattern).unwrap().matches(event), "{pattern}");
            }
        });
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_refused() {
        let long = format!(r#"{{"type":"{}"}}"#, "x".repeat(PATTERN_BYTES_MAX));
        for (pattern, expected) in [
            ("", "no JSON object"),
            ("[]", "no JSON object"),
            (r#""paid""#, "no JSON object"),
            (r#"{"type":"paid"} x"#, "no JSON object"),
            (r#"{"event_type":"paid"}"#, "the member `event_type`; an event has `stream`, `type`"),
            (&long, "at most 4096"),
            (r#"{"data":{"a":[1,2,3,4,5,6,7,8],"b":[{"c":[1,2,3,4,5,6,7,8]}]}}"#, "17 items in arrays"),
        ] {
            let error = Pattern::parse(pattern).unwrap_err();
            assert!(error.contains(expected), "{pattern}: {error}");
        }
    }
}
