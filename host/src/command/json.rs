//! Arguments that are JSON.

use serde_json::value::RawValue;

/// Checks an argument that is JSON, and keeps it byte for byte.
pub(super) fn parse_json(text: &str) -> Result<Box<RawValue>, String> {
    RawValue::from_string(text.to_owned()).map_err(|error| format!("not JSON: {error}"))
}
