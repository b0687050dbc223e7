//! The part of JSON Schema that the document uses. It is stricter than the standard: fields that a schema does not list are
//! refused, so that the document describes every field.

use std::collections::BTreeSet;

use regex_lite::Regex;
use serde_json::Value;

use crate::{Document, object, strings};

/// Keywords without a check.
const ANNOTATIONS: [&str; 3] = ["description", "default", "contentMediaType"];

/// The beginning of the parser's error for a number that it cannot represent.
const OUT_OF_RANGE: &str = "number out of range";

/// Whether fields that a schema does not list are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fields {
    /// Not allowed, unless the schema says so.
    Listed,
    /// Allowed: the schema is one of several for the same object.
    Any,
}

impl Document {
    /// Checks a value against a schema.
    ///
    /// # Errors
    ///
    /// The path and the difference; also for an unknown keyword in the schema.
    pub fn check(&self, value: &Value, schema: &Value, what: &str) -> Result<(), String> {
        self.check_fields(value, schema, Fields::Listed, what)
    }

    fn check_fields(&self, value: &Value, schema: &Value, fields: Fields, what: &str) -> Result<(), String> {
        let choices = if schema.get("properties").is_some() { Fields::Any } else { fields };
        for (keyword, rule) in object(schema) {
            let fits = match keyword.as_str() {
                "$ref" => {
                    let reference = rule.as_str().ok_or_else(|| format!("{what}: {rule} is no reference"))?;
                    self.check_fields(value, self.target(reference), fields, what)?;
                    true
                }
                "oneOf" | "anyOf" => {
                    self.check_choices(value, rule, (keyword == "oneOf", choices), what)?;
                    true
                }
                "properties" => {
                    let is_open = fields == Fields::Any || schema.get("additionalProperties").is_some();
                    self.check_properties(value, rule, is_open, what)?;
                    true
                }
                "additionalProperties" => {
                    self.check_other_properties(value, schema, rule, what)?;
                    true
                }
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.check(item, rule, what)?;
                    }
                    true
                }
                "contentSchema" => {
                    let content = value.as_str().ok_or_else(|| format!("{what}: {value} is not a text"))?;
                    self.check(&json(content).map_err(|error| format!("{what}: {error}"))?, rule, what)?;
                    true
                }
                known if ANNOTATIONS.contains(&known) => true,
                keyword => {
                    let fits = fits_alone(value, keyword, rule);
                    fits.ok_or_else(|| format!("{what}: no test knows the keyword {keyword}: {rule}"))?
                }
            };
            if !fits {
                return Err(format!("{what}: {value} does not have the documented {keyword}: {rule}"));
            }
        }
        Ok(())
    }

    fn check_choices(
        &self,
        value: &Value,
        choices: &Value,
        (only_one, fields): (bool, Fields),
        what: &str,
    ) -> Result<(), String> {
        let choices = choices.as_array().ok_or_else(|| format!("{what}: {choices} is no list of schemas"))?;
        let complaints: Vec<String> = choices
            .iter()
            .filter_map(|choice| self.check_fields(value, choice, fields, what).err())
            .collect();
        match choices.len() - complaints.len() {
            0 => {
                Err(format!("{what}: {value} has none of the documented forms: {}", complaints.join("; or ")))
            }
            2.. if only_one => Err(format!("{what}: {value} has more than one of the documented forms")),
            _ => Ok(()),
        }
    }

    fn check_properties(
        &self,
        value: &Value,
        properties: &Value,
        is_open: bool,
        what: &str,
    ) -> Result<(), String> {
        let Some(fields) = value.as_object() else { return Ok(()) };
        for (name, field) in fields {
            match properties.get(name) {
                Some(property) => self.check(field, property, &format!("{what}: {name}"))?,
                None if is_open => {}
                None => return Err(format!("{what}: {name} is not documented")),
            }
        }
        Ok(())
    }

    /// Checks the fields that `properties` does not list.
    fn check_other_properties(
        &self,
        value: &Value,
        schema: &Value,
        rule: &Value,
        what: &str,
    ) -> Result<(), String> {
        let listed = schema.get("properties");
        let others = value.as_object().into_iter().flatten();
        for (name, field) in others.filter(|(name, _)| listed.is_none_or(|listed| listed.get(name).is_none()))
        {
            match rule {
                Value::Bool(true) => {}
                Value::Bool(false) => return Err(format!("{what}: {name} is not documented")),
                rule => self.check(field, rule, &format!("{what}: {name}"))?,
            }
        }
        Ok(())
    }
}

/// Whether a value fulfils a keyword that needs nothing else of the document; `None` for an unknown keyword.
fn fits_alone(value: &Value, keyword: &str, rule: &Value) -> Option<bool> {
    let text = value.as_str();
    let list = value.as_array();
    let length = |value: Option<usize>| value.map(|length| length as u64);
    let at_least = |length: Option<u64>| rule.as_u64().map(|min| length.is_none_or(|length| length >= min));
    let at_most = |length: Option<u64>| rule.as_u64().map(|max| length.is_none_or(|length| length <= max));
    match keyword {
        "type" => fits_type(value, rule.as_str()?),
        "enum" => Some(rule.as_array()?.contains(value)),
        "const" => Some(rule == value),
        "required" => {
            let fields = value.as_object();
            let names = strings(Some(rule));
            Some(fields.is_none_or(|fields| names.into_iter().all(|name| fields.contains_key(name))))
        }
        "minimum" => at_least(value.as_u64()),
        "maximum" => at_most(value.as_u64()),
        "minLength" => at_least(length(text.map(|text| text.chars().count()))),
        "maxLength" => at_most(length(text.map(|text| text.chars().count()))),
        // Applies to texts: for other values, it limits their JSON in a request.
        "x-max-bytes" => at_most(length(text.map(str::len))),
        "minItems" => at_least(length(list.map(Vec::len))),
        "maxItems" => at_most(length(list.map(Vec::len))),
        "uniqueItems" => {
            let texts: Option<Vec<String>> = list.map(|list| list.iter().map(ToString::to_string).collect());
            let is_unique = |texts: &Vec<String>| texts.iter().collect::<BTreeSet<_>>().len() == texts.len();
            Some(rule == false || texts.as_ref().is_none_or(is_unique))
        }
        "pattern" => {
            let pattern = Regex::new(rule.as_str()?).ok()?;
            Some(text.is_none_or(|text| pattern.is_match(text)))
        }
        "format" => fits_format(value, rule.as_str()?),
        "contentEncoding" if rule == "base64" => {
            let base64 = Regex::new("^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$");
            let base64 = base64.expect("this is a pattern");
            Some(text.is_none_or(|text| base64.is_match(text)))
        }
        _ => None,
    }
}

fn fits_type(value: &Value, name: &str) -> Option<bool> {
    match name {
        "string" => Some(value.is_string()),
        "integer" => Some(value.is_u64()),
        "boolean" => Some(value.is_boolean()),
        "null" => Some(value.is_null()),
        "array" => Some(value.is_array()),
        "object" => Some(value.is_object()),
        _ => None,
    }
}

fn fits_format(value: &Value, name: &str) -> Option<bool> {
    let Some(text) = value.as_str() else { return Some(name != "uint64" || value.is_u64()) };
    let pattern = match name {
        "date-time" => {
            "^[0-9]{4,6}-(0[1-9]|1[0-2])-([0-2][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\\.[0-9]{6}Z$"
        }
        "uri" => "^[a-z][a-z0-9+.-]*:[^ ]+$",
        _ => return None,
    };
    Some(Regex::new(pattern).expect("this is a pattern").is_match(text))
}

/// Parses JSON. Events are stored verbatim and may have numbers that cannot be represented: these become 0, because no
/// schema restricts them.
///
/// # Errors
///
/// When the text is not JSON.
pub(crate) fn json(text: &str) -> Result<Value, String> {
    let parsed = serde_json::from_str(text).or_else(|error| {
        let is_large = error.to_string().starts_with(OUT_OF_RANGE);
        if is_large { serde_json::from_str(&without_large_numbers(text)) } else { Err(error) }
    });
    parsed.map_err(|error| format!("this is not JSON: {error}: {text}"))
}

/// The same JSON, with 0 for numbers that exceed a double.
fn without_large_numbers(text: &str) -> String {
    let token = Regex::new(r#""(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*"#).expect("this is a pattern");
    let held = |token: &str| token.starts_with('"') || token.parse().is_ok_and(f64::is_finite);
    token
        .replace_all(
            text,
            |found: &regex_lite::Captures<'_>| {
                if held(&found[0]) { found[0].to_owned() } else { "0".to_owned() }
            },
        )
        .into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::json as parsed;
    use crate::Document;

    #[test]
    fn a_value_matches_its_schema_or_is_rejected() {
        let document = Document::parse(
            r##"{ "n": { "type": "integer", "maximum": 9 },
                  "list": { "properties": { "next": { "$ref": "#/list" }, "n": { "$ref": "#/n" } } } }"##,
        );
        let document = document.unwrap();
        let either = json!({ "properties": { "a": {}, "b": {} }, "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] });
        let content = json!({ "type": "string", "contentSchema": { "$ref": "#/n" } });
        let others = json!({ "additionalProperties": { "type": "string" } });
        let base64 = json!({ "contentEncoding": "base64" });
        let time = json!({ "format": "date-time" });
        for (schema, value, fits) in [
            (json!({ "$ref": "#/n" }), json!(9), true),
            (json!({ "$ref": "#/n" }), json!(10), false),
            (json!({ "$ref": "#/n", "minimum": 3 }), json!(2), false),
            (json!({ "type": "integer" }), json!(-1), false),
            (json!({ "$ref": "#/list" }), json!({ "next": { "next": { "n": 1 } } }), true),
            (json!({ "$ref": "#/list" }), json!({ "next": { "next": { "m": 1 } } }), false),
            (json!({ "type": "array", "items": { "$ref": "#/n" } }), json!([1, 2]), true),
            (json!({ "type": "array", "items": { "$ref": "#/n" } }), json!([1, "2"]), false),
            (json!({ "items": {}, "maxItems": 1 }), json!([1, 2]), false),
            (json!({ "items": {}, "minItems": 1 }), json!([]), false),
            (json!({ "uniqueItems": true }), json!([1, 1]), false),
            (json!({ "uniqueItems": true }), json!([1, "1"]), true),
            (json!({ "minLength": 1, "maxLength": 2 }), json!("äö"), true),
            (json!({ "minLength": 1, "maxLength": 2 }), json!("äöü"), false),
            (json!({ "minLength": 1, "maxLength": 2 }), json!(""), false),
            (json!({ "x-max-bytes": 3 }), json!("äö"), false),
            (json!({ "pattern": "^[a-z]+$" }), json!("abc"), true),
            (json!({ "pattern": "^[a-z]+$" }), json!("a1"), false),
            (json!({ "enum": ["a", 1] }), json!(1), true),
            (json!({ "enum": ["a", 1] }), json!(2), false),
            (json!({ "const": "a" }), json!("b"), false),
            (either.clone(), json!({ "a": 1 }), true),
            (either.clone(), json!({ "a": 1, "b": 1 }), false),
            (either.clone(), json!({}), false),
            (either, json!({ "a": 1, "c": 1 }), false),
            (content.clone(), json!("7"), true),
            (content.clone(), json!("17"), false),
            (content.clone(), json!("{"), false),
            (content, json!(7), false),
            (others.clone(), json!({ "x": "y" }), true),
            (others, json!({ "x": 1 }), false),
            (base64.clone(), json!("e30="), true),
            (base64.clone(), json!("e30"), false),
            (base64, json!("e3-="), false),
            (time.clone(), json!("2026-11-23T16:46:00.000001Z"), true),
            (time.clone(), json!("586524-01-19T08:01:49.551615Z"), true),
            (time.clone(), json!("2026-11-23T16:46:00Z"), false),
            (time, json!("2026-13-23T16:46:00.000001Z"), false),
            // Unknown keywords are errors.
            (json!({ "multipleOf": 2 }), json!(2), false),
            (json!({ "format": "ipv4" }), json!("127.0.0.1"), false),
            (json!({ "type": ["string", "null"] }), json!("a"), false),
        ] {
            let checked = document.check(&value, &schema, "value");
            assert_eq!(checked.is_ok(), fits, "{value} and {schema}: {checked:?}");
        }
    }

    #[test]
    fn numbers_that_exceed_a_double_hide_no_other_mistake() {
        let value = parsed(r#"{"data":[1e400,-2E999,1.5,"1e400 \" 1e400"],"n":3}"#).unwrap();
        assert_eq!(value, json!({ "data": [0, 0, 1.5, "1e400 \" 1e400"], "n": 3 }));
        assert_eq!(parsed("12345678901234567890123").map(|value| Value::is_number(&value)), Ok(true));
        assert!(parsed("[1e400").is_err());
        assert!(parsed("{").is_err());
    }
}
