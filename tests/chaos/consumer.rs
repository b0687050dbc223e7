//! Consumers: each a thread that takes events in session after session, and now and then dies or stalls.

mod batch;
mod command;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use exesdb_test_support::{Rng, time_below};
use exesdb_tests::{Client, Response, encoded};
use serde_json::{Value, json};

use crate::load::{Events, may_pass};
use crate::plan::{Decision, Transport};
use crate::record::{Record, Taken};

pub(crate) use stream::{Received, Stream};

/// Longest time that a consumer works on an event before it settles what came together.
const WORK_MAX: Duration = Duration::from_millis(2);

/// Longest time for which a consumer stalls.
const STALL_MAX: Duration = Duration::from_secs(2);

/// Pause before another session.
const AGAIN: Duration = Duration::from_millis(50);

/// Why an event is parked.
pub(crate) const REASON: &str = "chaos";

/// Whether it is a storm, in which consumers die and stall, or a quiet time.
#[derive(Debug, Default)]
pub(crate) struct Time {
    /// Goes up when another time begins. Odd in a storm.
    number: AtomicU64,
    ending: AtomicBool,
}

impl Time {
    /// Begins another time. Returns its number.
    pub(crate) fn begin(&self, is_storm: bool) -> u64 {
        let next = self.number() + 1;
        let next = next + u64::from(is_storm != (next % 2 == 1));
        self.number.store(next, Ordering::SeqCst);
        next
    }

    fn number(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    fn is_storm(&self) -> bool {
        self.number() % 2 == 1
    }

    /// Whether a session that began at this time has to end: no consumer goes on into a quiet time.
    fn is_over(&self, begun: u64) -> bool {
        self.is_ending() || self.number() != begun && !self.is_storm()
    }

    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }
}

/// The path of a subscription.
pub(crate) fn path(http: &Client, name: &str) -> String {
    format!("{}/subscriptions/{}", http.path(), encoded(name))
}

/// What a consumer does next in a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    /// It ends without a word.
    Dies,
    /// It does nothing for a while.
    Stalls,
    /// It forgets to say what became of the events.
    ForgetsToSay,
    None,
}

/// A consumer.
struct Consumer {
    http: Client,
    record: Arc<Record>,
    events: Arc<Events>,
    time: Arc<Time>,
    random: Rng,
    /// The time whose session has begun.
    serves: Arc<AtomicU64>,
}

/// A consumer that runs.
pub(crate) struct Running {
    name: String,
    serves: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Whether it serves since this time, with a session that began in it.
    ///
    /// # Panics
    ///
    /// When it has panicked.
    pub(crate) fn serves(&mut self, time: u64) -> bool {
        let is_over = |thread: &mut JoinHandle<()>| thread.is_finished();
        if let Some(thread) = self.thread.take_if(is_over) {
            thread.join().unwrap_or_else(|_| panic!("a consumer of {} has panicked", self.name));
        }
        self.serves.load(Ordering::SeqCst) == time
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits for its end.
    pub(crate) fn join(self) {
        if let Some(thread) = self.thread {
            thread.join().unwrap_or_else(|_| panic!("a consumer of {} has panicked", self.name));
        }
    }
}

/// Starts the consumers of a subscription.
pub(crate) fn start(
    record: &Arc<Record>,
    events: &Arc<Events>,
    time: &Arc<Time>,
    url: &str,
    random: &mut Rng,
) -> Vec<Running> {
    let start = |_| {
        let serves = Arc::new(AtomicU64::new(u64::MAX));
        let consumer = Consumer {
            http: Client::new(url),
            record: record.clone(),
            events: events.clone(),
            time: time.clone(),
            random: random.fork(),
            serves: serves.clone(),
        };
        let thread = std::thread::spawn(move || consumer.run());
        Running { name: record.subscription.name.clone(), serves, thread: Some(thread) }
    };
    (0..record.subscription.consumers).map(start).collect()
}

impl Consumer {
    fn run(mut self) {
        while !self.time.is_ending() {
            let begun = self.time.number();
            match self.record.subscription.transport {
                Transport::Stream => self.stream(begun),
                Transport::Batch => self.batches(begun),
                Transport::Command => self.command(begun),
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn path(&self) -> String {
        path(&self.http, &self.record.subscription.name)
    }

    /// Notes that a session of this time has begun. Returns its number.
    fn begins(&self, time: u64) -> u32 {
        let session = self.record.begin_session();
        self.serves.store(time, Ordering::SeqCst);
        session
    }

    fn is_steady(&self) -> bool {
        self.record.subscription.is_steady
    }

    fn mishap(&mut self) -> Mishap {
        if !self.time.is_storm() || self.is_steady() {
            return Mishap::None;
        }
        match self.random.u8(..40) {
            0 => Mishap::Dies,
            1 => Mishap::Stalls,
            2 => Mishap::ForgetsToSay,
            _ => Mishap::None,
        }
    }

    fn stall(&mut self) {
        std::thread::sleep(time_below(&mut self.random, STALL_MAX));
    }

    fn work(&mut self, events: usize) {
        let events = u32::try_from(events).expect("it is a window at most");
        std::thread::sleep(time_below(&mut self.random, WORK_MAX * (events + 1)));
    }

    /// Says what becomes of events.
    fn settle(&self, session: u32, consumer: u64, taken: &[Taken]) {
        if taken.is_empty() {
            return;
        }
        let of = |decision: Decision| taken.iter().filter(move |taken| taken.decision == decision).copied();
        let places = |decision: Decision| of(decision).map(|taken| taken.place).collect::<Vec<u64>>();
        let words = json!({
            "consumer": consumer,
            "ack": places(Decision::Acknowledge),
            "skip": places(Decision::Skip),
            "park": places(Decision::Park),
            "retry": places(Decision::Retry),
            "reason": REASON,
        });
        self.record.settling(session, taken);
        let response = self.say(&words);
        if response.status != 200 {
            return;
        }
        // Which of them were meant, the host does not say, so all have to be.
        if response.json["acknowledged"] == of(Decision::Acknowledge).count() {
            self.record.settled(session, of(Decision::Acknowledge));
        }
        if response.json["refused"] == taken.len() - of(Decision::Acknowledge).count() {
            self.record.settled(session, of(Decision::Skip).chain(of(Decision::Park)));
        }
    }

    fn leave(&self, consumer: u64) {
        // If the host is down, the consumer is gone with it.
        drop(self.say(&json!({ "consumer": consumer, "leave": true })));
    }

    /// Says something to the host. A steady consumer says it until it is heard, or its events would wait for it.
    fn say(&self, words: &Value) -> Response {
        loop {
            let response = self.http.post(&format!("{}/settlements", self.path()), words);
            if response.status == 200 || !self.is_steady() {
                return response;
            }
            assert!(may_pass(response.status), "{words}: {response:?}");
            std::thread::sleep(AGAIN);
        }
    }

    fn delivered(&self, session: u32, events: &[Value]) -> Vec<Taken> {
        self.record.delivered(&self.events, session, events)
    }
}
