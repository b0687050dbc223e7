//! Stopping children, within their time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::cell::{Live, SupervisorCell, Weight};
use crate::spec::Shutdown;
use crate::telemetry::{Fact, Telemetry, Who};

/// What an infinite shutdown time means below a killed supervisor. There OTP leaves processes that never end
/// to themselves; here nothing of a killed subtree may survive, so they get the time that a worker has by
/// default, and are killed.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);

/// After this time a killed child that has still not ended is reported. A task ends at its next await point,
/// so one second means that it computes or blocks in place; nothing can be done but to say so and wait.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// Stops one child of `supervisor` and returns when it has ended.
pub(super) async fn stop_child(supervisor: Arc<SupervisorCell>, live: Live, shutdown: Shutdown) {
    let telemetry = &supervisor.env.telemetry;
    let deadline = match shutdown {
        Shutdown::BrutalKill => return kill_child(&live, telemetry).await,
        Shutdown::Timeout(limit) => Some(Instant::now() + limit),
        Shutdown::Infinity => None,
    };
    live.ask();
    let time_is_up = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => {
                supervisor.told_at_least(Weight::ORPHANED).await;
                sleep(ORPHAN_LIMIT).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = live.ended() => return,
        () = time_is_up => {}
    }
    kill_child(&live, telemetry).await;
}

/// Kills one child and returns when it has ended.
async fn kill_child(live: &Live, telemetry: &Telemetry) {
    live.kill();
    killed(live, telemetry).await;
}

/// Waits for the end of a child that was killed.
pub(super) async fn killed(live: &Live, telemetry: &Telemetry) {
    // A killed supervisor may rightly take its time: it waits for what is below it.
    if matches!(live, Live::Worker(_)) {
        tokio::select! {
            biased;
            () = live.ended() => return,
            () = sleep(KILL_PATIENCE) => {}
        }
        tracing::warn!(path = &**live.path(), "a killed worker does not yield; waiting for it");
        telemetry.tell(live.path(), Fact::KillPending { after: KILL_PATIENCE }, Who::Path);
    }
    live.ended().await;
}
