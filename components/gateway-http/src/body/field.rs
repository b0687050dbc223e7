//! The path of the field that is being decoded, and the problem that ends the decoding.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde_json::error::Category;

use crate::limits::DETAIL_BYTES_MAX;
use crate::problem::{Kind, Problem, quoted};

/// The path of the current field. All visitors of a body share it, because serde passes them no context.
#[derive(Debug)]
pub(super) struct FieldPath {
    /// The name of the whole.
    root: &'static str,
    /// The enclosing lists, the outermost first, each with the index of the current element.
    lists: RefCell<Vec<(&'static str, usize)>>,
    /// The field of the innermost object.
    field: Cell<&'static str>,
    /// The problem that ended the decoding, unless serde's own error describes it.
    rejection: RefCell<Option<Problem>>,
}

impl FieldPath {
    /// The path of a whole with this name.
    pub(super) fn new(root: &'static str) -> Self {
        Self { root, lists: RefCell::default(), field: Cell::default(), rejection: RefCell::default() }
    }

    /// Enters the first element of a list.
    pub(super) fn enter(&self, list: &'static str) {
        self.lists.borrow_mut().push((list, 0));
        self.field.set("");
    }

    /// Moves to an element of the innermost list.
    pub(super) fn go_to(&self, index: usize) {
        if let Some((_, at)) = self.lists.borrow_mut().last_mut() {
            *at = index;
        }
        self.field.set("");
    }

    /// Leaves the innermost list.
    pub(super) fn leave(&self) {
        self.lists.borrow_mut().pop();
        self.field.set("");
    }

    /// The full name of a field of the current object.
    pub(super) fn name_of(&self, field: &str) -> String {
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

    /// Ends the decoding with a problem, which is kept here. Returns the error for serde.
    pub(super) fn reject<E: Error>(&self, problem: Problem) -> E {
        let error = E::custom(&problem.detail);
        self.rejection.replace(Some(problem));
        error
    }

    /// Ends the decoding because of a field of the current object.
    pub(super) fn reject_field<E: Error>(&self, field: &str, detail: impl AsRef<str>) -> E {
        self.reject(Problem::invalid(self.name_of(field), detail))
    }

    /// The problem that corresponds to serde's error.
    fn problem(&self, error: &serde_json::Error) -> Problem {
        if let Some(rejection) = self.rejection.take() {
            return rejection;
        }
        let (kind, mut detail) = match error.classify() {
            Category::Data => (Kind::InvalidArgument, error.to_string()),
            Category::Syntax | Category::Eof | Category::Io => {
                (Kind::MalformedBody, format!("is not JSON: {error}"))
            }
        };
        // Serde quotes the client's text at any length.
        if detail.len() > DETAIL_BYTES_MAX {
            detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
            detail.push_str("...");
        }
        Problem::of_field(kind, self.name_of(self.field.get()), detail)
    }
}

/// Decodes a whole body with `seed`, which shares `path`.
pub(super) fn read<'de, S>(body: &'de [u8], path: &FieldPath, seed: S) -> Result<S::Value, Problem>
where
    S: DeserializeSeed<'de>,
{
    let text = std::str::from_utf8(body).map_err(|error| {
        let detail = format!("is not UTF-8 from byte {} on", error.valid_up_to());
        Problem::of_field(Kind::MalformedBody, path.name_of(""), detail)
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    seed.deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value))
        .map_err(|error| path.problem(&error))
}

/// The fields of one object: each known, each at most once.
pub(super) struct Fields<'p> {
    path: &'p FieldPath,
    known: &'static [&'static str],
    /// The fields read so far: one bit for each of `known`, of which there are at most 32.
    seen: u32,
}

impl<'p> Fields<'p> {
    /// Reads an object whose fields are among `known`.
    pub(super) fn new(path: &'p FieldPath, known: &'static [&'static str]) -> Self {
        Self { path, known, seen: 0 }
    }

    /// The next field's name; none at the end of the object.
    pub(super) fn next<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
    ) -> Result<Option<&'static str>, A::Error> {
        self.path.field.set("");
        let name = map.next_key_seed(FieldName { path: self.path, known: self.known })?;
        let Some((index, name)) = name else { return Ok(None) };
        if self.seen & 1 << index != 0 {
            return Err(self.path.reject_field(name, "must be given only once"));
        }
        self.seen |= 1 << index;
        self.path.field.set(name);
        Ok(Some(name))
    }
}

struct FieldName<'p> {
    path: &'p FieldPath,
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
                Err(self.path.reject_field(name.trim_matches('`'), detail))
            }
        }
    }
}
