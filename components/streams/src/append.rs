//! Appends many requests with few reads and one commit.
//!
//! A round reads what the open requests need, decides them in order, commits the batches of those that append, and returns
//! the results it can. If another writer overtakes a request's batch, the request stays open, as do the later requests
//! that depend on it, and the next round decides them again.

use std::collections::{HashMap, HashSet};

use exesdb_sdk::keyspaces::{Batch, BatchError, Committed, Keyspaces};
use exesdb_sdk::streams::{AppendRequest, AppendResult};
use exesdb_sdk::types::{Error, Position, Version};

use crate::check::check_append;
use crate::correlation::CorrelationIndex;
use crate::decide::{Attempt, Decision, Versions, advance_head, decide, time_of_append};
use crate::entries::{Addition, Entries, Origin, append_bytes};
use crate::known::{Known, Wanted, read_heads, read_ids, repeated_position};
use crate::layout::Head;
use crate::rounds::{ROUND_BYTES_MAX, Round, batch_refused, commit, resolve_all};

/// The maximum number of requests per round.
pub const ROUND_REQUESTS_MAX: usize = 1_000;

type AppendOutcome = Result<AppendResult, Error>;

/// Appends. Returns one result for each request, in order, once the events are durable. `now` is the time of day in
/// microseconds.
pub fn append(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    requests: &[AppendRequest],
) -> Vec<AppendOutcome> {
    let checked = requests.iter().map(|request| check_append(request).err().map(Err)).collect();
    resolve_all(checked, |open| {
        let taken = &open[..fitting(open.iter().map(|at| &requests[*at]))];
        round(store, now, index, requests, taken)
    })
}

/// The number of requests, at least 1, that fit into one round.
fn fitting<'a>(requests: impl Iterator<Item = &'a AppendRequest>) -> usize {
    let mut bytes = 0_usize;
    requests
        .take(ROUND_REQUESTS_MAX)
        .enumerate()
        .take_while(|(index, request)| {
            bytes = bytes.saturating_add(append_bytes(&request.stream_id, request.events.iter()));
            *index == 0 || bytes <= ROUND_BYTES_MAX
        })
        .count()
}

/// The decision of a round about a request.
enum Plan {
    /// Commit the batch with this index.
    Commit { batch: usize, versions: Versions },
    /// Return this result without a commit. `depends_on_pending` is set if it holds only if the stream's earlier batches
    /// of this round succeed.
    Resolve { outcome: AppendOutcome, depends_on_pending: bool },
    /// Leave the request to the next round.
    Defer,
}

/// A stream as the requests decided so far would leave it.
struct Stream<'a> {
    /// The head, or the error that reading it gave.
    head: Result<Option<Head>, Error>,
    /// Ids of the events that this round appends to the stream.
    pending: HashSet<&'a str>,
    /// The last of these events, with its version.
    last_pending: Option<(&'a str, Version)>,
    /// Whether further requests are left to the next round. Either an earlier one was, and requests for a stream are
    /// applied in order; or this round begins the stream, whose origin is unknown before the commit.
    deferred: bool,
}

/// One round over the requests with these indices.
fn round(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    requests: &[AppendRequest],
    taken: &[usize],
) -> Round<AppendResult> {
    let (plans, batches) = match plan_round(store, now, index, requests, taken) {
        Ok(planned) => planned,
        Err(error) => return Round { resolved: Vec::new(), failure: Some(error) },
    };
    // If the commit fails, the requests that need none do not.
    let (outcome, failure) = if batches.is_empty() {
        (None, None)
    } else {
        match commit(store, &batches) {
            Ok(outcome) => (Some(outcome), None),
            Err(error) => (None, Some(error)),
        }
    };
    Round { resolved: resolve(requests, taken, plans, outcome.as_deref()), failure }
}

/// Reads what the requests need, and decides them.
fn plan_round(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    requests: &[AppendRequest],
    taken: &[usize],
) -> Result<(Vec<Plan>, Vec<Batch>), Error> {
    let heads = read_heads(store, taken.iter().map(|at| requests[*at].stream_id.as_str()))?;
    let stream =
        |(id, head)| (id, Stream { head, pending: HashSet::new(), last_pending: None, deferred: false });
    let mut streams: HashMap<&str, Stream<'_>> = heads.into_iter().map(stream).collect();
    let wanted = taken.iter().map(|at| {
        let AppendRequest { stream_id, events, .. } = &requests[*at];
        let head = streams[stream_id.as_str()].head.as_ref();
        Wanted { stream_id, head: head.ok().copied().flatten(), events }
    });
    let known = read_ids(store, now, &wanted.collect::<Vec<_>>())?;

    let mut batches = Vec::new();
    let mut plans = Vec::with_capacity(taken.len());
    for (at, known) in taken.iter().zip(&known) {
        let request = &requests[*at];
        let stream = streams.get_mut(request.stream_id.as_str()).expect("the heads of all were read");
        plans.push(plan(request, known, stream, now, index, &mut batches));
    }
    find_repeated(store, requests, taken, &streams, &mut plans);
    Ok((plans, batches))
}

/// Decides a request and, if it appends, adds its batch and advances the stream.
fn plan<'a>(
    request: &'a AppendRequest,
    known: &Known,
    stream: &mut Stream<'a>,
    now: u64,
    index: CorrelationIndex,
    batches: &mut Vec<Batch>,
) -> Plan {
    let depends_on_pending = stream.last_pending.is_some();
    let refuse = |error: &Error| Plan::Resolve { outcome: Err(error.clone()), depends_on_pending };
    let head = match &stream.head {
        Ok(head) => *head,
        Err(error) => return refuse(error),
    };
    let known = match known {
        Ok(known) => known,
        Err(error) => return refuse(error),
    };
    // The versions of events that this round appends are not certain yet.
    if stream.deferred || request.events.iter().any(|event| stream.pending.contains(event.id.as_str())) {
        stream.deferred = true;
        return Plan::Defer;
    }
    // The head includes the earlier appends of this round, so events that they push over `max_count` are hidden.
    let ids: Vec<_> =
        request.events.iter().map(|event| event.id.as_str()).zip(known.visible(head.as_ref())).collect();
    let attempt =
        Attempt { stream_id: &request.stream_id, head: head.as_ref(), expected: request.expected, ids: &ids };
    match decide(&attempt) {
        Decision::Refuse(error) => refuse(&error),
        Decision::Repeat(Versions { first, last }) => {
            let result = AppendResult { first_version: first, last_version: last, position: 0 };
            Plan::Resolve { outcome: Ok(result), depends_on_pending }
        }
        Decision::Append(versions) => {
            let created = time_of_append(now, head.as_ref());
            let next = advance_head(head.as_ref(), versions.last, created, created);
            let predecessor = stream.last_pending.map(|last| Predecessor { last, ids: known.stored() });
            batches.push(batch(request, head.as_ref(), &next, versions.first, predecessor, index));
            stream.deferred = head.is_none();
            stream.head = Ok(Some(next));
            stream.pending.extend(request.events.iter().map(|event| event.id.as_str()));
            stream.last_pending = request.events.last().map(|event| (event.id.as_str(), versions.last));
            Plan::Commit { batch: batches.len() - 1, versions }
        }
    }
}

/// The assumptions of an append that follows another append of its round to the same stream.
#[derive(Clone, Copy)]
struct Predecessor<'a> {
    /// The last event of the preceding append, with its version.
    last: (&'a str, Version),
    /// The stored versions of the append's own event ids.
    ids: &'a [Option<Version>],
}

/// The batch of an append. Its guard on the head detects other writers, because every append raises the head's version.
///
/// After another append of the same round to the same stream, the expected head was computed, not read, and a concurrent
/// append with the same time would write the same head. So the batch also requires that the preceding append's last event
/// has its version, and that the batch's own ids are as they were read: new, or those of hidden events.
fn batch(
    request: &AppendRequest,
    head: Option<&Head>,
    next: &Head,
    first: Version,
    predecessor: Option<Predecessor<'_>>,
    index: CorrelationIndex,
) -> Batch {
    let stream_id = request.stream_id.as_str();
    let mut entries = Entries::new(index);
    entries.require_head(stream_id, head);
    if let Some(Predecessor { last: (id, version), ids }) = predecessor {
        entries.require_id(next.origin, id, Some(version));
        for (event, stored) in request.events.iter().zip(ids) {
            entries.require_id(next.origin, &event.id, *stored);
        }
    }
    // The origin of a new stream is the position of its first event.
    let origin = head.map_or(Origin::Event(entries.next_event()), |head| Origin::Known(head.origin));
    let additions = (first..=next.last_version).zip(&request.events);
    let created = next.updated;
    entries.put_events(
        stream_id,
        origin,
        additions.map(|(version, event)| Addition { version, created, event }),
    );
    entries.put_head(stream_id, head, next, origin);
    entries.build()
}

/// Reads the stored events of repeated requests. They hold the positions, and they show whether the events are those of the
/// request or others whose ids have the same digests.
fn find_repeated(
    store: &impl Keyspaces,
    requests: &[AppendRequest],
    taken: &[usize],
    streams: &HashMap<&str, Stream<'_>>,
    plans: &mut [Plan],
) {
    for (at, plan) in taken.iter().zip(plans) {
        let request = &requests[*at];
        if let Plan::Resolve { outcome, .. } = plan
            && let Ok(result) = outcome
            && let Ok(Some(head)) = &streams[request.stream_id.as_str()].head
        {
            let position = repeated_position(
                store,
                &request.stream_id,
                &request.events,
                head.origin,
                result.first_version,
            );
            *outcome = position.map(|position| AppendResult { position, ..*result });
        }
    }
}

/// The results that are known after the commit. `outcome` is none if there was no commit, or if it failed.
fn resolve(
    requests: &[AppendRequest],
    taken: &[usize],
    plans: Vec<Plan>,
    outcome: Option<&[Result<Committed, BatchError>]>,
) -> Vec<(usize, AppendOutcome)> {
    // Streams with a failed batch: later decisions about them are void.
    let mut failed: HashSet<&str> = HashSet::new();
    let mut resolved = Vec::with_capacity(taken.len());
    for (at, plan) in taken.iter().zip(plans) {
        let stream_id = requests[*at].stream_id.as_str();
        let result = match (plan, outcome) {
            (Plan::Defer, _) => None,
            (Plan::Resolve { outcome, depends_on_pending: false }, _) => Some(outcome),
            (Plan::Resolve { depends_on_pending: true, .. } | Plan::Commit { .. }, None) => None,
            (Plan::Resolve { outcome, depends_on_pending: true }, Some(_)) => {
                (!failed.contains(stream_id)).then_some(outcome)
            }
            (Plan::Commit { batch, versions }, Some(outcome)) => match &outcome[batch] {
                Ok(committed) => Some(appended(committed.first_position, versions)),
                Err(error) => {
                    let overtaken = !failed.insert(stream_id) || matches!(error, BatchError::GuardFailed(_));
                    if overtaken { None } else { Some(Err(batch_refused(error))) }
                }
            },
        };
        resolved.extend(result.map(|result| (*at, result)));
    }
    resolved
}

/// The result of an append whose first event has this position.
pub(crate) fn appended(first_position: Position, versions: Versions) -> AppendOutcome {
    let Versions { first, last } = versions;
    let position = last.checked_sub(first).and_then(|events| first_position.checked_add(events));
    match position {
        Some(position) => Ok(AppendResult { first_version: first, last_version: last, position }),
        None => Err(Error::Other("the storage gave a position that no event can have".into())),
    }
}
