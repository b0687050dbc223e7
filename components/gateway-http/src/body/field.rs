//! The place in a body that is being read, and the refusal that ends the reading.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde_json::error::Category;

use crate::limits::DETAIL_BYTES_MAX;
use crate::problem::{Kind, Problem, quoted};

/// Where the reader is. Shared by the visitors of one body, which serde hands no context of their own.
#[derive(Debug)]
pub(super) struct Place {
    /// What the whole is called.
    root: &'static str,
    /// The lists that the reader is in, the outermost first, each with the index of its element.
    lists: RefCell<Vec<(&'static str, usize)>>,
    /// The field of the innermost object.
    field: Cell<&'static str>,
    /// Why the reading was given up, where serde's own words would not do.
    refusal: RefCell<Option<Problem>>,
}

impl Place {
    /// At the beginning of a whole with this name.
    pub(super) fn new(root: &'static str) -> Self {
        Self { root, lists: RefCell::default(), field: Cell::default(), refusal: RefCell::default() }
    }

    /// Enters the first element of a list.
    pub(super) fn enter(&self, list: &'static str) {
        self.lists.borrow_mut().push((list, 0));
        self.field.set("");
    }

    /// Goes on to an element of the list that was entered last.
    pub(super) fn go_to(&self, index: usize) {
        if let Some((_, at)) = self.lists.borrow_mut().last_mut() {
            *at = index;
        }
        self.field.set("");
    }

    /// Leaves the list that was entered last.
    pub(super) fn leave(&self) {
        self.lists.borrow_mut().pop();
        self.field.set("");
    }

    /// The name of a field of the object that is being read.
    pub(super) fn of(&self, field: &str) -> String {
        let mut name = String::new();
        for (list, index) in self.lists.borrow().iter() {
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&format!("{list}[{index}]"));
        }
        match (name.is_empty(), field.is_empty()) {
            (true, true) => self.root.to_owned(),
            (true, false) => field.to_owned(),
            (false, true) => name,
            (false, false) => format!("{name}.{field}"),
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
        // Serde repeats the text that it met, whatever its length.
        let mut detail = error.to_string();
        if detail.len() > DETAIL_BYTES_MAX {
            detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
            detail.push_str("...");
        }
        Problem::of_field(kind, self.of(self.field.get()), detail)
    }
}

/// Reads a whole body with `seed`, which shares `place`.
pub(super) fn read<'de, S>(body: &'de [u8], place: &Place, seed: S) -> Result<S::Value, Problem>
where
    S: DeserializeSeed<'de>,
{
    let text = std::str::from_utf8(body).map_err(|error| {
        let detail = format!("is not UTF-8 from byte {} on", error.valid_up_to());
        Problem::of_field(Kind::MalformedBody, place.of(""), detail)
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
    /// One bit for each of `known`, of which no object has more than 32.
    met: u32,
}

impl<'p> Fields<'p> {
    /// Reads an object whose fields are among `known`.
    pub(super) fn new(place: &'p Place, known: &'static [&'static str]) -> Self {
        Self { place, known, met: 0 }
    }

    /// The next field's name; none at the end of the object.
    pub(super) fn next<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
    ) -> Result<Option<&'static str>, A::Error> {
        self.place.field.set("");
        let name = map.next_key_seed(FieldName { place: self.place, known: self.known })?;
        let Some((index, name)) = name else { return Ok(None) };
        if self.met & 1 << index != 0 {
            return Err(self.place.refuse_field(name, "must be given only once"));
        }
        self.met |= 1 << index;
        self.place.field.set(name);
        Ok(Some(name))
    }
}

struct FieldName<'p> {
    place: &'p Place,
    known: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for FieldName<'_> {
    type Value = (usize, &'static str);

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldName<'_> {
    type Value = (usize, &'static str);

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        match self.known.iter().enumerate().find(|(_, known)| **known == name) {
            Some((index, known)) => Ok((index, known)),
            None => {
                let name = quoted(name);
                let detail = format!("is not a known field; there are {}", self.known.join(", "));
                Err(self.place.refuse_field(name.trim_matches('`'), detail))
            }
        }
    }
}
