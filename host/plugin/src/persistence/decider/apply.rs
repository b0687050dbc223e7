//! Applies the decisions about a list: commits its batches, and sends the outcomes once all they depend on is durable.

use std::sync::Arc;

use exesdb_storage::{BatchError, Commit, Committed, Outcomes};
use parking_lot::Mutex;

use super::Decided;
use super::plan::{BrokenContract, Decision, Fate, Plan};
use super::queue::{List, Unapplied, Waiting};
use crate::access::{CommitFailure, Decidable};

/// Is called where commits are made durable, for one after the other, and must be quick.
pub(crate) trait Observer<K: Decided>: Send + Sync + 'static {
    /// Sees each batch that was applied and is durable before the outcome is sent, also if the request's caller is gone.
    fn durable(&self, request: &K::Request, planned: &K::Planned, committed: Committed);

    /// The outcome of a request whose batch was refused for good.
    fn refused(&self, error: &BatchError) -> K::Outcome;
}

/// Has the decisions about a list applied, and returns at once. `commit` has no batches yet.
///
/// # Errors
///
/// [`BrokenContract`], with the list.
pub(crate) fn apply<K: Decided>(
    list: List<K>,
    decisions: Vec<Decision<K::Outcome, K::Planned>>,
    commit: Commit,
    store: &Decidable,
    observer: impl Observer<K>,
) -> Result<(), (BrokenContract, List<K>)> {
    let (plan, batches) = match Plan::of(decisions, list.requests().len()) {
        Ok(planned) => planned,
        Err(error) => return Err((error, list)),
    };
    let (requests, unapplied) = list.into_requests();
    let observer: Box<dyn Observer<K>> = Box::new(observer);
    if batches.is_empty() {
        let held = put_back_again(requests, plan.settle([]), &unapplied);
        drop(unapplied);
        send_when_durable(held, observer, store);
        return Ok(());
    }
    let stage = Stage::Written { requests, plan, unapplied };
    let flight = Arc::new(Flight { stage: Mutex::new(Some(stage)), observer: Mutex::new(Some(observer)) });
    let (at_apply, at_reply, later) = (Arc::clone(&flight), Arc::clone(&flight), store.clone());
    let queued = store.backend.commit(
        store.tenure,
        Commit { batches, ..commit },
        Box::new(move |outcomes| at_apply.applied(outcomes)),
        Box::new(move |outcomes| at_reply.replied(outcomes.map(|_| ()), &later)),
    );
    if let Err(error) = queued {
        flight.replied(Err(error), store);
    }
    Ok(())
}

/// A list that is with the committer.
struct Flight<K: Decided> {
    /// `None` once the outcomes were sent.
    stage: Mutex<Option<Stage<K>>>,
    /// `None` once it was used.
    observer: Mutex<Option<Box<dyn Observer<K>>>>,
}

enum Stage<K: Decided> {
    /// It waits for its turn.
    Written { requests: Vec<Waiting<K>>, plan: Plan<K::Outcome, K::Planned>, unapplied: Unapplied<K> },
    /// It is applied, and not durable yet.
    Applied(Vec<Held<K>>),
}

/// A request whose fate is known, and that waits until what it depends on is durable.
struct Held<K: Decided> {
    waiting: Waiting<K>,
    fate: Fate<K::Outcome, K::Planned>,
}

impl<K: Decided> Flight<K> {
    fn applied(&self, outcomes: &Outcomes) {
        let mut stage = self.stage.lock();
        let Some(Stage::Written { requests, plan, unapplied }) = stage.take() else { return };
        // Before the next list is taken, so that what is decided again keeps its place.
        let held = put_back_again(requests, plan.settle(outcomes.iter().cloned()), &unapplied);
        *stage = Some(Stage::Applied(held));
        drop(stage);
        drop(unapplied);
    }

    fn replied(&self, outcome: Result<(), CommitFailure>, store: &Decidable) {
        let Some((stage, observer)) = self.stage.lock().take().zip(self.observer.lock().take()) else {
            return;
        };
        match (stage, outcome) {
            (Stage::Applied(held), outcome) => send_all(held, &*observer, &outcome),
            (Stage::Written { requests, plan, unapplied }, outcome) => {
                // It was not applied here. Requests whose outcome nobody knows fail with that.
                let error = outcome.expect_err("a commit that succeeds is applied before");
                let held = put_back_again(requests, plan.refuse(), &unapplied);
                drop(unapplied);
                let is_failed = |held: &Held<K>| matches!(held.fate, Fate::Failed);
                let (failed, held): (Vec<_>, Vec<_>) = held.into_iter().partition(is_failed);
                failed.into_iter().for_each(|held| held.waiting.fail(&error));
                send_when_durable(held, observer, store);
            }
        }
    }
}

/// Puts back what is decided again. Returns the others with their fates.
fn put_back_again<K: Decided>(
    requests: Vec<Waiting<K>>,
    fates: Vec<Fate<K::Outcome, K::Planned>>,
    unapplied: &Unapplied<K>,
) -> Vec<Held<K>> {
    let mut held = Vec::with_capacity(requests.len());
    let mut again = Vec::new();
    for (mut waiting, fate) in requests.into_iter().zip(fates) {
        let Fate::Again { failed_guard } = fate else {
            held.push(Held { waiting, fate });
            continue;
        };
        if let Some(index) = failed_guard {
            waiting.standing = waiting.standing.after_failed_guard();
            if waiting.standing.is_given_up() {
                held.push(Held { waiting, fate: Fate::Refused(BatchError::GuardFailed { index }) });
                continue;
            }
        }
        again.push(waiting);
    }
    unapplied.put_back(again);
    held
}

/// Sends outcomes of requests without batches, once what they were decided on is durable.
fn send_when_durable<K: Decided>(held: Vec<Held<K>>, observer: Box<dyn Observer<K>>, store: &Decidable) {
    if held.is_empty() {
        return;
    }
    let held = Arc::new(Mutex::new(Some((held, observer))));
    let reply = {
        let held = Arc::clone(&held);
        move |outcome: Result<(), CommitFailure>| {
            if let Some((held, observer)) = held.lock().take() {
                send_all(held, &*observer, &outcome);
            }
        }
    };
    let again = reply.clone();
    if let Err(error) = store.backend.when_durable(store.tenure, Box::new(reply)) {
        again(Err(error));
    }
}

/// Sends outcomes that depend on something with this outcome.
fn send_all<K: Decided>(held: Vec<Held<K>>, observer: &dyn Observer<K>, durable: &Result<(), CommitFailure>) {
    for Held { waiting, fate } in held {
        match durable {
            Ok(()) => {
                if let Fate::Applied(planned, committed) = &fate {
                    observer.durable(&waiting.request, planned, *committed);
                }
                waiting.send(outcome(fate, observer));
            }
            Err(error) => waiting.fail(error),
        }
    }
}

/// The outcome of a request with this fate.
fn outcome<K: Decided>(fate: Fate<K::Outcome, K::Planned>, observer: &dyn Observer<K>) -> K::Outcome {
    match fate {
        Fate::Done(outcome) => outcome,
        Fate::Applied(planned, committed) => K::applied(planned, committed),
        Fate::Refused(error) => observer.refused(&error),
        Fate::Again { .. } | Fate::Failed => unreachable!("these were taken out before"),
    }
}
