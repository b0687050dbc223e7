//! Expected versions.

use std::fmt;

use exesdb_sdk::types::ExpectedVersion;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, Unexpected, Visitor};

use crate::problem::{Problem, quoted};
use crate::query::number;

/// The valid values.
const CHOICE: &str = "\"any\", \"no_stream\", \"stream_exists\" or an integer from 0 to 2^64-1";

/// Parses the expected version in a query parameter.
///
/// # Errors
/// [`crate::problem::Kind::InvalidArgument`] if it is not valid.
pub(crate) fn parse_expected_version(text: &str) -> Result<ExpectedVersion, Problem> {
    word(text).or_else(|| number(text).map(ExpectedVersion::Exact)).ok_or_else(|| {
        Problem::invalid("expected_version", format!("must be {CHOICE}, not {}", quoted(text)))
    })
}

fn word(text: &str) -> Option<ExpectedVersion> {
    match text {
        "any" => Some(ExpectedVersion::Any),
        "no_stream" => Some(ExpectedVersion::NoStream),
        "stream_exists" => Some(ExpectedVersion::StreamExists),
        _ => None,
    }
}

/// Reads the expected version in a body.
pub(super) struct Expected;

impl<'de> DeserializeSeed<'de> for Expected {
    type Value = ExpectedVersion;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ExpectedVersion, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Expected {
    type Value = ExpectedVersion;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(CHOICE)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ExpectedVersion, E> {
        word(text).ok_or_else(|| E::invalid_value(Unexpected::Other(&quoted(text)), &self))
    }

    fn visit_u64<E: Error>(self, version: u64) -> Result<ExpectedVersion, E> {
        Ok(ExpectedVersion::Exact(version))
    }
}
