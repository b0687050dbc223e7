//! Finds the description of a response in the document, and checks its head.

use serde_json::Value;

use crate::{BodyCheck, Document, object};

/// Headers of the connection, which the document does not describe.
const OF_THE_CONNECTION: [&str; 4] = ["connection", "date", "keep-alive", "transfer-encoding"];

/// The statuses of refused requests without an operation: the path was not examined, or does not exist.
const WITHOUT_OPERATION: [(u16, &str); 5] =
    [(400, "BadRequest"), (403, "Denied"), (404, "PathNotFound"), (421, "Misdirected"), (503, "Unavailable")];

/// A request, and the head of its response.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method in capitals; empty if the request is not HTTP.
    pub method: &'a str,
    /// The path, with or without a query.
    pub path: &'a str,
    /// The status of the response.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: &'a [(String, String)],
}

impl Head<'_> {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The media type without its parameters; empty without one.
    pub fn media_type(&self) -> &str {
        self.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default().trim()
    }
}

/// A request and its response.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// Everything except the body.
    pub head: Head<'a>,
    /// The received part of the body.
    pub body: &'a [u8],
    /// Whether the body is complete.
    pub is_whole: bool,
}

/// Whether a response has a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Always,
    Sometimes,
    Never,
}

impl Document {
    /// Checks a response against the document.
    ///
    /// # Errors
    ///
    /// The difference from the document.
    pub fn check_exchange(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        let mut body = self.check_head(&exchange.head)?;
        body.push(exchange.body)?;
        body.finish(exchange.is_whole)
    }

    /// Checks the head of a response: the status, the media type, and that it has exactly the documented headers. Returns
    /// the check for the body.
    ///
    /// # Errors
    ///
    /// The difference from the document.
    pub fn check_head(&self, head: &Head<'_>) -> Result<BodyCheck<'_>, String> {
        let path = head.path.split('?').next().unwrap_or(head.path);
        let what = match head.method {
            "" => format!("a request that is not HTTP got status {}", head.status),
            method => format!("{method} {path} responded {}", head.status),
        };
        let response = self.response(head, path).ok_or_else(|| format!("{what}, which is not documented"))?;
        let media_type = head.media_type();
        let form = match (response.get("content"), media_type) {
            (None, "") => None,
            (None, other) => return Err(format!("{what} with `{other}`, where no body is documented")),
            (Some(content), media_type) => Some(content.get(media_type).ok_or_else(|| {
                format!("{what} with the media type `{media_type}`, which is not documented")
            })?),
        };
        self.check_headers(head, response, &what)?;
        BodyCheck::new(self, head, form, what)
    }

    /// The description of the response to a request with this status.
    fn response(&self, head: &Head<'_>, path: &str) -> Option<&Value> {
        let shared = |name: &str| Some(&self.value()["components"]["responses"][name]);
        let documented = if head.method == "HEAD" { "GET" } else { head.method };
        let templates = object(&self.value()["paths"]).iter();
        // A fixed segment such as `latest` takes precedence over a parameter.
        let item = templates
            .filter(|(template, _)| matches(template, path))
            .min_by_key(|(template, _)| template.matches('{').count());
        let operation = item.and_then(|(_, item)| item.get(documented.to_lowercase()));
        match (operation, item, head.status) {
            (Some(operation), _, status) => {
                operation["responses"].get(status.to_string()).map(|response| self.resolve(response))
            }
            _ if head.method.is_empty() => [400, 414, 431]
                .contains(&head.status)
                .then(|| &self.value()["components"]["responses"]["NotHttp"]),
            (None, _, 204) if head.method == "OPTIONS" => shared("Preflight"),
            (None, Some(_), 405) => shared("MethodNotAllowed"),
            (None, _, status) => {
                let name = WITHOUT_OPERATION.into_iter().find(|(known, _)| *known == status)?.1;
                shared(name)
            }
        }
    }

    fn check_headers(&self, head: &Head<'_>, response: &Value, what: &str) -> Result<(), String> {
        let own = response.get("headers").and_then(Value::as_object);
        let shared = self.value().pointer("/components/headers").and_then(Value::as_object);
        for (name, value) in head.headers {
            if name == "content-type" || OF_THE_CONNECTION.contains(&name.as_str()) {
                continue;
            }
            let everywhere = || {
                let header = shared?.get(name)?;
                (header["x-on-every-response"] == true).then_some(header)
            };
            let header = own.and_then(|own| own.get(name)).or_else(everywhere);
            let header = header.map(|header| self.resolve(header));
            let header =
                header.filter(|header| presence(header, head.media_type()) != Presence::Never).ok_or_else(
                    || format!("{what} with the header `{name}: {value}`, which is not documented"),
                )?;
            self.check_header(value, &header["schema"], &format!("{what}: the header {name}"))?;
        }
        for (name, header) in own.into_iter().flatten() {
            let is_missing = head.header(name).is_none();
            if is_missing && presence(self.resolve(header), head.media_type()) == Presence::Always {
                return Err(format!("{what} without the header {name}"));
            }
        }
        Ok(())
    }

    /// Checks the value of a header, which is a number where its schema says so.
    fn check_header(&self, text: &str, schema: &Value, what: &str) -> Result<(), String> {
        let is_number = self.resolve(schema)["type"] == "integer";
        let number = text.parse::<u64>().ok().filter(|_| is_number).map(Value::from);
        self.check(&number.unwrap_or_else(|| text.into()), schema, what)
    }
}

/// Whether a response of a media type has a header.
fn presence(header: &Value, media_type: &str) -> Presence {
    match header.get("x-presence").map(|presence| presence[media_type].as_str()) {
        Some(Some("always")) => Presence::Always,
        Some(Some("sometimes")) => Presence::Sometimes,
        Some(_) => Presence::Never,
        None if header["required"] == true => Presence::Always,
        None => Presence::Sometimes,
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

#[cfg(test)]
mod tests {
    use super::{Exchange, Head};
    use crate::Document;

    const DOCUMENT: &str = r##"{
        "paths": {
            "/a/{x}": {
                "get": { "responses": {
                    "200": {
                        "headers": {
                            "n": { "required": true, "schema": { "type": "integer", "maximum": 9 } },
                            "page": { "x-presence": { "application/json": "always", "application/x-ndjson": "sometimes" }, "schema": {} },
                            "maybe": { "schema": { "const": "yes" } }
                        },
                        "content": {
                            "application/json": { "schema": { "type": "object" } },
                            "text/event-stream": { "x-item-schema": {}, "x-last-item-schema": { "required": ["event"] } },
                            "application/x-ndjson": { "x-item-schema": { "type": "integer" } },
                            "text/plain": { "schema": {} }
                        }
                    },
                    "404": { "$ref": "#/components/responses/PathNotFound" }
                } },
                "put": { "responses": { "204": {} } }
            },
            "/a/b": { "get": { "responses": { "204": {} } } }
        },
        "components": {
            "headers": { "vary": { "x-on-every-response": true, "schema": {} }, "other": { "schema": {} } },
            "responses": {
                "BadRequest": { "content": { "application/problem+json": { "schema": { "type": "object" } } } },
                "PathNotFound": { "content": { "application/problem+json": { "schema": { "type": "object" } } } },
                "MethodNotAllowed": { "content": { "application/problem+json": { "schema": { "type": "object" } } } },
                "Preflight": {},
                "NotHttp": { "headers": { "content-length": { "required": true, "schema": { "const": 0, "type": "integer" } } } }
            }
        }
    }"##;

    fn check(method: &str, path: &str, status: u16, headers: &str, body: &str) -> Result<(), String> {
        let document = Document::parse(DOCUMENT).unwrap();
        let header =
            |header: &str| header.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers: Vec<_> = headers.split(", ").filter_map(header).collect();
        let head = Head { method, path, status, headers: &headers };
        document.check_exchange(&Exchange { head, body: body.as_bytes(), is_whole: true })
    }

    #[test]
    fn a_response_belongs_to_an_operation_or_refuses_the_path() {
        let json = "content-type: application/json, n: 1, page: 1";
        let problem = "content-type: application/problem+json";
        for (method, path, status, headers, body, fits) in [
            ("GET", "/a/x?y=1", 200, json, "{}", true),
            ("GET", "/a/x", 201, json, "{}", false),
            ("GET", "/a/x", 200, problem, "{}", false),
            ("GET", "/a/x", 200, json, "", false),
            ("GET", "/a/x", 404, problem, r#"{"status":404}"#, true),
            ("GET", "/a/x", 404, problem, r#"{"status":400}"#, false),
            ("GET", "/a/x", 404, problem, "{}", false),
            ("GET", "/a/x", 400, problem, r#"{"status":400}"#, false),
            ("HEAD", "/a/x", 200, json, "", true),
            ("HEAD", "/a/x", 200, json, "{}", false),
            ("GET", "/a/b", 204, "", "", true),
            ("GET", "/a/b", 204, "", "{}", false),
            ("GET", "/a/b", 204, json, "", false),
            ("GET", "/a/b", 200, json, "{}", false),
            // The fixed path lacks this method, although the path with a parameter has it.
            ("PUT", "/a/b", 204, "", "", false),
            ("PUT", "/a/b", 405, problem, r#"{"status":405}"#, true),
            ("PUT", "/a/b", 404, problem, r#"{"status":404}"#, true),
            ("PUT", "/a/x", 405, problem, r#"{"status":405}"#, false),
            ("PUT", "/c", 405, problem, r#"{"status":405}"#, false),
            ("GET", "/c", 404, problem, r#"{"status":404}"#, true),
            ("GET", "/c", 404, "content-type: text/html", "", false),
            ("GET", "/c", 200, json, "{}", false),
            ("GET", "/c", 500, problem, r#"{"status":500}"#, false),
            ("OPTIONS", "/c", 204, "", "", true),
            ("GET", "/c", 204, "", "", false),
            ("", "", 400, "content-length: 0", "", true),
            ("", "", 400, problem, r#"{"status":400}"#, false),
            ("", "", 400, "", "", false),
            ("", "", 200, "content-length: 0", "", false),
            // No test could read it.
            ("GET", "/a/x", 200, "content-type: text/plain, n: 1", "", false),
        ] {
            let checked = check(method, path, status, headers, body);
            assert_eq!(checked.is_ok(), fits, "{method} {path} {status} {headers} {body}: {checked:?}");
        }
    }

    #[test]
    fn exactly_the_documented_headers_are_accepted() {
        for (headers, fits) in [
            ("content-type: application/json; charset=utf-8, n: 1, page: 1", true),
            ("content-type: application/json, n: 1, page: 1, date: now, vary: origin, maybe: yes", true),
            ("content-type: application/json, page: 1", false),
            ("content-type: application/json, n: 10, page: 1", false),
            ("content-type: application/json, n: x, page: 1", false),
            ("content-type: application/json, n: 1", false),
            ("content-type: application/json, n: 1, page: 1, maybe: no", false),
            ("content-type: application/json, n: 1, page: 1, other: 1", false),
            ("content-type: application/json, n: 1, page: 1, exesdb-new: 1", false),
        ] {
            let checked = check("GET", "/a/x", 200, headers, "{}");
            assert_eq!(checked.is_ok(), fits, "{headers}: {checked:?}");
        }
        for (headers, fits) in [("n: 1", true), ("n: 1, page: 1", true), ("", false)] {
            let checked =
                check("GET", "/a/x", 200, &format!("content-type: application/x-ndjson, {headers}"), "1\n");
            assert_eq!(checked.is_ok(), fits, "{headers}: {checked:?}");
        }
        for (headers, fits) in [("n: 1", true), ("n: 1, page: 1", false)] {
            let headers = format!("content-type: text/event-stream, {headers}");
            let checked = check("GET", "/a/x", 200, &headers, "event: end\n\n");
            assert_eq!(checked.is_ok(), fits, "{headers}: {checked:?}");
        }
    }
}
