//! The place in a body that is being read, and the refusal that ends the reading.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde_json::error::Category;

use crate::problem::{Kind, Problem, quoted};

/// Where the reader is. Shared by the visitors of one body, which serde hands no context of their own.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The index in `events`, while one of them is read.
    index: Cell<Option<usize>>,
    /// The field of the innermost object.
    field: Cell<&'static str>,
    /// Why the reading was given up, where serde's own words would not do.
    refusal: RefCell<Option<Problem>>,
}

impl Place {
    /// Enters (or, with none, leaves) an event.
    pub(super) fn enter(&self, index: Option<usize>) {
        self.index.set(index);
        self.field.set("");
    }

    /// The name of a field of the object that is being read.
    pub(super) fn of(&self, field: &str) -> String {
        match self.index.get() {
            Some(index) if field.is_empty() => format!("events[{index}]"),
            Some(index) => format!("events[{index}].{field}"),
            None if field.is_empty() => "body".to_owned(),
            None => field.to_owned(),
        }
    }

    /// Gives the reading up. What comes back is serde's error to return; the problem is kept here.
    pub(super) fn refuse<E: Error>(&self, problem: Problem) -> E {
        let error = E::custom(&problem.detail);
        self.refusal.replace(Some(problem));
        error
    }

    /// Gives the reading up because of one field of the object that is being read.
    pub(super) fn refuse_field<E: Error>(&self, field: &str, detail: impl AsRef<str>) -> E {
        self.refuse(Problem::invalid(self.of(field), detail))
    }

    /// The problem behind an error of serde.
    fn problem(&self, error: &serde_json::Error) -> Problem {
        if let Some(refusal) = self.refusal.take() {
            return refusal;
        }
        let kind = match error.classify() {
            Category::Data => Kind::InvalidArgument,
            Category::Syntax | Category::Eof | Category::Io => Kind::MalformedBody,
        };
        Problem::of_field(kind, self.of(self.field.get()), error.to_string())
    }
}

/// Reads a whole body with `seed`, which shares `place`.
pub(super) fn read<'de, S>(body: &'de [u8], place: &Place, seed: S) -> Result<S::Value, Problem>
where
    S: DeserializeSeed<'de>,
{
    let text = std::str::from_utf8(body).map_err(|error| {
        let detail = format!("is not UTF-8 from byte {} on", error.valid_up_to());
        Problem::of_field(Kind::MalformedBody, "body", detail)
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    seed.deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value))
        .map_err(|error| place.problem(&error))
}

/// The fields of one object: each known, each at most once.
pub(super) struct Fields<'p> {
    place: &'p Place,
    known: &'static [&'static str],
    met: Vec<&'static str>,
}

impl<'p> Fields<'p> {
    /// Reads an object whose fields are among `known`.
    pub(super) fn new(place: &'p Place, known: &'static [&'static str]) -> Self {
        Self { place, known, met: Vec::with_capacity(known.len()) }
    }

    /// The next field's name; none at the end of the object.
    pub(super) fn next<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
    ) -> Result<Option<&'static str>, A::Error> {
        self.place.field.set("");
        let name = map.next_key_seed(FieldName { place: self.place, known: self.known })?;
        if let Some(name) = name {
            if self.met.contains(&name) {
                return Err(self.place.refuse_field(name, "must be given only once"));
            }
            self.met.push(name);
            self.place.field.set(name);
        }
        Ok(name)
    }
}

struct FieldName<'p> {
    place: &'p Place,
    known: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for FieldName<'_> {
    type Value = &'static str;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldName<'_> {
    type Value = &'static str;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        match self.known.iter().find(|known| **known == name) {
            Some(known) => Ok(known),
            None => {
                let name = quoted(name);
                let detail = format!("is not a known field; there are {}", self.known.join(", "));
                Err(self.place.refuse_field(name.trim_matches('`'), detail))
            }
        }
    }
}
