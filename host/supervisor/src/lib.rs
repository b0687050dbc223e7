//! Supervision as Erlang/OTP does it, on tokio.

mod context;
mod decide;
mod driver;
mod dynamic;
mod handle;
mod partition;
mod reason;
mod registry;
mod root;
mod spec;
mod telemetry;
mod tree;

pub use context::{Context, ShutdownSignal};
pub use decide::{Pid, PidError};
pub use handle::{CallError, ChildCounts, ChildInfo, Handle, Started};
pub use partition::partition_of;
pub use reason::{Reason, ReasonError};
pub use registry::{Registration, Registry};
pub use root::{Options, Root, StartError};
pub use spec::{
    AutoShutdown, Backoff, ChildSpec, DEFAULT_INTENSITY, DEFAULT_PERIOD, Kind, Restart, Shutdown, SpecError,
    Start, Strategy, SupervisorSpec, WORKER_SHUTDOWN,
};
pub use telemetry::{Event, Subscription, TELEMETRY_RING_EVENTS, Telemetry};
pub use tree::{Intensity, Node, NodeState};
