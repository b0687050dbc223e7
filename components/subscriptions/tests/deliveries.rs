//! Random courses of a subscription, with a store in memory, on which dispatchers are lost at any time.
//!
//! Whatever happens, each event is acknowledged, skipped or parked in the end; none is delivered again without a reason; no
//! consumer has more in flight than its window; the stored checkpoint is never after an event that is not settled; and the
//! events of a pinned lane come in order, and are at one consumer at a time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use exesdb_sdk::packed::{EventParts, push_event};
use exesdb_sdk::subscriptions::{
    Advance, Beginning, EventNames, Fed, Input, Joining, Leaving, Output, Place, PoisonPolicy, Progress,
    Reading, Refusal, Refusing, Replaying, Resizing, Selector, Settings, Settling, Strategy as Sharing,
    Subscribed, Subscription, SubscriptionState,
};
use exesdb_subscriptions::dispatch::Dispatcher;
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

const TIMEOUT_MS: u32 = 1_000;
const TIMEOUT: u64 = TIMEOUT_MS as u64 * 1_000;
const RETRIES_MAX: u32 = 2;
const CONSUMERS_MAX: usize = 3;
const WINDOW_MAX: u8 = 12;

/// Something that happens. Numbers of consumers and events are taken modulo how many there are.
#[derive(Clone, Debug)]
enum Op {
    /// Events of this stream are appended.
    Append {
        stream: u8,
        events: u8,
    },
    Join {
        window: u8,
        by_id: bool,
    },
    /// A consumer's window is another from now on, or nothing is to be delivered to it.
    Resize {
        consumer: u8,
        window: u8,
    },
    Leave {
        consumer: u8,
        failed: bool,
    },
    /// A consumer acknowledges so many of its first events.
    Acknowledge {
        consumer: u8,
        events: u8,
    },
    Refuse {
        consumer: u8,
        event: u8,
        how: How,
    },
    /// So many milliseconds pass.
    Pass(u16),
    /// What was handed over is stored.
    Stored,
    /// The dispatcher is lost. What was handed over may have been stored.
    Crash {
        was_stored: bool,
    },
    /// All that is parked is replayed.
    Replay,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Retry,
    Park,
    Skip,
}

fn op() -> impl Strategy<Value = Op> {
    let how = prop_oneof![Just(How::Retry), Just(How::Park), Just(How::Skip)];
    prop_oneof![
        4 => (0..4_u8, 1..20_u8).prop_map(|(stream, events)| Op::Append { stream, events }),
        2 => (0..=WINDOW_MAX, any::<bool>()).prop_map(|(window, by_id)| Op::Join { window, by_id }),
        2 => (any::<u8>(), prop_oneof![Just(0), 1..=WINDOW_MAX])
            .prop_map(|(consumer, window)| Op::Resize { consumer, window }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(consumer, failed)| Op::Leave { consumer, failed }),
        6 => (any::<u8>(), 1..12_u8).prop_map(|(consumer, events)| Op::Acknowledge { consumer, events }),
        3 => (any::<u8>(), any::<u8>(), how)
            .prop_map(|(consumer, event, how)| Op::Refuse { consumer, event, how }),
        2 => (1..1_500_u16).prop_map(Op::Pass),
        3 => Just(Op::Stored),
        1 => any::<bool>().prop_map(|was_stored| Op::Crash { was_stored }),
        1 => Just(Op::Replay),
    ]
}

fn sharing() -> impl Strategy<Value = Sharing> {
    prop_oneof![
        Just(Sharing::RoundRobin),
        Just(Sharing::DispatchToSingle),
        Just(Sharing::Pinned),
        Just(Sharing::PinnedByCorrelation),
    ]
}

struct Consumer {
    number: u64,
    window: usize,
    by_id: bool,
    /// In the order of deliveries, each with the time at which it is over.
    in_flight: Vec<(Place, u64)>,
    /// Since when it has said nothing after the time of an event was over.
    silent: Option<u64>,
}

/// A store with one subscription.
struct Course {
    settings: Settings,
    /// The stream of each event, by position.
    log: Vec<u8>,
    progress: Progress,
    parked: BTreeSet<Place>,
    /// Those of them that are to be delivered once more.
    replayed: BTreeSet<Place>,
    dispatcher: Dispatcher,
    now: u64,
    wake_at: Option<u64>,
    consumers: Vec<Consumer>,
    joined: u64,
    reading: Option<Reading>,
    /// Handed over, and not stored yet.
    storing: Option<Advance>,
    /// Acknowledged or skipped.
    done: BTreeSet<Place>,
    /// May be delivered again.
    excused: BTreeSet<Place>,
    delivered: BTreeSet<Place>,
    /// Of each lane, the last place that was delivered for the first time.
    last: BTreeMap<u8, Place>,
}

impl Course {
    fn begin(strategy: Sharing, buffer_events: u32) -> Self {
        let settings = Settings {
            strategy,
            poison: PoisonPolicy::Park,
            ack_timeout_ms: TIMEOUT_MS,
            retries_max: RETRIES_MAX,
            consumers_max: 3,
            buffer_events,
            checkpoint_events_max: 7,
            checkpoint_ms: 500,
            checkpoint_events_min: 1,
            options: Vec::new(),
        };
        let progress = Progress { epoch: 1, checkpoint: 0, parked: 0 };
        let dispatcher = dispatcher(&settings, &progress, &BTreeSet::new());
        Self {
            settings,
            log: Vec::new(),
            progress,
            parked: BTreeSet::new(),
            replayed: BTreeSet::new(),
            dispatcher,
            now: 1_000_000,
            wake_at: None,
            consumers: Vec::new(),
            joined: 0,
            reading: None,
            storing: None,
            done: BTreeSet::new(),
            excused: BTreeSet::new(),
            delivered: BTreeSet::new(),
            last: BTreeMap::new(),
        }
    }

    fn end(&self) -> Place {
        self.log.len() as u64
    }

    fn stream(&self, place: Place) -> u8 {
        self.log[usize::try_from(place).unwrap()]
    }

    fn lane(&self, place: Place) -> u8 {
        match self.settings.strategy {
            Sharing::PinnedByCorrelation => self.stream(place) % 2,
            _ => self.stream(place),
        }
    }

    fn events(&self, places: impl Iterator<Item = Place>) -> Vec<u8> {
        let mut packed = Vec::new();
        for place in places {
            let metadata = format!(r#"{{"$correlationId":"c{}"}}"#, self.stream(place) % 2);
            let parts = EventParts::<'_, String> {
                flags: 0,
                version: 0,
                created: 0,
                stream_id: &format!("s{}", self.stream(place)),
                id: &format!("id-{place}"),
                event_type: "t",
                content_type: "c",
                tags: &[],
                data: b"",
                metadata: metadata.as_bytes(),
            };
            push_event(&mut packed, place, &parts).unwrap();
        }
        packed
    }

    fn is_settled(&self, place: Place) -> bool {
        self.done.contains(&place) || self.parked.contains(&place)
    }

    fn step(&mut self, inputs: Vec<Input>) {
        for consumer in &mut self.consumers {
            let over = consumer.in_flight.extract_if(.., |(_, until)| *until <= self.now);
            let over: Vec<Place> = over.map(|(place, _)| place).collect();
            if !over.is_empty() {
                consumer.silent.get_or_insert(self.now);
            }
            self.excused.extend(over);
        }
        let mut next = Some(inputs);
        while let Some(inputs) = next.take() {
            let outcome = self.dispatcher.step(self.now, inputs);
            assert!(outcome.wake_at.is_none_or(|at| at > self.now), "it is to be woken at once");
            self.wake_at = outcome.wake_at;
            outcome.outputs.into_iter().for_each(|output| self.take(output));
            // A read that has something to read is carried out at once.
            if let Some(Reading { from, count }) =
                self.reading.take_if(|reading| reading.from < self.log.len() as u64)
            {
                let until = self.end().min(from + u64::from(count));
                let events = self.events(from..until);
                next = Some(vec![Input::Page(Fed { from, events, next: until })]);
            }
        }
        self.check();
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Read(reading) => {
                assert!(self.reading.is_none() && (1..=1_000).contains(&reading.count));
                self.reading = Some(reading);
            }
            Output::Deliver(delivery) => {
                assert!(!delivery.events.is_empty());
                for event in delivery.events {
                    self.deliver(delivery.consumer, event.place, event.earlier);
                }
            }
            Output::TurnAway(number) => {
                assert!(self.consumers.len() > CONSUMERS_MAX);
                self.consumers.retain(|consumer| consumer.number != number);
            }
            Output::CutOff(number) => {
                let at = self.consumers.iter().position(|consumer| consumer.number == number).unwrap();
                let consumer = self.consumers.remove(at);
                assert!(consumer.silent.is_some_and(|since| since + 3 * TIMEOUT <= self.now));
                assert!(consumer.in_flight.is_empty());
            }
            Output::Store(advance) => {
                assert!(self.storing.is_none(), "two are open");
                self.storing = Some(advance);
            }
            Output::Halt(reason) => panic!("nobody stops it: {reason}"),
        }
    }

    fn deliver(&mut self, number: u64, place: Place, earlier: u32) {
        let in_flight = self.consumers.iter().flat_map(|consumer| &consumer.in_flight);
        assert!(in_flight.clone().all(|(held, _)| *held != place), "{place} is in flight already");
        let is_first = self.delivered.insert(place);
        assert!(is_first || self.excused.remove(&place), "{place} was delivered again without a reason");
        assert!(!is_first || earlier == 0, "{place} was not delivered before");
        let lane = self.lane(place);
        if matches!(self.settings.strategy, Sharing::Pinned | Sharing::PinnedByCorrelation) {
            if is_first && !self.replayed.contains(&place) {
                let before = self.last.insert(lane, place);
                assert!(before < Some(place), "{place} came after {before:?}");
            }
            for other in self.consumers.iter().filter(|consumer| consumer.number != number) {
                let held = other.in_flight.iter().find(|(held, _)| self.lane(*held) == lane);
                assert!(held.is_none(), "{place} and {held:?} are at two consumers");
            }
        }
        let until = self.now + TIMEOUT;
        let consumer = self.consumers.iter_mut().find(|consumer| consumer.number == number).unwrap();
        assert_eq!(consumer.silent, None, "it says nothing, and gets {place}");
        assert!(consumer.in_flight.len() < consumer.window, "its window has no room for {place}");
        consumer.in_flight.push((place, until));
    }

    fn check(&mut self) {
        let state = self.dispatcher.state();
        let in_flight: usize = self.consumers.iter().map(|consumer| consumer.in_flight.len()).sum();
        assert_eq!(state.in_flight as usize, in_flight);
        // What was read, what came back, and what is replayed. What is blocked in a pinned lane comes in addition.
        let most = self.settings.buffer_events as usize + CONSUMERS_MAX * usize::from(WINDOW_MAX);
        let is_pinned = matches!(self.settings.strategy, Sharing::Pinned | Sharing::PinnedByCorrelation);
        assert!(is_pinned || state.waiting as usize <= most + self.parked.len(), "{} wait", state.waiting);
        let first_open = (0..self.end()).find(|place| !self.is_settled(*place)).unwrap_or(self.end());
        assert!(self.progress.checkpoint <= first_open, "{first_open} would be lost");
    }

    fn apply(&mut self, advance: Advance) {
        assert!(advance.checkpoint >= self.progress.checkpoint, "it goes back");
        self.progress.checkpoint = advance.checkpoint;
        for parking in advance.parked {
            assert!(parking.deliveries > 0 && !parking.reason.is_empty());
            self.parked.insert(parking.place);
            self.replayed.remove(&parking.place);
        }
        for place in advance.unparked {
            assert!(self.parked.remove(&place), "{place} is not parked");
            assert!(self.done.contains(&place), "{place} is forgotten");
            self.replayed.remove(&place);
        }
    }

    fn names(&self, at: usize, places: &[Place]) -> EventNames {
        if self.consumers[at].by_id {
            EventNames::Ids(places.iter().map(|place| format!("id-{place}")).collect())
        } else {
            EventNames::Places(places.to_vec())
        }
    }

    fn run(&mut self, op: Op) {
        let pick = |index: u8, count: usize| (count > 0).then(|| usize::from(index) % count.max(1));
        match op {
            Op::Append { stream, events } => {
                self.log.extend(std::iter::repeat_n(stream, usize::from(events)));
                self.step(Vec::new());
            }
            Op::Join { window, by_id } => {
                self.joined += 1;
                let number = self.joined;
                let (in_flight, silent) = (Vec::new(), None);
                self.consumers.push(Consumer { number, window: window.into(), by_id, in_flight, silent });
                self.step(vec![Input::Joined(Joining { consumer: number, window: window.into(), by_id })]);
            }
            Op::Resize { consumer, window } => {
                let Some(at) = pick(consumer, self.consumers.len()) else { return };
                self.consumers[at].window = window.into();
                let (consumer, window) = (self.consumers[at].number, window.into());
                self.step(vec![Input::Resized(Resizing { consumer, window })]);
            }
            Op::Leave { consumer, failed } => {
                let Some(at) = pick(consumer, self.consumers.len()) else { return };
                let Consumer { number, in_flight, .. } = self.consumers.remove(at);
                self.excused.extend(in_flight.into_iter().map(|(place, _)| place));
                self.step(vec![Input::Left(Leaving { consumer: number, failed })]);
            }
            Op::Acknowledge { consumer, events } => {
                let Some(at) = pick(consumer, self.consumers.len()) else { return };
                self.consumers[at].silent = None;
                let in_flight = &mut self.consumers[at].in_flight;
                let count = usize::from(events).min(in_flight.len());
                let places: Vec<Place> = in_flight.drain(..count).map(|(place, _)| place).collect();
                self.done.extend(&places);
                let (consumer, events) = (self.consumers[at].number, self.names(at, &places));
                self.step(vec![Input::Acknowledged(Settling { consumer, events })]);
            }
            Op::Refuse { consumer, event, how } => self.refuse(
                pick(consumer, self.consumers.len())
                    .and_then(|at| Some((at, pick(event, self.consumers[at].in_flight.len())?))),
                how,
            ),
            Op::Pass(ms) => {
                self.now += u64::from(ms) * 1_000;
                self.step(Vec::new());
            }
            Op::Stored => {
                let Some(advance) = self.storing.take() else { return };
                self.apply(advance);
                self.step(vec![Input::Stored]);
            }
            Op::Crash { was_stored } => self.crash(was_stored),
            Op::Replay => {
                let places: Vec<Place> = self.parked.difference(&self.replayed).copied().collect();
                self.replayed.extend(&places);
                self.replay(places);
            }
        }
    }

    fn refuse(&mut self, which: Option<(usize, usize)>, how: How) {
        let Some((at, index)) = which else { return };
        self.consumers[at].silent = None;
        let (place, _) = self.consumers[at].in_flight.remove(index);
        let refusal = match how {
            How::Retry => Refusal::Retry,
            How::Park => Refusal::Park("as it was told".to_owned()),
            How::Skip => Refusal::Skip,
        };
        match how {
            How::Retry => drop(self.excused.insert(place)),
            How::Park => {}
            How::Skip => drop(self.done.insert(place)),
        }
        let (consumer, events) = (self.consumers[at].number, self.names(at, &[place]));
        self.step(vec![Input::Refused(Refusing { consumer, events, refusal })]);
    }

    fn crash(&mut self, was_stored: bool) {
        if let Some(advance) = self.storing.take()
            && was_stored
        {
            self.apply(advance);
        }
        self.progress.epoch += 1;
        self.dispatcher = dispatcher(&self.settings, &self.progress, &self.parked);
        self.consumers.clear();
        self.reading = None;
        // What was not settled when it was stored last comes for the first time once more.
        self.delivered.retain(|place| *place < self.progress.checkpoint);
        self.excused.clear();
        self.last.clear();
        self.replay(self.replayed.iter().copied().collect());
    }

    fn replay(&mut self, places: Vec<Place>) {
        self.excused.extend(&places);
        let events = self.events(places.iter().copied());
        self.step(vec![Input::Replay(Replaying { places, events })]);
    }

    /// A consumer acknowledges everything, until nothing is left.
    fn finish(mut self) {
        while !self.consumers.is_empty() {
            self.run(Op::Leave { consumer: 0, failed: false });
        }
        self.run(Op::Join { window: 10, by_id: false });
        for _ in 0..10_000 {
            self.run(Op::Acknowledge { consumer: 0, events: 10 });
            self.run(Op::Stored);
            self.now = self.wake_at.map_or(self.now, |at| at.max(self.now));
            self.step(Vec::new());
            let is_over = self.progress.checkpoint == self.end() && self.consumers[0].in_flight.is_empty();
            if is_over && self.replayed.is_empty() && (0..self.end()).all(|place| self.is_settled(place)) {
                return;
            }
        }
        panic!("it does not come to its end: {:?}", self.dispatcher.state());
    }
}

fn dispatcher(settings: &Settings, progress: &Progress, parked: &BTreeSet<Place>) -> Dispatcher {
    let subscription = Subscription {
        name: "n".to_owned(),
        selector: Selector { source: Subscribed::All(None), pattern: None },
        start: 0,
        settings: settings.clone(),
        state: SubscriptionState::Active,
        progress: *progress,
        created: 0,
        updated: 0,
    };
    let parked = parked.range(progress.checkpoint..).copied().collect();
    Dispatcher::new(Beginning { subscription, epoch: progress.epoch, parked })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_event_is_settled_and_none_is_delivered_without_a_reason(
        ops in vec(op(), 1..120),
        strategy in sharing(),
        buffer_events in 1..40_u32,
    ) {
        let mut course = Course::begin(strategy, buffer_events);
        for op in ops {
            course.run(op);
        }
        course.finish();
    }
}
