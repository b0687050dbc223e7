//! The part that events and snapshots share: `data` or `data_base64` with `content_type`, and `metadata` or
//! `metadata_base64`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exesdb_sdk::arguments;
use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::field::Place;
use crate::json;
use crate::limits::EVENT_BYTES_MAX;
use crate::problem::Problem;
use crate::store_error::{Subject, problem};

/// The content type of `data`.
const JSON: &str = "application/json";

/// The fields as they were met. JSON is kept as the client wrote it.
#[derive(Debug, Default)]
pub(super) struct Fragments<'de> {
    data: Option<&'de RawValue>,
    data_base64: Option<String>,
    content_type: Option<String>,
    metadata: Option<&'de RawValue>,
    metadata_base64: Option<String>,
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
            "metadata_base64" => self.metadata_base64 = Some(map.next_value()?),
            _ => self.metadata = Some(map.next_value()?),
        }
        Ok(())
    }

    /// Checks them against each other and against the limits.
    pub(super) fn resolve(self, place: &Place) -> Result<Content, Problem> {
        let (content_type, data) = match (self.data, self.data_base64, self.content_type) {
            (Some(data), None, None) => (JSON.to_owned(), sound_json(place, "data", data)?),
            (Some(data), None, Some(content_type)) => {
                check_content_type(place, &content_type)?;
                if !json::is_json(&content_type) {
                    let detail = "does not say JSON, which `data` is; give other bytes as `data_base64`";
                    return Err(Problem::invalid(place.of("content_type"), detail));
                }
                let data = sound_json(place, "data", data)?;
                (content_type, data)
            }
            (Some(_), Some(_), _) => {
                return Err(Problem::invalid(place.of("data_base64"), "cannot stand beside `data`"));
            }
            (None, Some(text), Some(content_type)) => {
                let data = bytes(place, &text, &content_type)?;
                (content_type, data)
            }
            (None, Some(_), None) => {
                return Err(Problem::invalid(place.of("content_type"), "is required beside `data_base64`"));
            }
            (None, None, Some(_)) => {
                let detail = "or `data` is required beside `content_type`";
                return Err(Problem::invalid(place.of("data_base64"), detail));
            }
            (None, None, None) => {
                let detail = "is required: a JSON value, or bytes as `data_base64` with `content_type`";
                return Err(Problem::invalid(place.of("data"), detail));
            }
        };
        let metadata = match (self.metadata, self.metadata_base64) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid(place.of("metadata_base64"), "cannot stand beside `metadata`"));
            }
            (None, None) => Vec::new(),
            (Some(metadata), None) if metadata.get() == "null" => Vec::new(),
            (Some(metadata), None) => sound_json(place, "metadata", metadata)?,
            (None, Some(text)) => {
                let metadata = decode_base64(place, "metadata_base64", &text)?;
                sound_metadata(place, "metadata_base64", &metadata)?.to_vec()
            }
        };
        check_size(place, &data, &metadata)?;
        Ok(Content { content_type, data, metadata })
    }
}

/// What the store keeps of data and metadata that came as bytes.
pub(super) fn resolve_bytes(
    place: &Place,
    content_type: &str,
    data: &[u8],
    metadata: &[u8],
) -> Result<Content, Problem> {
    check_size(place, data, metadata)?;
    check_content_type(place, content_type)?;
    check_bytes(place, "data", content_type, data)?;
    let metadata = sound_metadata(place, "metadata", metadata)?;
    Ok(Content { content_type: content_type.to_owned(), data: data.to_vec(), metadata: metadata.to_vec() })
}

/// What is said of bytes that are not the JSON that they should be.
const UNSOUND: &str = "is not JSON, or is nested too deep, or has half of a surrogate pair";

/// Metadata that came as bytes: JSON, or none. As in JSON, `null` is none.
fn sound_metadata<'m>(place: &Place, field: &str, metadata: &'m [u8]) -> Result<&'m [u8], Problem> {
    match metadata {
        b"" | b"null" => Ok(b""),
        metadata if json::embeddable(metadata).is_some() => Ok(metadata),
        _ => Err(Problem::invalid(place.of(field), UNSOUND)),
    }
}

fn check_size(place: &Place, data: &[u8], metadata: &[u8]) -> Result<(), Problem> {
    if data.len().saturating_add(metadata.len()) > EVENT_BYTES_MAX {
        return Err(Problem::too_large(place.of(""), EVENT_BYTES_MAX, "bytes of data and metadata"));
    }
    Ok(())
}

fn check_content_type(place: &Place, content_type: &str) -> Result<(), Problem> {
    if content_type == JSON {
        return Ok(());
    }
    arguments::check_content_type(&place.of("content_type"), content_type)
        .map_err(|error| problem(error, Subject::Store))
}

/// Readers get JSON as JSON, so it must be some.
fn check_bytes(place: &Place, field: &str, content_type: &str, data: &[u8]) -> Result<(), Problem> {
    if json::is_json(content_type) && json::embeddable(data).is_none() {
        let detail = format!("{UNSOUND}; its `content_type` says that it is JSON");
        return Err(Problem::invalid(place.of(field), detail));
    }
    Ok(())
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
    check_content_type(place, content_type)?;
    let data = decode_base64(place, "data_base64", text)?;
    check_bytes(place, "data_base64", content_type, &data)?;
    Ok(data)
}

fn decode_base64(place: &Place, field: &str, text: &str) -> Result<Vec<u8>, Problem> {
    STANDARD.decode(text).map_err(|error| {
        Problem::invalid(place.of(field), format!("is not base64 (RFC 4648 section 4): {error}"))
    })
}
