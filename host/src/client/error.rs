//! What can go wrong between this client and a gateway.

use std::fmt;

use http::StatusCode;
use serde::Deserialize;

/// How much of a response that is no problem document is quoted, in characters.
const QUOTED_CHARS: usize = 200;

/// The kind of problem for damaged data.
const DAMAGED: &str = "damaged";

/// The prefix of the types of the API's own problems.
const OWN_TYPE: &str = "urn:exesdb:problem:";

/// Kinds of problems whose detail a component may have written. Only the title says what happened.
const DETAIL_BY_COMPONENT: [&str; 5] = ["internal", DAMAGED, "quarantined", "unavailable", "denied"];

/// Parameters of requests, and the options of the command line that set them.
const OPTIONS: [(&str, &str); 20] = [
    ("from", "--from"),
    ("history", "--from"),
    ("expected_version", "--expected-version"),
    ("type", "--type"),
    ("tag", "--tag"),
    ("query", "--query"),
    ("prefix", "--prefix"),
    ("stream_prefix", "--stream-prefix"),
    ("stream_pattern", "--stream-pattern"),
    ("type_pattern", "--type-pattern"),
    ("correlation_id", "--correlation-id"),
    ("causation_id", "--causation-id"),
    ("source", "--source"),
    ("keep", "--keep"),
    ("at_most", "--at-most"),
    ("content_type", "--content-type"),
    ("metadata", "--metadata"),
    ("max_count", "--max-count"),
    ("max_age_seconds", "--max-age"),
    ("truncate_before", "--truncate-before"),
];

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing accepts connections at the gateway's address.
    #[error("no exesdb answers at {url} ({detail}); start it with `exesdb serve` or give --url")]
    Unreachable {
        /// The gateway's URL.
        url: String,
        /// The system's message.
        detail: String,
    },
    /// The connection broke before the response was complete. The request may have been carried out.
    #[error(
        "the connection broke before the response to {url} was complete ({detail}); look at the host's log and try again"
    )]
    Lost {
        /// The URL of the request.
        url: String,
        /// The system's message.
        detail: String,
    },
    /// The response was not complete in time. The request may have been carried out.
    #[error("{url} did not answer within {seconds} s; look at `exesdb tree` and try again")]
    TimedOut {
        /// The URL of the request.
        url: String,
        /// The time limit, in seconds.
        seconds: u64,
    },
    /// The gateway refused the request.
    #[error("{problem}{}", of_another_gateway(url, problem))]
    Refused {
        /// The URL of the request.
        url: String,
        /// The gateway's reason, boxed because it is larger than any result.
        problem: Box<Problem>,
    },
    /// The response does not follow the API.
    #[error("{url} answered what this client cannot read: {detail}; is it an exesdb of another version?")]
    Unreadable {
        /// The URL of the request.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The request cannot be expressed in HTTP.
    #[error("{url} cannot be asked: {detail}")]
    Unsendable {
        /// The URL of the request.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl ClientError {
    /// The error in one clause without advice, for a message that says that the client tries again.
    pub fn while_waiting(&self) -> String {
        match self {
            ClientError::Unreachable { url, .. } => format!("no exesdb answers at {url}"),
            ClientError::Lost { .. } => "the connection to the host broke".to_owned(),
            ClientError::TimedOut { seconds, .. } => format!("the host did not respond within {seconds} s"),
            other => other.to_string(),
        }
    }

    /// Whether the same request may succeed later, because the host is away, restarting or overloaded.
    pub fn is_transient(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Lost { .. } | ClientError::TimedOut { .. } => true,
            // Other failures may have been caused by a restart. Damaged data stays damaged, and a quarantined request has
            // crashed components before.
            ClientError::Refused { problem, .. } => {
                matches!(problem.status, 429 | 500 | 502 | 503 | 504)
                    && !matches!(problem.kind(), "quarantined" | DAMAGED)
            }
            ClientError::Unreadable { .. } | ClientError::Unsendable { .. } => false,
        }
    }

    /// Replaces the field that the error is about by the name that `rename` gives it, if any.
    #[must_use]
    pub fn renamed(mut self, rename: impl Fn(&str) -> Option<String>) -> ClientError {
        if let ClientError::Refused { problem, .. } = &mut self {
            problem.rename(rename);
        }
        self
    }

    /// Whether the requested stream or snapshot does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.problem_kind(), "stream-not-found" | "snapshot-not-found")
    }

    /// Whether data that the request needs is damaged.
    pub fn is_damage(&self) -> bool {
        self.problem_kind() == DAMAGED
    }

    /// The last part of the problem's type, such as `id-conflict`; empty for other errors.
    pub fn problem_kind(&self) -> &str {
        match self {
            ClientError::Refused { problem, .. } => problem.kind(),
            _ => "",
        }
    }
}

/// The place of a request for which there is nothing, if somebody else than the API's gateway says so.
fn of_another_gateway(url: &str, problem: &Problem) -> String {
    if url.is_empty() || problem.status != 404 || problem.problem_type.starts_with(OWN_TYPE) {
        return String::new();
    }
    format!("; this came from {url}, and not from exesdb's API: is another gateway configured for the store?")
}

/// A problem document (RFC 9457), or a substitute if the response is something else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// The URI of the kind of problem.
    #[serde(rename = "type", default)]
    pub problem_type: String,
    /// The kind of problem, in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What is wrong with this request.
    #[serde(default)]
    pub detail: String,
    /// The last version of the stream, if the expected version was wrong and the stream has events.
    #[serde(default)]
    pub actual_version: Option<u64>,
    /// The id under which the host's log has this failure.
    #[serde(default)]
    pub incident: Option<String>,
    /// The part of the request that breaks a rule. The detail begins with it.
    #[serde(default)]
    pub field: Option<String>,
    /// The requested store, if the host itself refused the request.
    #[serde(default)]
    pub store: Option<String>,
    /// The existing stores, if the requested one does not exist.
    #[serde(default)]
    pub stores: Vec<String>,
}

impl Problem {
    /// The problem that a response with this status and body reports.
    pub(super) fn parse(status: StatusCode, body: &[u8]) -> Problem {
        let mut problem = serde_json::from_slice(body).unwrap_or_else(|_| Problem {
            detail: String::from_utf8_lossy(body).trim().chars().take(QUOTED_CHARS).collect(),
            ..Problem::default()
        });
        // The status line counts, also if the body names another status.
        problem.status = status.as_u16();
        problem
    }

    /// The problem that a document without a status line reports.
    pub(super) fn of_document(document: &[u8]) -> Problem {
        let status = serde_json::from_slice(document).map(|problem: Problem| problem.status);
        let status = status.ok().and_then(|status| StatusCode::from_u16(status).ok());
        // A document without a valid status counts as an internal error.
        Problem::parse(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), document)
    }

    fn kind(&self) -> &str {
        self.problem_type.rsplit(['/', ':', '#']).next().unwrap_or("")
    }

    /// Writes the id of the failure in the host's log, unless the detail contains it.
    fn incident(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.incident {
            Some(incident) if !self.detail.contains(incident) => {
                write!(f, "; the host's log has it under {incident}")
            }
            _ => Ok(()),
        }
    }

    /// The problem in terms of the command line, if it is one of the API's own.
    fn for_the_command_line(&self) -> Option<String> {
        let is_own = self.problem_type.starts_with(OWN_TYPE) && !self.detail.is_empty();
        match (is_own, self.kind(), &self.store) {
            (false, ..) => None,
            (true, "store-not-found", Some(store)) => {
                let there_are: Vec<String> = self.stores.iter().map(|store| format!("`{store}`")).collect();
                let there_are = there_are.join(", ");
                Some(format!(
                    "there is no store `{store}`; there are {there_are}: name one with --store, or add it to the configuration file and start the host again"
                ))
            }
            (true, kind, _) if DETAIL_BY_COMPONENT.contains(&kind) => {
                Some(format!("{}: {}", self.title, self.detail))
            }
            (true, ..) => Some(self.by_option().unwrap_or_else(|| self.detail.clone())),
        }
    }

    /// The detail with the option of the command line instead of the parameter.
    fn by_option(&self) -> Option<String> {
        let field = self.field.as_deref()?;
        let name = field.split('[').next().unwrap_or(field);
        let (_, option) = OPTIONS.iter().find(|(parameter, _)| *parameter == name)?;
        Some(format!("{option}{}", self.detail.strip_prefix(name)?))
    }

    /// Renames the field that the problem is about, in the detail too, if `rename` has a name for it.
    fn rename(&mut self, rename: impl Fn(&str) -> Option<String>) {
        let Some(field) = &self.field else { return };
        if let (Some(name), Some(rest)) = (rename(field), self.detail.strip_prefix(field.as_str())) {
            self.detail = format!("{name}{rest}");
            self.field = Some(name);
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.for_the_command_line() {
            f.write_str(&text)?;
            return self.incident(f);
        }
        let reason = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let title = match (self.title.as_str(), reason) {
            ("", Some(reason)) => reason,
            (title, _) => title,
        };
        write!(f, "{title} ({})", self.status)?;
        if !self.detail.is_empty() && self.detail != title {
            write!(f, ": {}", self.detail)?;
        }
        self.incident(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientError, Problem};
    use http::StatusCode;

    #[test]
    fn responses_become_readable_problems() {
        let cases: [(u16, &str, &str, &str, bool); 9] = [
            (
                409,
                r#"{"type":"urn:exesdb:problem:wrong-expected-version","title":"Wrong expected version","status":409,
                    "detail":"s is at version 3","actual_version":3}"#,
                "s is at version 3",
                "wrong-expected-version",
                false,
            ),
            (
                503,
                r#"{"type":"https://x/problems/restarting","title":"Restarting"}"#,
                "Restarting (503)",
                "restarting",
                true,
            ),
            (429, "", "Too Many Requests (429)", "", true),
            (502, "<html>bad</html>", "Bad Gateway (502): <html>bad</html>", "", true),
            (
                500,
                r#"{"title":"Internal","incident":"i-1"}"#,
                "Internal (500); the host's log has it under i-1",
                "",
                true,
            ),
            (
                500,
                r#"{"type":"urn:exesdb:problem:quarantined","title":"Q"}"#,
                "Q (500)",
                "quarantined",
                false,
            ),
            (500, r#"{"type":"urn:exesdb:problem:damaged","title":"D"}"#, "D (500)", "damaged", false),
            (501, "", "Not Implemented (501)", "", false),
            (413, r#"{"title":"T","detail":"T"}"#, "T (413)", "", false),
        ];
        for (status, body, text, kind, is_transient) in cases {
            let problem = Box::new(Problem::parse(StatusCode::from_u16(status).unwrap(), body.as_bytes()));
            let error = ClientError::Refused { url: String::new(), problem };
            assert_eq!((error.to_string().as_str(), error.problem_kind()), (text, kind));
            assert_eq!(error.is_transient(), is_transient, "{text}");
        }
    }

    /// The command line's message for a problem with these members.
    fn message(members: &str) -> String {
        let body = format!("{{\"title\":\"T\",{members}}}");
        Problem::parse(StatusCode::BAD_REQUEST, body.as_bytes()).to_string()
    }

    #[test]
    fn problems_of_the_api_are_worded_for_the_command_line() {
        let own = |kind: &str, detail: &str, more: &str| {
            message(&format!("\"type\":\"urn:exesdb:problem:{kind}\",\"detail\":\"{detail}\"{more}"))
        };
        let field =
            |field: &str, detail: &str| own("invalid-argument", detail, &format!(",\"field\":\"{field}\""));
        let cases = [
            (own("stream-not-found", "the stream `s` has no events", ""), "the stream `s` has no events"),
            (
                own("store-not-found", "see /v1/stores/NAME", ",\"store\":\"nope\",\"stores\":[\"a\",\"b\"]"),
                "there is no store `nope`; there are `a`, `b`: name one with --store, or add it to the configuration file and start the host again",
            ),
            (field("stream_pattern", "stream_pattern: is wrong"), "--stream-pattern: is wrong"),
            (field("query[0].typ", "query[0].typ: is unknown"), "--query[0].typ: is unknown"),
            (field("events[0].type", "events[0].type: is empty"), "events[0].type: is empty"),
            (
                field("tag", "a detail that begins with something else"),
                "a detail that begins with something else",
            ),
            (own("unavailable", "it crashes", ""), "T: it crashes"),
            (own("internal", "it trapped; incident 7", ",\"incident\":\"7\""), "T: it trapped; incident 7"),
            (
                own("internal", "it trapped", ",\"incident\":\"7\""),
                "T: it trapped; the host's log has it under 7",
            ),
            (message("\"type\":\"urn:other:problem:x\",\"detail\":\"d\""), "T (400): d"),
        ];
        for (message, expected) in cases {
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn a_command_can_rename_the_field_of_a_problem() {
        let body = br#"{"type":"urn:exesdb:problem:too-large","detail":"events[3].data: is over","field":"events[3].data"}"#;
        let problem = Box::new(Problem::parse(StatusCode::PAYLOAD_TOO_LARGE, body));
        let error = ClientError::Refused { url: String::new(), problem };
        let error = error.renamed(|field| (field == "events[3].data").then(|| "line 4".to_owned()));
        assert_eq!(error.to_string(), "line 4: is over");
        assert_eq!(error.renamed(|_| None).to_string(), "line 4: is over");
    }

    #[test]
    fn only_the_beginning_of_a_foreign_response_is_quoted() {
        let problem = Problem::parse(StatusCode::BAD_REQUEST, &[0xff; 1 << 20]);
        assert_eq!(problem.detail.chars().count(), super::QUOTED_CHARS);
    }
}
