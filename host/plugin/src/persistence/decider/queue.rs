//! The requests that wait to be decided, in the order in which they came. Outlives the instances that decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use exesdb_storage::CommitError;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::Decided;
use super::order::{DecisionOrder, Turn};
use super::standing::{ListLimits, Standing, list_len};
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
    pub(super) fn fail(self, error: &CommitError) {
        self.send(K::failed(error));
    }
}

/// The queue of one decider.
pub(crate) struct Queue<K: Decided> {
    state: Mutex<State<K>>,
    changed: Notify,
    order: DecisionOrder,
    limits: ListLimits,
    /// Most requests that wait at a time.
    waiting_max: usize,
}

struct State<K: Decided> {
    waiting: BTreeMap<u64, Waiting<K>>,
    next_place: u64,
    /// Whether a list is being decided or not applied yet. Until then nobody knows the state on which the next one is
    /// decided.
    is_deciding: bool,
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<K: Decided> Queue<K> {
    pub(crate) fn new(waiting_max: usize, limits: ListLimits, order: DecisionOrder) -> Arc<Self> {
        let state = State { waiting: BTreeMap::new(), next_place: 0, is_deciding: false };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new(), order, limits, waiting_max })
    }

    /// Adds a request. Its outcome comes from the receiver; an error there means that the queue is gone.
    pub(crate) fn push(
        &self,
        request: K::Request,
        trace: Trace,
    ) -> Result<oneshot::Receiver<K::Outcome>, Full> {
        let (outcome, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if state.waiting.len() >= self.waiting_max {
            return Err(Full);
        }
        let place = state.next_place;
        state.next_place += 1;
        state.waiting.insert(place, Waiting { request, outcome, trace, standing: Standing::NEW, place });
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
        state.waiting.retain(|_, waiting| !waiting.outcome.is_closed());
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
        let count = list_len(sizes, self.limits);
        let requests = std::iter::from_fn(|| state.waiting.pop_first()).take(count);
        let requests = requests.map(|(_, waiting)| waiting).collect();
        state.is_deciding = true;
        Some(requests)
    }

    /// Puts requests back in their places.
    fn put_back(&self, requests: impl IntoIterator<Item = Waiting<K>>) {
        self.state.lock().waiting.extend(requests.into_iter().map(|waiting| (waiting.place, waiting)));
    }

    /// Notes that a list is applied, or never will be: the next one can be decided.
    fn list_applied(&self) {
        self.state.lock().is_deciding = false;
        self.changed.notify_one();
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
