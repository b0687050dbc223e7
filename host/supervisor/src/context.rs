//! What a start function gets.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::pid::Pid;
use crate::registry::Registry;
use crate::telemetry::Telemetry;

/// Passed to a start function: the child's identity, and what it may use.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) path: Arc<str>,
    pub(crate) pid: Pid,
    pub(crate) incarnation: u64,
    pub(crate) shutdown: ShutdownSignal,
    pub(crate) registry: Registry,
    pub(crate) telemetry: Telemetry,
}

impl Context {
    /// The ids from the root, joined by `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The number of this attempt to start the child, from 1. It continues over restarts of the supervisors above while the
    /// child is listed.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// This incarnation, for calls that address a process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The signal by which the supervisor requests the child to stop.
    pub fn shutdown(&self) -> ShutdownSignal {
        self.shutdown.clone()
    }

    /// The registry of names.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The stream of all events.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}

#[derive(Default)]
struct Request {
    requested: AtomicBool,
    changed: Notify,
}

/// The signal by which a supervisor requests a child to stop. A child that ignores it is killed when its time is up (see
/// [`Shutdown`](crate::Shutdown)).
#[derive(Clone, Default)]
pub struct ShutdownSignal {
    request: Arc<Request>,
}

impl ShutdownSignal {
    /// Whether the child was requested to stop.
    pub fn is_requested(&self) -> bool {
        self.request.requested.load(Ordering::Acquire)
    }

    /// Waits until the child is requested to stop. Cancel safe; may be awaited by any number of tasks.
    pub async fn requested(&self) {
        let changed = self.request.changed.notified();
        tokio::pin!(changed);
        // Registered before the check, so that no request between check and wait is missed.
        changed.as_mut().enable();
        if !self.is_requested() {
            changed.await;
        }
    }

    pub(crate) fn request(&self) {
        self.request.requested.store(true, Ordering::Release);
        self.request.changed.notify_waiters();
    }
}

impl fmt::Debug for ShutdownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownSignal").field("requested", &self.is_requested()).finish()
    }
}
