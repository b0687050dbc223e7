//! What a child is given when it starts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::decide::Pid;
use crate::registry::Registry;
use crate::telemetry::Telemetry;

/// Handed to a start function: who the child is, and what it may use.
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

    /// Which attempt to start this child this is, from 1. It goes on over restarts of the supervisors above,
    /// as long as the child is in the list.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// This incarnation, for calls that go by process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Tells that the supervisor asks the child to stop.
    pub fn shutdown(&self) -> ShutdownSignal {
        self.shutdown.clone()
    }

    /// Names to typed handles.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The stream of everything that happens.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}

#[derive(Default)]
struct Request {
    requested: AtomicBool,
    changed: Notify,
}

/// Tells a child that its supervisor asks it to stop. A child that does not listen is killed when its time is
/// up (see [`Shutdown`](crate::Shutdown)).
#[derive(Clone, Default)]
pub struct ShutdownSignal {
    request: Arc<Request>,
}

impl ShutdownSignal {
    /// Whether the child is asked to stop.
    pub fn is_requested(&self) -> bool {
        self.request.requested.load(Ordering::Acquire)
    }

    /// Waits until the child is asked to stop. Cancel safe; may be awaited by any number of tasks.
    pub async fn requested(&self) {
        let changed = self.request.changed.notified();
        tokio::pin!(changed);
        // Enlisted before the look, so that a request between look and wait is not slept through.
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
