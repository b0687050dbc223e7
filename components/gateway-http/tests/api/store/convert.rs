//! Converts between the gateway's records, which are of version 0.1 of the contract, and the plain values of the components'
//! tests, which are of version 0.2.

use exesdb_gateway_http::store as gateway;
use exesdb_reference as reference;
use exesdb_sdk::{events, snapshots, types};

use super::stream_rules;

/// Converts a value into its counterpart.
pub(super) trait Convert<T> {
    fn convert(self) -> T;
}

impl<A: Convert<B>, B> Convert<Vec<B>> for Vec<A> {
    fn convert(self) -> Vec<B> {
        self.into_iter().map(A::convert).collect()
    }
}

impl<A: Convert<B>, B> Convert<Option<B>> for Option<A> {
    fn convert(self) -> Option<B> {
        self.map(A::convert)
    }
}

impl<A: Convert<B>, B> Convert<Result<B, gateway::Error>> for Result<A, types::Error> {
    fn convert(self) -> Result<B, gateway::Error> {
        self.map(A::convert).map_err(Convert::convert)
    }
}

/// Values that are the same in both versions.
macro_rules! same {
    ($($name:ty)*) => {
        $(impl Convert<$name> for $name {
            fn convert(self) -> $name {
                self
            }
        })*
    };
}

same! { () u64 reference::ImportResult stream_rules::EventPage }

/// Records whose fields have the same names: those before the semicolon have the same type, those after it are converted.
macro_rules! records {
    ($($from:ident::$name:ident => $to:ident { $($same:ident),*; $($converted:ident),* })*) => {
        $(impl Convert<$to::$name> for $from::$name {
            fn convert(self) -> $to::$name {
                $to::$name { $($same: self.$same,)* $($converted: self.$converted.convert(),)* }
            }
        })*
    };
}

records! {
    gateway::EventData => events { id, event_type, content_type, data, metadata, tags; }
    gateway::AppendRequest => reference { stream_id; expected, events }
    gateway::StreamCheck => types { stream_id; expected }
    gateway::QueryItem => types { types, tags; }
    gateway::AppendCondition => types { after; query }
    gateway::Transaction => reference { ; appends, checks, conditions }
    gateway::ImportedEvent => reference { stream_id, version, position, created; event }
    gateway::ImportMark => types { stream_id, source, rows, leading_rows; }
    gateway::Retention => types { max_count, max_age_seconds, truncate_before; }
    reference::AppendResult => gateway { first_version, last_version, position; }
    events::RecordedEvent => gateway {
        stream_id, version, position, id, event_type, content_type, data, metadata, tags, created;
    }
    types::ImportState => gateway { rows, leading_rows; info }
    types::Retention => gateway { max_count, max_age_seconds, truncate_before; }
    types::StreamInfo => gateway {
        stream_id, first_version, last_version, life_begins, first_position, created, updated; state, retention
    }
    types::StreamPage => gateway { streams, more; }
    gateway::SnapshotId => snapshots { stream_id, source_id, version; }
    gateway::SnapshotData => snapshots { content_type, data, metadata; }
    gateway::SnapshotScope => snapshots { stream_id, source_id; }
    snapshots::SnapshotId => gateway { stream_id, source_id, version; }
    snapshots::SnapshotInfo => gateway { content_type, size, created; id }
    snapshots::SnapshotPage => gateway { more; snapshots }
}

impl Convert<types::EventFilter> for gateway::EventFilter {
    fn convert(self) -> types::EventFilter {
        types::EventFilter {
            query: self.query.convert(),
            stream_prefixes: self.stream_prefixes,
            stream_pattern: self.stream_pattern,
            type_pattern: self.type_pattern,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            options: Vec::new(),
        }
    }
}

impl Convert<gateway::RecordedSnapshot> for snapshots::RecordedSnapshot {
    fn convert(self) -> gateway::RecordedSnapshot {
        let snapshots::SnapshotData { content_type, data, metadata } = self.snapshot;
        gateway::RecordedSnapshot {
            id: self.id.convert(),
            content_type,
            data,
            metadata,
            created: self.created,
        }
    }
}

impl Convert<types::Direction> for gateway::Direction {
    fn convert(self) -> types::Direction {
        match self {
            Self::Forward => types::Direction::Forward,
            Self::Backward => types::Direction::Backward,
        }
    }
}

impl Convert<types::Deletion> for gateway::Deletion {
    fn convert(self) -> types::Deletion {
        match self {
            Self::Soft => types::Deletion::Soft,
            Self::Tombstone => types::Deletion::Tombstone,
        }
    }
}

impl Convert<gateway::StreamState> for types::StreamState {
    fn convert(self) -> gateway::StreamState {
        match self {
            Self::Live => gateway::StreamState::Live,
            Self::Deleted => gateway::StreamState::Deleted,
            Self::Tombstoned => gateway::StreamState::Tombstoned,
        }
    }
}

impl Convert<types::ExpectedVersion> for gateway::ExpectedVersion {
    fn convert(self) -> types::ExpectedVersion {
        match self {
            Self::Any => types::ExpectedVersion::Any,
            Self::NoStream => types::ExpectedVersion::NoStream,
            Self::StreamExists => types::ExpectedVersion::StreamExists,
            Self::Exact(version) => types::ExpectedVersion::Exact(version),
        }
    }
}

impl Convert<gateway::ExpectedVersion> for types::ExpectedVersion {
    fn convert(self) -> gateway::ExpectedVersion {
        match self {
            Self::Any => gateway::ExpectedVersion::Any,
            Self::NoStream => gateway::ExpectedVersion::NoStream,
            Self::StreamExists => gateway::ExpectedVersion::StreamExists,
            Self::Exact(version) => gateway::ExpectedVersion::Exact(version),
        }
    }
}

impl Convert<gateway::Error> for types::Error {
    fn convert(self) -> gateway::Error {
        use exesdb_sdk::gateway::types::{ConditionFailure, InvalidArgument, VersionConflict};
        match self {
            Self::WrongExpectedVersion(it) => gateway::Error::WrongExpectedVersion(VersionConflict {
                stream_id: it.stream_id,
                expected: it.expected.convert(),
                last_version: it.last_version,
                is_deleted: it.is_deleted,
            }),
            Self::ConditionFailed(it) => gateway::Error::ConditionFailed(ConditionFailure {
                condition: it.condition,
                position: it.position,
            }),
            Self::StreamDeleted(stream_id) => gateway::Error::StreamDeleted(stream_id),
            Self::IdConflict(conflict) => gateway::Error::IdConflict(conflict.id),
            Self::NotFound => gateway::Error::NotFound,
            Self::Invalid(it) => {
                gateway::Error::Invalid(InvalidArgument { argument: it.argument, message: it.message })
            }
            Self::Problem(problem) => match problem.code.as_str() {
                types::code::TOO_LARGE => gateway::Error::TooLarge(problem.message),
                types::code::DAMAGED => gateway::Error::Damaged(problem.message),
                types::code::RESTARTING => gateway::Error::Restarting(problem.message),
                _ => gateway::Error::Other(problem.message),
            },
            Self::NoSuchVersion(_) | Self::HistoryChanged(_) => panic!("the host says that: {self:?}"),
        }
    }
}
