//! Makes the calls of a request, each on any instance (the rules P1 and P7).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use exesdb_packed::{Frame, Frames, Record, push_envelope};
use tokio::time::Instant;

use super::exports::{Call, Encode};
use super::rules::Breach;
use crate::bindings::store::types::Error;
use crate::context::ComponentContext;
use crate::crash::{Crash, CrashKind};
use crate::gateway::error::GatewayError;
use crate::gateway::instances::{Exports, Warm};
use crate::gateway::worker::GatewayWorker;
use crate::identity::Identity;
use crate::long_read::RESTART_PATIENCE;
use crate::metered_call::MeteredCall;
use crate::problem::{code, problem};
use crate::state::State;
use crate::store_calls::POLL;
use crate::trace::Trace;

/// Whose instances make calls.
#[derive(Clone, Copy)]
pub(super) enum Workers<'a> {
    /// The worker that has the request.
    One(&'a GatewayWorker),
    /// Any worker of the store that runs the same component, because what is read outlives them (the rule P9).
    Any(&'a Origin),
}

/// Where a follower comes from: a component in a store. It outlives the worker that began.
pub(in crate::gateway) struct Origin {
    pub(in crate::gateway) context: Arc<ComponentContext>,
    pub(in crate::gateway) identity: Arc<Identity>,
    /// Workers of the store.
    pub(in crate::gateway) workers: usize,
    /// Calls so far: the workers take turns.
    pub(in crate::gateway) turn: AtomicUsize,
}

/// The instances that make calls, on behalf of one request.
pub(super) struct Guest<'a> {
    pub(super) workers: Workers<'a>,
    pub(super) trace: &'a Trace,
}

impl Origin {
    /// A worker of the store, none while there is none. It fails if the component was replaced by another one, which does not
    /// know what this one meant by a representation.
    fn worker(&self) -> Result<Option<Arc<GatewayWorker>>, GatewayError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (registry, store) = (&self.context.registry, &self.context.store);
        let worker = GatewayWorker::pick(registry, store, self.workers, turn);
        match worker {
            Some(worker) if worker.origin.identity.digest != self.identity.digest => {
                Err(GatewayError::NoResponse)
            }
            worker => Ok(worker),
        }
    }
}

impl Guest<'_> {
    /// Makes a call whose result `check` accepts. An instance that ends, or whose result is refused, had no effect: the call is
    /// made once more, by a fresh one. Calls of any worker wait for one that is being restarted.
    pub(super) async fn call<C: Call, T>(
        &self,
        call: &C,
        mut check: impl FnMut(C::Returned) -> Result<T, Breach> + Send,
    ) -> Result<T, GatewayError> {
        let begun = Instant::now();
        loop {
            let error = match self.twice(call, &mut check).await {
                Ok(checked) => return Ok(checked),
                Err(error) => error,
            };
            let waits = matches!(self.workers, Workers::Any(_))
                && matches!(error, GatewayError::Restarting | GatewayError::Unavailable);
            if !waits || begun.elapsed() > RESTART_PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn twice<C: Call, T>(
        &self,
        call: &C,
        check: &mut (impl FnMut(C::Returned) -> Result<T, Breach> + Send),
    ) -> Result<T, GatewayError> {
        let held;
        let worker = match self.workers {
            Workers::One(worker) => worker,
            Workers::Any(origin) => {
                held = origin.worker()?.ok_or(GatewayError::Restarting)?;
                &held
            }
        };
        if let Ok(checked) = self.once(worker, call, check, false).await {
            return Ok(checked);
        }
        self.once(worker, call, check, true).await
    }

    async fn once<C: Call, T>(
        &self,
        worker: &GatewayWorker,
        call: &C,
        check: &mut (impl FnMut(C::Returned) -> Result<T, Breach> + Send),
        fresh: bool,
    ) -> Result<T, GatewayError> {
        // Long reads have few of the instances, so that they do not delay short requests.
        let _turn = if C::IS_OF_LONG { worker.of_long.acquire().await.ok() } else { None };
        // A worker that stops admits nobody, and still makes the last steps of those that it has.
        let _permit = worker.admission.enter_again().await;
        let number = worker.numbers.fetch_add(1, Ordering::Relaxed);
        let instances = &worker.instances;
        let warm = if fresh { instances.fresh(number).await } else { instances.take(number).await };
        let mut warm = warm.map_err(|_| GatewayError::Unavailable)?;
        match self.made(worker, call, &mut warm).await {
            Ok(returned) => match check(returned) {
                Ok(checked) => {
                    instances.give_back(warm);
                    Ok(checked)
                }
                Err(Breach(message)) => Err(ended(&warm, Crash::breach(&message))),
            },
            Err(crash) => Err(ended(&warm, crash)),
        }
    }

    async fn made<C: Call>(
        &self,
        worker: &GatewayWorker,
        call: &C,
        warm: &mut Warm,
    ) -> Result<C::Returned, Crash> {
        let Exports::Steps(exports) = &warm.exports else {
            return Err(Crash::breach("the instance has no steps"));
        };
        let store = &mut warm.store;
        State::begin_call(store, vec![self.trace.clone()]);
        let yield_state = store.data().meter.yield_state();
        let wall_ms = worker.context.limits.call_wall_ms;
        let made = MeteredCall::new(call.make(exports, store), yield_state);
        match tokio::time::timeout(Duration::from_millis(wall_ms), made).await {
            Ok(Ok(returned)) => Ok(returned),
            Ok(Err(error)) => Err(warm.store.data().crash(&error)),
            Err(_) => Err(Crash::timeout(wall_ms)),
        }
    }

    /// Encodes a page. If the call runs out of time, the page is halved.
    pub(super) async fn encode(&self, call: &Encode) -> Result<Vec<u8>, Error> {
        let mut encoded = Vec::new();
        // The parts that are left, the first one last.
        let mut parts = vec![call.page.clone()];
        while let Some(page) = parts.pop() {
            let part = Encode { representation: call.representation.clone(), page };
            match self.call(&part, Ok).await {
                Ok(Ok(bytes)) if encoded.is_empty() => encoded = bytes,
                Ok(Ok(bytes)) => encoded.extend_from_slice(&bytes),
                Ok(Err(error)) => return Err(error),
                Err(GatewayError::Crashed { crash }) if crash.kind == CrashKind::Deadline => {
                    match halves(&part.page) {
                        Some((first, second)) => parts.extend([second.into(), first.into()]),
                        None => return Err(failed(&GatewayError::Crashed { crash })),
                    }
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        Ok(encoded)
    }
}

fn ended(warm: &Warm, crash: Crash) -> GatewayError {
    warm.store.data().report(&crash);
    GatewayError::Crashed { crash: Box::new(crash) }
}

/// The two halves of a page of more than one event.
fn halves(page: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut events = Vec::new();
    for frame in Frames::new(page) {
        let Frame { position, record: Record::Event(envelope) } = frame.ok()? else { return None };
        events.push((position, envelope));
    }
    let (first, second) = events.split_at(events.len() / 2);
    if first.is_empty() {
        return None;
    }
    let packed = |events: &[(u64, &[u8])]| {
        let mut packed = Vec::new();
        for (position, envelope) in events {
            push_envelope(&mut packed, *position, envelope).ok()?;
        }
        Some(packed)
    };
    Some((packed(first)?, packed(second)?))
}

/// The error of a read whose pages the gateway cannot write.
pub(super) fn failed(error: &GatewayError) -> Error {
    let code = match error {
        GatewayError::Overloaded | GatewayError::TooManyRequests(_) | GatewayError::NoRoom => {
            code::OVERLOADED
        }
        GatewayError::Restarting => code::RESTARTING,
        GatewayError::Unavailable => code::UNAVAILABLE,
        _ => code::OTHER,
    };
    problem(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use exesdb_packed::Events;

    use super::halves;
    use crate::sample_events;

    fn page(events: u64) -> Vec<u8> {
        let mut page = Vec::new();
        for version in 0..events {
            let data = vec![b'x'; usize::try_from(version).expect("it is small") * 7];
            sample_events::push(&mut page, "s", version, version, &data);
        }
        page
    }

    #[test]
    fn a_page_is_halved_between_two_events() {
        for (events, expected) in [(2, (1, 1)), (3, (1, 2)), (10, (5, 5))] {
            let page = page(events);
            let (first, second) = halves(&page).expect("it has more than one event");
            assert_eq!([first.as_slice(), second.as_slice()].concat(), page);
            assert_eq!((Events::check(&first), Events::check(&second)), (Ok(expected.0), Ok(expected.1)));
        }
        assert_eq!(halves(&page(1)), None);
        assert_eq!(halves(b""), None);
    }
}
