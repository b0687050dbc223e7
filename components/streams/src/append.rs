//! Appends many requests with few reads and one commit.
//!
//! A round reads what the open requests need, decides them in order, commits the batches of those that append, and
//! answers what can be answered. A request whose batch was overtaken by another writer stays open, with all behind it
//! that were decided on the assumption that it would succeed, and the next round decides them anew.

use std::collections::{HashMap, HashSet};

use exesdb_sdk::keyspaces::{Batch, BatchError, Committed, Keyspaces};
use exesdb_sdk::streams::{AppendRequest, AppendResult};
use exesdb_sdk::types::{Error, Position, Version};

use crate::check::check_append;
use crate::correlation::CorrelationIndex;
use crate::decide::{Attempt, Decision, Versions, decide, moved_on, time_of_append};
use crate::entries::{Addition, Entries, Origin, append_bytes};
use crate::known::{Known, Wanted, read_heads, read_ids, repeated_position};
use crate::layout::Head;
use crate::rounds::{ROUND_BYTES_MAX, Round, answer_all, commit, refused};

/// Requests that one round takes on.
pub const ROUND_REQUESTS_MAX: usize = 1_000;

type Answer = Result<AppendResult, Error>;

/// Appends. One answer for each request, in order; they are given when the events are durable. `now` is the time of
/// day in microseconds.
pub fn append(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    requests: &[AppendRequest],
) -> Vec<Answer> {
    let checked = requests.iter().map(|request| check_append(request).err().map(Err)).collect();
    answer_all(checked, |open| {
        let taken = &open[..fitting(open.iter().map(|at| &requests[*at]))];
        round(store, now, index, requests, taken)
    })
}

/// How many of the requests, 1 at least, one round takes on.
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

/// What a round intends for a request.
enum Plan {
    /// The batch of this index in the commit.
    Commit { batch: usize, versions: Versions },
    /// No commit is needed. `assumes` says that the stream's batches before it are assumed to succeed.
    Answer { answer: Answer, assumes: bool },
    /// The next round decides.
    Later,
}

/// A stream as the requests decided so far would leave it.
struct Stream<'a> {
    /// Or what is wrong with the stored one.
    head: Result<Option<Head>, Error>,
    /// Ids of events that this round appends to it.
    pending: HashSet<&'a str>,
    /// The last of them, with its version.
    last_pending: Option<(&'a str, Version)>,
    /// Requests from here on have to wait for the next round: one was put off, and requests for a stream are applied in
    /// order; or this round begins the stream, and its origin is not known before the commit.
    put_off: bool,
}

/// One round over the requests of these indices.
fn round(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    requests: &[AppendRequest],
    taken: &[usize],
) -> Round<AppendResult> {
    let (plans, batches) = match intend(store, now, index, requests, taken) {
        Ok(intended) => intended,
        Err(error) => return Round { answered: Vec::new(), failure: Some(error) },
    };
    // A failure of the commit is no failure of the requests that need none.
    let (outcome, failure) = if batches.is_empty() {
        (None, None)
    } else {
        match commit(store, &batches) {
            Ok(outcome) => (Some(outcome), None),
            Err(error) => (None, Some(error)),
        }
    };
    Round { answered: answer(requests, taken, plans, outcome.as_deref()), failure }
}

/// Reads what the requests need, and decides them.
fn intend(
    store: &impl Keyspaces,
    now: u64,
    index: CorrelationIndex,
    requests: &[AppendRequest],
    taken: &[usize],
) -> Result<(Vec<Plan>, Vec<Batch>), Error> {
    let heads = read_heads(store, taken.iter().map(|at| requests[*at].stream_id.as_str()))?;
    let stream =
        |(id, head)| (id, Stream { head, pending: HashSet::new(), last_pending: None, put_off: false });
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

/// Decides a request and, if it appends, adds its batch and moves the stream on.
fn plan<'a>(
    request: &'a AppendRequest,
    known: &Known,
    stream: &mut Stream<'a>,
    now: u64,
    index: CorrelationIndex,
    batches: &mut Vec<Batch>,
) -> Plan {
    let assumes = stream.last_pending.is_some();
    let refuse = |error: &Error| Plan::Answer { answer: Err(error.clone()), assumes };
    let head = match &stream.head {
        Ok(head) => *head,
        Err(error) => return refuse(error),
    };
    let known = match known {
        Ok(known) => known,
        Err(error) => return refuse(error),
    };
    // Events that this round appends have no version that can be relied on yet.
    if stream.put_off || request.events.iter().any(|event| stream.pending.contains(event.id.as_str())) {
        stream.put_off = true;
        return Plan::Later;
    }
    // What the appends before this one hide by their number is judged as well.
    let ids: Vec<_> =
        request.events.iter().map(|event| event.id.as_str()).zip(known.visible(head.as_ref())).collect();
    let attempt =
        Attempt { stream_id: &request.stream_id, head: head.as_ref(), expected: request.expected, ids: &ids };
    match decide(&attempt) {
        Decision::Refuse(error) => refuse(&error),
        Decision::Repeat(Versions { first, last }) => {
            let answer = AppendResult { first_version: first, last_version: last, position: 0 };
            Plan::Answer { answer: Ok(answer), assumes }
        }
        Decision::Append(versions) => {
            let created = time_of_append(now, head.as_ref());
            let next = moved_on(head.as_ref(), versions.last, created, created);
            let behind = stream.last_pending.map(|last| Behind { last, ids: known.stored() });
            batches.push(batch(request, head.as_ref(), &next, versions.first, behind, index));
            stream.put_off = head.is_none();
            stream.head = Ok(Some(next));
            stream.pending.extend(request.events.iter().map(|event| event.id.as_str()));
            stream.last_pending = request.events.last().map(|event| (event.id.as_str(), versions.last));
            Plan::Commit { batch: batches.len() - 1, versions }
        }
    }
}

/// What an append that follows another one of its round relies on.
#[derive(Clone, Copy)]
struct Behind<'a> {
    /// The last event of the append before, with its version.
    last: (&'a str, Version),
    /// What keyspace `ids` had of the ids of its own events.
    ids: &'a [Option<Version>],
}

/// The batch of an append. That the head is as it was read says that nobody appended since, because every append
/// raises its version.
///
/// If an append of the same round to the same stream comes before, the head was foreseen, not read, and a rival who appends
/// with the same time would write the same one. So the batch also requires that the last event before is where it was
/// foreseen, and that its own ids are as they were read: new, or those of hidden events.
fn batch(
    request: &AppendRequest,
    head: Option<&Head>,
    next: &Head,
    first: Version,
    behind: Option<Behind<'_>>,
    index: CorrelationIndex,
) -> Batch {
    let stream_id = request.stream_id.as_str();
    let mut entries = Entries::new(index);
    entries.require_head(stream_id, head);
    if let Some(Behind { last: (id, version), ids }) = behind {
        entries.require_id(next.origin, id, Some(version));
        for (event, stored) in request.events.iter().zip(ids) {
            entries.require_id(next.origin, &event.id, *stored);
        }
    }
    // A stream that begins with this append has its first event's position as origin.
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

/// Looks at the events of the answers that are given again: they have the positions, and they tell whether they are
/// those of the request, or others whose ids have the same digest.
fn find_repeated(
    store: &impl Keyspaces,
    requests: &[AppendRequest],
    taken: &[usize],
    streams: &HashMap<&str, Stream<'_>>,
    plans: &mut [Plan],
) {
    for (at, plan) in taken.iter().zip(plans) {
        let request = &requests[*at];
        if let Plan::Answer { answer, .. } = plan
            && let Ok(result) = answer
            && let Ok(Some(head)) = &streams[request.stream_id.as_str()].head
        {
            let position = repeated_position(
                store,
                &request.stream_id,
                &request.events,
                head.origin,
                result.first_version,
            );
            *answer = position.map(|position| AppendResult { position, ..*result });
        }
    }
}

/// The answers that can be given after the commit. `outcome` is none if there was no commit, or none that is known.
fn answer(
    requests: &[AppendRequest],
    taken: &[usize],
    plans: Vec<Plan>,
    outcome: Option<&[Result<Committed, BatchError>]>,
) -> Vec<(usize, Answer)> {
    // Streams of which a batch failed: what was decided behind it is void.
    let mut failed: HashSet<&str> = HashSet::new();
    let mut answers = Vec::with_capacity(taken.len());
    for (at, plan) in taken.iter().zip(plans) {
        let stream_id = requests[*at].stream_id.as_str();
        let answer = match (plan, outcome) {
            (Plan::Later, _) => None,
            (Plan::Answer { answer, assumes: false }, _) => Some(answer),
            (Plan::Answer { assumes: true, .. } | Plan::Commit { .. }, None) => None,
            (Plan::Answer { answer, assumes: true }, Some(_)) => {
                (!failed.contains(stream_id)).then_some(answer)
            }
            (Plan::Commit { batch, versions }, Some(outcome)) => match &outcome[batch] {
                Ok(committed) => Some(appended(committed.first_position, versions)),
                Err(error) => {
                    let overtaken = !failed.insert(stream_id) || matches!(error, BatchError::GuardFailed(_));
                    if overtaken { None } else { Some(Err(refused(error))) }
                }
            },
        };
        answers.extend(answer.map(|answer| (*at, answer)));
    }
    answers
}

/// The answer to an append whose first event has this position.
pub(crate) fn appended(first_position: Position, versions: Versions) -> Answer {
    let Versions { first, last } = versions;
    let position = last.checked_sub(first).and_then(|events| first_position.checked_add(events));
    match position {
        Some(position) => Ok(AppendResult { first_version: first, last_version: last, position }),
        None => Err(Error::Other("the storage gave a position that no event can have".into())),
    }
}
