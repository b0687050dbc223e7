//! The fields that events and snapshots share: `data` or `data_base64` with `content_type`, and `metadata` or
//! `metadata_base64`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use exesdb_sdk::arguments;
use exesdb_sdk::packed::says_json;
use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::field::FieldPath;
use crate::json;
use crate::limits::EVENT_BYTES_MAX;
use crate::problem::Problem;
use crate::store_error::{Subject, problem};

/// The content type of `data`.
const JSON: &str = "application/json";

/// The fields as given. JSON is kept as the client wrote it.
#[derive(Debug, Default)]
pub(super) struct ContentFields<'de> {
    data: Option<&'de RawValue>,
    data_base64: Option<String>,
    content_type: Option<String>,
    metadata: Option<&'de RawValue>,
    metadata_base64: Option<String>,
}

/// The content in the form that the store keeps.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content<'de> {
    pub(super) content_type: Cow<'de, str>,
    pub(super) data: Cow<'de, [u8]>,
    pub(super) metadata: Cow<'de, [u8]>,
}

impl<'de> ContentFields<'de> {
    /// Reads the value of the field `name`, which must be one of these.
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

    /// Checks the fields against each other and against the limits.
    pub(super) fn resolve(self, path: &FieldPath) -> Result<Content<'de>, Problem> {
        let (content_type, data) = match (self.data, self.data_base64, self.content_type) {
            (Some(data), None, None) => (Cow::Borrowed(JSON), Cow::Borrowed(valid_json(path, "data", data)?)),
            (Some(data), None, Some(content_type)) => {
                check_content_type(path, &content_type)?;
                if !says_json(&content_type) {
                    let detail = "does not say JSON, which `data` is; give other bytes as `data_base64`";
                    return Err(Problem::invalid(path.name_of("content_type"), detail));
                }
                let data = valid_json(path, "data", data)?;
                (Cow::Owned(content_type), Cow::Borrowed(data))
            }
            (Some(_), Some(_), _) => {
                return Err(Problem::invalid(path.name_of("data_base64"), "cannot stand beside `data`"));
            }
            (None, Some(text), Some(content_type)) => {
                let data = data_of_base64(path, &text, &content_type)?;
                (Cow::Owned(content_type), Cow::Owned(data))
            }
            (None, Some(_), None) => {
                return Err(Problem::invalid(
                    path.name_of("content_type"),
                    "is required beside `data_base64`",
                ));
            }
            (None, None, Some(_)) => {
                let detail = "or `data` is required beside `content_type`";
                return Err(Problem::invalid(path.name_of("data_base64"), detail));
            }
            (None, None, None) => {
                let detail = "is required: a JSON value, or bytes as `data_base64` with `content_type`";
                return Err(Problem::invalid(path.name_of("data"), detail));
            }
        };
        let metadata = match (self.metadata, self.metadata_base64) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid(
                    path.name_of("metadata_base64"),
                    "cannot stand beside `metadata`",
                ));
            }
            (None, None) => Cow::Borrowed(&[][..]),
            (Some(metadata), None) if metadata.get() == "null" => Cow::Borrowed(&[][..]),
            (Some(metadata), None) => Cow::Borrowed(valid_json(path, "metadata", metadata)?),
            (None, Some(text)) => Cow::Owned(metadata_of_base64(path, &text)?),
        };
        check_size(path, &data, &metadata)?;
        Ok(Content { content_type, data, metadata })
    }
}

/// The detail for bytes that should be JSON and are not.
const INVALID_JSON: &str = "is not JSON, or is nested too deep, or has half of a surrogate pair";

/// Metadata that was sent as bytes: JSON, or nothing. As in JSON bodies, `null` is nothing.
fn metadata_of_base64(path: &FieldPath, text: &str) -> Result<Vec<u8>, Problem> {
    const FIELD: &str = "metadata_base64";
    let metadata = decode_base64(path, FIELD, text)?;
    match metadata.as_slice() {
        b"" | b"null" => Ok(Vec::new()),
        json if json::is_valid(json) => Ok(metadata),
        _ => Err(Problem::invalid(path.name_of(FIELD), INVALID_JSON)),
    }
}

pub(super) fn check_size(path: &FieldPath, data: &[u8], metadata: &[u8]) -> Result<(), Problem> {
    if data.len().saturating_add(metadata.len()) > EVENT_BYTES_MAX {
        return Err(Problem::too_large(path.name_of(""), EVENT_BYTES_MAX, "bytes of data and metadata"));
    }
    Ok(())
}

pub(super) fn check_content_type(path: &FieldPath, content_type: &str) -> Result<(), Problem> {
    if content_type == JSON {
        return Ok(());
    }
    arguments::check_content_type(&path.name_of("content_type"), content_type)
        .map_err(|error| problem(error, Subject::Store))
}

fn valid_json<'de>(path: &FieldPath, field: &str, value: &'de RawValue) -> Result<&'de [u8], Problem> {
    // The size is checked first, which saves the scan of an oversized value.
    if value.get().len() > EVENT_BYTES_MAX {
        return Err(Problem::too_large(path.name_of(""), EVENT_BYTES_MAX, "bytes of data and metadata"));
    }
    json::find_issue(value.get())
        .map_err(|issue| Problem::invalid(path.name_of(field), issue.to_string()))?;
    Ok(value.get().as_bytes())
}

/// Data that was sent as bytes. With a content type that says JSON it is JSON, because responses embed it.
fn data_of_base64(path: &FieldPath, text: &str, content_type: &str) -> Result<Vec<u8>, Problem> {
    const FIELD: &str = "data_base64";
    check_content_type(path, content_type)?;
    let data = decode_base64(path, FIELD, text)?;
    if says_json(content_type) && !json::is_valid(&data) {
        let detail = format!("{INVALID_JSON}; its `content_type` says that it is JSON");
        return Err(Problem::invalid(path.name_of(FIELD), detail));
    }
    Ok(data)
}

fn decode_base64(path: &FieldPath, field: &str, text: &str) -> Result<Vec<u8>, Problem> {
    STANDARD.decode(text).map_err(|error| {
        Problem::invalid(path.name_of(field), format!("is not base64 (RFC 4648 section 4): {error}"))
    })
}
