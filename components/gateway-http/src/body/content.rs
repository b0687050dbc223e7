//! The part that events and snapshots share: `data` or `data_base64` with `content_type`, and `metadata`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exesdb_sdk::arguments;
use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::field::Place;
use crate::json;
use crate::limits::EVENT_BYTES_MAX;
use crate::problem::Problem;
use crate::store::{Subject, problem};

/// The content type of `data`.
const JSON: &str = "application/json";

/// The fields as they were met. JSON is kept as the client wrote it.
#[derive(Debug, Default)]
pub(super) struct Fragments<'de> {
    data: Option<&'de RawValue>,
    data_base64: Option<String>,
    content_type: Option<String>,
    metadata: Option<&'de RawValue>,
}

/// What the store keeps of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) content_type: String,
    pub(super) data: Vec<u8>,
    pub(super) metadata: Vec<u8>,
}

impl<'de> Fragments<'de> {
    /// Reads the value of one of these fields; any other name is a mistake of the caller's table.
    pub(super) fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "data" => self.data = Some(map.next_value()?),
            "data_base64" => self.data_base64 = Some(map.next_value()?),
            "content_type" => self.content_type = Some(map.next_value()?),
            _ => self.metadata = Some(map.next_value()?),
        }
        Ok(())
    }

    /// Checks them against each other and against the limits.
    pub(super) fn resolve(self, place: &Place) -> Result<Content, Problem> {
        let (content_type, data) = match (self.data, self.data_base64, self.content_type) {
            (Some(data), None, None) => (JSON.to_owned(), sound_json(place, "data", data)?),
            (Some(_), Some(_), _) => {
                return Err(Problem::invalid(place.of("data_base64"), "cannot stand beside `data`"));
            }
            (Some(_), None, Some(_)) => {
                let detail = "belongs to `data_base64`; `data` is always application/json";
                return Err(Problem::invalid(place.of("content_type"), detail));
            }
            (None, Some(text), Some(content_type)) => {
                let data = bytes(place, &text, &content_type)?;
                (content_type, data)
            }
            (None, Some(_), None) => {
                return Err(Problem::invalid(place.of("content_type"), "is required beside `data_base64`"));
            }
            (None, None, Some(_)) => {
                return Err(Problem::invalid(place.of("data_base64"), "is required beside `content_type`"));
            }
            (None, None, None) => {
                let detail = "is required: a JSON value, or bytes as `data_base64` with `content_type`";
                return Err(Problem::invalid(place.of("data"), detail));
            }
        };
        let metadata = match self.metadata {
            None => Vec::new(),
            Some(metadata) if metadata.get() == "null" => Vec::new(),
            Some(metadata) => sound_json(place, "metadata", metadata)?,
        };
        if data.len().saturating_add(metadata.len()) > EVENT_BYTES_MAX {
            return Err(Problem::too_large(place.of(""), EVENT_BYTES_MAX, "bytes of data and metadata"));
        }
        Ok(Content { content_type, data, metadata })
    }
}

fn sound_json(place: &Place, field: &str, value: &RawValue) -> Result<Vec<u8>, Problem> {
    // The limit comes first: what is refused for its size need not be looked at.
    if value.get().len() > EVENT_BYTES_MAX {
        return Err(Problem::too_large(place.of(""), EVENT_BYTES_MAX, "bytes of data and metadata"));
    }
    json::find_hazard(value.get()).map_err(|hazard| Problem::invalid(place.of(field), hazard.to_string()))?;
    Ok(value.get().as_bytes().to_vec())
}

fn bytes(place: &Place, text: &str, content_type: &str) -> Result<Vec<u8>, Problem> {
    arguments::check_content_type(&place.of("content_type"), content_type)
        .map_err(|error| problem(error, Subject::Store))?;
    let data = STANDARD.decode(text).map_err(|error| {
        Problem::invalid(place.of("data_base64"), format!("is not base64 (RFC 4648 section 4): {error}"))
    })?;
    // Readers get JSON as JSON, so it must be some.
    if json::is_json(content_type) && json::embeddable(&data).is_none() {
        let detail = "is not JSON, which its `content_type` says it is";
        return Err(Problem::invalid(place.of("data_base64"), detail));
    }
    Ok(data)
}
