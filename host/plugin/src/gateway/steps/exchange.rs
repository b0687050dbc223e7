//! The state of a request: what it has open, and which event comes next (the rules P2, P3, P5, P6 and P11). Pure: the
//! caller reports each step and each outcome, and asks for the next event.
//!
//! The driver does the actions of a step after [`Exchange::follow`] has accepted it, and reports each outcome under the number
//! of its action. [`plan`] checks the actions of a step.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::limits::{
    CALL_BYTES_OPEN, CALLS_OPEN, OUTCOME_BYTES_MAX, UNTAKEN_BEFORE_OUTCOMES, UNTAKEN_BEFORE_PAGES,
};
use super::rules::{self, Breach, Content, unless};
use crate::bindings::gateway::requests::{Outcome, Reply};
use crate::bindings::gateway::steps::{Called, Delivered, Event, Intake, Piece, Step, Stopped};

/// What has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// The call with this place among all calls of the request.
    Call {
        nth: u64,
        in_order: bool,
        /// Bytes that it has, with those that were held for it.
        bytes: usize,
    },
    Hold {
        /// Bytes that are held.
        bytes: usize,
    },
    Subscription,
    Timer,
}

/// A call whose outcome has come. `G` is kept until the outcome is delivered.
struct Finished<G> {
    called: Called,
    in_order: bool,
    _guard: G,
}

/// The state of a request.
pub(super) struct Exchange<G> {
    is_head: bool,
    open: HashMap<u32, Open>,
    /// Calls that are open.
    calls: usize,
    /// Bytes that they have.
    call_bytes: usize,
    /// Calls so far.
    calls_made: u64,
    /// The calls in order whose outcomes were not delivered, the first one first.
    in_order: VecDeque<u64>,
    body: Body,
    /// Outcomes, by their places among all calls.
    finished: BTreeMap<u64, Finished<G>>,
    timers: VecDeque<u32>,
    pages: VecDeque<Delivered>,
    stops: VecDeque<Stopped>,
    draining: Draining,
    started: bool,
    /// The token of the last step is empty: the request runs again from its beginning.
    runs_again: bool,
    /// The last piece of the body came before the last page.
    page_is_next: bool,
}

/// The request's body.
#[derive(Default)]
struct Body {
    /// What was asked for.
    intake: Option<Intake>,
    /// A piece that was not delivered yet.
    piece: Option<Piece>,
    /// Bytes of the last piece that was delivered.
    given: usize,
    /// That was the end of the body.
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draining {
    No,
    /// The event `draining` is to be delivered.
    Due(u32),
    /// It was delivered.
    Delivered,
}

impl<G> Exchange<G> {
    /// A request that was not begun; `is_head` for one that asks for the head of a response alone.
    pub(super) fn new(is_head: bool) -> Self {
        Self {
            is_head,
            open: HashMap::new(),
            calls: 0,
            call_bytes: 0,
            calls_made: 0,
            in_order: VecDeque::new(),
            body: Body::default(),
            finished: BTreeMap::new(),
            timers: VecDeque::new(),
            pages: VecDeque::new(),
            stops: VecDeque::new(),
            draining: Draining::No,
            started: false,
            runs_again: false,
            page_is_next: false,
        }
    }

    /// Accepts a step, which is then in force; one that breaks the contract changes nothing.
    pub(super) fn follow(&mut self, step: &Step) -> Result<(), Breach> {
        match step {
            Step::Respond(response) => {
                self.not_started("respond")?;
                rules::head(&response.head, Content::of(response, self.is_head))?;
                rules::trailers(&response.trailers)?;
                self.end();
            }
            Step::Bulk(bulk) => {
                self.not_started("bulk")?;
                rules::bulk(bulk)?;
                self.end();
            }
            Step::Pending(pending) => self.pend(pending)?,
        }
        Ok(())
    }

    fn not_started(&self, step: &str) -> Result<(), Breach> {
        unless(!self.started, || format!("`{step}` after `start`"))
    }

    /// Ends what is open, without events.
    fn end(&mut self) {
        let (started, calls_made) = (self.started, self.calls_made);
        *self = Self { started, calls_made, ..Self::new(self.is_head) };
    }

    /// Whether the gateway began the response.
    pub(super) fn is_started(&self) -> bool {
        self.started
    }

    /// Whether the request has made a call.
    pub(super) fn has_made_calls(&self) -> bool {
        self.calls_made > 0
    }

    /// Whether the request runs again from its beginning.
    pub(super) fn runs_again(&self) -> bool {
        self.runs_again
    }

    /// Whether the gateway waits for something that may take as long as it likes.
    pub(super) fn waits_for_events(&self) -> bool {
        self.open.values().any(|open| matches!(open, Open::Timer | Open::Subscription))
    }

    /// Whether the gateway waits for pages of subscriptions, and for nothing that it has begun.
    pub(super) fn waits_only_for_pages(&self) -> bool {
        self.calls == 0
            && self.finished.is_empty()
            && self.open.values().any(|open| matches!(open, Open::Subscription))
    }

    /// Whether so much is open that no more of the body is delivered.
    fn has_many_calls(&self) -> bool {
        self.calls >= CALLS_OPEN || self.call_bytes >= CALL_BYTES_OPEN
    }

    /// What is to be taken of the body now.
    pub(super) fn wanted_of_body(&self, untaken: usize) -> Option<Intake> {
        let waits = untaken >= UNTAKEN_BEFORE_OUTCOMES
            || self.has_many_calls()
            || self.delivers_no_more()
            || self.body.piece.is_some();
        self.body.intake.filter(|_| !waits)
    }

    /// Whether a page of this subscription is to be read now.
    pub(super) fn wants_page(&self, id: u32, untaken: usize) -> bool {
        untaken <= UNTAKEN_BEFORE_PAGES
            && !self.delivers_no_more()
            && self.open.get(&id) == Some(&Open::Subscription)
            && !self.pages.iter().any(|page| page.id == id)
            && !self.stops.iter().any(|stopped| stopped.id == id)
    }

    /// A piece of the body has come.
    pub(super) fn body_came(&mut self, piece: Piece) {
        self.body.piece = Some(piece);
    }

    /// The outcome of a call has come.
    pub(super) fn call_finished(&mut self, id: u32, context: Vec<u8>, outcome: Outcome, guard: G) {
        // It may have been cancelled.
        let Some(Open::Call { nth, in_order, .. }) = self.open.get(&id).copied() else { return };
        let called = Called { id, context, outcome };
        self.finished.insert(nth, Finished { called, in_order, _guard: guard });
    }

    /// The time of a timer is over.
    pub(super) fn timer_fired(&mut self, id: u32) {
        if self.open.get(&id) == Some(&Open::Timer) {
            self.timers.push_back(id);
        }
    }

    /// A page of a subscription was read.
    pub(super) fn page_came(&mut self, page: Delivered) {
        if self.open.get(&page.id) == Some(&Open::Subscription) {
            self.pages.push_back(page);
        }
    }

    /// A subscription has ended.
    pub(super) fn feed_stopped(&mut self, stopped: Stopped) {
        if self.open.get(&stopped.id) == Some(&Open::Subscription) {
            self.stops.push_back(stopped);
        }
    }

    /// The host stops in so many milliseconds.
    pub(super) fn drain(&mut self, ms: u32) {
        if self.draining == Draining::No {
            self.draining = Draining::Due(ms);
        }
    }

    /// Whether neither body nor pages are delivered any more, because the host stops.
    fn delivers_no_more(&self) -> bool {
        self.started && self.draining != Draining::No
    }

    /// The event of the next step, if there is one. So many bytes of the response are not taken.
    pub(super) fn next(&mut self, untaken: usize) -> Option<Event> {
        if let (Draining::Due(ms), true) = (self.draining, self.started) {
            self.draining = Draining::Delivered;
            return Some(Event::Draining(ms));
        }
        if let Some(id) = self.timers.pop_front() {
            self.open.remove(&id);
            return Some(Event::Timer(id));
        }
        // What was read before the end comes before it.
        let stop = self.stops.iter().position(|stop| !self.pages.iter().any(|page| page.id == stop.id));
        if let Some(stopped) = stop.and_then(|index| self.stops.remove(index)) {
            self.open.remove(&stopped.id);
            return Some(Event::Stopped(stopped));
        }
        if untaken < UNTAKEN_BEFORE_OUTCOMES
            && let Some(called) = self.outcomes()
        {
            return Some(Event::Called(called));
        }
        let delivers = !self.delivers_no_more();
        let takes_body = delivers && untaken < UNTAKEN_BEFORE_OUTCOMES && !self.has_many_calls();
        let takes_page = delivers && untaken <= UNTAKEN_BEFORE_PAGES;
        if self.page_is_next {
            self.page(takes_page).or_else(|| self.piece(takes_body))
        } else {
            self.piece(takes_body).or_else(|| self.page(takes_page))
        }
    }

    /// The outcomes that are there, in the order of the calls.
    fn outcomes(&mut self) -> Option<Vec<Called>> {
        if self.runs_again && self.finished.len() < self.calls {
            // A handler that runs again gets the outcomes of one action together, as it asked for them.
            return None;
        }
        let (mut ready, mut bytes) = (Vec::new(), 0_usize);
        for (nth, finished) in &self.finished {
            if finished.in_order {
                if self.in_order.front() != Some(nth) {
                    continue;
                }
                self.in_order.pop_front();
            }
            bytes = bytes.saturating_add(page_bytes(&finished.called.outcome));
            ready.push(*nth);
            if bytes >= OUTCOME_BYTES_MAX && !self.runs_again {
                break;
            }
        }
        let mut called = Vec::with_capacity(ready.len());
        for nth in ready {
            if let Some(finished) = self.finished.remove(&nth) {
                if let Some(Open::Call { bytes, .. }) = self.open.remove(&finished.called.id) {
                    self.call_bytes -= bytes;
                }
                self.calls -= 1;
                called.push(finished.called);
            }
        }
        (!called.is_empty()).then_some(called)
    }

    fn piece(&mut self, takes: bool) -> Option<Event> {
        let piece = self.body.piece.take_if(|_| takes)?;
        self.body.intake = None;
        (self.body.given, self.body.ended) = (piece.bytes.len(), piece.trailers.is_some());
        self.page_is_next = true;
        Some(Event::Body(piece))
    }

    fn page(&mut self, takes: bool) -> Option<Event> {
        let page = if takes { self.pages.pop_front() } else { None };
        self.page_is_next &= page.is_none();
        page.map(Event::Page)
    }
}

/// Bytes of the events in an outcome.
fn page_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Ok(answer) => match &answer.reply {
            Reply::Page(page) => page.events.len(),
            Reply::Snapshot(snapshot) => snapshot.snapshot.data.len(),
            _ => 0,
        },
        Err(_) => 0,
    }
}
