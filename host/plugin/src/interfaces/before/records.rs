//! Records and variants that are the same in both versions, or nearly so.

use super::each;
use crate::bindings::next::{snapshot_types, types};
use crate::bindings::{snapshots as snapshots01, streams as streams01, types as types01};

/// Records whose fields have the same names. Those after the semicolon are converted, the others have the same type.
macro_rules! records {
    ($($from:ident::$name:ident => $to:ident { $($same:ident),*; $($converted:ident),* })*) => {
        $(impl From<$from::$name> for $to::$name {
            fn from(record: $from::$name) -> Self {
                Self { $($same: record.$same,)* $($converted: record.$converted.into(),)* }
            }
        })*
    };
}

/// Variants whose cases have the same names.
macro_rules! variants {
    ($($from:ident::$name:ident => $to:ident { $($case:ident $(($value:ident))?),* })*) => {
        $(impl From<$from::$name> for $to::$name {
            fn from(variant: $from::$name) -> Self {
                match variant {
                    $($from::$name::$case $(($value))? => Self::$case $(($value))?,)*
                }
            }
        })*
    };
}

records! {
    streams01::StreamCheck => types { stream_id; expected }
    streams01::QueryItem => types { types, tags; }
    streams01::ImportMark => types { stream_id, source, rows, leading_rows; }
    streams01::Retention => types { max_count, max_age_seconds, truncate_before; }
    types::Retention => streams01 { max_count, max_age_seconds, truncate_before; }
    types::StreamInfo => streams01 {
        stream_id, first_version, last_version, life_begins, first_position, created, updated; state, retention
    }
    types::StreamPage => streams01 { streams, more; }
    types::StreamLife => types01 { first_version, last_version; }
    types::VersionConflict => types01 { stream_id, last_version, is_deleted; expected }
    types::ConditionFailure => types01 { condition, position; }
    types::InvalidArgument => types01 { argument, message; }
    snapshots01::SnapshotId => snapshot_types { stream_id, source_id, version; }
    snapshots01::SnapshotData => snapshot_types { content_type, data, metadata; }
    snapshots01::SnapshotScope => snapshot_types { stream_id, source_id; }
    snapshot_types::SnapshotId => snapshots01 { stream_id, source_id, version; }
    snapshot_types::SnapshotInfo => snapshots01 { content_type, size, created; id }
}

variants! {
    types01::ExpectedVersion => types { Any, NoStream, StreamExists, Exact(version) }
    types::ExpectedVersion => types01 { Any, NoStream, StreamExists, Exact(version) }
    types01::Direction => types { Forward, Backward }
    streams01::Deletion => types { Soft, Tombstone }
    types::StreamState => streams01 { Live, Deleted, Tombstoned }
}

impl From<streams01::AppendCondition> for types::AppendCondition {
    fn from(condition: streams01::AppendCondition) -> Self {
        Self { query: each(condition.query), after: condition.after }
    }
}

impl From<types::ImportState> for streams01::ImportState {
    fn from(state: types::ImportState) -> Self {
        Self { rows: state.rows, leading_rows: state.leading_rows, info: state.info.map(Into::into) }
    }
}

impl From<types::MissingVersion> for types01::MissingVersion {
    fn from(missing: types::MissingVersion) -> Self {
        let life = missing.life.map(Into::into);
        Self { stream_id: missing.stream_id, version: missing.version, life }
    }
}

impl From<types::HistoryChange> for types01::HistoryChange {
    fn from(change: types::HistoryChange) -> Self {
        Self { history: change.history_id, end: change.end }
    }
}

impl From<snapshot_types::RecordedSnapshot> for snapshots01::RecordedSnapshot {
    fn from(recorded: snapshot_types::RecordedSnapshot) -> Self {
        let snapshot_types::SnapshotData { content_type, data, metadata } = recorded.snapshot;
        Self { id: recorded.id.into(), content_type, data, metadata, created: recorded.created }
    }
}

impl From<snapshot_types::SnapshotPage> for snapshots01::SnapshotPage {
    fn from(page: snapshot_types::SnapshotPage) -> Self {
        Self { snapshots: each(page.snapshots), more: page.more }
    }
}

#[cfg(test)]
mod tests {
    use crate::bindings::next::{snapshot_types, types};
    use crate::bindings::{snapshots as snapshots01, streams as streams01};

    #[test]
    fn a_stream_keeps_its_description() {
        let retention =
            types::Retention { max_count: Some(1), max_age_seconds: Some(2), truncate_before: Some(3) };
        let info = types::StreamInfo {
            stream_id: "s".into(),
            state: types::StreamState::Deleted,
            first_version: Some(4),
            last_version: 5,
            life_begins: Some(6),
            first_position: 7,
            retention,
            created: 8,
            updated: 9,
        };
        let said = format!("{info:?}");
        let state =
            streams01::ImportState::from(types::ImportState { rows: 10, leading_rows: 11, info: Some(info) });
        assert_eq!((state.rows, state.leading_rows), (10, 11));
        assert_eq!(format!("{:?}", state.info.unwrap()), said);
    }

    #[test]
    fn a_snapshot_keeps_its_parts() {
        let id = snapshot_types::SnapshotId { stream_id: "s".into(), source_id: "p".into(), version: 1 };
        let snapshot = snapshot_types::SnapshotData {
            content_type: "c".into(),
            data: b"data".to_vec(),
            metadata: b"meta".to_vec(),
        };
        let info =
            snapshot_types::SnapshotInfo { id: id.clone(), content_type: "c".into(), size: 2, created: 3 };
        let page = snapshot_types::SnapshotPage { snapshots: vec![info], more: true };
        let said = format!("{page:?}");
        assert_eq!(format!("{:?}", snapshots01::SnapshotPage::from(page)), said);
        let recorded = snapshots01::RecordedSnapshot::from(snapshot_types::RecordedSnapshot {
            id: id.clone(),
            snapshot,
            created: 4,
        });
        assert_eq!(format!("{:?}", recorded.id), format!("{id:?}"));
        assert_eq!((recorded.content_type.as_str(), recorded.created), ("c", 4));
        assert_eq!((recorded.data, recorded.metadata), (b"data".to_vec(), b"meta".to_vec()));
    }
}
