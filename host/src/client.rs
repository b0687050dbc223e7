//! A client of the gateway's HTTP API: typed requests, and errors that say what to do.
//!
//! It speaks plain HTTP/1.1 only: the gateway listens on loopback, or behind a proxy that speaks TLS to the outside.

#[cfg(test)]
pub(crate) mod canned;
mod cluster;
mod error;
mod events;
mod filter;
mod follow;
mod http;
mod import;
mod import_pipeline;
mod lines;
mod listen;
mod read_from;
mod response_lines;
mod retry;
mod snapshots;
mod sse;
mod streams;
mod subscriptions;
mod url;

pub use cluster::{
    Availability, ClusterStatus, Finding, LeaderTransferred, NodeAddresses, NodeStatus, ReplicaStatus,
    StoreStatus,
};
pub use error::{ClientError, Problem};
pub(crate) use events::present;
pub use events::{
    AppendRequest, Appended, Direction, Event, EventPage, ExpectedVersion, NewEvent, PAGE_COUNT_MAX,
};
pub use filter::Filter;
pub use follow::{Follow, FollowFrom};
pub use http::Client;
pub use import::{
    IMPORT_BYTES_MAX, IMPORT_EVENTS_MAX, IMPORT_SOURCE_BYTES_MAX, ImportMark, ImportRequest, ImportState,
    Imported, RowCount, RowsRequest,
};
pub use import_pipeline::{IMPORTS_IN_FLIGHT, ImportPipeline, import_body};
pub use lines::Lines;
pub use listen::{Dropped, Heard, Listen};
pub use read_from::ReadFrom;
pub use retry::{Retry, notify};
pub use snapshots::{Snapshot, SnapshotInfo, SnapshotPage, SnapshotScope, WhichSnapshot};
pub use streams::{Retention, StreamAppended, StreamInfo, StreamPage, StreamState, Transacted};
pub use subscriptions::{Batch, ParkedScope, Settlement, SubscriptionPage};
pub use url::{DEFAULT_URL, GatewayUrl};
