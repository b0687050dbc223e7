//! Errors as problem details (RFC 9457).

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::limits::{QUOTED_BYTES_MAX, RETRY_AFTER_SECONDS};

/// The kinds of problems. Their URIs are part of the API and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The body is not JSON, or not UTF-8.
    MalformedBody,
    /// A field, parameter or header breaks a rule; the member `field` names it.
    InvalidArgument,
    /// The caller lacks a right.
    Denied,
    /// No route has this path.
    PathNotFound,
    /// The stream has no events.
    StreamNotFound,
    /// There is no snapshot at that version, or none at all.
    SnapshotNotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// No representation of the response satisfies `accept`.
    NotAcceptable,
    /// The stream is not at the expected version; the member `actual_version` holds its version.
    WrongExpectedVersion,
    /// An append condition does not hold; the members `condition` and `position` name it and the event that violates it.
    ConditionFailed,
    /// A position is beyond the end of the store, or belongs to a history that the store has left; the members `history`
    /// and `end` describe the store's current history.
    HistoryChanged,
    /// Some of the event ids are already in the stream.
    EventIdConflict,
    /// The stream does not have the snapshot's version.
    NoSuchVersion,
    /// The stream was deleted permanently.
    StreamDeleted,
    /// A limit is exceeded.
    TooLarge,
    /// The body has an unsupported media type or encoding.
    UnsupportedMediaType,
    /// A failure without a kind of its own.
    Internal,
    /// The request needs data that is damaged.
    Damaged,
    /// The same request crashed an instance twice.
    Quarantined,
    /// The component that serves this is being restarted.
    Restarting,
    /// The component that serves this crashes repeatedly, or does not start.
    Unavailable,
    /// Another node of the cluster leads the store; the header `exesdb-leader` names it if it is known.
    NotLeader,
    /// No node of the cluster leads the store at the moment.
    NoLeader,
    /// A queue is full.
    Overloaded,
    /// The store accepts no writes at the moment.
    ReadOnly,
    /// The host or the store's component does not have what the request asks for.
    Unsupported,
    /// The request's time is over.
    Timeout,
    /// There is no durable subscription of this name.
    SubscriptionNotFound,
    /// There is a durable subscription of this name with another selector or other settings.
    SubscriptionExists,
    /// The durable subscription has halted until somebody resumes it.
    SubscriptionHalted,
    /// The durable subscription is paused.
    SubscriptionPaused,
    /// The consumer left or was cut off, or there was none.
    ConsumerNotFound,
    /// Another request takes what is delivered to the consumer.
    ConsumerInUse,
    /// The durable subscription has as many consumers as it may have.
    TooManyConsumers,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 34] = [
        Self::MalformedBody,
        Self::InvalidArgument,
        Self::Denied,
        Self::PathNotFound,
        Self::StreamNotFound,
        Self::SnapshotNotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::WrongExpectedVersion,
        Self::ConditionFailed,
        Self::HistoryChanged,
        Self::EventIdConflict,
        Self::NoSuchVersion,
        Self::StreamDeleted,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Internal,
        Self::Damaged,
        Self::Quarantined,
        Self::Restarting,
        Self::Unavailable,
        Self::NotLeader,
        Self::NoLeader,
        Self::Overloaded,
        Self::ReadOnly,
        Self::Unsupported,
        Self::Timeout,
        Self::SubscriptionNotFound,
        Self::SubscriptionExists,
        Self::SubscriptionHalted,
        Self::SubscriptionPaused,
        Self::ConsumerNotFound,
        Self::ConsumerInUse,
        Self::TooManyConsumers,
    ];

    /// The URI of the kind.
    pub fn uri(self) -> &'static str {
        match self {
            Self::MalformedBody => "urn:exesdb:problem:malformed-body",
            Self::InvalidArgument => "urn:exesdb:problem:invalid-argument",
            Self::Denied => "urn:exesdb:problem:denied",
            Self::PathNotFound => "urn:exesdb:problem:path-not-found",
            Self::StreamNotFound => "urn:exesdb:problem:stream-not-found",
            Self::SnapshotNotFound => "urn:exesdb:problem:snapshot-not-found",
            Self::MethodNotAllowed => "urn:exesdb:problem:method-not-allowed",
            Self::NotAcceptable => "urn:exesdb:problem:not-acceptable",
            Self::WrongExpectedVersion => "urn:exesdb:problem:wrong-expected-version",
            Self::ConditionFailed => "urn:exesdb:problem:condition-failed",
            Self::HistoryChanged => "urn:exesdb:problem:history-changed",
            Self::EventIdConflict => "urn:exesdb:problem:event-id-conflict",
            Self::NoSuchVersion => "urn:exesdb:problem:no-such-version",
            Self::StreamDeleted => "urn:exesdb:problem:stream-deleted",
            Self::TooLarge => "urn:exesdb:problem:too-large",
            Self::UnsupportedMediaType => "urn:exesdb:problem:unsupported-media-type",
            Self::Internal => "urn:exesdb:problem:internal",
            Self::Damaged => "urn:exesdb:problem:damaged",
            Self::Quarantined => "urn:exesdb:problem:quarantined",
            Self::Restarting => "urn:exesdb:problem:restarting",
            Self::Unavailable => "urn:exesdb:problem:unavailable",
            Self::NotLeader => "urn:exesdb:problem:not-leader",
            Self::NoLeader => "urn:exesdb:problem:no-leader",
            Self::Overloaded => "urn:exesdb:problem:overloaded",
            Self::ReadOnly => "urn:exesdb:problem:read-only",
            Self::Unsupported => "urn:exesdb:problem:unsupported",
            Self::Timeout => "urn:exesdb:problem:timeout",
            Self::SubscriptionNotFound => "urn:exesdb:problem:subscription-not-found",
            Self::SubscriptionExists => "urn:exesdb:problem:subscription-exists",
            Self::SubscriptionHalted => "urn:exesdb:problem:subscription-halted",
            Self::SubscriptionPaused => "urn:exesdb:problem:subscription-paused",
            Self::ConsumerNotFound => "urn:exesdb:problem:consumer-not-found",
            Self::ConsumerInUse => "urn:exesdb:problem:consumer-in-use",
            Self::TooManyConsumers => "urn:exesdb:problem:too-many-consumers",
        }
    }

    /// A short description, the same for every problem of the kind.
    pub fn title(self) -> &'static str {
        match self {
            Self::MalformedBody => "The body cannot be read",
            Self::InvalidArgument => "A value breaks a rule",
            Self::Denied => "A right is missing",
            Self::PathNotFound => "There is nothing at this path",
            Self::StreamNotFound => "The stream has no events",
            Self::SnapshotNotFound => "There is no such snapshot",
            Self::MethodNotAllowed => "The path does not have this method",
            Self::NotAcceptable => "No form of the response is acceptable",
            Self::WrongExpectedVersion => "The stream is not at the expected version",
            Self::ConditionFailed => "An append condition does not hold",
            Self::HistoryChanged => "The position is not of this history of the store",
            Self::EventIdConflict => "An event id is already in the stream",
            Self::NoSuchVersion => "The stream does not have this version",
            Self::StreamDeleted => "The stream was deleted for good",
            Self::TooLarge => "A limit is exceeded",
            Self::UnsupportedMediaType => "The body has a form that is not read",
            Self::Internal => "The store failed",
            Self::Damaged => "The store's data is damaged",
            Self::Quarantined => "The request is not tried again",
            Self::Restarting => "The store is restarting",
            Self::Unavailable => "A part of the store does not run",
            Self::NotLeader => "Another node leads the store",
            Self::NoLeader => "The store has no leader",
            Self::Overloaded => "The store has too much to do",
            Self::ReadOnly => "The store takes no writes",
            Self::Unsupported => "The store does not have this",
            Self::Timeout => "The request's time is over",
            Self::SubscriptionNotFound => "There is no such subscription",
            Self::SubscriptionExists => "There is another subscription of this name",
            Self::SubscriptionHalted => "The subscription has halted",
            Self::SubscriptionPaused => "The subscription is paused",
            Self::ConsumerNotFound => "There is no such consumer",
            Self::ConsumerInUse => "The consumer is in use",
            Self::TooManyConsumers => "The subscription has as many consumers as it may have",
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::MalformedBody | Self::InvalidArgument => 400,
            Self::Denied => 403,
            Self::PathNotFound
            | Self::StreamNotFound
            | Self::SnapshotNotFound
            | Self::SubscriptionNotFound
            | Self::ConsumerNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::WrongExpectedVersion
            | Self::ConditionFailed
            | Self::HistoryChanged
            | Self::EventIdConflict
            | Self::SubscriptionExists
            | Self::SubscriptionHalted
            | Self::SubscriptionPaused
            | Self::ConsumerInUse
            | Self::TooManyConsumers
            | Self::NoSuchVersion => 409,
            Self::StreamDeleted => 410,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::NotLeader => 421,
            Self::Internal | Self::Damaged | Self::Quarantined => 500,
            Self::Unsupported => 501,
            Self::Restarting
            | Self::Unavailable
            | Self::NoLeader
            | Self::Overloaded
            | Self::ReadOnly
            | Self::Timeout => 503,
        }
    }
}

/// The value of an extension member of a problem.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum Member {
    /// A JSON string.
    Text(String),
    /// A JSON number.
    Number(u64),
    /// JSON `true` or `false`.
    Flag(bool),
    /// JSON `null`.
    Null,
}

/// The reason why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of the problem.
    pub kind: Kind,
    /// This occurrence: what is wrong, where, and what would be right.
    pub detail: String,
    /// Extension members, in the order in which they are written.
    pub members: Vec<(&'static str, Member)>,
    /// The methods that the path allows, for [`Kind::MethodNotAllowed`].
    pub allow: Option<&'static str>,
}

impl Problem {
    /// A problem without extension members.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), members: Vec::new(), allow: None }
    }

    /// [`Kind::InvalidArgument`]: `field` is the name of the field at fault, `detail` what is wrong with it.
    pub fn invalid(field: impl Into<String>, detail: impl AsRef<str>) -> Self {
        Self::of_field(Kind::InvalidArgument, field, detail)
    }

    /// A problem of one field: the detail begins with its name.
    pub fn of_field(kind: Kind, field: impl Into<String>, detail: impl AsRef<str>) -> Self {
        let field = field.into();
        let detail = format!("{field}: {}", detail.as_ref());
        Self::new(kind, detail).with("field", Member::Text(field))
    }

    /// [`Kind::TooLarge`] with the limit that was exceeded.
    pub fn too_large(field: impl Into<String>, limit: usize, unit: &str) -> Self {
        Self::of_field(Kind::TooLarge, field, format!("is over the limit of {limit} {unit}"))
            .with("limit", Member::Number(limit as u64))
    }

    /// Adds an extension member.
    #[must_use]
    pub fn with(mut self, name: &'static str, member: Member) -> Self {
        self.members.push((name, member));
        self
    }

    /// Seconds after which the client should retry; none if a retry cannot succeed.
    pub fn retry_after(&self) -> Option<u32> {
        (self.kind.status() == 503).then_some(RETRY_AFTER_SECONDS)
    }

    /// The problem as JSON.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("writing into memory cannot fail")
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", self.kind.uri())?;
        map.serialize_entry("title", self.kind.title())?;
        map.serialize_entry("status", &self.kind.status())?;
        map.serialize_entry("detail", &self.detail)?;
        for (name, member) in &self.members {
            map.serialize_entry(name, member)?;
        }
        map.end()
    }
}

/// A client's text as error messages quote it: shortened, and with control characters escaped.
pub fn quoted(text: &str) -> String {
    let end = text.floor_char_boundary(QUOTED_BYTES_MAX);
    let cut: Cow<'_, str> = match text.get(..end) {
        Some(start) if start.len() < text.len() => Cow::Owned(format!("{start}...")),
        _ => Cow::Borrowed(text),
    };
    format!("`{}`", cut.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::{Kind, Member, Problem, quoted};

    #[test]
    fn extension_members_follow_the_standard_ones() {
        let problem = Problem::new(Kind::WrongExpectedVersion, "the \"stream\"\nmoved")
            .with("actual_version", Member::Null)
            .with("deleted", Member::Flag(true))
            .with("limit", Member::Number(u64::MAX));
        let value: serde_json::Value = serde_json::from_slice(&problem.encode()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "type": "urn:exesdb:problem:wrong-expected-version",
                "title": "The stream is not at the expected version",
                "status": 409,
                "detail": "the \"stream\"\nmoved",
                "actual_version": null,
                "deleted": true,
                "limit": u64::MAX,
            })
        );
    }

    #[test]
    fn every_kind_has_its_own_uri() {
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert!(kind.uri().starts_with("urn:exesdb:problem:"));
            assert!(Kind::ALL.iter().skip(index + 1).all(|other| other.uri() != kind.uri()));
        }
    }

    #[test]
    fn quoted_text_is_shortened_and_escaped() {
        assert_eq!(quoted("a"), "`a`");
        assert_eq!(quoted("a\0\n"), "`a\\0\\n`");
        assert_eq!(quoted(&"é".repeat(100)), format!("`{}...`", "é".repeat(32)));
        assert_eq!(quoted(&format!("x{}", "é".repeat(100))), format!("`x{}...`", "é".repeat(31)));
    }
}
