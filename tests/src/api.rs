//! Checks the host's responses against the gateway's OpenAPI document. A response that the document does not describe fails
//! the test.

use std::sync::LazyLock;

use exesdb_api_document::{BodyCheck, Document, Exchange, Head};

use crate::root;

/// Paths that are not part of the API: those of the gateway built for the tests.
const UNDOCUMENTED: &str = "/probe/";

/// The gateway's OpenAPI document.
static API: LazyLock<Document> = LazyLock::new(|| {
    let path = root().join("components/gateway-http/openapi.json");
    let text = std::fs::read_to_string(path).expect("the document exists");
    Document::parse(&text).expect("the document is JSON")
});

/// The beginning of every complaint about a response.
pub(crate) const AGAINST: &str = "against the description of the API";

/// Whether the document covers a path.
fn is_described(path: &str) -> bool {
    !path.contains(UNDOCUMENTED)
}

/// Checks a response.
///
/// # Errors
///
/// What is not as described.
pub(crate) fn check(exchange: &Exchange<'_>) -> Result<(), String> {
    if is_described(exchange.head.path) { API.check_exchange(exchange) } else { Ok(()) }
}

/// Checks the head of a response whose body comes later. Returns `None` for a path that the document does not cover.
///
/// # Errors
///
/// What is not as described.
pub(crate) fn check_head(head: &Head<'_>) -> Result<Option<BodyCheck<'static>>, String> {
    is_described(head.path).then(|| API.check_head(head)).transpose()
}

#[cfg(test)]
mod tests {
    use exesdb_api_document::{Exchange, Head};

    use super::check;

    const EVENTS: &str = "/v1/stores/main/events";
    const EVENT: &str = r#"{"stream":"s","version":0,"position":4,"id":"i","type":"t","data":1,"metadata":null,"created":"2026-11-23T16:46:00.000001Z"}"#;
    const END: &str = r#"{"page":{"next":5,"end":true,"durable_position":5}}"#;
    const HISTORY: (&str, &str) = ("exesdb-history", "00f1e2d3c4b5a697");

    /// A valid response; there is one of each kind.
    struct Case {
        request: (&'static str, &'static str),
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    }

    impl Case {
        fn new(
            request: (&'static str, &'static str),
            status: u16,
            content_type: &str,
            headers: &[(&'static str, &str)],
            body: &[u8],
        ) -> Self {
            let headers = [("content-type", content_type)].into_iter().chain(headers.iter().copied());
            let mut headers: Vec<_> = headers.map(|(name, value)| (name, value.to_owned())).collect();
            if content_type != "text/event-stream" {
                headers.push(("content-length", body.len().to_string()));
            }
            Self { request, status, headers, body: body.to_vec() }
        }

        fn check(&self, is_whole: bool) -> Result<(), String> {
            let headers = self.headers.iter();
            let headers: Vec<_> = headers.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            let (method, path) = self.request;
            let head = Head { method, path, status: self.status, headers: &headers };
            check(&Exchange { head, body: &self.body, is_whole })
        }

        /// The same with another body, and a matching length if there was one.
        fn with_body(&self, body: impl AsRef<[u8]>) -> Self {
            let mut headers = self.headers.clone();
            for (_, length) in headers.iter_mut().filter(|(name, _)| *name == "content-length") {
                *length = body.as_ref().len().to_string();
            }
            Self { headers, body: body.as_ref().to_vec(), ..*self }
        }

        fn replace(&self, from: &str, to: &str) -> Self {
            let body = String::from_utf8(self.body.clone()).expect("the body is text");
            assert!(body.contains(from), "{body}");
            self.with_body(body.replace(from, to))
        }
    }

    fn page() -> Case {
        let body = format!(r#"{{"events":[{EVENT}],"next":5,"end":true,"history":"{}"}}"#, HISTORY.1);
        let headers = [HISTORY, ("exesdb-durable-position", "5")];
        Case::new(("GET", EVENTS), 200, "application/json", &headers, body.as_bytes())
    }

    fn stream() -> Case {
        let body = format!(
            "retry: 1000\n\nid: 4@{history}\ndata: {EVENT}\n\nid: 5@{history}\n\nevent: end\ndata: {{\"type\":\
             \"urn:exesdb:problem:restarting\",\"title\":\"t\",\"status\":503,\"detail\":\"d\"}}\n\n",
            history = HISTORY.1
        );
        let headers = [HISTORY, ("cache-control", "no-cache")];
        Case::new(("GET", EVENTS), 200, "text/event-stream", &headers, body.as_bytes())
    }

    fn lines() -> Case {
        let body = format!("{EVENT}\n{EVENT}\n{END}\n");
        Case::new(("GET", EVENTS), 200, "application/x-ndjson", &[HISTORY], body.as_bytes())
    }

    fn packed() -> Case {
        let numbers = [4_u64, 0, 1].map(u64::to_le_bytes);
        let lengths = b"\x01\0\x01\0\x01\0\x03\0\x01\0\0\0\0\0\0\0";
        let envelope = [b"\x01\0\0\0", &numbers[1][..], &numbers[2], lengths, b"sita/bx"].concat();
        let event = [&numbers[0][..], b"\x2b\0\0\0", &envelope].concat();
        let five = 5_u64.to_le_bytes();
        let end = [&five[..], b"\x09\0\0\xc0\x01", &five].concat();
        let body = [event, end].concat();
        Case::new(("GET", EVENTS), 200, "application/vnd.exesdb.packed", &[HISTORY], &body)
    }

    fn refusal() -> Case {
        let body = r#"{"type":"urn:exesdb:problem:overloaded","title":"t","status":503,"detail":"d"}"#;
        let headers = [("retry-after", "1")];
        Case::new(("GET", EVENTS), 503, "application/problem+json", &headers, body.as_bytes())
    }

    #[test]
    fn a_valid_response_of_each_kind_is_accepted() {
        for case in [page(), stream(), lines(), packed(), refusal()] {
            assert_eq!(case.check(true), Ok(()), "{:?}", case.headers);
            let half = case.with_body(&case.body[..case.body.len() / 2]);
            assert_eq!(
                half.check(false),
                Ok(()),
                "the beginning of a valid body is valid: {:?}",
                case.headers
            );
            assert!(half.check(true).is_err(), "half of a body is not a whole body: {:?}", case.headers);
        }
    }

    #[test]
    fn a_wrong_head_of_each_kind_is_rejected() {
        for case in [page(), stream(), lines(), packed(), refusal()] {
            for omitted in case.headers.iter().map(|(name, _)| *name) {
                let is_optional = omitted == "content-length" && case.status == 200 && needs_no_length(&case);
                let headers = case.headers.iter().filter(|(name, _)| *name != omitted).cloned().collect();
                let without = Case { headers, body: case.body.clone(), ..case };
                assert_eq!(without.check(true).is_ok(), is_optional, "without {omitted}: {:?}", case.headers);
            }
            for (name, value) in [("exesdb-new", "1"), ("etag", "1"), ("allow", "GET"), ("vary", "accept")] {
                let headers = case.headers.iter().cloned().chain([(name, value.to_owned())]).collect();
                let more = Case { headers, body: case.body.clone(), ..case };
                assert!(more.check(true).is_err(), "with {name}: {:?}", case.headers);
            }
            for wrong in 0..case.headers.len() {
                let mut headers = case.headers.clone();
                headers[wrong].1 = "wrong".to_owned();
                let other = Case { headers, body: case.body.clone(), ..case };
                assert!(other.check(true).is_err(), "{:?}", other.headers);
            }
            for status in [201, 204, 302, 410, 500] {
                let other = Case { status, headers: case.headers.clone(), body: case.body.clone(), ..case };
                assert!(other.check(true).is_err(), "{status}: {:?}", case.headers);
            }
        }
    }

    /// Whether a response of this kind may come without a length.
    fn needs_no_length(case: &Case) -> bool {
        case.headers.iter().any(|(_, value)| value.contains("ndjson") || value.contains("vnd"))
    }

    #[test]
    fn a_wrong_body_of_each_kind_is_rejected() {
        let wrong = [
            page().replace("\"type\":\"t\",", ""),
            page().replace("\"position\":4", "\"position\":\"4\""),
            page().replace("\"end\":true", "\"end\":true,\"more\":1"),
            page().replace("\"data\":1,", ""),
            stream().replace("retry: 1000", "retry: soon"),
            stream().replace("id: 4@", "id: "),
            stream().replace("id: 5@", "event: progress\nid: 5@"),
            stream().replace("\"version\":0,", ""),
            stream().replace("event: end", "event: over"),
            stream().replace(":restarting", ":resting"),
            stream().replace("data: ", "date: "),
            lines().replace("\"version\":0,", ""),
            lines().replace(END, EVENT),
            lines().replace(EVENT, END),
            lines().replace("\"durable_position\":5", "\"durable\":5"),
            lines().replace(END, "{"),
            refusal().replace(":overloaded", ":tired"),
            refusal().replace("503", "500"),
            refusal().replace("\"detail\":\"d\"", "\"details\":\"d\""),
        ];
        for case in wrong {
            let complaint = case.check(true).expect_err(&String::from_utf8_lossy(&case.body));
            assert!(complaint.starts_with("GET /v1/stores/main/events responded "), "{complaint}");
        }
        // A frame of another kind, one with a byte too many, one after the end, and a body without its end.
        let body = packed().body;
        let event = body.len() - 21;
        let kind = [&body[..11], &[0x40], &body[12..]].concat();
        let longer = [&body[..8], &[0x2c], &body[9..event], &[0], &body[event..]].concat();
        let after = [body.as_slice(), &body[..event]].concat();
        for wrong in [&kind, &longer, &after, &body[..event].to_vec()] {
            assert!(packed().with_body(wrong).check(true).is_err(), "{wrong:?}");
        }
    }
}
