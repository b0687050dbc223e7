//! Appends many requests with few reads and one commit.
//!
//! A round reads what the open requests need, decides them in order, commits the batches of those that append, and
//! answers what can be answered. A request whose batch was overtaken by another writer stays open, with all behind it
//! that were decided on the assumption that it would succeed, and the next round decides them anew.

use std::collections::{HashMap, HashSet};

use exesdb_sdk::keyspaces::{Batch, BatchBuilder, BatchError, Committed, Keyspaces, Put, damaged, stamp};
use exesdb_sdk::streams::{AppendRequest, AppendResult};
use exesdb_sdk::types::{Direction, Error, Position, Version};

use crate::check::check_append;
use crate::decide::{Decision, decide};
use crate::layout::{
    EVENTS, Head, IDS, INDEX, STREAMS, encode_event, id_key, index_key, number, position_hole,
};
use crate::read::read_versions;

/// Rounds in a row in which other writers overtook every open request. A stream has one writer unless an operator or
/// a restart doubled it, so that one round is the rule and two are rare.
pub const OVERTAKEN_ROUNDS_MAX: u32 = 8;

/// Bytes of keys and values that one round puts into its commit (one append alone may have more): half of what the
/// host accepts, and a bound on the memory that a round takes.
pub const ROUND_BYTES_MAX: usize = 8 << 20;

/// Requests that one round takes on.
pub const ROUND_REQUESTS_MAX: usize = 1_000;

type Answer = Result<AppendResult, Error>;

/// The versions of those of a request's events that are in the stream already, or what is wrong with their entries.
type Known = Result<Vec<Option<Version>>, Error>;

/// Appends. One answer for each request, in order; they are given when the events are durable. `now` is the time of
/// day in microseconds.
pub fn append(store: &impl Keyspaces, now: u64, requests: &[AppendRequest]) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> =
        requests.iter().map(|request| check_append(request).err().map(Err)).collect();
    let mut overtaken = 0;
    loop {
        let open: Vec<usize> = (0..requests.len()).filter(|index| answers[*index].is_none()).collect();
        if open.is_empty() {
            break;
        }
        if overtaken == OVERTAKEN_ROUNDS_MAX {
            for index in open {
                answers[index] = Some(Err(Error::Other(format!(
                    "other writers changed the stream {overtaken} times while this append was tried; it was not \
                     applied; try again"
                ))));
            }
            break;
        }
        let taken = &open[..fitting(open.iter().map(|index| &requests[*index]))];
        let (answered, failure) = round(store, now, requests, taken);
        overtaken = if answered.is_empty() { overtaken + 1 } else { 0 };
        for (index, answer) in answered {
            answers[index] = Some(answer);
        }
        if let Some(error) = failure {
            // What failed fails for all that need it, and trying again is the caller's to decide.
            for answer in answers.iter_mut().filter(|answer| answer.is_none()) {
                *answer = Some(Err(error.clone()));
            }
        }
    }
    answers.into_iter().map(|answer| answer.expect("the loop ends when every request is answered")).collect()
}

/// How many of the requests, 1 at least, one round takes on.
fn fitting<'a>(requests: impl Iterator<Item = &'a AppendRequest>) -> usize {
    let mut bytes = 0_usize;
    requests
        .take(ROUND_REQUESTS_MAX)
        .enumerate()
        .take_while(|(index, request)| {
            bytes = bytes.saturating_add(batch_bytes(request));
            *index == 0 || bytes <= ROUND_BYTES_MAX
        })
        .count()
}

/// At least as many bytes as the keys and values of the request's batch, guards included.
fn batch_bytes(request: &AppendRequest) -> usize {
    let stream = request.stream_id.len();
    let events = request.events.iter().map(|event| {
        let texts = stream + event.id.len() + event.event_type.len() + event.content_type.len();
        // The envelope's other fields and its key; an entry of `ids`, and the guard that there is none.
        33 + 8 + 2 * 28 + texts + event.data.len() + event.metadata.len()
    });
    // The head, the guard on it, an entry of `index`, and the guard on the event behind which this append goes.
    2 * (stream + 33) + 24 + 28 + events.sum::<usize>()
}

/// What a round intends for a request.
enum Plan {
    /// The batch of this index in the commit.
    Commit { batch: usize, first: Version, last: Version },
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

/// One round over the requests of these indices: the answers that it could give, and a failure for all the others.
fn round(
    store: &impl Keyspaces,
    now: u64,
    requests: &[AppendRequest],
    taken: &[usize],
) -> (Vec<(usize, Answer)>, Option<Error>) {
    let (plans, batches) = match intend(store, now, requests, taken) {
        Ok(intended) => intended,
        Err(error) => return (Vec::new(), Some(error)),
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
    (answer(requests, taken, plans, outcome.as_deref()), failure)
}

/// Reads what the requests need, and decides them.
fn intend(
    store: &impl Keyspaces,
    now: u64,
    requests: &[AppendRequest],
    taken: &[usize],
) -> Result<(Vec<Plan>, Vec<Batch>), Error> {
    let mut streams = read_heads(store, requests, taken)?;
    let known = read_ids(store, requests, taken, &streams)?;

    let mut batches = Vec::new();
    let mut plans = Vec::with_capacity(taken.len());
    for (index, known) in taken.iter().zip(&known) {
        let request = &requests[*index];
        let stream = streams.get_mut(request.stream_id.as_str()).expect("the heads of all were read");
        plans.push(plan(request, known, stream, now, &mut batches));
    }
    find_repeated(store, requests, taken, &streams, &mut plans);
    Ok((plans, batches))
}

fn read_heads<'a>(
    store: &impl Keyspaces,
    requests: &'a [AppendRequest],
    taken: &[usize],
) -> Result<HashMap<&'a str, Stream<'a>>, Error> {
    let mut ids: Vec<&str> = taken.iter().map(|index| requests[*index].stream_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let keys: Vec<Vec<u8>> = ids.iter().map(|id| id.as_bytes().to_owned()).collect();
    let heads = store.get_all(STREAMS, &keys)?;
    let stream = |(id, value): (&'a str, Option<Vec<u8>>)| {
        let head = match value {
            None => Ok(None),
            Some(value) => Head::decode(&value).map(Some),
        };
        let head = head.map_err(|reason| damaged(STREAMS, id.as_bytes(), reason));
        (id, Stream { head, pending: HashSet::new(), last_pending: None, put_off: false })
    };
    Ok(ids.into_iter().zip(heads).map(stream).collect())
}

/// For each request the versions of those of its events that are in the stream already.
fn read_ids(
    store: &impl Keyspaces,
    requests: &[AppendRequest],
    taken: &[usize],
    streams: &HashMap<&str, Stream<'_>>,
) -> Result<Vec<Known>, Error> {
    // A stream without events has no ids.
    let taken = || {
        taken.iter().map(|index| {
            let request = &requests[*index];
            let head = streams[request.stream_id.as_str()].head.as_ref();
            (request, head.ok().copied().flatten())
        })
    };
    let keys: Vec<Vec<u8>> = taken()
        .filter_map(|(request, head)| Some((request, head?.origin)))
        .flat_map(|(request, origin)| request.events.iter().map(move |event| id_key(origin, &event.id)))
        .collect();
    let mut values = store.get_all(IDS, &keys)?.into_iter().zip(&keys);
    let version = |(value, key): (Option<Vec<u8>>, &Vec<u8>)| match value {
        None => Ok(None),
        Some(value) => match number(&value) {
            Some(version) => Ok(Some(version)),
            None => Err(damaged(IDS, key, "it is not a version")),
        },
    };
    Ok(taken()
        .map(|(request, head)| match head {
            None => Ok(vec![None; request.events.len()]),
            // Taken to its end even where one is damaged: the next request's values follow.
            Some(_) => values
                .by_ref()
                .take(request.events.len())
                .map(version)
                .collect::<Vec<_>>()
                .into_iter()
                .collect(),
        })
        .collect())
}

/// Decides a request and, if it appends, adds its batch and moves the stream on.
fn plan<'a>(
    request: &'a AppendRequest,
    known: &Known,
    stream: &mut Stream<'a>,
    now: u64,
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
    let ids: Vec<_> =
        request.events.iter().zip(known).map(|(event, version)| (event.id.as_str(), *version)).collect();
    match decide(head.map(|head| head.last_version), request.expected, &ids) {
        Decision::Refuse(error) => refuse(&error),
        Decision::Repeat { first, last } => {
            let answer = AppendResult { first_version: first, last_version: last, position: 0 };
            Plan::Answer { answer: Ok(answer), assumes }
        }
        Decision::Append { first, last } => {
            let updated = head.map_or(now, |head| now.max(head.updated));
            let created = head.map_or(updated, |head| head.created);
            let origin = head.map_or(0, |head| head.origin);
            let next = Head { origin, last_version: last, created, updated };
            batches.push(batch(request, head, next, first, stream.last_pending));
            stream.put_off = head.is_none();
            stream.head = Ok(Some(next));
            stream.pending.extend(request.events.iter().map(|event| event.id.as_str()));
            stream.last_pending = request.events.last().map(|event| (event.id.as_str(), last));
            Plan::Commit { batch: batches.len() - 1, first, last }
        }
    }
}

/// The batch of an append. That the head is as it was read says that nobody appended since, because every append
/// raises its version.
///
/// `behind` is the last event of an append of the same round to the same stream, if there is one. Then the head was
/// foreseen, not read, and a rival who appends with the same time would write the same one. So the batch also requires
/// that this event is where it was foreseen, and that its own ids are still new.
fn batch(
    request: &AppendRequest,
    head: Option<Head>,
    next: Head,
    first: Version,
    behind: Option<(&str, Version)>,
) -> Batch {
    let stream_id = request.stream_id.as_str();
    let mut batch = BatchBuilder::new();
    let required = head.map(|head| head.encode());
    batch.require(STREAMS, stream_id.as_bytes(), required.as_deref());
    if let Some((id, version)) = behind {
        batch.require(IDS, &id_key(next.origin, id), Some(&version.to_be_bytes()));
        for event in &request.events {
            batch.require(IDS, &id_key(next.origin, &event.id), None);
        }
    }
    // A stream that begins with this append has its first event's position as origin.
    let origin_at = |at| if head.is_none() { vec![stamp(at, 0)] } else { Vec::new() };
    let mut last_event = 0;
    for (version, event) in (first..=next.last_version).zip(&request.events) {
        last_event = batch.add_event();
        batch.put_stamped(Put {
            keyspace: EVENTS.to_owned(),
            key: position_hole(),
            value: encode_event(stream_id, version, next.updated, event),
            key_stamps: vec![stamp(0, last_event)],
            value_stamps: Vec::new(),
        });
        batch.put_stamped(Put {
            keyspace: IDS.to_owned(),
            key: id_key(next.origin, &event.id),
            value: version.to_be_bytes().to_vec(),
            key_stamps: origin_at(0),
            value_stamps: Vec::new(),
        });
    }
    batch.put_stamped(Put {
        keyspace: INDEX.to_owned(),
        key: index_key(next.origin, next.last_version),
        value: position_hole(),
        key_stamps: origin_at(0),
        value_stamps: vec![stamp(0, last_event)],
    });
    batch.put_stamped(Put {
        keyspace: STREAMS.to_owned(),
        key: stream_id.into(),
        value: next.encode(),
        key_stamps: Vec::new(),
        value_stamps: origin_at(Head::ORIGIN_AT),
    });
    batch.build()
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
    for (index, plan) in taken.iter().zip(plans) {
        let request = &requests[*index];
        if let Plan::Answer { answer, .. } = plan
            && let Ok(result) = answer
            && let Ok(Some(head)) = &streams[request.stream_id.as_str()].head
        {
            let position = position_of_repeated(store, request, head.origin, result.first_version);
            *answer = position.map(|position| AppendResult { position, ..*result });
        }
    }
}

/// The position of the last of the request's events, which stand in the stream from version `first` on.
fn position_of_repeated(
    store: &impl Keyspaces,
    request: &AppendRequest,
    origin: Position,
    first: Version,
) -> Result<Position, Error> {
    let mut wanted = request.events.as_slice();
    let mut next = first;
    loop {
        let count = u32::try_from(wanted.len()).expect("the number of an append's events is limited");
        let events = read_versions(store, &request.stream_id, origin, next, count, Direction::Forward)?;
        for (found, event) in events.iter().zip(wanted) {
            if found.id != event.id {
                return Err(Error::IdConflict(event.id.clone()));
            }
        }
        wanted = wanted.get(events.len()..).unwrap_or_default();
        match events.last() {
            Some(last) if wanted.is_empty() => return Ok(last.position),
            Some(last) => next = last.version.saturating_add(1),
            None => return Err(Error::Other("a page of events that are there was empty".into())),
        }
    }
}

fn commit(store: &impl Keyspaces, batches: &[Batch]) -> Result<Vec<Result<Committed, BatchError>>, Error> {
    let outcome = store.commit(batches)?;
    if outcome.len() != batches.len() {
        return Err(Error::Other(format!(
            "the storage gave {} results for {} batches; the outcome of this append is unknown",
            outcome.len(),
            batches.len()
        )));
    }
    Ok(outcome)
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
    for (index, plan) in taken.iter().zip(plans) {
        let stream_id = requests[*index].stream_id.as_str();
        let answer = match (plan, outcome) {
            (Plan::Later, _) => None,
            (Plan::Answer { answer, assumes: false }, _) => Some(answer),
            (Plan::Answer { assumes: true, .. } | Plan::Commit { .. }, None) => None,
            (Plan::Answer { answer, assumes: true }, Some(_)) => {
                (!failed.contains(stream_id)).then_some(answer)
            }
            (Plan::Commit { batch, first, last }, Some(outcome)) => match &outcome[batch] {
                Ok(committed) => Some(appended(committed.first_position, first, last)),
                Err(error) => {
                    let overtaken = !failed.insert(stream_id) || matches!(error, BatchError::GuardFailed(_));
                    if overtaken { None } else { Some(Err(refused(error))) }
                }
            },
        };
        answers.extend(answer.map(|answer| (*index, answer)));
    }
    answers
}

fn appended(first_position: Position, first: Version, last: Version) -> Answer {
    let position = last.checked_sub(first).and_then(|events| first_position.checked_add(events));
    match position {
        Some(position) => Ok(AppendResult { first_version: first, last_version: last, position }),
        None => Err(Error::Other("the storage gave a position that no event can have".into())),
    }
}

/// What the client is told about a batch that will not be accepted in the next round either.
fn refused(error: &BatchError) -> Error {
    match error {
        BatchError::TooLarge(reason) => Error::TooLarge(format!("events: the append as a whole: {reason}")),
        BatchError::GuardFailed(guard) => Error::Other(format!("guard {guard} of the append failed")),
        BatchError::Invalid(reason) => {
            Error::Other(format!("the storage refused the component's batch: {reason}"))
        }
        BatchError::Other(reason) => Error::Other(reason.clone()),
    }
}
