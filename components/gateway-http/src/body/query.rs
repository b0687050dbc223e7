//! Queries, which select events by type and tag.

use std::fmt;

use exesdb_sdk::arguments;
use exesdb_sdk::types::QueryItem;
use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};

use super::event::check_distinct;
use super::field::{FieldPath, Fields, read};
use super::list::{List, Text};
use crate::limits::{EVENT_TYPE_BYTES_MAX, QUERY_ITEMS_MAX, QUERY_TYPES_MAX, TAG_BYTES_MAX, TAGS_MAX};
use crate::problem::Problem;
use crate::store_error::{Subject, problem};

/// Decodes the query parameter `query`: `[{"types"?: [..], "tags"?: [..]}]`.
///
/// # Errors
/// The problem to respond with, which names the field.
pub fn decode_query(text: &str) -> Result<Vec<QueryItem>, Problem> {
    let path = FieldPath::new("query");
    read(text.as_bytes(), &path, list_of_items(&path))
}

/// Reads the items of a query.
pub(super) fn list_of_items(path: &FieldPath) -> List<'_, Item<'_>> {
    let bounds = (1, QUERY_ITEMS_MAX);
    List { path, name: "query", bounds, unit: "items", element: Item { path } }
}

/// Reads one item of a query.
#[derive(Clone, Copy)]
pub(super) struct Item<'p> {
    path: &'p FieldPath,
}

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = QueryItem;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<QueryItem, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = QueryItem;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an item of a query, an object with `types` and `tags`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<QueryItem, A::Error> {
        let path = self.path;
        let mut fields = Fields::new(path, &["types", "tags"]);
        let mut item = QueryItem { types: Vec::new(), tags: Vec::new() };
        while let Some(name) = fields.next(&mut map)? {
            match name {
                "types" => {
                    item.types = map.next_value_seed(List {
                        path,
                        name: "types",
                        bounds: (0, QUERY_TYPES_MAX),
                        unit: "types per item",
                        element: Text { path, bytes_max: EVENT_TYPE_BYTES_MAX },
                    })?;
                }
                _ => {
                    item.tags = map.next_value_seed(List {
                        path,
                        name: "tags",
                        bounds: (0, TAGS_MAX),
                        unit: "tags per item",
                        element: Text { path, bytes_max: TAG_BYTES_MAX },
                    })?;
                    check_distinct(path, &item.tags).map_err(|problem| path.reject(problem))?;
                }
            }
        }
        Ok(item)
    }
}

/// Checks the values of the query parameter `type`.
///
/// # Errors
/// [`crate::problem::Kind::InvalidArgument`].
pub(crate) fn check_types(types: &[String]) -> Result<(), Problem> {
    check_texts("type", types, QUERY_TYPES_MAX, EVENT_TYPE_BYTES_MAX)
}

/// Checks the values of the query parameter `tag`.
///
/// # Errors
/// [`crate::problem::Kind::InvalidArgument`].
pub(crate) fn check_tags(tags: &[String]) -> Result<(), Problem> {
    check_texts("tag", tags, TAGS_MAX, TAG_BYTES_MAX)
}

fn check_texts(name: &str, texts: &[String], most: usize, bytes_max: usize) -> Result<(), Problem> {
    if texts.len() > most {
        return Err(Problem::invalid(
            name,
            format!("is given {} times; it may be {most} times", texts.len()),
        ));
    }
    texts.iter().try_for_each(|text| {
        arguments::check_text(name, text, bytes_max).map_err(|error| problem(error, Subject::Store))
    })
}
