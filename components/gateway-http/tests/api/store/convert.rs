//! Converts between the gateway's records and those of the components, which the SDK generates from the same WIT.

use exesdb_gateway_http::store as gateway;
use exesdb_sdk::{snapshots, streams};

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
    gateway::AppendRequest => streams { stream_id, expected, events; }
    gateway::StreamCheck => streams { stream_id, expected; }
    gateway::QueryItem => streams { types, tags; }
    gateway::AppendCondition => streams { after; query }
    gateway::Transaction => streams { ; appends, checks, conditions }
    gateway::ImportedEvent => streams { stream_id, version, position, created, event; }
    gateway::ImportMark => streams { stream_id, source, rows, leading_rows; }
    gateway::Retention => streams { max_count, max_age_seconds, truncate_before; }
    gateway::EventFilter => streams {
        stream_prefixes, correlation_id, causation_id, stream_pattern, type_pattern; query
    }
    streams::AppendResult => gateway { first_version, last_version, position; }
    streams::ImportResult => gateway { added, repeated, hidden, durable_position; }
    streams::ImportState => gateway { rows, leading_rows; info }
    streams::Retention => gateway { max_count, max_age_seconds, truncate_before; }
    streams::StreamInfo => gateway {
        stream_id, first_version, last_version, life_begins, first_position, created, updated; state, retention
    }
    streams::EventPage => gateway { events, next, end, durable_position; }
    streams::StreamPage => gateway { streams, more; }
    gateway::SnapshotId => snapshots { stream_id, source_id, version; }
    gateway::SnapshotData => snapshots { content_type, data, metadata; }
    gateway::SnapshotScope => snapshots { stream_id, source_id; }
    snapshots::SnapshotId => gateway { stream_id, source_id, version; }
    snapshots::RecordedSnapshot => gateway { content_type, data, metadata, created; id }
    snapshots::SnapshotInfo => gateway { content_type, size, created; id }
    snapshots::SnapshotPage => gateway { more; snapshots }
}

impl Convert<streams::Deletion> for gateway::Deletion {
    fn convert(self) -> streams::Deletion {
        match self {
            Self::Soft => streams::Deletion::Soft,
            Self::Tombstone => streams::Deletion::Tombstone,
        }
    }
}

impl Convert<gateway::StreamState> for streams::StreamState {
    fn convert(self) -> gateway::StreamState {
        match self {
            Self::Live => gateway::StreamState::Live,
            Self::Deleted => gateway::StreamState::Deleted,
            Self::Tombstoned => gateway::StreamState::Tombstoned,
        }
    }
}
