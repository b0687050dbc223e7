//! A table of the file: its values by the keys of the schema, and what is wrong with a value of another type or range.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::schema::{self, Flag, NAMES_MAX, Names, Number, Text};
use super::source::{Place, SourceText, Violation};

/// A value and its place in the text.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// A table of the file.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) source: SourceText<'a>,
    values: &'a DeTable<'a>,
    span: Range<usize>,
}

impl<'a> Table<'a> {
    /// The whole file, if it has no keys but those of the schema.
    pub(super) fn top(values: &'a Spanned<DeTable<'a>>, source: SourceText<'a>) -> Result<Self, Violation> {
        let table = Self { source, values: values.get_ref(), span: values.span() };
        table.check_keys(&schema::TOP_TABLE)
    }

    /// A value of this table that must itself be a table, whatever its keys are.
    pub(super) fn inner(&self, name: &str, value: &'a Value<'a>) -> Result<Self, Violation> {
        match value.get_ref() {
            DeValue::Table(values) => Ok(Self { source: self.source, values, span: value.span() }),
            _ => Err(self.source.wrong(name, value, "a table")),
        }
    }

    /// The table of this name, if there is one.
    pub(super) fn table(&self, name: &str) -> Result<Option<Self>, Violation> {
        self.get(name).map(|value| self.inner(name, value)).transpose()
    }

    /// This table, if it has no keys but those of the schema.
    pub(super) fn check_keys(self, schema: &schema::Table) -> Result<Self, Violation> {
        let known = || schema.names();
        let Some(key) = self.values.keys().find(|key| known().all(|name| name != key.get_ref())) else {
            return Ok(self);
        };
        let known: Vec<String> = known().map(|name| format!("`{name}`")).collect();
        let (name, known) = (key.get_ref(), known.join(", "));
        Err(Violation::at(key, format!("unknown field `{name}`, expected one of {known}")))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value<'a>> {
        self.values.get(name)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a Spanned<DeString<'a>>, &'a Value<'a>)> {
        self.values.iter()
    }

    /// Where a key's value is, if the table has the key.
    pub(super) fn place(&self, name: &str) -> Option<Place> {
        Some(self.source.place(&self.get(name)?.span()))
    }

    /// The violation of a rule that the whole table breaks.
    pub(super) fn violation(&self, message: impl Into<String>) -> Violation {
        Violation { span: self.span.clone(), message: message.into() }
    }

    pub(super) fn text(&self, key: &Text) -> Result<Option<&'a str>, Violation> {
        let text = |value| self.source.string(key.name, value, key.expected);
        self.get(key.name).map(text).transpose()
    }

    pub(super) fn number(&self, key: &Number) -> Result<Option<u32>, Violation> {
        let Some(value) = self.get(key.name) else { return Ok(None) };
        let number = integer(value).and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (key.min..=key.max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let expected = format!("a whole number from {} to {}", key.min, key.max);
                Err(self.source.wrong(key.name, value, &expected))
            }
        }
    }

    pub(super) fn flag(&self, key: &Flag) -> Result<Option<bool>, Violation> {
        let Some(value) = self.get(key.name) else { return Ok(None) };
        let flag = value.get_ref().as_bool();
        flag.map(Some).ok_or_else(|| self.source.wrong(key.name, value, "true or false"))
    }

    /// A list of names, each in the form that `normalize` gives it. It gives none to a text that is not such a name.
    pub(super) fn names(
        &self,
        key: &Names,
        normalize: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<String>, Violation> {
        let Some(value) = self.get(key.name) else { return Ok(Vec::new()) };
        let Names { name, expected, .. } = key;
        let Some(list) = value.get_ref().as_array() else {
            return Err(self.source.wrong(name, value, &format!("a list of texts, each {expected}")));
        };
        if list.len() > NAMES_MAX {
            let message = format!("{name} has {} entries; at most {NAMES_MAX} fit", list.len());
            return Err(Violation::at(value, message));
        }
        let one = |(index, item): (usize, &Value<'_>)| {
            let text = item.get_ref().as_str().and_then(&normalize);
            text.ok_or_else(|| {
                let message = self.source.wrong(&format!("{name}[{index}]"), item, expected).message;
                Violation::at(value, message)
            })
        };
        list.iter().enumerate().map(one).collect()
    }
}

impl SourceText<'_> {
    pub(super) fn string<'a>(
        &self,
        name: &str,
        value: &'a Value<'_>,
        expected: &str,
    ) -> Result<&'a str, Violation> {
        value.get_ref().as_str().ok_or_else(|| self.wrong(name, value, expected))
    }

    /// "`name` is this; it must be that", with tables and arrays named by their kind instead of printed.
    pub(super) fn wrong(&self, name: &str, value: &Value<'_>, expected: &str) -> Violation {
        let is = match value.get_ref() {
            DeValue::Table(_) => "a table".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::String(text) => format!("{text:?}"),
            _ => self.text[value.span()].to_owned(),
        };
        Violation::at(value, format!("{name} is {is}; it must be {expected}"))
    }
}

/// None for another type, and for a number outside 64 bits.
pub(super) fn integer(value: &Value<'_>) -> Option<i64> {
    let number = value.get_ref().as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}
