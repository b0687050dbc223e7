//! The root of a tree, which the program starts, stops and waits for.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::driver::Driver;
use crate::driver::cell::{Env, Signal, SupervisorCell};
use crate::driver::record::Record;
use crate::handle::Handle;
use crate::pid::Key;
use crate::reason::Reason;
use crate::registry::Registry;
use crate::spec::{SpecError, SupervisorSpec};
use crate::telemetry::{Telemetry, unix_micros};

/// Options of a tree. By default, the registry and the telemetry are new and empty.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Passed to all children.
    pub registry: Registry,
    /// Passed to all children; supervisors report here what they do.
    pub telemetry: Telemetry,
    /// The seed for the jitter of [`Backoff`](crate::Backoff); random if it is not set.
    pub seed: Option<u64>,
}

/// Why a tree did not start. None of it runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The specification of the root is invalid.
    #[error("{0}")]
    BadSpec(#[from] SpecError),
    /// A child did not start, or a specification below the root is invalid.
    #[error("supervisor `{id}` did not start: {reason}")]
    Failed {
        /// The root.
        id: String,
        /// As in OTP: `shutdown:failed_to_start_child(ID,REASON)`.
        reason: Reason,
    },
}

impl StartError {
    /// The exit reason that the start function of a supervisor would have given.
    pub fn reason(&self) -> Reason {
        match self {
            StartError::BadSpec(error) => error.reason(),
            StartError::Failed { reason, .. } => reason.clone(),
        }
    }
}

/// A running tree. Dropping it stops the tree without waiting.
#[must_use = "a tree stops when its root is dropped"]
pub struct Root {
    cell: Arc<SupervisorCell>,
    started_at_micros: u64,
}

impl Root {
    /// Starts a tree; returns when all of it is up. Must be called within a tokio runtime with time enabled.
    ///
    /// Cancel safe: if the call is dropped, the children that were started are stopped.
    pub async fn start(spec: SupervisorSpec, options: Options) -> Result<Root, StartError> {
        let invalid = spec.check().err();
        let id = spec.id.to_string();
        let seed = options.seed.unwrap_or_else(|| RandomState::new().hash_one(0_u8));
        let env = Arc::new(Env::new(options.registry, options.telemetry, seed));
        let pid = env.next_pid(Key(0));
        let path = Arc::clone(&spec.id);
        let record = Arc::new(Record::default());
        let cell = Arc::new(SupervisorCell::new(pid, path, None, Arc::new(spec), env, record));
        let root = Root { cell: Arc::clone(&cell), started_at_micros: unix_micros() };
        let (up, is_up) = oneshot::channel();
        Driver::spawn(cell, up, None);
        match is_up.await {
            Ok(Ok(())) => Ok(root),
            Ok(Err(reason)) => Err(match invalid {
                Some(error) => StartError::BadSpec(error),
                None => StartError::Failed { id, reason },
            }),
            Err(_) => Err(StartError::Failed { id, reason: Reason::Killed }),
        }
    }

    /// Control from outside.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.cell), self.started_at_micros)
    }

    /// Stops the tree in order and returns its exit reason: `shutdown`, unless it ended before.
    pub async fn stop(self) -> Reason {
        self.cell.send_signal(Signal::Exit(Reason::Shutdown));
        self.wait().await
    }

    /// Waits until the tree has ended, for whatever reason. None of it runs then.
    pub async fn wait(&self) -> Reason {
        self.cell.done.wait().await.clone()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.cell.send_signal(Signal::Exit(Reason::Shutdown));
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("id", &self.cell.path).finish_non_exhaustive()
    }
}
