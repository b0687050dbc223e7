//! Holds what a gateway says against its OpenAPI document: of the tests of the gateway component, and of every response
//! that the end-to-end tests get.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The methods that a path of the document can have.
const METHODS: [&str; 8] = ["get", "head", "post", "put", "delete", "options", "patch", "trace"];

/// The form of every error.
const PROBLEM: &str = "application/problem+json";

/// How the parser begins to say that a number is larger than it can hold.
const OUT_OF_RANGE: &str = "number out of range";

/// Statuses that every path has without having to list them: a method that it lacks, and nothing at all at the path.
const EVERYWHERE: [(u16, &str); 2] = [(404, "PathNotFound"), (405, "MethodNotAllowed")];

/// An OpenAPI document.
#[derive(Debug, Clone)]
pub struct Document(Value);

/// One method of one path.
#[derive(Debug, Clone)]
pub struct Operation<'a> {
    /// The path with its parameters in braces.
    pub template: &'a str,
    /// The method in capitals.
    pub method: String,
    /// What all methods of the path have in common.
    pub item: &'a Value,
    /// What is said of this one.
    pub operation: &'a Value,
}

impl Operation<'_> {
    /// Whether the host answers and not a gateway component.
    pub fn is_of_host(&self) -> bool {
        self.item["x-served-by"] == "host"
    }
}

/// A request and its response, as far as the document speaks of them.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The method in capitals.
    pub method: &'a str,
    /// The path, with or without a query.
    pub path: &'a str,
    /// The status of the response.
    pub status: u16,
    /// Its media type; empty without a body.
    pub content_type: &'a str,
    /// Its body, if all of it came.
    pub body: Option<&'a str>,
}

impl Document {
    /// The document that a text is.
    ///
    /// # Errors
    ///
    /// When the text is no JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// All of it.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Follows references to the value that is meant.
    ///
    /// # Panics
    ///
    /// When one leads nowhere.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').expect("references stay in the document");
                let target = self.0.pointer(pointer);
                self.resolve(target.unwrap_or_else(|| panic!("{reference} leads nowhere")))
            }
            None => value,
        }
    }

    /// Every method of every path.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let paths = object(&self.0["paths"]).iter();
        paths
            .flat_map(|(template, item)| {
                METHODS.iter().filter_map(move |method| {
                    let operation = item.get(method)?;
                    Some(Operation { template, method: method.to_uppercase(), item, operation })
                })
            })
            .collect()
    }

    /// The parameters of an operation and of its path, by where they are.
    pub fn parameters<'a>(&'a self, operation: &Operation<'a>, place: &str) -> Vec<&'a Value> {
        [operation.item, operation.operation]
            .into_iter()
            .filter_map(|owner| owner.get("parameters")?.as_array())
            .flatten()
            .map(|parameter| self.resolve(parameter))
            .filter(|parameter| parameter["in"] == place)
            .collect()
    }

    /// Checks a value against a schema: types, enumerations, required fields, and that there are no others.
    ///
    /// # Errors
    ///
    /// What does not fit, and where.
    pub fn check(&self, value: &Value, schema: &Value, what: &str) -> Result<(), String> {
        let schema = self.resolve(schema);
        if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
            let fits = choices.iter().any(|choice| self.check(value, choice, what).is_ok());
            return if fits {
                Ok(())
            } else {
                Err(format!("{what}: {value} is none of the documented forms"))
            };
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            return Err(format!("{what}: {value} is not among the documented values"));
        }
        match (value, schema.get("properties"), schema.get("items")) {
            (Value::Object(fields), Some(properties), _) => {
                for (name, field) in fields {
                    let property = properties.get(name);
                    let property = property.ok_or_else(|| format!("{what}: {name} is not documented"))?;
                    self.check(field, property, name)?;
                }
                let missing =
                    strings(schema.get("required")).into_iter().find(|name| !fields.contains_key(*name));
                missing.map_or(Ok(()), |name| Err(format!("{what}: {name} is missing in {value}")))
            }
            (Value::Array(list), _, Some(items)) => {
                list.iter().try_for_each(|item| self.check(item, items, what))
            }
            (value, None, None) => {
                let fits = match schema.get("type").and_then(Value::as_str) {
                    Some("string") => value.is_string(),
                    Some("integer") => value.is_u64(),
                    Some("boolean") => value.is_boolean(),
                    Some("null") => value.is_null(),
                    _ => true,
                };
                if fits { Ok(()) } else { Err(format!("{what}: {value} is not of the documented type")) }
            }
            (value, _, _) => Err(format!("{what}: {value} is neither object nor list")),
        }
    }

    /// Checks a response against what the document says of the request: status, media type, and the body where it is
    /// JSON.
    ///
    /// # Errors
    ///
    /// What the document does not say, or says otherwise.
    pub fn check_exchange(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        let Exchange { method, path, status, .. } = *exchange;
        let path = path.split('?').next().unwrap_or(path);
        let what = format!("{method} {path} answered {status}");
        let documented = if method == "HEAD" { "GET" } else { method };
        let operations = self.operations();
        let operation = operations
            .iter()
            .filter(|operation| operation.method == documented && matches(operation.template, path))
            // A path that has no parameter where another one has is the one that is meant: `latest`.
            .min_by_key(|operation| operation.template.matches('{').count());
        let listed = operation.and_then(|operation| operation.operation["responses"].get(status.to_string()));
        let everywhere = EVERYWHERE.into_iter().find(|(known, _)| *known == status && listed.is_none());
        let response = match (listed, everywhere) {
            (Some(response), _) => response,
            (None, Some((_, name))) if status == 405 || operation.is_none() => {
                &self.0["components"]["responses"][name]
            }
            _ if operation.is_none() && [400, 403, 404, 421, 503].contains(&status) => {
                // Refused before anybody looked at what the path means.
                return self.check_problem(exchange, &what);
            }
            _ => return Err(format!("{what}, which is not documented")),
        };
        let response = self.resolve(response);
        let Some(content) = response.get("content") else {
            return match exchange.content_type {
                "" => Ok(()),
                other => Err(format!("{what} with `{other}`, where no body is documented")),
            };
        };
        let media_type = exchange.content_type.split(';').next().unwrap_or_default().trim();
        let Some(form) = content.get(media_type) else {
            return Err(format!("{what} with the media type `{media_type}`, which is not documented"));
        };
        match (exchange.body, media_type) {
            (Some(body), "application/json" | PROBLEM) if method != "HEAD" => {
                match serde_json::from_str(body) {
                    Ok(body) => self.check(&body, &form["schema"], &what),
                    // Events are JSON to the letter, with numbers that no program here can hold.
                    Err(error) if error.to_string().starts_with(OUT_OF_RANGE) => Ok(()),
                    Err(error) => Err(format!("{what}: {error}: {body}")),
                }
            }
            _ => Ok(()),
        }
    }

    fn check_problem(&self, exchange: &Exchange<'_>, what: &str) -> Result<(), String> {
        if exchange.content_type != PROBLEM {
            return Err(format!("{what} with `{}` and not a problem document", exchange.content_type));
        }
        let Some(body) = exchange.body.filter(|_| exchange.method != "HEAD") else { return Ok(()) };
        let body = serde_json::from_str(body).map_err(|error| format!("{what}: {error}: {body}"))?;
        self.check(&body, &self.0["components"]["schemas"]["Problem"], what)
    }
}

/// Whether a path is one of a template's.
fn matches(template: &str, path: &str) -> bool {
    let (mut parts, mut segments) = (template.split('/'), path.split('/'));
    loop {
        match (parts.next(), segments.next()) {
            (None, None) => return true,
            (Some(part), Some(segment)) if part.starts_with('{') || part == segment => {}
            _ => return false,
        }
    }
}

/// An object's fields.
///
/// # Panics
///
/// When it is none.
pub fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("this is an object")
}

/// The texts in a list; none without a list.
pub fn strings(value: Option<&Value>) -> BTreeSet<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::{Document, Exchange};

    const DOCUMENT: &str = r##"{
        "paths": {
            "/a/{x}": { "get": { "responses": {
                "200": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/A" } } } },
                "404": { "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } }
            } } },
            "/a/b": { "get": { "responses": { "204": {} } } }
        },
        "components": {
            "schemas": {
                "A": { "required": ["n"], "properties": {
                    "n": { "type": "integer" },
                    "k": { "enum": ["one", "two"] },
                    "v": { "oneOf": [{ "type": "integer" }, { "type": "null" }] }
                } },
                "Problem": { "properties": { "status": { "type": "integer" } } }
            },
            "responses": {
                "PathNotFound": { "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } },
                "MethodNotAllowed": { "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } }
            }
        }
    }"##;

    #[test]
    fn a_response_that_is_not_as_documented_is_found() {
        let document = Document::parse(DOCUMENT).unwrap();
        let (json, problem) = ("application/json", "application/problem+json");
        for (method, path, status, content_type, body, fits) in [
            ("GET", "/a/x", 200, json, r#"{"n":1}"#, true),
            ("GET", "/a/x?y=1", 200, json, r#"{"n":1,"k":"two","v":null}"#, true),
            ("GET", "/a/x", 200, json, r#"{"n":1,"v":2}"#, true),
            ("GET", "/a/x", 200, json, r#"{"n":1,"v":"text"}"#, false),
            ("GET", "/a/x", 200, json, r#"{"n":1,"k":"three"}"#, false),
            ("GET", "/a/x", 200, json, r#"{"n":"1"}"#, false),
            ("GET", "/a/x", 200, json, r#"{"k":"one"}"#, false),
            ("GET", "/a/x", 200, json, r#"{"n":1,"other":1}"#, false),
            ("GET", "/a/x", 200, json, "{", false),
            ("GET", "/a/x", 200, json, r#"{"n":1e400}"#, true),
            ("GET", "/a/x", 200, "text/plain", "1", false),
            ("GET", "/a/x", 201, json, r#"{"n":1}"#, false),
            ("GET", "/a/x", 404, problem, r#"{"status":404}"#, true),
            ("GET", "/a/x", 404, json, r#"{"status":404}"#, false),
            ("GET", "/a/x", 500, problem, r#"{"status":500}"#, false),
            ("HEAD", "/a/x", 200, json, "", true),
            ("HEAD", "/a/x", 201, json, "", false),
            ("GET", "/a/b", 204, "", "", true),
            ("GET", "/a/b", 200, json, r#"{"n":1}"#, false),
            ("GET", "/a/b", 204, json, "{}", false),
            ("POST", "/a/b", 405, problem, r#"{"status":405}"#, true),
            ("POST", "/a/b", 200, json, r#"{"n":1}"#, false),
            ("GET", "/c", 404, problem, r#"{"status":404}"#, true),
            ("GET", "/c", 404, "text/html", "", false),
            ("GET", "/c", 421, problem, r#"{"status":421}"#, true),
            ("GET", "/c", 421, problem, r#"{"state":421}"#, false),
            ("GET", "/c", 200, json, r#"{"n":1}"#, false),
        ] {
            let exchange = Exchange { method, path, status, content_type, body: Some(body) };
            let checked = document.check_exchange(&exchange);
            assert_eq!(checked.is_ok(), fits, "{exchange:?}: {checked:?}");
        }
    }
}
