//! The body of a snapshot.

use std::fmt;

use exesdb_sdk::steps::snapshots::SnapshotData;
use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::content::ContentFields;
use super::field::{FieldPath, Fields, read};
use crate::problem::Problem;

/// Decodes `{"data", "metadata"?}`, or `data_base64` and `content_type` instead of `data`, and `metadata_base64` instead
/// of `metadata`.
///
/// # Errors
/// The problem to respond with, which names the field.
pub fn decode_snapshot(body: &[u8]) -> Result<SnapshotData, Problem> {
    let path = FieldPath::new("body");
    read(body, &path, SnapshotSeed { path: &path })
}

struct SnapshotSeed<'p> {
    path: &'p FieldPath,
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
        let mut fields = Fields::new(self.path, &NAMES);
        let mut fragments = ContentFields::default();
        while let Some(name) = fields.next(&mut map)? {
            fragments.read(name, &mut map)?;
        }
        let content = fragments.resolve(self.path).map_err(|problem| self.path.reject(problem))?;
        Ok(SnapshotData {
            content_type: content.content_type.into_owned(),
            data: content.data.into_owned(),
            metadata: content.metadata.into_owned(),
        })
    }
}
