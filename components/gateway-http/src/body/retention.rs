//! The body of a change of retention.

use std::fmt;

use exesdb_sdk::types::Retention;
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::field::{FieldPath, Fields, read};
use crate::problem::Problem;

/// Decodes `{"max_count"?, "max_age_seconds"?, "truncate_before"?}`. `null` is no limit.
///
/// # Errors
/// The problem to respond with, which names the field.
pub fn decode_retention(body: &[u8]) -> Result<Retention, Problem> {
    let path = FieldPath::new("body");
    read(body, &path, RetentionSeed { path: &path })
}

struct RetentionSeed<'p> {
    path: &'p FieldPath,
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
        let mut fields = Fields::new(self.path, &["max_count", "max_age_seconds", "truncate_before"]);
        let mut retention = Retention { max_count: None, max_age_seconds: None, truncate_before: None };
        while let Some(name) = fields.next(&mut map)? {
            let value: Option<u64> = map.next_value()?;
            match name {
                "truncate_before" => retention.truncate_before = value,
                _ if value == Some(0) => {
                    return Err(self.path.reject_field(name, "must be at least 1; `null` is no limit"));
                }
                "max_count" => retention.max_count = value,
                _ => retention.max_age_seconds = value,
            }
        }
        Ok(retention)
    }
}
