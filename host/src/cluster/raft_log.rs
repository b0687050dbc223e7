//! `raft-log`: opens the log of the node, which owns its thread, and registers it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exesdb_log::Log;
use exesdb_node::identity::{Admissions, Opened, StartError};
use exesdb_supervisor::{ChildSpec, Context, Reason, Shutdown, Start};

use super::membership::Membership;
use super::names;

/// How long a starting log waits for its predecessor, which groups hold until they have noticed its end.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(10);

/// Pause between two attempts to open it.
const PREDECESSOR_POLL: Duration = Duration::from_millis(20);

/// How often a log that failed is noticed.
const POLL: Duration = Duration::from_millis(200);

/// Time to close: the thread writes what it has accepted, which takes long on a slow disk.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// The log of the node, and what was found with it.
pub(super) struct NodeLogs {
    pub(super) log: Arc<Log>,
    pub(super) admissions: Arc<Admissions>,
    /// Groups that lost entries that were synced.
    pub(super) broken: Vec<u64>,
}

impl NodeLogs {
    pub(super) fn of(opened: Opened) -> Self {
        let Opened { folder, identity, log, broken } = opened;
        Self { log: Arc::new(log), admissions: Arc::new(Admissions::new(folder, identity)), broken }
    }
}

pub(super) fn child(membership: &Arc<Membership>) -> ChildSpec {
    let membership = Arc::clone(membership);
    let start = move |context| start(context, Arc::clone(&membership));
    ChildSpec::worker("raft-log", start).shutdown(Shutdown::Timeout(CLOSE_WITHIN))
}

async fn start(context: Context, membership: Arc<Membership>) -> Result<Start, Reason> {
    let opened = match membership.take_opened() {
        Some(opened) => opened,
        None => {
            let (data, options) = (membership.data.clone(), membership.log_options.clone());
            let opened = tokio::task::spawn_blocking(move || open(&data, &options)).await;
            opened.map_err(Reason::error)?.map_err(Reason::error)?
        }
    };
    let logs = Arc::new(NodeLogs::of(opened));
    let closing = Closing(Some(Arc::clone(&logs.log)));
    let log = Arc::clone(&logs.log);
    let registration = context.registry().register(names::LOG, logs);
    Ok(Start::running(async move {
        let shutdown = context.shutdown();
        let failed = async {
            loop {
                tokio::time::sleep(POLL).await;
                if let Some(reason) = log.poisoned() {
                    break reason;
                }
            }
        };
        let reason = tokio::select! {
            () = shutdown.requested() => Reason::Shutdown,
            reason = failed => {
                tracing::error!(reason, "the node's log failed; nothing that was not synced was acknowledged");
                Reason::error(format!("poisoned: {reason}"))
            }
        };
        drop((registration, log));
        closing.close().await;
        reason
    }))
}

/// Closes the log outside the runtime's threads, because closing waits for the disk; also when the child is killed. Groups may hold
/// it for some time after its end: every call of it fails then.
struct Closing(Option<Arc<Log>>);

impl Closing {
    async fn close(mut self) {
        let log = self.0.take();
        // A panic was reported by its own thread.
        drop(tokio::task::spawn_blocking(move || log.inspect(|log| log.close())).await);
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(log) = self.0.take() {
            std::thread::spawn(move || log.close());
        }
    }
}

fn open(data: &Path, options: &exesdb_log::Options) -> Result<Opened, StartError> {
    let give_up = Instant::now() + PREDECESSOR_WAIT;
    loop {
        match Opened::open(data, options.clone()) {
            Err(StartError::Locked { .. } | StartError::Log(exesdb_log::OpenError::Locked { .. }))
                if Instant::now() < give_up =>
            {
                std::thread::sleep(PREDECESSOR_POLL);
            }
            outcome => return outcome,
        }
    }
}
