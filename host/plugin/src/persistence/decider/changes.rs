//! Changes of the contract as requests that are decided: the contract's types as those of the storage, and back.

use std::hash::Hash;
use std::marker::PhantomData;

use exesdb_storage as storage;

use super::Decided;
use super::appended::Appended;
use super::plan::{BrokenContract, Decision};
use crate::access::CommitFailure;
use crate::bindings::store::batches::{Batch, Changes as WitChanges, Expectation, Guard, Location};
use crate::bindings::store::decisions::{Decision as WitDecision, Planned, PlannedPlace};
use crate::bindings::store::places::Range;
use crate::bindings::store::types::{ChangeResult, Error, Placed};
use crate::context::ComponentContext;
use crate::json;
use crate::problem::{code, not_committed, problem};

/// A request to change something.
pub trait Change: Clone + Hash + Send + Sync + 'static {
    /// Bytes of the request, as the limit of a list counts them.
    fn bytes(&self) -> usize;

    /// Whether the request may be in one list with this one before it.
    fn joins(&self, before: &Self) -> bool;

    /// Whether the change frees space, at once or at the next scavenge, so that it may use the reserve that is kept on the
    /// disk.
    fn frees_space(&self) -> bool;

    /// The streams that a successful result names, in order; none if the component chooses them.
    fn streams(&self) -> Option<Vec<&str>>;
}

/// Changes of one kind.
pub(crate) struct Changes<C>(PhantomData<C>);

/// The outcome of a change.
pub(crate) type Outcome = Result<ChangeResult, Error>;

/// The result of a change but for its positions.
#[derive(Clone, Debug)]
pub(crate) struct PlannedChange {
    placed: Vec<PlannedPlace>,
    count: u64,
    /// What the batch appends to the log.
    pub(crate) appended: Appended,
}

impl<C: Change> Decided for Changes<C> {
    type Request = C;
    type Planned = PlannedChange;
    type Outcome = Outcome;

    fn bytes(request: &C) -> usize {
        request.bytes()
    }

    fn joins(before: &C, request: &C) -> bool {
        request.joins(before)
    }

    fn applied(planned: PlannedChange, committed: storage::Committed) -> Outcome {
        let place = |place: PlannedPlace| Placed {
            stream_id: place.stream_id,
            first_version: place.first_version,
            last_version: place.last_version,
            position: committed.first_position + u64::from(place.offset),
        };
        Ok(ChangeResult { placed: planned.placed.into_iter().map(place).collect(), count: planned.count })
    }

    fn failed(error: &CommitFailure) -> Outcome {
        Err(not_committed(error))
    }
}

/// The error of a request whose batch was refused for good. What the component or the disk did wrong is logged.
pub(crate) fn refused(error: &storage::BatchError, context: &ComponentContext) -> Error {
    match error {
        storage::BatchError::TooLarge { .. } => problem(code::TOO_LARGE, error.to_string()),
        storage::BatchError::GuardUnreadable { failure, .. }
        | storage::BatchError::LogUnreadable { failure, .. }
            if failure.is_damage =>
        {
            let place = format!("what a change of {} builds on", context.role);
            problem(code::DAMAGED, context.report_damage(&place, failure))
        }
        storage::BatchError::GuardFailed { index } => {
            let message = format!(
                "guard {index} of the component's batch failed again and again, also while nothing else was applied: \
                 it contradicts what the component reads, which its author has to mend"
            );
            tracing::error!(store = context.store, component = context.role, message);
            problem(code::OTHER, message)
        }
        _ => problem(code::OTHER, error.to_string()),
    }
}

/// What a component may do, and on which state it decided.
pub(crate) struct Grants {
    /// It may append to the log and remove from it.
    pub(crate) takes_positions: bool,
    /// The end of the log that it saw.
    pub(crate) log_end: u64,
}

/// The decisions of a component. What they claim is checked here or by the storage.
///
/// # Errors
///
/// The first decision that breaks the contract.
pub(crate) fn decisions<C: Change>(
    decided: Vec<WitDecision>,
    requests: &[&C],
    grants: &Grants,
) -> Result<Vec<Decision<Outcome, PlannedChange>>, BrokenContract> {
    if decided.len() != requests.len() {
        return Err(BrokenContract::Count { found: decided.len(), requests: requests.len() });
    }
    let decisions = decided.into_iter().zip(requests).enumerate();
    let one = |(index, (decision, request)): (usize, (WitDecision, &&C))| {
        one(decision, *request, grants).map_err(|what| BrokenContract::Decision { decision: index, what })
    };
    decisions.map(one).collect()
}

fn one<C: Change>(
    decision: WitDecision,
    request: &C,
    grants: &Grants,
) -> Result<Decision<Outcome, PlannedChange>, String> {
    match decision {
        WitDecision::Later => Ok(Decision::Later),
        WitDecision::Done(Err(error)) => Ok(Decision::Done(Err(error))),
        WitDecision::Done(Ok(result)) => {
            check_streams(request, result.placed.iter().map(|placed| &*placed.stream_id))?;
            match result.placed.iter().find(|placed| placed.position >= grants.log_end) {
                None => Ok(Decision::Done(Ok(result))),
                Some(placed) => Err(format!(
                    "it finds an event at position {}, and the log ends at {}",
                    placed.position, grants.log_end
                )),
            }
        }
        WitDecision::Commit(Planned { batch, placed, count }) => {
            check_streams(request, placed.iter().map(|place| &*place.stream_id))?;
            let batch = batch_of(batch, grants)?;
            let positions = batch.positions();
            match placed.iter().find(|place| u64::from(place.offset) >= positions) {
                None => {
                    let appended = Appended::of(&batch.log);
                    Ok(Decision::Commit(batch, PlannedChange { placed, count, appended }))
                }
                Some(place) => Err(format!(
                    "it places events at offset {} of a batch that takes {positions} positions",
                    place.offset
                )),
            }
        }
    }
}

fn check_streams<'a, C: Change>(
    request: &C,
    placed: impl ExactSizeIterator<Item = &'a str>,
) -> Result<(), String> {
    let Some(streams) = request.streams() else { return Ok(()) };
    let found = placed.len();
    if streams.iter().copied().eq(placed) {
        return Ok(());
    }
    Err(format!("its result names {found} streams, which are not the {} of the request", streams.len()))
}

/// A batch, whose bytes are moved and not copied.
///
/// # Errors
///
/// It changes the log without a grant, or with what is no frame.
pub(crate) fn batch_of(mut batch: Batch, grants: &Grants) -> Result<storage::Batch, String> {
    let changes_log = !batch.log.is_empty() || !batch.removes.is_empty();
    if changes_log && !grants.takes_positions {
        return Err("it changes the log, which only the store's streams component may".into());
    }
    // The rule T3. What is broken beyond that the storage refuses.
    exesdb_packed::set_json_flags(&mut batch.log, json::is_json).map_err(|broken| broken.to_string())?;
    let changes = |WitChanges { keyspace, puts, deletes }| storage::Changes { keyspace, puts, deletes };
    Ok(storage::Batch {
        guards: batch.guards.into_iter().map(guard).collect(),
        changes: batch.changes.into_iter().map(changes).collect(),
        log: batch.log,
        removes: batch.removes,
        ..storage::Batch::default()
    })
}

fn guard(guard: Guard) -> storage::Guard {
    match guard {
        Guard::Absent(Location { keyspace, key }) => storage::Guard::Absent { keyspace, key },
        Guard::Equals(Expectation { keyspace, key, value }) => {
            storage::Guard::Equals { keyspace, key, value }
        }
        Guard::Empty(Range { keyspace, start, end }) => storage::Guard::RangeEmpty { keyspace, start, end },
        Guard::LogEndsAt(position) => storage::Guard::LogEndsAt { position },
    }
}
