//! `exesdb:gateway/store`, for gateways that speak `wasi:http` and wait in their calls.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::bindings::gateway::requests::{Call, Caller, Outcome};
use crate::bindings::gateway::store::{Host, Wake};
use crate::problem::{code, problem};
use crate::state::State;
use crate::store_calls::StoreCalls;

/// Calls of one `run`, as the interface says.
const CALLS_MAX: usize = 64;

/// The longest wait, as the interface says.
const WAIT_MS_MAX: u32 = 60_000;

impl Host for State {
    fn who(&mut self) -> Caller {
        // No mount authenticates its clients yet.
        Caller { identity: None, scopes: Vec::new() }
    }

    fn name(&mut self) -> String {
        self.context.store.clone()
    }

    async fn run(&mut self, calls: Vec<Call>) -> Vec<Outcome> {
        if calls.len() > CALLS_MAX {
            let message = format!("{} calls, over the limit of {CALLS_MAX} at a time", calls.len());
            return vec![Err(problem(code::TOO_LARGE, message)); calls.len()];
        }
        let deadline = Instant::now() + Duration::from_millis(self.context.limits.response_wall_ms);
        let store = StoreCalls::of(&self.context);
        // `join_all` polls in order, so changes are queued in the order of the list (the rule G1).
        let made = |call| store.run(self.caller(), call, deadline);
        join_all(calls.into_iter().map(made).collect::<Vec<_>>()).await
    }

    async fn wait(&mut self, stream_id: Option<String>, seen: u64, timeout_ms: u32) -> Wake {
        // Only a request can wait. A component that tries to wait in its start is requested to finish.
        let Some(request) = self.request.clone() else { return Wake::Closing };
        if !request.enter_live() {
            return Wake::Overloaded;
        }
        let store = StoreCalls::of(&self.context);
        let Ok(news) = store.news(stream_id.as_deref(), seen) else { return Wake::Overloaded };
        tokio::select! {
            biased;
            () = request.closed() => Wake::Closing,
            () = news.woken() => Wake::Events,
            () = tokio::time::sleep(Duration::from_millis(timeout_ms.min(WAIT_MS_MAX).into())) => {
                // There may be events of which nobody was told.
                let has_more = store.horizon().is_ok_and(|horizon| horizon.end > seen);
                if has_more { Wake::Events } else { Wake::Timeout }
            }
        }
    }
}
