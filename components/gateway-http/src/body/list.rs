//! Lists of bounded length, and their texts.

use std::convert::Infallible;
use std::fmt;

use exesdb_sdk::arguments;
use serde::Deserializer;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};

use super::field::FieldPath;
use crate::problem::Problem;
use crate::store_error::{Subject, problem};

/// Reads a list whose elements `element` reads.
pub(super) struct List<'p, E> {
    pub(super) path: &'p FieldPath,
    /// The field that holds the list.
    pub(super) name: &'static str,
    /// The minimum and maximum number of elements.
    pub(super) bounds: (usize, usize),
    /// The unit of the bounds in error messages: `events per append`.
    pub(super) unit: &'static str,
    pub(super) element: E,
}

impl<E> List<'_, E> {
    fn expected(&self) -> String {
        format!("{} to {} {}", self.bounds.0, self.bounds.1, self.unit)
    }
}

impl<'de, E: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for List<'_, E> {
    type Value = Vec<E::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, E: DeserializeSeed<'de> + Copy> Visitor<'de> for List<'_, E> {
    type Value = Vec<E::Value>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "an array of {}", self.expected())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let (least, most) = self.bounds;
        let mut elements = Vec::new();
        self.path.enter(self.name);
        loop {
            self.path.go_to(elements.len());
            let element = if elements.len() == most {
                // Checks for an element over the limit without decoding it.
                let over_limit = OverLimit { path: self.path, name: self.name, most, unit: self.unit };
                match sequence.next_element_seed(over_limit)? {
                    Some(never) => match never {},
                    None => None,
                }
            } else {
                sequence.next_element_seed(self.element)?
            };
            match element {
                Some(element) => elements.push(element),
                None => break,
            }
        }
        self.path.leave();
        if elements.len() < least {
            let detail = format!("must hold {}", self.expected());
            return Err(self.path.reject_field(self.name, detail));
        }
        Ok(elements)
    }
}

/// Rejects the first element over the limit.
struct OverLimit<'p> {
    path: &'p FieldPath,
    name: &'static str,
    most: usize,
    unit: &'static str,
}

impl<'de> DeserializeSeed<'de> for OverLimit<'_> {
    type Value = Infallible;

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<Self::Value, D::Error> {
        self.path.leave();
        Err(self.path.reject(Problem::too_large(self.path.name_of(self.name), self.most, self.unit)))
    }
}

/// Reads a list element that is a text of 1 to `bytes_max` bytes without control characters.
#[derive(Clone, Copy)]
pub(super) struct Text<'p> {
    pub(super) path: &'p FieldPath,
    pub(super) bytes_max: usize,
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_string(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = String;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a text of 1 to {} bytes", self.bytes_max)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        check_text(self.path, "", text, self.bytes_max)?;
        Ok(text.to_owned())
    }
}

/// Checks a text of 1 to `bytes_max` bytes without control characters.
pub(super) fn check_text<E: serde::de::Error>(
    path: &FieldPath,
    field: &str,
    text: &str,
    bytes_max: usize,
) -> Result<(), E> {
    // The field's name is built only for an invalid text.
    arguments::check_text("", text, bytes_max)
        .or_else(|_| arguments::check_text(&path.name_of(field), text, bytes_max))
        .map_err(|error| path.reject(problem(error, Subject::Store)))
}
