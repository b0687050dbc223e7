//! Does with the component what the host does: it decides lists of requests, applies their batches, and asks again about
//! those that are left. Calls and results are plain values.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::cell::{Cell, RefCell};

use exesdb_reference::{
    AppendRequest, AppendResult, ImportResult, ImportedEvent, Transaction, import_request,
};
use exesdb_sdk::events::{RecordedEvent, unpack};
use exesdb_sdk::maintenance::{Cursor, VerifyStep};
use exesdb_sdk::memory::{ApplyError, MemoryStore, MemoryView};
use exesdb_sdk::types::{
    AllSelection, ChangeResult, Decision, Deletion, DeletionRequest, Direction, Error, EventFilter,
    ExpectedVersion, ImportMark, ImportState, PackedPage, Placed, Planned, Position, Retention,
    RetentionRequest, Selection, Source, StreamInfo, StreamLife, StreamPage, StreamSelection, WriteRequest,
};
use exesdb_sdk::view::View;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::maintenance::Scavenged;
use exesdb_streams::{delete, import, maintenance, read, retention, write};

/// How often a request is decided among others before it is decided alone.
pub(crate) const TRIES_MAX: u32 = 8;

/// The most bytes of a page.
pub(crate) const PAGE_BYTES: u32 = 8 << 20;

/// A page of events as plain values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventPage {
    pub(crate) events: Vec<RecordedEvent>,
    pub(crate) next: Option<u64>,
    pub(crate) end: bool,
}

/// A store, and what somebody else does between a decision and its application.
pub(crate) trait Target {
    fn store(&self) -> &MemoryStore;
    fn interfere(&self) {}
}

impl Target for MemoryStore {
    fn store(&self) -> &MemoryStore {
        self
    }
}

/// What another writer does.
type Act<'a> = Box<dyn FnMut(&MemoryStore) + 'a>;

/// A store to which another writer writes just before each of the first lists is applied.
pub(crate) struct Rival<'a> {
    store: &'a MemoryStore,
    left: Cell<u32>,
    act: RefCell<Act<'a>>,
}

impl<'a> Rival<'a> {
    pub(crate) fn new(store: &'a MemoryStore, times: u32, act: impl FnMut(&MemoryStore) + 'a) -> Self {
        Self { store, left: Cell::new(times), act: RefCell::new(Box::new(act)) }
    }
}

impl Target for Rival<'_> {
    fn store(&self) -> &MemoryStore {
        self.store
    }

    fn interfere(&self) {
        if self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            (self.act.borrow_mut())(self.store);
        }
    }
}

/// What became of requests.
pub(crate) struct Settled {
    /// The results, in the order of the requests.
    pub(crate) results: Vec<Result<ChangeResult, Error>>,
    /// The requests in the order in which they took effect: of each list first what needed no batch.
    pub(crate) order: Vec<usize>,
}

/// Decides requests until all have a result.
pub(crate) fn settle<R: Clone>(
    target: &impl Target,
    requests: &[R],
    decide: impl Fn(&MemoryView<'_>, &[R]) -> Vec<Decision>,
) -> Settled {
    let store = target.store();
    let mut order = Vec::new();
    let mut results: Vec<Option<Result<ChangeResult, Error>>> = vec![None; requests.len()];
    let mut tries = vec![0; requests.len()];
    loop {
        let mut open: Vec<usize> = (0..requests.len()).filter(|at| results[*at].is_none()).collect();
        let Some(first) = open.first().copied() else { break };
        let is_alone = tries[first] >= TRIES_MAX;
        if is_alone {
            open.truncate(1);
        }
        let list: Vec<R> = open.iter().map(|at| requests[*at].clone()).collect();
        let decisions = decide(&store.view(), &list);
        assert_eq!(decisions.len(), list.len(), "one decision for each request");
        assert_eq!(decisions, decide(&store.view(), &list), "the same again for the same");
        assert_ne!(decisions[0], Decision::Later, "the first of a list is never later");
        if !is_alone {
            let now = store.view().now();
            target.interfere();
            store.set_now(now);
        }
        let is_done = |(_, decision): &(&usize, &Decision)| matches!(decision, Decision::Done(_));
        order.extend(open.iter().zip(&decisions).filter(is_done).map(|(at, _)| at));
        for (at, decision) in open.into_iter().zip(decisions) {
            match decision {
                Decision::Done(result) => results[at] = Some(result),
                Decision::Later => {}
                Decision::Commit(planned) => match apply(store, planned) {
                    Ok(result) => {
                        results[at] = Some(Ok(result));
                        order.push(at);
                    }
                    Err(ApplyError::GuardFailed(_)) if !is_alone => tries[at] += 1,
                    Err(error) => panic!("{error}"),
                },
            }
        }
    }
    let results = results.into_iter().map(|result| result.expect("the loop ends when all have a result"));
    Settled { results: results.collect(), order }
}

/// Applies a plan. Returns its result with positions.
pub(crate) fn apply(store: &MemoryStore, planned: Planned) -> Result<ChangeResult, ApplyError> {
    let first = store.apply(&planned.batch)?;
    let placed = planned.placed.into_iter().map(|place| Placed {
        stream_id: place.stream_id,
        first_version: place.first_version,
        last_version: place.last_version,
        position: first + u64::from(place.offset),
    });
    Ok(ChangeResult { placed: placed.collect(), count: planned.count })
}

fn results_of(result: ChangeResult) -> Vec<AppendResult> {
    let result_of = |placed: Placed| AppendResult {
        first_version: placed.first_version,
        last_version: placed.last_version,
        position: placed.position,
    };
    result.placed.into_iter().map(result_of).collect()
}

/// Writes. Returns the results, and the order in which the requests took effect.
pub(crate) fn write_in_order(
    target: &impl Target,
    now: u64,
    index: CorrelationIndex,
    requests: &[WriteRequest],
) -> (Vec<Result<Vec<AppendResult>, Error>>, Vec<usize>) {
    target.store().set_now(now);
    let decide = |view: &MemoryView<'_>, requests: &[_]| write::decide(view, index, requests);
    let Settled { results, order } = settle(target, requests, decide);
    (results.into_iter().map(|result| result.map(results_of)).collect(), order)
}

pub(crate) fn append(
    target: &impl Target,
    now: u64,
    index: CorrelationIndex,
    requests: &[AppendRequest],
) -> Vec<Result<AppendResult, Error>> {
    let requests: Vec<_> = requests.iter().map(AppendRequest::write_request).collect();
    let (results, _) = write_in_order(target, now, index, &requests);
    results.into_iter().map(|result| result.map(|results| results[0])).collect()
}

pub(crate) fn transact(
    target: &impl Target,
    now: u64,
    index: CorrelationIndex,
    transactions: &[Transaction],
) -> Vec<Result<Vec<AppendResult>, Error>> {
    let requests: Vec<_> = transactions.iter().map(Transaction::write_request).collect();
    write_in_order(target, now, index, &requests).0
}

pub(crate) fn import_events(
    target: &impl Target,
    now: u64,
    index: CorrelationIndex,
    events: &[ImportedEvent],
    marks: &[ImportMark],
) -> Result<ImportResult, Error> {
    target.store().set_now(now);
    let request = import_request(events, marks);
    let decide = |view: &MemoryView<'_>, requests: &[_]| vec![import::decide(view, index, &requests[0])];
    let result = settle(target, &[request], decide).results.remove(0)?;
    let added =
        result.placed.iter().map(|placed| placed.last_version - placed.first_version + 1).sum::<u64>();
    let count = |count: u64| u32::try_from(count).expect("an import has few events");
    Ok(ImportResult {
        added: count(added),
        repeated: count(result.count % (1 << 32)),
        hidden: count(result.count >> 32),
    })
}

pub(crate) fn import_states(
    store: &MemoryStore,
    now: u64,
    source: &str,
    stream_ids: &[String],
) -> Result<Vec<ImportState>, Error> {
    store.set_now(now);
    import::import_states(&store.view(), source, stream_ids)
}

pub(crate) fn delete_stream(
    target: &impl Target,
    stream_id: &str,
    expected: ExpectedVersion,
    deletion: Deletion,
) -> Result<(), Error> {
    let request = DeletionRequest { stream_id: stream_id.into(), expected, deletion, options: Vec::new() };
    settle(target, &[request], |view, list| delete::decide(view, list)).results.remove(0).map(|_| ())
}

pub(crate) fn set_retention(
    target: &impl Target,
    now: u64,
    stream_id: &str,
    retention: &Retention,
) -> Result<(), Error> {
    target.store().set_now(now);
    let (stream_id, retention) = (stream_id.to_owned(), *retention);
    let request = RetentionRequest { stream_id, retention, options: Vec::new() };
    settle(target, &[request], |view, list| retention::decide(view, list)).results.remove(0).map(|_| ())
}

fn page_of(page: Result<PackedPage, Error>) -> Result<EventPage, Error> {
    let PackedPage { events, next, end, .. } = page?;
    Ok(EventPage { events: unpack(&events).expect("a page has events"), next, end })
}

pub(crate) fn selection(source: Source, count: u32, direction: Direction) -> Selection {
    Selection { source, direction, count, max_bytes: PAGE_BYTES, options: Vec::new() }
}

pub(crate) fn read_stream(
    store: &MemoryStore,
    now: u64,
    stream_id: &str,
    from: Option<u64>,
    count: u32,
    direction: Direction,
) -> Result<EventPage, Error> {
    store.set_now(now);
    let source = Source::OneStream(StreamSelection { stream_id: stream_id.into(), from });
    page_of(read::read(&store.view(), &selection(source, count, direction)))
}

pub(crate) fn read_all(
    store: &MemoryStore,
    now: u64,
    from: Option<Position>,
    count: u32,
    direction: Direction,
) -> Result<EventPage, Error> {
    store.set_now(now);
    let source = Source::All(AllSelection { from, until: None });
    page_of(read::read(&store.view(), &selection(source, count, direction)))
}

pub(crate) fn read_filtered(
    store: &MemoryStore,
    now: u64,
    index: CorrelationIndex,
    filter: EventFilter,
    from: Option<Position>,
    count: u32,
    direction: Direction,
) -> Result<EventPage, Error> {
    store.set_now(now);
    let source = Source::All(AllSelection { from, until: None });
    page_of(read::read_filtered(&store.view(), index, filter, &selection(source, count, direction)))
}

pub(crate) fn list_streams(
    store: &MemoryStore,
    prefix: &str,
    after: Option<&str>,
    count: u32,
    deleted: bool,
) -> Result<StreamPage, Error> {
    read::list_streams(&store.view(), prefix, after, count, deleted)
}

pub(crate) fn stream_info(store: &MemoryStore, now: u64, stream_id: &str) -> Result<StreamInfo, Error> {
    store.set_now(now);
    read::describe_stream(&store.view(), stream_id)
}

pub(crate) fn stream_lives(
    store: &MemoryStore,
    stream_ids: &[String],
) -> Result<Vec<Option<StreamLife>>, Error> {
    read::stream_lives(&store.view(), stream_ids)
}

/// Runs one step of scavenging. It is decided again if the guard of one of its batches fails.
pub(crate) fn scavenge(target: &impl Target, now: u64, from: Option<&Cursor>) -> Result<Scavenged, Error> {
    let store = target.store();
    store.set_now(now);
    loop {
        let mut scavenged = maintenance::scavenge(&store.view(), from)?;
        target.interfere();
        store.set_now(now);
        let outcome: Vec<_> = scavenged.step.batches.drain(..).map(|batch| store.apply(&batch)).collect();
        assert!(!outcome.iter().any(|outcome| matches!(outcome, Err(ApplyError::Refused(_)))), "{outcome:?}");
        if outcome.iter().all(Result::is_ok) {
            return Ok(scavenged);
        }
    }
}

/// Runs one step of verification, and applies its repairs.
pub(crate) fn verify(store: &MemoryStore, from: Option<&Cursor>, repair: bool) -> Result<VerifyStep, Error> {
    let mut step = maintenance::verify(&store.view(), from, repair)?;
    assert!(repair || step.batches.is_empty(), "nothing is repaired without being asked for");
    for batch in step.batches.drain(..) {
        match store.apply(&batch) {
            // Another repair of the step was faster.
            Ok(_) | Err(ApplyError::GuardFailed(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    Ok(step)
}

/// The next position of the log.
pub(crate) fn end(store: &MemoryStore) -> Position {
    store.view().end().next_position
}
