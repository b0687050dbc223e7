//! Upkeep: steps in which a component decides, and whose batches the host applies.

use std::hash::{DefaultHasher, Hash};

use exesdb_storage::limits::COMMIT_BYTES_MAX;
use exesdb_storage::{Batch, BatchError, Commit, Outcomes};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift};

use super::ask::{Ask, Params, ResultSender, Select, unsupported};
use super::decider::changes::{Grants, batch_of, refused};
use super::decider::order::DecisionOrder;
use super::decider::standing::Standing;
use super::exports::Function;
use super::exports::Missing;
use super::kind::Kind;
use super::maintenance::{Exports, INTERFACE, Maintained};
use super::pool::{Pool, Target};
use crate::access::{CommitFailure, StoreAccess, Tenure};
use crate::bindings::store::batches::Batch as WitBatch;
use crate::bindings::store::maintenance as wit;
use crate::bindings::store::types::Error;
use crate::caller::Caller;
use crate::context::ComponentContext;
use crate::problem::{code, not_committed, problem};
use crate::state::State;
use crate::store_view::Freshness;

/// Bytes of a cursor, as the interface says: it passes through the control protocol.
const CURSOR_BYTES_MAX: usize = 4 << 10;

/// Findings of a step, as the interface says.
const FINDINGS_MAX: usize = 100;

/// The result of one step of scavenging, whose batches were applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScavengeStep {
    /// Where the next step goes on; none if this was the last one.
    pub next: Option<Vec<u8>>,
    /// The number of streams (or snapshots) that were examined.
    pub examined: u64,
    /// The number of events (or snapshots) that were removed.
    pub removed: u64,
    /// Bytes of the removed keys and values.
    pub bytes: u64,
}

/// The result of one step of verifying, whose repairs were applied.
#[derive(Clone, Debug, Default)]
pub struct VerifyStep {
    /// Where the next step goes on; none if this was the last one.
    pub next: Option<Vec<u8>>,
    /// The number of entries that were examined.
    pub examined: u64,
    /// At most 100 findings; further ones are only counted.
    pub findings: Vec<wit::Finding>,
    /// The number of all findings of this step.
    pub found: u64,
}

/// Upkeep by the operator.
impl<K: Kind> Pool<K> {
    /// One step of removing what retention and deletion have hidden; `from` is where the previous step ended.
    ///
    /// # Errors
    ///
    /// The component's errors, or that it is being restarted: the step can be repeated.
    pub async fn scavenge(&self, from: Option<Vec<u8>>) -> Result<ScavengeStep, Error> {
        let function: Select<K::Exports, (Option<Vec<u8>>,), wit::ScavengeStep> =
            |exports| maintenance_of(exports).map(|exports| &exports.scavenge);
        self.step("scavenge", function, (from,)).await
    }

    /// One step of checking the consistency of all data; `from` is where the previous step ended.
    ///
    /// # Errors
    ///
    /// As for [`scavenge`](Self::scavenge).
    pub async fn verify(&self, from: Option<Vec<u8>>, repair: bool) -> Result<VerifyStep, Error> {
        let function: Select<K::Exports, (Option<Vec<u8>>, bool), wit::VerifyStep> =
            |exports| maintenance_of(exports).map(|exports| &exports.verify);
        self.step("verify", function, (from, repair)).await
    }

    /// A step, which is asked for again if others changed what its batches guard, the eighth time alone.
    async fn step<P, S>(
        &self,
        name: &'static str,
        function: Select<K::Exports, P, S>,
        params: P,
    ) -> Result<S::Applied, Error>
    where
        P: Params,
        S: Step,
        Result<S, Error>: Lift,
    {
        let mut standing = Standing::NEW;
        while !standing.is_given_up() {
            let applied = self
                .send(Target::Any, Caller::operator(), |result| {
                    Box::new(StepAsk {
                        name,
                        function,
                        params: params.clone(),
                        is_alone: standing.is_alone(),
                        order: self.order().clone(),
                        grants: K::TAKES_POSITIONS,
                        result: Some(result),
                    })
                })
                .await?;
            match applied {
                Some(step) => return Ok(step),
                None => standing = standing.after_failed_guard(),
            }
        }
        let message = format!(
            "the guards of a step of {name} failed again and again, also while nothing else was written"
        );
        Err(problem(code::OTHER, message))
    }
}

fn maintenance_of<E: Maintained>(exports: &E) -> Result<&Exports, Missing> {
    exports.maintenance().ok_or(Missing(INTERFACE))
}

/// A step as the component returns it.
trait Step: Send + Sync + 'static {
    /// The step without its batches.
    type Applied: Send + 'static;
    /// Whether its batches free space.
    const FREES_SPACE: bool;

    /// Its batches, and the rest of it.
    ///
    /// # Errors
    ///
    /// It breaks the contract.
    fn split(self) -> Result<(Vec<WitBatch>, Self::Applied), String>;
}

impl Step for wit::ScavengeStep {
    type Applied = ScavengeStep;
    const FREES_SPACE: bool = true;

    fn split(self) -> Result<(Vec<WitBatch>, ScavengeStep), String> {
        let Self { batches, next, examined, removed, bytes } = self;
        check_cursor(next.as_ref())?;
        Ok((batches, ScavengeStep { next, examined, removed, bytes }))
    }
}

impl Step for wit::VerifyStep {
    type Applied = VerifyStep;
    const FREES_SPACE: bool = false;

    fn split(self) -> Result<(Vec<WitBatch>, VerifyStep), String> {
        let Self { batches, next, examined, findings, found } = self;
        check_cursor(next.as_ref())?;
        let count = findings.len();
        if count > FINDINGS_MAX || count as u64 > found {
            return Err(format!(
                "its step lists {count} findings of {found}; it lists at most {FINDINGS_MAX}"
            ));
        }
        Ok((batches, VerifyStep { next, examined, findings, found }))
    }
}

/// Checks where a component says that the next step goes on.
fn check_cursor(next: Option<&Vec<u8>>) -> Result<(), String> {
    let bytes = next.map_or(0, Vec::len);
    if bytes <= CURSOR_BYTES_MAX {
        return Ok(());
    }
    Err(format!("its step goes on at {bytes} bytes; a cursor has at most {CURSOR_BYTES_MAX}"))
}

/// Asks for a step and applies its batches. The result is none if a guard failed.
struct StepAsk<E, P: Params, S: Step> {
    name: &'static str,
    function: Select<E, P, S>,
    params: P,
    is_alone: bool,
    order: DecisionOrder,
    /// Whether the batches may change the log.
    grants: bool,
    result: Option<ResultSender<Option<S::Applied>>>,
}

impl<E, P, S> Ask<E> for StepAsk<E, P, S>
where
    E: Sync + 'static,
    P: Params,
    P::WithView: ComponentNamedList,
    S: Step,
    Result<S, Error>: Lift,
{
    fn fail(self: Box<Self>, error: Error) {
        if let Some(sender) = self.result {
            // The caller may be gone.
            drop(sender.send(Err(error)));
        }
    }

    fn hash(&self, hasher: &mut DefaultHasher) {
        (self.name, &self.params).hash(hasher);
    }

    fn is_abandoned(&self) -> bool {
        self.result.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn serve<'a>(
        &'a mut self,
        exports: &'a E,
        store: &'a mut Store<State>,
    ) -> BoxFuture<'a, wasmtime::Result<bool>> {
        Box::pin(async move {
            let (called, result) = match (self.function)(exports) {
                Err(Missing(interface)) => (false, Err(unsupported(interface))),
                Ok(function) => (true, self.attempt(function, store).await?),
            };
            if let Some(sender) = self.result.take() {
                // The caller may be gone.
                drop(sender.send(result));
            }
            Ok(called)
        })
    }
}

impl<E, P, S> StepAsk<E, P, S>
where
    P: Params,
    S: Step,
    Result<S, Error>: Lift,
{
    async fn attempt(
        &self,
        function: &Function<P::WithView, S>,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Result<Option<S::Applied>, Error>> {
        let turn = self.order.turn(self.is_alone).await;
        let freshness = if self.is_alone { Freshness::Applied } else { Freshness::Durable };
        let lent = match State::lend_view_to_decide(store, freshness)? {
            Ok(lent) => lent,
            Err(error) => return Ok(Err(error)),
        };
        let (access, tenure) = (lent.access().clone(), lent.tenure());
        let (log_end, time) = (lent.log_end(), lent.time());
        let params = self.params.clone().with_view(lent.param());
        let (result,) = function.call_async(&mut *store, params).await?;
        State::take_back(store, lent)?;
        let (batches, applied) = match result {
            Ok(step) => step.split().map_err(wasmtime::Error::msg)?,
            Err(error) => return Ok(Err(error)),
        };
        if batches.is_empty() {
            return Ok(Ok(Some(applied)));
        }
        let grants = Grants { takes_positions: self.grants, log_end };
        let batches = batches.into_iter().map(|batch| batch_of(batch, &grants));
        let batches = batches.collect::<Result<_, _>>().map_err(wasmtime::Error::msg)?;
        let role = store.data().context.role;
        let commit = Commit { owner: role.into(), batches, time, makes_room: S::FREES_SPACE };
        let outcomes = commit_in_parts(commit, &access, tenure).await;
        drop(turn);
        Ok(match outcomes {
            Ok(outcomes) => {
                is_applied(&outcomes, &store.data().context).map(|is_applied| is_applied.then_some(applied))
            }
            Err(error) => Err(not_committed(&error)),
        })
    }
}

/// Commits batches, which are independent of each other, in as many commits as their bytes need.
async fn commit_in_parts(
    commit: Commit,
    store: &StoreAccess,
    tenure: Tenure,
) -> Result<Outcomes, CommitFailure> {
    let mut parts: Vec<Vec<Batch>> = Vec::new();
    let mut bytes = 0;
    for batch in commit.batches {
        bytes += batch.bytes();
        match parts.last_mut() {
            Some(part) if bytes <= COMMIT_BYTES_MAX => part.push(batch),
            _ => {
                bytes = batch.bytes();
                parts.push(vec![batch]);
            }
        }
    }
    let mut outcomes = Outcomes::new();
    for batches in parts {
        outcomes
            .extend(store.commit(tenure, Commit { owner: commit.owner.clone(), batches, ..commit }).await?);
    }
    Ok(outcomes)
}

/// Whether all batches of a step were applied; not if a guard failed.
fn is_applied(outcomes: &Outcomes, context: &ComponentContext) -> Result<bool, Error> {
    match outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
        None => Ok(true),
        Some(BatchError::GuardFailed { .. }) => Ok(false),
        Some(error) => Err(refused(error, context)),
    }
}
