//! Stops children within their shutdown time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::cell::{Live, SignalLevel, SupervisorCell};
use crate::spec::Shutdown;
use crate::telemetry::{Fact, Telemetry, Who};

/// An infinite shutdown time below a killed supervisor. OTP abandons such processes; here nothing of a killed subtree
/// may survive, so they are killed after the default shutdown time of workers.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);

/// After this time a killed worker that has not ended is reported. A task ends at its next await point, so it computes or
/// blocks; nothing can be done but to report it and wait.
const KILL_REPORT_AFTER: Duration = Duration::from_secs(1);

/// Stops one child of `supervisor` and returns when it has ended.
pub(super) async fn stop_child(supervisor: Arc<SupervisorCell>, live: Live, shutdown: Shutdown) {
    let telemetry = &supervisor.env.telemetry;
    let deadline = match shutdown {
        Shutdown::BrutalKill => return kill_child(&live, telemetry).await,
        Shutdown::Timeout(limit) => Some(Instant::now() + limit),
        Shutdown::Infinity => None,
    };
    live.request_stop();
    let timeout = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => {
                supervisor.signal_at_least(SignalLevel::ORPHANED).await;
                sleep(ORPHAN_LIMIT).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = live.ended() => return,
        () = timeout => {}
    }
    kill_child(&live, telemetry).await;
}

/// Kills one child and returns when it has ended.
async fn kill_child(live: &Live, telemetry: &Telemetry) {
    live.kill();
    wait_after_kill(live, telemetry).await;
}

/// Waits for the end of a child that was killed.
pub(super) async fn wait_after_kill(live: &Live, telemetry: &Telemetry) {
    // A killed supervisor may take longer: it waits for its children.
    if matches!(live, Live::Worker(_)) {
        tokio::select! {
            biased;
            () = live.ended() => return,
            () = sleep(KILL_REPORT_AFTER) => {}
        }
        tracing::warn!(path = &**live.path(), "a killed worker does not yield; waiting for it");
        telemetry.report(live.path(), Fact::KillPending { after: KILL_REPORT_AFTER }, Who::Path);
    }
    live.ended().await;
}
