//! The states of a stream, and how to bring a stream into them.

use exesdb_tests::Client;
use serde_json::{Value, json};

/// The state of a stream before an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Never,
    Live,
    Truncated,
    Counted,
    Aged,
    Emptied,
    Deleted,
    BegunAgain,
    Tombstoned,
    Imported,
}

/// A time before every maximum age.
const LONG_AGO: &str = "2020-01-02T03:04:05Z";

/// The maximum age in the states `aged` and `emptied`: longer than the test, and much shorter than the time since [`LONG_AGO`].
const MAX_AGE_SECONDS: u64 = 7 * 24 * 3_600;

/// The number of events ever appended to a stream, except in the states `never` and `begun again`.
pub(crate) const EVENTS: u64 = 6;

impl State {
    pub(crate) const ALL: [Self; 10] = [
        Self::Never,
        Self::Live,
        Self::Truncated,
        Self::Counted,
        Self::Aged,
        Self::Emptied,
        Self::Deleted,
        Self::BegunAgain,
        Self::Tombstoned,
        Self::Imported,
    ];

    /// The name in `docs/streams.md`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Live => "live",
            Self::Truncated => "truncated",
            Self::Counted => "counted",
            Self::Aged => "aged",
            Self::Emptied => "emptied",
            Self::Deleted => "deleted",
            Self::BegunAgain => "begun again",
            Self::Tombstoned => "tombstoned",
            Self::Imported => "imported",
        }
    }

    /// The version of the first of the stream's six events.
    pub(crate) fn first_version(self) -> u64 {
        if self == Self::Imported { 10 } else { 0 }
    }

    /// The version of its last event; `None` if it never had one.
    pub(crate) fn last_version(self) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::BegunAgain => Some(7),
            _ => Some(self.first_version() + EVENTS - 1),
        }
    }

    /// The version that the next event gets.
    pub(crate) fn next_version(self) -> u64 {
        self.last_version().map_or(0, |last| last + 1)
    }

    /// Creates a stream in this state.
    pub(crate) fn bring_about(self, http: &Client, stream: &str) {
        if self == Self::Never {
            return;
        }
        let first = self.first_version();
        let long_ago = match self {
            Self::Emptied | Self::Imported => EVENTS,
            Self::Aged => 3,
            _ => 0,
        };
        if long_ago > 0 {
            import(http, stream, self, first..first + long_ago);
        }
        for version in first + long_ago..first + EVENTS {
            http.append(stream, "any", &[event(stream, version)]).expect(200);
        }
        for version in [first + 2, first + 5] {
            let path = format!("{}/snapshots/{version}", http.stream(stream));
            http.put(&path, &json!({ "data": version })).expect(204);
        }
        let retain = |limits: Value| {
            http.put(&format!("{}/retention", http.stream(stream)), &limits).expect(204);
        };
        match self {
            Self::Never | Self::Live | Self::Imported => {}
            Self::Truncated => retain(json!({ "truncate_before": 3 })),
            Self::Counted => retain(json!({ "max_count": 2 })),
            Self::Aged | Self::Emptied => retain(json!({ "max_age_seconds": MAX_AGE_SECONDS })),
            Self::Deleted => {
                http.delete(&http.stream(stream)).expect(204);
            }
            Self::BegunAgain => {
                http.delete(&http.stream(stream)).expect(204);
                for version in [6, 7] {
                    http.append(stream, "any", &[event(stream, version)]).expect(200);
                }
            }
            Self::Tombstoned => {
                http.delete(&format!("{}?tombstone=true", http.stream(stream))).expect(204);
            }
        }
    }
}

/// The event of a stream at a version, as the body of an append.
pub(crate) fn event(stream: &str, version: u64) -> Value {
    json!({ "id": format!("{stream}-{version}"), "type": "t", "tags": [tag(stream)], "data": { "version": version } })
}

/// The tag of all events of a stream, and of no others.
pub(crate) fn tag(stream: &str) -> String {
    format!("of:{stream}")
}

/// The same event as a row of an import.
pub(crate) fn row(stream: &str, version: u64) -> Value {
    let mut row = event(stream, version);
    row["stream"] = stream.into();
    row["version"] = version.into();
    row["created"] = LONG_AGO.into();
    row
}

/// Imports events, with gaps between their positions for the state `imported`.
fn import(http: &Client, stream: &str, state: State, versions: std::ops::Range<u64>) {
    let mut next_position: Option<u64> = None;
    for version in versions {
        let mut row = row(stream, version);
        if let (State::Imported, Some(next)) = (state, next_position) {
            row["position"] = Value::from(next + GAP);
        }
        let result =
            http.post(&format!("{}/import", http.path()), &json!({ "events": [row] })).expect(200).json;
        next_position = result["durable_position"].as_u64();
    }
}

/// The number of empty positions between two events of an imported stream.
pub(crate) const GAP: u64 = 3;
