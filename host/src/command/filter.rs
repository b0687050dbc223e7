//! The options that filter events of the whole store.

use clap::Args;
use serde_json::value::RawValue;

use super::json::parse_json;
use crate::client::Filter;

/// Filters of the whole store: an event has to match all of them. They conflict with a stream.
#[derive(Debug, Clone, Default, Args)]
#[group(conflicts_with = "stream", multiple = true)]
#[command(next_help_heading = "Filters of the whole store")]
pub struct FilterOptions {
    /// Only events of this type; given several times, of any of them.
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,

    /// Only events with this tag; given several times, with all of them.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,

    /// Only events that match any of these: a JSON array of {"types": [..], "tags": [..]}.
    #[arg(long, value_name = "JSON", value_parser = parse_json, conflicts_with_all = ["types", "tags"])]
    pub query: Option<Box<RawValue>>,

    /// Only events of streams that begin with this; given several times, with any of them.
    #[arg(long = "stream-prefix", value_name = "PREFIX")]
    pub stream_prefixes: Vec<String>,

    /// Only events of streams that match this regular expression.
    #[arg(long, value_name = "REGEX")]
    pub stream_pattern: Option<String>,

    /// Only events of types that match this regular expression.
    #[arg(long, value_name = "REGEX")]
    pub type_pattern: Option<String>,

    /// Only events with this correlation id in the metadata (events appended while the store's setting `index-correlation` is on).
    #[arg(long, value_name = "ID")]
    pub correlation_id: Option<String>,

    /// Only events with this causation id in the metadata (events appended while the store's setting `index-correlation` is on).
    #[arg(long, value_name = "ID")]
    pub causation_id: Option<String>,
}

impl FilterOptions {
    /// Converts the options into the client's filter.
    pub fn filter(self) -> Filter {
        Filter {
            types: self.types,
            tags: self.tags,
            query: self.query,
            stream_prefixes: self.stream_prefixes,
            stream_pattern: self.stream_pattern,
            type_pattern: self.type_pattern,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
        }
    }
}
