//! The calls that requests make, with their arguments.

use crate::accept::Representation;
use crate::history::HistoryId;
use crate::store::{Deletion, Direction, EventScope, ExpectedVersion, SnapshotId, SnapshotScope};

/// The starting point of an event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At a version or position, inclusive.
    From(u64),
    /// With the next event that is appended.
    End,
    /// After the event at this position, the last one that the client has seen.
    After(u64),
}

/// A read of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first version or position, inclusive; none for the beginning (backward: the end).
    pub from: Option<u64>,
    /// The maximum number of events.
    pub count: u32,
    /// The direction of the read.
    pub direction: Direction,
    /// The history that `from` belongs to, for a read of the whole store; none if the client does not name it.
    pub history: Option<HistoryId>,
}

/// A read of as many pages as necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkRange {
    /// The first version or position, inclusive; none for the beginning (backward: the end).
    pub from: Option<u64>,
    /// The maximum number of events; none for all.
    pub count: Option<u64>,
    /// The direction of the read.
    pub direction: Direction,
    /// The history that `from` belongs to, for a read of the whole store; none if the client does not name it.
    pub history: Option<HistoryId>,
}

/// The encoding of the events of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendEncoding {
    /// JSON, which includes the expected version.
    Json,
    /// Frames, with the expected version from the query.
    Frames(ExpectedVersion),
}

/// The call that a request makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The OpenAPI document.
    OpenApi,
    /// Append the events in the body.
    Append {
        /// The stream to append to.
        stream: String,
        /// The encoding of the body.
        encoding: AppendEncoding,
    },
    /// Append the events in the body to several streams.
    Transact,
    /// Import the events in the body from another store.
    Import,
    /// Report what the streams in the body have imported so far.
    ImportStates,
    /// Read a page of events.
    Read {
        /// The events to read from.
        scope: EventScope,
        /// The range within them.
        range: Range,
    },
    /// Read many pages of events in one response.
    ReadBulk {
        /// The events to read from.
        scope: EventScope,
        /// The range within them.
        range: BulkRange,
        /// Lines or frames.
        representation: Representation,
    },
    /// Read stored events, then live ones.
    Follow {
        /// The events to follow.
        scope: EventScope,
        /// The starting point.
        start: Start,
        /// The history that `start` belongs to; none if the client does not name it.
        history: Option<HistoryId>,
    },
    /// List the names of streams.
    ListStreams {
        /// The prefix of the names.
        prefix: String,
        /// The name after which the page begins.
        after: Option<String>,
        /// The maximum number of names.
        count: u32,
        /// Whether deleted streams are included.
        deleted: bool,
    },
    /// Describe a stream.
    StreamInfo {
        /// The stream.
        stream: String,
    },
    /// Delete a stream.
    DeleteStream {
        /// The stream.
        stream: String,
        /// The expected version.
        expected: ExpectedVersion,
        /// Whether the stream can be begun again.
        deletion: Deletion,
    },
    /// Set the retention of a stream to the limits in the body.
    SetRetention {
        /// The stream.
        stream: String,
    },
    /// Record the snapshot in the body.
    RecordSnapshot {
        /// The snapshot's stream, source and version.
        id: SnapshotId,
        /// The snapshot's time in microseconds since 1970; none for now.
        created: Option<u64>,
    },
    /// Read a snapshot.
    ReadSnapshot {
        /// The snapshot's stream, source and version.
        id: SnapshotId,
        /// JSON, or JSON on one line.
        representation: Representation,
    },
    /// Read the snapshot with the highest version.
    LatestSnapshot {
        /// The stream.
        stream: String,
        /// The source.
        source: String,
        /// The highest version to consider; none for no limit.
        at_most: Option<u64>,
    },
    /// List snapshots.
    ListSnapshots {
        /// The stream and source of the snapshots.
        scope: SnapshotScope,
        /// The snapshot after which the page begins.
        after: Option<SnapshotId>,
        /// The maximum number of snapshots.
        count: u32,
    },
    /// Delete a snapshot.
    DeleteSnapshot {
        /// The snapshot's stream, source and version.
        id: SnapshotId,
    },
    /// Delete all but the newest snapshots.
    PruneSnapshots {
        /// The stream.
        stream: String,
        /// The source.
        source: String,
        /// How many snapshots are kept.
        keep: u32,
    },
}

/// A call, and the kind of response that it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The call.
    pub call: Call,
    /// Whether only the head of the response is wanted.
    pub head_only: bool,
}
