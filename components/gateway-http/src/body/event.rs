//! An event in a body.

use serde::de::MapAccess;

use super::content::Fragments;
use super::field::{Fields, Place};
use super::list::{List, Text, check_text};
use crate::limits::{EVENT_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX};
use crate::problem::Problem;
use crate::store::EventData;

/// The fields of an event as they were met.
#[derive(Debug, Default)]
pub(super) struct EventFields<'de> {
    id: Option<String>,
    event_type: Option<String>,
    tags: Vec<String>,
    fragments: Fragments<'de>,
}

impl<'de> EventFields<'de> {
    /// Their names.
    pub(super) const NAMES: [&'static str; 8] =
        ["id", "type", "data", "metadata", "data_base64", "content_type", "metadata_base64", "tags"];

    /// Reads the value of one of these fields; any other name is a mistake of the caller's table.
    pub(super) fn read<A: MapAccess<'de>>(
        &mut self,
        place: &Place,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "id" => {
                let given: String = map.next_value()?;
                check_text(place, "id", &given, EVENT_ID_BYTES_MAX)?;
                self.id = Some(given);
            }
            "type" => {
                let given: String = map.next_value()?;
                check_text(place, "type", &given, EVENT_TYPE_BYTES_MAX)?;
                self.event_type = Some(given);
            }
            "tags" => {
                self.tags = map.next_value_seed(List {
                    place,
                    name: "tags",
                    bounds: (0, TAGS_MAX),
                    unit: "tags",
                    element: Text { place, bytes_max: TAG_BYTES_MAX },
                })?;
            }
            other => self.fragments.read(other, map)?,
        }
        Ok(())
    }

    /// Checks them against each other. An event that was given no id has an empty one.
    pub(super) fn finish(self, place: &Place) -> Result<EventData, Problem> {
        let required = || Problem::invalid(place.of("type"), "is required");
        let event_type = self.event_type.ok_or_else(required)?;
        different(place, &self.tags)?;
        let content = self.fragments.resolve(place)?;
        Ok(EventData {
            id: self.id.unwrap_or_default(),
            event_type,
            content_type: content.content_type,
            data: content.data,
            metadata: content.metadata,
            tags: self.tags,
        })
    }

    /// Reads a whole object that has these fields only.
    pub(super) fn read_all<A: MapAccess<'de>>(place: &Place, map: &mut A) -> Result<EventData, A::Error> {
        let mut fields = Fields::new(place, &Self::NAMES);
        let mut event = Self::default();
        while let Some(name) = fields.next(map)? {
            event.read(place, name, map)?;
        }
        event.finish(place).map_err(|problem| place.refuse(problem))
    }
}

/// Checks that no tag stands twice.
pub(super) fn different(place: &Place, tags: &[String]) -> Result<(), Problem> {
    for (index, tag) in tags.iter().enumerate() {
        if tags.iter().take(index).any(|before| before == tag) {
            return Err(Problem::invalid(place.of(&format!("tags[{index}]")), "stands there twice"));
        }
    }
    Ok(())
}
