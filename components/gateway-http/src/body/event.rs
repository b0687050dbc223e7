//! The fields of an event in a body.

use std::borrow::Cow;

use exesdb_sdk::packed::{EventParts, TooLong, push_event};
use serde::de::MapAccess;

use super::content::ContentFields;
use super::field::{FieldPath, Fields};
use super::list::{List, Text, check_text};
use crate::limits::{EVENT_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX};
use crate::problem::Problem;

/// An event that is to be written, where it lies in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent<'de> {
    /// The event's id; empty if the client sent none.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// The media type of the data.
    pub content_type: Cow<'de, str>,
    /// The payload.
    pub data: Cow<'de, [u8]>,
    /// JSON about the event; empty for none.
    pub metadata: Cow<'de, [u8]>,
    /// The event's labels.
    pub tags: Vec<String>,
}

impl NewEvent<'_> {
    /// Appends the frame of the event.
    ///
    /// # Errors
    /// [`TooLong`], if a text is longer than its limit.
    pub(crate) fn pack(
        &self,
        out: &mut Vec<u8>,
        stream_id: &str,
        id: &str,
        (position, version, created): (u64, u64, u64),
    ) -> Result<(), TooLong> {
        let parts = EventParts {
            // The host says what is JSON.
            flags: 0,
            version,
            created,
            stream_id,
            id,
            event_type: &self.event_type,
            content_type: &self.content_type,
            tags: &self.tags,
            data: &self.data,
            metadata: &self.metadata,
        };
        push_event(out, position, &parts)
    }

    /// Bytes of its tags.
    pub(crate) fn tag_bytes(&self) -> usize {
        self.tags.iter().map(String::len).sum()
    }
}

/// The fields of an event as given.
#[derive(Debug, Default)]
pub(super) struct EventFields<'de> {
    id: Option<String>,
    event_type: Option<String>,
    tags: Vec<String>,
    fragments: ContentFields<'de>,
}

impl<'de> EventFields<'de> {
    /// The names of the fields.
    pub(super) const NAMES: [&'static str; 8] =
        ["id", "type", "data", "metadata", "data_base64", "content_type", "metadata_base64", "tags"];

    /// Reads the value of the field `name`, which must be one of [`Self::NAMES`].
    pub(super) fn read<A: MapAccess<'de>>(
        &mut self,
        path: &FieldPath,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "id" => {
                let given: String = map.next_value()?;
                check_text(path, "id", &given, EVENT_ID_BYTES_MAX)?;
                self.id = Some(given);
            }
            "type" => {
                let given: String = map.next_value()?;
                check_text(path, "type", &given, EVENT_TYPE_BYTES_MAX)?;
                self.event_type = Some(given);
            }
            "tags" => {
                self.tags = map.next_value_seed(List {
                    path,
                    name: "tags",
                    bounds: (0, TAGS_MAX),
                    unit: "tags",
                    element: Text { path, bytes_max: TAG_BYTES_MAX },
                })?;
            }
            other => self.fragments.read(other, map)?,
        }
        Ok(())
    }

    /// Checks the fields against each other. The id of an event without one is empty.
    pub(super) fn finish(self, path: &FieldPath) -> Result<NewEvent<'de>, Problem> {
        let required = || Problem::invalid(path.name_of("type"), "is required");
        let event_type = self.event_type.ok_or_else(required)?;
        check_distinct(path, &self.tags)?;
        let content = self.fragments.resolve(path)?;
        Ok(NewEvent {
            id: self.id.unwrap_or_default(),
            event_type,
            content_type: content.content_type,
            data: content.data,
            metadata: content.metadata,
            tags: self.tags,
        })
    }

    /// Reads a whole object that has only these fields.
    pub(super) fn read_all<A: MapAccess<'de>>(
        path: &FieldPath,
        map: &mut A,
    ) -> Result<NewEvent<'de>, A::Error> {
        let mut fields = Fields::new(path, &Self::NAMES);
        let mut event = Self::default();
        while let Some(name) = fields.next(map)? {
            event.read(path, name, map)?;
        }
        event.finish(path).map_err(|problem| path.reject(problem))
    }
}

/// Checks that no tag is given twice.
pub(super) fn check_distinct<T: PartialEq>(path: &FieldPath, tags: &[T]) -> Result<(), Problem> {
    for (index, tag) in tags.iter().enumerate() {
        if tags.iter().take(index).any(|before| before == tag) {
            return Err(Problem::invalid(path.name_of(&format!("tags[{index}]")), "stands there twice"));
        }
    }
    Ok(())
}
