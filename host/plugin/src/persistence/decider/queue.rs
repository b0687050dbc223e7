//! The requests that wait to be decided, in the order in which they came. Outlives the instances that decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::Decided;
use super::order::{DecisionOrder, Turn};
use super::standing::{ListLimits, Standing, list_len};
use crate::access::CommitFailure;
use crate::trace::Trace;

/// A request that waits, with where its outcome is sent.
pub(crate) struct Waiting<K: Decided> {
    pub(crate) request: K::Request,
    pub(super) outcome: oneshot::Sender<K::Outcome>,
    pub(crate) trace: Trace,
    pub(super) standing: Standing,
    /// Its place in the order of arrival.
    place: u64,
}

impl<K: Decided> Waiting<K> {
    /// Ends the request.
    pub(crate) fn send(self, outcome: K::Outcome) {
        // The caller may be gone.
        drop(self.outcome.send(outcome));
    }

    /// Ends the request, which was not committed, or of which nobody knows whether it was.
    pub(super) fn fail(self, error: &CommitFailure) {
        self.send(K::failed(error));
    }
}

/// Most requests that wait at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    pub(crate) requests: usize,
    /// Bytes of their events and data. A single request may have more.
    pub(crate) bytes: usize,
}

/// The queue of one decider.
pub(crate) struct Queue<K: Decided> {
    state: Mutex<State<K>>,
    changed: Notify,
    order: DecisionOrder,
    of_list: ListLimits,
    of_queue: QueueLimits,
}

struct State<K: Decided> {
    waiting: BTreeMap<u64, Waiting<K>>,
    /// Bytes of those that wait.
    bytes: usize,
    next_place: u64,
    /// Whether a list is being decided or not applied yet. Until then nobody knows the state on which the next one is
    /// decided.
    is_deciding: bool,
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<K: Decided> Queue<K> {
    pub(crate) fn new(of_queue: QueueLimits, of_list: ListLimits, order: DecisionOrder) -> Arc<Self> {
        let state = State { waiting: BTreeMap::new(), bytes: 0, next_place: 0, is_deciding: false };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new(), order, of_list, of_queue })
    }

    /// Adds a request. Its outcome comes from the receiver; an error there means that the queue is gone.
    pub(crate) fn push(
        &self,
        request: K::Request,
        trace: Trace,
    ) -> Result<oneshot::Receiver<K::Outcome>, Full> {
        let (outcome, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        let bytes = state.bytes.saturating_add(K::bytes(&request));
        let is_too_large = bytes > self.of_queue.bytes && !state.waiting.is_empty();
        if is_too_large || state.waiting.len() >= self.of_queue.requests {
            return Err(Full);
        }
        let place = state.next_place;
        state.next_place += 1;
        state.insert(Waiting { request, outcome, trace, standing: Standing::NEW, place });
        drop(state);
        self.changed.notify_one();
        Ok(receiver)
    }

    /// Waits for the requests of the next list, which then needs a [turn](List::with_turn). There is one list at a time, until
    /// it is applied. Requests whose callers have left are dropped.
    pub(crate) async fn next_requests(self: &Arc<Self>) -> List<K> {
        loop {
            if let Some(requests) = self.take_next() {
                return List { requests, queue: Arc::clone(self), turn: None };
            }
            // A permit is kept if the change comes before this wait.
            self.changed.notified().await;
        }
    }

    fn take_next(&self) -> Option<Vec<Waiting<K>>> {
        let mut state = self.state.lock();
        state.drop_abandoned();
        if state.is_deciding || state.waiting.is_empty() {
            return None;
        }
        let mut before: Option<&K::Request> = None;
        let join = state.waiting.values().take_while(|waiting| {
            let joins = before.is_none_or(|before| K::joins(before, &waiting.request));
            before = Some(&waiting.request);
            joins
        });
        let sizes = join.map(|waiting| (waiting.standing, K::bytes(&waiting.request)));
        let count = list_len(sizes, self.of_list);
        let requests = std::iter::from_fn(|| state.pop()).take(count).collect();
        state.is_deciding = true;
        Some(requests)
    }

    /// Puts requests back in their places.
    fn put_back(&self, requests: impl IntoIterator<Item = Waiting<K>>) {
        let mut state = self.state.lock();
        requests.into_iter().for_each(|waiting| state.insert(waiting));
    }

    /// Notes that a list is applied, or never will be: the next one can be decided.
    fn list_applied(&self) {
        self.state.lock().is_deciding = false;
        self.changed.notify_one();
    }
}

impl<K: Decided> State<K> {
    fn insert(&mut self, waiting: Waiting<K>) {
        self.bytes += K::bytes(&waiting.request);
        self.waiting.insert(waiting.place, waiting);
    }

    fn pop(&mut self) -> Option<Waiting<K>> {
        let (_, waiting) = self.waiting.pop_first()?;
        self.bytes -= K::bytes(&waiting.request);
        Some(waiting)
    }

    /// Drops the requests whose callers have left.
    fn drop_abandoned(&mut self) {
        let bytes = &mut self.bytes;
        self.waiting.retain(|_, waiting| {
            let is_abandoned = waiting.outcome.is_closed();
            if is_abandoned {
                *bytes -= K::bytes(&waiting.request);
            }
            !is_abandoned
        });
    }
}

/// Requests that are being decided together. If it is dropped, they are put back as they were.
pub(crate) struct List<K: Decided> {
    requests: Vec<Waiting<K>>,
    queue: Arc<Queue<K>>,
    /// None until the list has it.
    turn: Option<Turn>,
}

impl<K: Decided> List<K> {
    /// Waits until the list may be decided: alone, if its request must be.
    pub(crate) async fn with_turn(mut self) -> Self {
        let is_alone = self.requests.first().is_some_and(|first| first.standing.is_alone());
        self.turn = Some(self.queue.order.turn(is_alone).await);
        self
    }

    /// The requests, in order.
    pub(crate) fn requests(&self) -> &[Waiting<K>] {
        &self.requests
    }

    /// Puts the requests back after the instance that was deciding ended.
    pub(crate) fn put_back_after_crash(mut self) {
        let together = self.requests.len();
        for waiting in &mut self.requests {
            waiting.standing = waiting.standing.after_crash(together);
        }
    }

    /// Ends the requests with an outcome, undecided.
    pub(crate) fn end_with(self, outcome: impl Fn() -> K::Outcome) {
        let (requests, _applied) = self.into_requests();
        requests.into_iter().for_each(|waiting| waiting.send(outcome()));
    }

    /// Takes the requests out, which are no longer put back.
    pub(super) fn into_requests(mut self) -> (Vec<Waiting<K>>, Unapplied<K>) {
        let requests = std::mem::take(&mut self.requests);
        let unapplied = Unapplied { queue: Arc::clone(&self.queue), turn: self.turn.take() };
        (requests, unapplied)
    }
}

impl<K: Decided> Drop for List<K> {
    fn drop(&mut self) {
        if !self.requests.is_empty() {
            self.queue.put_back(self.requests.drain(..));
            self.queue.list_applied();
        }
    }
}

/// A list that was taken out of its queue and is not applied yet. Once it is dropped, the next one can be decided.
pub(super) struct Unapplied<K: Decided> {
    queue: Arc<Queue<K>>,
    turn: Option<Turn>,
}

impl<K: Decided> Unapplied<K> {
    /// Puts requests back in their places, before the next list is taken.
    pub(super) fn put_back(&self, requests: Vec<Waiting<K>>) {
        self.queue.put_back(requests);
    }
}

impl<K: Decided> Drop for Unapplied<K> {
    fn drop(&mut self) {
        // The next list is decided on a state that has this one.
        self.turn = None;
        self.queue.list_applied();
    }
}
