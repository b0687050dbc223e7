//! A consumer of a durable subscription: what is delivered to it and not taken yet.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use exesdb_packed::Frames;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bindings::store::dispatch::{Delivered, Joining};
use crate::bindings::store::types::Error;
use crate::long_read::PAGE_BYTES_MAX;

/// Bytes of events that wait for one consumer. The events of what is delivered beyond that are read again when it takes them.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// How long a client that has just taken events may take to ask for more. As long as that, its consumer keeps its window, and with it
/// the lanes that are pinned to it.
const RETURN_TIME: Duration = Duration::from_secs(5);

/// A consumer. The gateway has it as long as its client is connected, and longer if the client asked for that.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// Its number, higher than those before it.
    pub(crate) id: u64,
    /// Events that may be in flight at it.
    pub(crate) window: u32,
    /// It names events by their ids.
    by_id: bool,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    parts: VecDeque<Part>,
    /// How often what was not taken was forgotten.
    forgotten: u64,
    events: usize,
    bytes: usize,
    over: Option<Error>,
    /// Somebody takes what is delivered.
    is_attached: bool,
    /// Whoever is attached, or was the last one, has taken something.
    has_taken: bool,
    /// When it was attached, or heard of, the last time.
    heard: Option<Instant>,
}

/// Events for a consumer.
#[derive(Debug)]
pub(crate) struct Part {
    /// The events, in this order.
    pub(crate) delivered: Vec<Delivered>,
    /// The same, packed; none if they have to be read again.
    pub(crate) events: Option<Vec<u8>>,
}

/// More is delivered than may be in flight.
#[derive(Debug)]
pub(super) struct BeyondWindow;

impl Consumer {
    pub(super) fn new(id: u64, window: u32, by_id: bool) -> Self {
        let waiting = Waiting { is_attached: true, ..Waiting::default() };
        Self { id, window, by_id, waiting: Mutex::new(waiting), changed: Notify::new() }
    }

    pub(super) fn joining(&self) -> Joining {
        Joining { consumer: self.id, window: self.open_window(), by_id: self.by_id }
    }

    /// Events that may be in flight at it at the moment: none are delivered while nobody takes them, or is about to (the rule D7).
    pub(super) fn open_window(&self) -> u32 {
        let waiting = self.waiting.lock();
        let comes_again =
            waiting.has_taken && waiting.heard.is_some_and(|heard| heard.elapsed() < RETURN_TIME);
        if waiting.is_attached || comes_again { self.window } else { 0 }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.waiting.lock().is_attached
    }

    /// Adds what waits for it. As the dispatcher has at most a window in flight, what would be beyond it was taken back when its
    /// time was over: that is what was delivered first, and it is not to be taken any more.
    pub(super) fn deliver(&self, part: Part) -> Result<(), BeyondWindow> {
        let window = self.window as usize;
        if part.delivered.len() > window {
            return Err(BeyondWindow);
        }
        let mut waiting = self.waiting.lock();
        let mut beyond = (waiting.events + part.delivered.len()).saturating_sub(window);
        while beyond > 0
            && let Some(taken_back) = waiting.pop(beyond)
        {
            beyond -= taken_back.delivered.len();
        }
        let fits = waiting.bytes == 0 || waiting.bytes + part.bytes() <= WAITING_BYTES_MAX;
        waiting.push_back(if fits { part } else { Part { events: None, ..part } });
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// What was taken could not be passed on: it is taken again before what waits.
    fn put_back(&self, part: Part, forgotten: u64) {
        let mut waiting = self.waiting.lock();
        if waiting.forgotten != forgotten {
            // Another emitter delivers it again.
            return;
        }
        waiting.push_front(part);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Forgets those of these places that wait: the consumer had them before, and has settled them now.
    pub(super) fn withdraw(&self, places: &[u64]) {
        let (Some(first), Some(last)) = (places.iter().min(), places.iter().max()) else { return };
        let mut waiting = self.waiting.lock();
        let waits = |part: &Part| part.delivered.iter().any(|it| (first..=last).contains(&&it.place));
        // What waits comes after what was settled, unless it was delivered again.
        if !waiting.parts.iter().any(waits) {
            return;
        }
        let settled: HashSet<u64> = places.iter().copied().collect();
        for mut part in std::mem::take(&mut waiting.parts) {
            waiting.forget(&part);
            part.retain(|place| !settled.contains(&place));
            waiting.push_back(part);
        }
    }

    /// Forgets what was not taken: another emitter delivers it again.
    pub(super) fn forget_untaken(&self) {
        let mut waiting = self.waiting.lock();
        waiting.parts.clear();
        waiting.forgotten += 1;
        (waiting.events, waiting.bytes) = (0, 0);
    }

    /// Nothing more is delivered, for this reason.
    pub(super) fn end(&self, error: Error) {
        self.waiting.lock().over.get_or_insert(error);
        self.changed.notify_one();
    }

    /// Says whether somebody takes what is delivered. Two at a time cannot.
    pub(super) fn attach(&self) -> bool {
        let mut waiting = self.waiting.lock();
        let was_free = !waiting.is_attached;
        (waiting.is_attached, waiting.has_taken) = (true, false);
        was_free
    }

    pub(super) fn detach(&self) {
        let mut waiting = self.waiting.lock();
        (waiting.is_attached, waiting.heard) = (false, Some(Instant::now()));
    }

    pub(super) fn hear(&self) {
        self.waiting.lock().heard = Some(Instant::now());
    }

    /// Whether nobody has come back for it, nor said anything, for so long.
    pub(super) fn is_abandoned(&self, patience: Duration) -> bool {
        let waiting = self.waiting.lock();
        !waiting.is_attached && waiting.heard.is_none_or(|heard| heard.elapsed() > patience)
    }

    /// Waits for what is delivered next, and takes at most so many events of it.
    pub(super) async fn take(&self, most: usize) -> Result<TakenPart<'_>, Error> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if let Some(error) = &waiting.over {
                    return Err(error.clone());
                }
                if let Some(taken) = waiting.pop(most.max(1)) {
                    waiting.has_taken = true;
                    let forgotten = waiting.forgotten;
                    return Ok(TakenPart { consumer: self, part: Some(taken), forgotten });
                }
            }
            self.changed.notified().await;
        }
    }
}

/// Events that a request took. If the request is cancelled, dropping this returns them to the queue.
#[derive(Debug)]
pub(super) struct TakenPart<'a> {
    consumer: &'a Consumer,
    part: Option<Part>,
    /// How often what was not taken had been forgotten before.
    forgotten: u64,
}

impl TakenPart<'_> {
    /// The events, if they do not have to be read again.
    pub(super) fn is_whole(&self) -> bool {
        self.part.as_ref().is_some_and(|part| part.events.is_some())
    }

    /// Their places.
    pub(super) fn places(&self) -> Vec<u64> {
        self.part.iter().flat_map(|part| &part.delivered).map(|delivered| delivered.place).collect()
    }

    /// They are passed on.
    pub(super) fn pass(mut self) -> Part {
        self.part.take().expect("they are passed on once")
    }

    /// All but those at these places are passed on, whose events were read again. The others are taken again after that.
    pub(super) fn pass_but(mut self, unread: &BTreeSet<u64>) -> Vec<Delivered> {
        let Part { delivered, .. } = self.part.take().expect("they are passed on once");
        let (rest, passed): (Vec<_>, Vec<_>) =
            delivered.into_iter().partition(|delivered| unread.contains(&delivered.place));
        self.part = (!rest.is_empty()).then_some(Part { delivered: rest, events: None });
        passed
    }
}

impl Drop for TakenPart<'_> {
    fn drop(&mut self) {
        if let Some(part) = self.part.take() {
            self.consumer.put_back(part, self.forgotten);
        }
    }
}

impl Waiting {
    fn push_back(&mut self, part: Part) {
        if part.delivered.is_empty() {
            return;
        }
        self.events += part.delivered.len();
        self.bytes += part.bytes();
        self.parts.push_back(part);
    }

    fn push_front(&mut self, part: Part) {
        self.events += part.delivered.len();
        self.bytes += part.bytes();
        self.parts.push_front(part);
    }

    fn forget(&mut self, part: &Part) {
        self.events -= part.delivered.len();
        self.bytes -= part.bytes();
    }

    /// Takes what was delivered first, at most so many events. What was delivered at different times comes together, up to the
    /// bytes of a page, unless it has to be read again.
    fn pop(&mut self, most: usize) -> Option<Part> {
        let (mut taken, rest) = self.parts.pop_front()?.split(most);
        if let Some(rest) = rest {
            self.parts.push_front(rest);
        }
        while let Some(next) = self.parts.front()
            && taken.delivered.len() + next.delivered.len() <= most
            && taken.bytes() + next.bytes() <= PAGE_BYTES_MAX as usize
            && let (Some(events), Some(more)) = (&mut taken.events, &next.events)
        {
            events.extend_from_slice(more);
            taken.delivered.extend(self.parts.pop_front().into_iter().flat_map(|next| next.delivered));
        }
        self.forget(&taken);
        Some(taken)
    }
}

impl Part {
    fn bytes(&self) -> usize {
        self.events.as_ref().map_or(0, Vec::len)
    }

    /// Keeps the events at places for which this holds.
    fn retain(&mut self, keeps: impl Fn(u64) -> bool) {
        if let Some(events) = &mut self.events {
            let (mut kept, mut begin) = (Vec::new(), 0);
            let mut frames = Frames::new(events);
            for delivered in &self.delivered {
                if frames.next().is_none() {
                    break;
                }
                if keeps(delivered.place) {
                    kept.extend_from_slice(&events[begin..frames.at()]);
                }
                begin = frames.at();
            }
            *events = kept;
        }
        self.delivered.retain(|delivered| keeps(delivered.place));
    }

    fn split(mut self, most: usize) -> (Self, Option<Self>) {
        if self.delivered.len() <= most {
            return (self, None);
        }
        let rest = self.delivered.split_off(most);
        let rest_events = self.events.as_mut().map(|events| {
            let mut frames = Frames::new(events);
            (&mut frames).take(most).for_each(drop);
            let at = frames.at();
            events.split_off(at)
        });
        (self, Some(Self { delivered: rest, events: rest_events }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Consumer, Delivered, Part, RETURN_TIME, WAITING_BYTES_MAX};
    use crate::emitters::events::tests::page;
    use crate::problem::problem;

    fn part(places: std::ops::Range<u64>, data: usize) -> Part {
        let delivered = places.clone().map(|place| Delivered { place, earlier: 0 }).collect();
        Part { delivered, events: Some(page(places, data)) }
    }

    fn places(part: &Part) -> Vec<u64> {
        part.delivered.iter().map(|delivered| delivered.place).collect()
    }

    #[tokio::test]
    async fn a_part_is_taken_in_pieces_with_their_events() {
        let consumer = Consumer::new(1, 10, false);
        consumer.deliver(part(0..5, 3)).expect("it fits");
        let first = consumer.take(2).await.expect("a part").pass();
        assert_eq!((places(&first), first.events), (vec![0, 1], Some(page(0..2, 3))));
        // Whoever takes it goes before it is passed on.
        drop(consumer.take(1).await.expect("a part"));
        let second = consumer.take(100).await.expect("a part").pass();
        assert_eq!((places(&second), second.events), (vec![2, 3, 4], Some(page(2..5, 3))));
    }

    #[tokio::test]
    async fn no_more_waits_than_may_be_in_flight() {
        let consumer = Consumer::new(1, 5, false);
        assert!(consumer.deliver(part(0..6, 0)).is_err());
        consumer.deliver(part(0..2, 0)).expect("it fits");
        consumer.deliver(part(2..5, 0)).expect("it fits");
        // The time of the first ones is over, or there would be no room.
        consumer.deliver(part(5..8, 0)).expect("it fits");
        let taken = consumer.take(10).await.expect("a part").pass();
        assert_eq!((places(&taken), taken.events), (vec![3, 4, 5, 6, 7], Some(page(3..8, 0))));
        consumer.forget_untaken();
        consumer.deliver(part(8..13, 0)).expect("nothing waits any more");
    }

    #[tokio::test]
    async fn what_was_delivered_at_different_times_comes_together() {
        let consumer = Consumer::new(1, 10, false);
        for places in [0..2, 2..3, 3..7] {
            consumer.deliver(part(places, 5)).expect("it fits");
        }
        let taken = consumer.take(5).await.expect("a part").pass();
        assert_eq!((places(&taken), taken.events), (vec![0, 1, 2], Some(page(0..3, 5))));
        let taken = consumer.take(5).await.expect("a part").pass();
        assert_eq!((places(&taken), taken.events), (vec![3, 4, 5, 6], Some(page(3..7, 5))));
        // A page has a bound.
        for place in 0..3 {
            consumer.deliver(part(place..place + 1, 600_000)).expect("it fits");
        }
        for place in 0..3 {
            assert_eq!(places(&consumer.take(9).await.expect("a part").pass()), [place]);
        }
    }

    #[tokio::test]
    async fn what_is_settled_meanwhile_does_not_wait_any_more() {
        let consumer = Consumer::new(1, 5, false);
        consumer.deliver(part(0..3, 7)).expect("it fits");
        consumer.deliver(part(3..5, 7)).expect("it fits");
        consumer.withdraw(&[0, 2, 3, 4, 9]);
        consumer.deliver(part(5..9, 7)).expect("it fits");
        let taken = consumer.take(10).await.expect("a part").pass();
        let events = [page(1..2, 7), page(5..9, 7)].concat();
        assert_eq!((places(&taken), taken.events), (vec![1, 5, 6, 7, 8], Some(events)));
    }

    #[tokio::test]
    async fn the_events_of_what_waits_have_bounded_bytes() {
        let consumer = Consumer::new(1, 100, false);
        for place in 0..20 {
            consumer.deliver(part(place..place + 1, 1 << 20)).expect("it fits");
        }
        let mut bytes = 0;
        for _ in 0..20 {
            let part = consumer.take(100).await.expect("a part").pass();
            bytes += part.events.map_or(0, |events| events.len());
        }
        assert!(bytes <= WAITING_BYTES_MAX, "{bytes}");
    }

    #[tokio::test]
    async fn what_was_taken_before_a_restart_is_not_put_back() {
        let consumer = Consumer::new(1, 5, false);
        consumer.deliver(part(0..5, 0)).expect("it fits");
        let taken = consumer.take(5).await.expect("a part");
        consumer.forget_untaken();
        drop(taken);
        consumer.deliver(part(0..5, 0)).expect("it has the whole window again");
        assert_eq!(places(&consumer.take(9).await.expect("a part").pass()), [0, 1, 2, 3, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_has_no_window_while_nobody_takes() {
        let consumer = Consumer::new(1, 5, false);
        assert_eq!(consumer.open_window(), 5);
        // Its client has waited in vain.
        consumer.detach();
        assert_eq!((consumer.open_window(), consumer.joining().window), (0, 0));
        assert!(consumer.attach());
        assert_eq!(consumer.open_window(), 5);
        consumer.deliver(part(0..1, 0)).expect("it fits");
        consumer.take(1).await.expect("a part").pass();
        // Its client has something to do, and comes again.
        consumer.detach();
        assert_eq!(consumer.open_window(), 5);
        tokio::time::advance(RETURN_TIME).await;
        assert_eq!(consumer.open_window(), 0);
    }

    #[tokio::test]
    async fn a_consumer_that_has_ended_gets_the_reason_at_once() {
        let consumer = Consumer::new(1, 5, false);
        consumer.deliver(part(0..1, 0)).expect("it fits");
        consumer.end(problem("first", ""));
        consumer.end(problem("second", ""));
        assert_eq!(consumer.take(1).await.unwrap_err(), problem("first", ""));
    }
}
