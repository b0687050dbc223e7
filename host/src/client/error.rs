//! What can go wrong between this client and a gateway.

use std::fmt;

use http::StatusCode;
use serde::Deserialize;

/// How much of an answer that is no problem document is quoted, in characters.
const QUOTED_CHARS: usize = 200;

/// The kind of the problem that says that data is damaged.
const DAMAGED: &str = "damaged";

/// How the types of the API's own problems begin.
const OWN_TYPE: &str = "urn:exesdb:problem:";

/// Kinds of problems whose detail may be a component's own words; the title says what happened.
const IN_WORDS_OF_COMPONENTS: [&str; 5] = ["internal", DAMAGED, "quarantined", "unavailable", "denied"];

/// Parameters of requests that are options of the command line, and those.
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

/// Why a request brought no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing accepts connections there.
    #[error("no exesdb answers at {url} ({detail}); start it with `exesdb serve` or give --url")]
    Unreachable {
        /// The gateway's URL.
        url: String,
        /// What the system said.
        detail: String,
    },
    /// The connection broke before the answer was complete: whether the request was carried out is unknown.
    #[error(
        "the connection broke before the response to {url} was complete ({detail}); look at the host's log and try again"
    )]
    Lost {
        /// What was asked.
        url: String,
        /// What the system said.
        detail: String,
    },
    /// No complete answer came in time: whether the request was carried out is unknown.
    #[error("{url} did not answer within {seconds} s; look at `exesdb tree` and try again")]
    TimedOut {
        /// What was asked.
        url: String,
        /// How long the client waited.
        seconds: u64,
    },
    /// The gateway answered that it will not.
    #[error("{problem}")]
    Refused {
        /// What was asked.
        url: String,
        /// The gateway's reason. Boxed, for it is larger than any result.
        problem: Box<Problem>,
    },
    /// The answer is not what the API promises.
    #[error("{url} answered what this client cannot read: {detail}; is it an exesdb of another version?")]
    Unreadable {
        /// What was asked.
        url: String,
        /// What does not fit.
        detail: String,
    },
    /// The request cannot be put into HTTP.
    #[error("{url} cannot be asked: {detail}")]
    Unsendable {
        /// What was to be asked.
        url: String,
        /// What does not fit.
        detail: String,
    },
}

impl ClientError {
    /// The error in one clause, for a message that says that the client retries: without the advice to try again.
    pub fn while_waiting(&self) -> String {
        match self {
            ClientError::Unreachable { url, .. } => format!("no exesdb answers at {url}"),
            ClientError::Lost { .. } => "the connection to the host broke".to_owned(),
            ClientError::TimedOut { seconds, .. } => format!("the host did not respond within {seconds} s"),
            other => other.to_string(),
        }
    }

    /// Whether the same request may succeed later: the host is away, restarting or overloaded. Damaged data stays so.
    pub fn is_passing(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Lost { .. } | ClientError::TimedOut { .. } => true,
            // A request that is quarantined has ended instances before; the others may just have been in the way
            // of a restart.
            ClientError::Refused { problem, .. } => {
                matches!(problem.status, 429 | 500 | 502 | 503 | 504)
                    && !matches!(problem.kind(), "quarantined" | DAMAGED)
            }
            ClientError::Unreadable { .. } | ClientError::Unsendable { .. } => false,
        }
    }

    /// The same, about what the command line calls the field that it is about, if `rename` has a name for it.
    #[must_use]
    pub fn renamed(mut self, rename: impl Fn(&str) -> Option<String>) -> ClientError {
        if let ClientError::Refused { problem, .. } = &mut self {
            problem.rename(rename);
        }
        self
    }

    /// Whether the stream or the snapshot that was asked for is not there.
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

/// A problem document (RFC 9457), or what stands in for one when the answer is something else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// A stable URI that names the kind of problem.
    #[serde(rename = "type", default)]
    pub problem_type: String,
    /// What kind of problem it is, in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What is wrong with this request.
    #[serde(default)]
    pub detail: String,
    /// The last version of the stream, when the expected version was wrong and the stream has events.
    #[serde(default)]
    pub actual_version: Option<u64>,
    /// Where to find this failure in the host's log.
    #[serde(default)]
    pub incident: Option<String>,
    /// What of the request breaks a rule; the detail begins with it.
    #[serde(default)]
    pub field: Option<String>,
    /// The store that was asked, where the host answered itself.
    #[serde(default)]
    pub store: Option<String>,
    /// Stores that there are, if there is none of that name.
    #[serde(default)]
    pub stores: Vec<String>,
}

impl Problem {
    /// The problem that an answer with this status and body reports.
    pub(super) fn parse(status: StatusCode, body: &[u8]) -> Problem {
        let mut problem = serde_json::from_slice(body).unwrap_or_else(|_| Problem {
            detail: String::from_utf8_lossy(body).trim().chars().take(QUOTED_CHARS).collect(),
            ..Problem::default()
        });
        // The status line is what proxies and this client act on; a body that differs is wrong.
        problem.status = status.as_u16();
        problem
    }

    /// The problem that a document reports which came without a status line.
    pub(super) fn of_document(document: &[u8]) -> Problem {
        let status = serde_json::from_slice(document).map(|problem: Problem| problem.status);
        let status = status.ok().and_then(|status| StatusCode::from_u16(status).ok());
        // One that says nothing of its kind is a failure like others.
        Problem::parse(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), document)
    }

    fn kind(&self) -> &str {
        self.problem_type.rsplit(['/', ':', '#']).next().unwrap_or("")
    }

    /// Where the host's log has more, unless the detail says so itself.
    fn incident(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.incident {
            Some(incident) if !self.detail.contains(incident) => {
                write!(f, "; the host's log has it under {incident}")
            }
            _ => Ok(()),
        }
    }

    /// The problem in the words of the command line, if it is one of the API's own.
    fn for_the_command_line(&self) -> Option<String> {
        let is_own = self.problem_type.starts_with(OWN_TYPE) && !self.detail.is_empty();
        match (is_own, self.kind(), &self.store) {
            (false, ..) => None,
            (true, "store-not-found", Some(store)) => {
                let there_are: Vec<String> = self.stores.iter().map(|store| format!("`{store}`")).collect();
                let there_are = there_are.join(", ");
                Some(format!("there is no store `{store}`; there are {there_are}: name one with --store"))
            }
            (true, kind, _) if IN_WORDS_OF_COMPONENTS.contains(&kind) => {
                Some(format!("{}: {}", self.title, self.detail))
            }
            (true, ..) => Some(self.by_option().unwrap_or_else(|| self.detail.clone())),
        }
    }

    /// The detail with the option in place of the parameter that it is about.
    fn by_option(&self) -> Option<String> {
        let field = self.field.as_deref()?;
        let name = field.split('[').next().unwrap_or(field);
        let (_, option) = OPTIONS.iter().find(|(parameter, _)| *parameter == name)?;
        Some(format!("{option}{}", self.detail.strip_prefix(name)?))
    }

    /// Gives the field that it is about the name that `rename` has for it, if any.
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
    fn answers_become_readable_problems() {
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
        for (status, body, text, kind, passing) in cases {
            let problem = Box::new(Problem::parse(StatusCode::from_u16(status).unwrap(), body.as_bytes()));
            let error = ClientError::Refused { url: String::new(), problem };
            assert_eq!((error.to_string().as_str(), error.problem_kind()), (text, kind));
            assert_eq!(error.is_passing(), passing, "{text}");
        }
    }

    /// What the command line says of a problem with these members.
    fn said(members: &str) -> String {
        let body = format!("{{\"title\":\"T\",{members}}}");
        Problem::parse(StatusCode::BAD_REQUEST, body.as_bytes()).to_string()
    }

    #[test]
    fn problems_of_the_api_are_told_in_words_of_the_command_line() {
        let own = |kind: &str, detail: &str, more: &str| {
            said(&format!("\"type\":\"urn:exesdb:problem:{kind}\",\"detail\":\"{detail}\"{more}"))
        };
        let field =
            |field: &str, detail: &str| own("invalid-argument", detail, &format!(",\"field\":\"{field}\""));
        let cases = [
            (own("stream-not-found", "the stream `s` has no events", ""), "the stream `s` has no events"),
            (
                own("store-not-found", "see /v1/stores/NAME", ",\"store\":\"nope\",\"stores\":[\"a\",\"b\"]"),
                "there is no store `nope`; there are `a`, `b`: name one with --store",
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
            (said("\"type\":\"urn:other:problem:x\",\"detail\":\"d\""), "T (400): d"),
        ];
        for (said, expected) in cases {
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn a_command_has_names_of_its_own_for_fields() {
        let body = br#"{"type":"urn:exesdb:problem:too-large","detail":"events[3].data: is over","field":"events[3].data"}"#;
        let problem = Box::new(Problem::parse(StatusCode::PAYLOAD_TOO_LARGE, body));
        let error = ClientError::Refused { url: String::new(), problem };
        let error = error.renamed(|field| (field == "events[3].data").then(|| "line 4".to_owned()));
        assert_eq!(error.to_string(), "line 4: is over");
        assert_eq!(error.renamed(|_| None).to_string(), "line 4: is over");
    }

    #[test]
    fn a_hostile_answer_is_quoted_briefly() {
        let problem = Problem::parse(StatusCode::BAD_REQUEST, &[0xff; 1 << 20]);
        assert_eq!(problem.detail.chars().count(), super::QUOTED_CHARS);
    }
}
