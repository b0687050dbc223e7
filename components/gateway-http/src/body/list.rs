//! Lists of bounded length, and the texts in them.

use std::convert::Infallible;
use std::fmt;

use exesdb_sdk::arguments;
use serde::Deserializer;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};

use super::field::Place;
use crate::problem::Problem;
use crate::store_error::{Subject, problem};

/// Reads a list whose elements `element` reads.
pub(super) struct List<'p, E> {
    pub(super) place: &'p Place,
    /// The field that holds the list.
    pub(super) name: &'static str,
    /// The least and the most elements.
    pub(super) bounds: (usize, usize),
    /// What the elements are, for people: `events per append`.
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
        self.place.enter(self.name);
        loop {
            self.place.go_to(elements.len());
            let element = if elements.len() == most {
                // One element more is looked for, but not read.
                let refused = Refused { place: self.place, name: self.name, most, unit: self.unit };
                match sequence.next_element_seed(refused)? {
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
        self.place.leave();
        if elements.len() < least {
            let detail = format!("must hold {}", self.expected());
            return Err(self.place.refuse_field(self.name, detail));
        }
        Ok(elements)
    }
}

/// The element after the last one that is allowed.
struct Refused<'p> {
    place: &'p Place,
    name: &'static str,
    most: usize,
    unit: &'static str,
}

impl<'de> DeserializeSeed<'de> for Refused<'_> {
    type Value = Infallible;

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<Self::Value, D::Error> {
        self.place.leave();
        Err(self.place.refuse(Problem::too_large(self.place.of(self.name), self.most, self.unit)))
    }
}

/// Reads a text of 1 to `bytes_max` bytes without control characters, which is a list's element.
#[derive(Clone, Copy)]
pub(super) struct Text<'p> {
    pub(super) place: &'p Place,
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
        check_text(self.place, "", text, self.bytes_max)?;
        Ok(text.to_owned())
    }
}

/// Checks a text of 1 to `bytes_max` bytes without control characters.
pub(super) fn check_text<E: serde::de::Error>(
    place: &Place,
    field: &str,
    text: &str,
    bytes_max: usize,
) -> Result<(), E> {
    // Names are put together only for those who need them: most texts are fine.
    arguments::check_text("", text, bytes_max)
        .or_else(|_| arguments::check_text(&place.of(field), text, bytes_max))
        .map_err(|error| place.refuse(problem(error, Subject::Store)))
}
