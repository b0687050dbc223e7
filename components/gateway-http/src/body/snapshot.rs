//! The body of a snapshot.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::content::Fragments;
use super::field::{Fields, Place, read};
use crate::problem::Problem;
use crate::store::SnapshotData;

/// Decodes `{"data", "metadata"?}`, or `data_base64` and `content_type` instead of `data`, and `metadata_base64` instead
/// of `metadata`.
///
/// # Errors
/// The problem that is the request's answer, naming the field.
pub fn decode_snapshot(body: &[u8]) -> Result<SnapshotData, Problem> {
    let place = Place::new("body");
    read(body, &place, SnapshotSeed { place: &place })
}

struct SnapshotSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for SnapshotSeed<'_> {
    type Value = SnapshotData;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<SnapshotData, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for SnapshotSeed<'_> {
    type Value = SnapshotData;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a snapshot, an object with `data`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SnapshotData, A::Error> {
        const NAMES: [&str; 5] = ["data", "metadata", "data_base64", "content_type", "metadata_base64"];
        let mut fields = Fields::new(self.place, &NAMES);
        let mut fragments = Fragments::default();
        while let Some(name) = fields.next(&mut map)? {
            fragments.read(name, &mut map)?;
        }
        let content = fragments.resolve(self.place).map_err(|problem| self.place.refuse(problem))?;
        Ok(SnapshotData {
            content_type: content.content_type,
            data: content.data,
            metadata: content.metadata,
        })
    }
}
