//! The body that says how long the events of a stream are kept.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::field::{Fields, Place, read};
use crate::problem::Problem;
use crate::store::Retention;

/// Decodes `{"max_count"?, "max_age_seconds"?, "truncate_before"?}`; `null` is none.
///
/// # Errors
/// The problem that is the request's answer, naming the field.
pub fn decode_retention(body: &[u8]) -> Result<Retention, Problem> {
    let place = Place::new("body");
    read(body, &place, RetentionSeed { place: &place })
}

struct RetentionSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for RetentionSeed<'_> {
    type Value = Retention;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Retention, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RetentionSeed<'_> {
    type Value = Retention;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with `max_count`, `max_age_seconds` and `truncate_before`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Retention, A::Error> {
        let mut fields = Fields::new(self.place, &["max_count", "max_age_seconds", "truncate_before"]);
        let mut retention = Retention { max_count: None, max_age_seconds: None, truncate_before: None };
        while let Some(name) = fields.next(&mut map)? {
            let value: Option<u64> = map.next_value()?;
            match name {
                "truncate_before" => retention.truncate_before = value,
                _ if value == Some(0) => {
                    return Err(self.place.refuse_field(name, "must be at least 1; `null` is no limit"));
                }
                "max_count" => retention.max_count = value,
                _ => retention.max_age_seconds = value,
            }
        }
        Ok(retention)
    }
}
