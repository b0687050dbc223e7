//! Appends to several streams at once, under checks of others and conditions on the whole store.
//!
//! A round reads one state of the store, decides each transaction in it, and commits one batch for each that appends. The
//! batch's guards ensure that the state has not changed: the heads of all streams of the transaction are as they were
//! read, and no event that could match a condition was added since. A transaction that is overtaken, by another writer or
//! by another transaction of the list, is decided again in the next round.

mod check;
mod condition;

use std::collections::{HashMap, HashSet};

use exesdb_sdk::keyspaces::{Batch, BatchError, Committed, Keyspaces};
use exesdb_sdk::streams::{AppendRequest, AppendResult, Transaction};
use exesdb_sdk::types::{Error, Position};

use crate::append::appended;
use crate::correlation::CorrelationIndex;
use crate::decide::{Attempt, Decision, Versions, advance_head, decide_transaction, time_of_append};
use crate::entries::{Addition, Entries, Origin, append_bytes};
use crate::known::{KnownHead, KnownIds, Wanted, read_heads, read_ids, repeated_position};
use crate::layout::Head;
use crate::rounds::{ROUND_BYTES_MAX, Round, batch_refused, commit, resolve_all};

pub use check::{APPENDS_MAX, CHECKS_MAX, CONDITIONS_MAX, check_transaction};

/// Maximum number of transactions per round.
pub const ROUND_TRANSACTIONS_MAX: usize = 100;

type Results = Vec<AppendResult>;

/// Applies transactions. Returns one result for each, in order, once the events are durable. `now` is the time of day in
/// microseconds.
pub fn transact(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    transactions: &[Transaction],
) -> Vec<Result<Results, Error>> {
    let checked =
        transactions.iter().map(|transaction| check_transaction(transaction).err().map(Err)).collect();
    resolve_all(checked, |open| round(store, now, index, transactions, &fitting(transactions, open)))
}

/// The open transactions, at least 1, for one round: as many as fit, without those that an earlier one of the round is
/// certain to overtake.
fn fitting(transactions: &[Transaction], open: &[usize]) -> Vec<usize> {
    let mut appended: HashSet<&str> = HashSet::new();
    let mut bytes = 0_usize;
    let mut taken = Vec::new();
    for at in open {
        let transaction = &transactions[*at];
        if streams_of(transaction).any(|stream_id| appended.contains(stream_id)) {
            continue;
        }
        let appends = transaction.appends.iter();
        let sizes = appends.map(|append| append_bytes(&append.stream_id, append.events.iter()));
        bytes = sizes.fold(bytes, usize::saturating_add);
        if !taken.is_empty() && (bytes > ROUND_BYTES_MAX || taken.len() == ROUND_TRANSACTIONS_MAX) {
            break;
        }
        appended.extend(transaction.appends.iter().map(|append| append.stream_id.as_str()));
        taken.push(*at);
    }
    taken
}

/// The streams that a transaction appends to, then those that it checks.
fn streams_of(transaction: &Transaction) -> impl Iterator<Item = &str> {
    let appends = transaction.appends.iter().map(|append| append.stream_id.as_str());
    appends.chain(transaction.checks.iter().map(|check| check.stream_id.as_str()))
}

/// The decision of a round about a transaction.
enum Plan {
    /// Commit the batch with this index; with the versions of the transaction's appends.
    Commit { batch: usize, versions: Vec<Versions> },
    /// Return this result without a commit.
    Resolve(Result<Results, Error>),
}

/// One round over the transactions with these indices.
fn round(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    transactions: &[Transaction],
    taken: &[usize],
) -> Round<Results> {
    let (plans, batches) = match plan_round(store, now, index, transactions, taken) {
        Ok(planned) => planned,
        Err(error) => return Round { resolved: Vec::new(), failure: Some(error) },
    };
    let outcome = if batches.is_empty() { Ok(Vec::new()) } else { commit(store, &batches) };
    let (outcome, failure) = match outcome {
        Ok(outcome) => (Some(outcome), None),
        // Transactions that need no commit do not fail with it.
        Err(error) => (None, Some(error)),
    };
    let resolved = taken.iter().zip(plans).filter_map(|(at, plan)| {
        let result = match plan {
            Plan::Resolve(result) => Some(result),
            Plan::Commit { batch, versions } => {
                outcome.as_ref().and_then(|outcome| committed(&outcome[batch], &transactions[*at], &versions))
            }
        };
        result.map(|result| (*at, result))
    });
    Round { resolved: resolved.collect(), failure }
}

/// The result of a transaction whose batch was committed with this outcome; none if another writer was faster.
fn committed(
    outcome: &Result<Committed, BatchError>,
    transaction: &Transaction,
    versions: &[Versions],
) -> Option<Result<Results, Error>> {
    let mut position = match outcome {
        Ok(committed) => committed.first_position,
        Err(BatchError::GuardFailed(_)) => return None,
        Err(error) => return Some(Err(batch_refused(error))),
    };
    let results = transaction.appends.iter().zip(versions).map(|(append, versions)| {
        let result = appended(position, *versions);
        position = position.saturating_add(append.events.len() as Position);
        result
    });
    Some(results.collect())
}

/// The state of the store in which a round decides.
struct State<'a> {
    heads: HashMap<&'a str, KnownHead>,
    /// The position after the last event.
    end: Position,
    now: u64,
    index: CorrelationIndex,
}

/// Reads what the transactions need, and decides them.
fn plan_round(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    transactions: &[Transaction],
    taken: &[usize],
) -> Result<(Vec<Plan>, Vec<Batch>), Error> {
    let end = store.durable_position()?;
    let heads = read_heads(store, taken.iter().flat_map(|at| streams_of(&transactions[*at])))?;
    let state = State { heads: heads.into_iter().collect(), end, now, index };
    let appends = taken.iter().flat_map(|at| &transactions[*at].appends);
    let wanted: Vec<Wanted<'_>> = appends
        .map(|AppendRequest { stream_id, events, .. }| {
            let head = state.heads[stream_id.as_str()].as_ref();
            Wanted { stream_id, head: head.ok().copied().flatten(), events }
        })
        .collect();
    let mut known = read_ids(store, now, &wanted)?.into_iter();
    let mut batches = Vec::new();
    let plans = taken.iter().map(|at| {
        let transaction = &transactions[*at];
        let known = known.by_ref().take(transaction.appends.len()).collect::<Vec<_>>();
        // An error of one transaction does not affect the others.
        match known.into_iter().collect::<Result<Vec<_>, _>>() {
            Err(error) => Plan::Resolve(Err(error)),
            Ok(known) => plan(store, transaction, &known, &state, &mut batches)
                .unwrap_or_else(|error| Plan::Resolve(Err(error))),
        }
    });
    let plans = plans.collect();
    Ok((plans, batches))
}

/// Decides a transaction and, if it appends, adds its batch.
fn plan(
    store: &impl Keyspaces,
    transaction: &Transaction,
    known: &[KnownIds],
    state: &State<'_>,
    batches: &mut Vec<Batch>,
) -> Result<Plan, Error> {
    let mut heads = HashMap::new();
    for stream_id in streams_of(transaction) {
        heads.insert(stream_id, state.heads[stream_id].clone()?);
    }
    let head = |stream_id: &str| heads[stream_id].as_ref();
    let ids: Vec<Vec<_>> = transaction
        .appends
        .iter()
        .zip(known)
        .map(|(append, known)| {
            let visible = known.visible(head(&append.stream_id));
            append.events.iter().map(|event| event.id.as_str()).zip(visible).collect()
        })
        .collect();
    let attempts = transaction.appends.iter().zip(&ids).map(|(append, ids)| {
        let AppendRequest { stream_id, expected, .. } = append;
        Attempt { stream_id, head: head(stream_id), expected: *expected, ids }
    });
    let checks: Vec<_> = transaction
        .checks
        .iter()
        .map(|check| (check.stream_id.as_str(), head(&check.stream_id), check.expected))
        .collect();
    match decide_transaction(&attempts.collect::<Vec<_>>(), &checks) {
        Decision::Refuse(error) => Err(error),
        Decision::Repeat(versions) => {
            let results =
                transaction.appends.iter().zip(versions).map(|(append, Versions { first, last })| {
                    let origin =
                        head(&append.stream_id).expect("a stream that has the events has a head").origin;
                    let position =
                        repeated_position(store, &append.stream_id, &append.events, origin, first)?;
                    Ok(AppendResult { first_version: first, last_version: last, position })
                });
            Ok(Plan::Resolve(results.collect()))
        }
        Decision::Append(versions) => {
            condition::check_all(store, state.now, state.end, &transaction.conditions)?;
            batches.push(batch(transaction, &heads, &versions, state));
            Ok(Plan::Commit { batch: batches.len() - 1, versions })
        }
    }
}

/// The batch of a transaction, with guards on all state that it was decided on.
fn batch(
    transaction: &Transaction,
    heads: &HashMap<&str, Option<Head>>,
    versions: &[Versions],
    state: &State<'_>,
) -> Batch {
    let mut entries = Entries::new(state.index);
    for stream_id in streams_of(transaction) {
        entries.require_head(stream_id, heads[stream_id].as_ref());
    }
    for range in condition::guards(state.end, &transaction.conditions) {
        entries.require_empty(range);
    }
    for (append, versions) in transaction.appends.iter().zip(versions) {
        let stream_id = append.stream_id.as_str();
        let head = heads[stream_id].as_ref();
        let created = time_of_append(state.now, head);
        let next = advance_head(head, versions.last, created, created);
        let origin = head.map_or(Origin::Event(entries.next_event()), |head| Origin::Known(head.origin));
        let additions = (versions.first..=versions.last).zip(&append.events);
        entries.put_events(
            stream_id,
            origin,
            additions.map(|(version, event)| Addition { version, created, event }),
        );
        entries.put_head(stream_id, head, &next, origin);
    }
    entries.build()
}
