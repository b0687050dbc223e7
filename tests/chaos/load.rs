//! What is appended: by several clients, each event with its own properties, from which follows who selects it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use exesdb_test_support::{Rng, time_below};
use exesdb_tests::{Client, Response};
use serde_json::{Value, json};

const STREAMS: [&str; 12] = [
    "order-0",
    "order-1",
    "order-2",
    "order-3",
    "order-4",
    "order-5",
    "order-6",
    "order-7",
    "invoice-0",
    "invoice-1",
    "invoice-2",
    "invoice-3",
];
const TYPES: [&str; 4] = ["placed", "paid", "sent", "cancelled"];
const TAGS: [&str; 4] = ["t0", "t1", "t2", "t3"];
const COUNTRIES: [&str; 3] = ["BE", "NL", "FR"];
const CORRELATIONS: [&str; 3] = ["c0", "c1", "c2"];

/// The type of the events at which the subscriptions component of the tests traps, and the stream that has them.
const POISON: &str = "poison";

/// Amounts are below this.
const AMOUNTS: u64 = 8;

/// The beginning of an event's id; its number follows.
const ID: &str = "chaos-";

/// Longest pause of a client between two appends: about 50 events a second come from four of them.
const PAUSE_MAX: Duration = Duration::from_millis(450);

/// Pause before a refused append is sent again.
const AGAIN: Duration = Duration::from_millis(20);

/// The time since the test began, in microseconds. All threads share it, so it says what was before what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).expect("the test ends before that")
    }
}

/// An event that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) stream: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) country: &'static str,
    pub(crate) amount: u64,
    pub(crate) correlation: Option<&'static str>,
    /// When it was sent first.
    pub(crate) begun: u64,
    /// Its version and position; none before the append was acknowledged.
    pub(crate) stored: Option<(u64, u64)>,
}

impl Event {
    fn random(stream: &'static str, begun: u64, random: &mut Rng) -> Self {
        let mut one_of = |texts: &[&'static str]| texts[random.usize(..texts.len())];
        let (kind, tag, country, correlation) =
            (one_of(&TYPES), one_of(&TAGS), one_of(&COUNTRIES), one_of(&CORRELATIONS));
        let correlation = random.bool().then_some(correlation);
        Self { stream, kind, tag, country, amount: random.u64(..AMOUNTS), correlation, begun, stored: None }
    }

    /// An event that ends the instances to which it is given.
    fn poison(begun: u64) -> Self {
        Self {
            stream: POISON,
            kind: POISON,
            tag: POISON,
            country: POISON,
            amount: 0,
            correlation: None,
            begun,
            stored: None,
        }
    }

    pub(crate) fn is_poison(&self) -> bool {
        self.kind == POISON
    }

    fn json(&self, number: usize) -> Value {
        json!({
            "id": format!("{ID}{number}"),
            "type": self.kind,
            "tags": [self.tag],
            "data": { "to": { "country": self.country }, "amount": self.amount },
            "metadata": self.correlation.map(|id| json!({ "$correlationId": id })),
        })
    }

    /// Whether this is what was sent.
    fn is(&self, delivered: &Value) -> bool {
        delivered["stream"] == self.stream
            && delivered["type"] == self.kind
            && delivered["tags"] == json!([self.tag])
            && delivered["data"]["to"]["country"] == self.country
            && delivered["data"]["amount"] == self.amount
            && delivered["metadata"]["$correlationId"].as_str() == self.correlation
    }
}

/// All events that were sent, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<Vec<Event>>);

impl Events {
    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().expect("nobody panics").clone()
    }

    /// The number of a delivered event, and what was sent.
    ///
    /// # Errors
    ///
    /// It is not what was sent.
    pub(crate) fn find(&self, delivered: &Value) -> Result<(usize, Event), String> {
        let number = delivered["id"].as_str().and_then(|id| id.strip_prefix(ID)?.parse::<usize>().ok());
        let events = self.0.lock().expect("nobody panics");
        let found = number.and_then(|number| Some((number, *events.get(number)?)));
        let (number, event) = found.ok_or_else(|| format!("nobody sent {delivered}"))?;
        let place = (delivered["version"].as_u64(), delivered["position"].as_u64());
        let is_there =
            event.stored.is_none_or(|(version, position)| place == (Some(version), Some(position)));
        if event.is(delivered) && is_there {
            Ok((number, event))
        } else {
            Err(format!("{event:?} was sent, and not {delivered}"))
        }
    }

    /// New events, which are about to be sent to a stream. Returns the number of the first one, and what is sent.
    pub(crate) fn begin(
        &self,
        clock: Clock,
        stream: &'static str,
        count: usize,
        random: &mut Rng,
    ) -> (usize, Vec<Value>) {
        self.add(count, || Event::random(stream, clock.now(), random))
    }

    fn add(&self, count: usize, mut event: impl FnMut() -> Event) -> (usize, Vec<Value>) {
        let mut events = self.0.lock().expect("nobody panics");
        let first = events.len();
        events.extend((0..count).map(|_| event()));
        let sent = events[first..].iter().enumerate().map(|(at, event)| event.json(first + at)).collect();
        (first, sent)
    }

    /// Takes from the store what is stored of the events whose append was not acknowledged.
    pub(crate) fn look_up(&self, stored: &[Value]) {
        for value in stored {
            let found = self.find(value).map(|(number, _)| number);
            let number = found.unwrap_or_else(|violation| panic!("{violation}"));
            let place = value["version"].as_u64().zip(value["position"].as_u64());
            self.0.lock().expect("nobody panics")[number].stored = place;
        }
    }

    /// Appends some events to a stream, again and again until that is acknowledged.
    ///
    /// # Panics
    ///
    /// When the append is refused for good, or the response contradicts the request.
    pub(crate) fn append(
        &self,
        http: &Client,
        clock: Clock,
        stream: &'static str,
        count: usize,
        random: &mut Rng,
    ) {
        let (first, sent) = self.begin(clock, stream, count, random);
        self.send(http, stream, first, &sent);
    }

    /// Appends an event that ends the instances to which it is given.
    pub(crate) fn append_poison(&self, http: &Client, clock: Clock) {
        let (first, sent) = self.add(1, || Event::poison(clock.now()));
        self.send(http, POISON, first, &sent);
    }

    fn send(&self, http: &Client, stream: &str, first: usize, sent: &[Value]) {
        let response = loop {
            let response = http.append(stream, "any", sent);
            match response.status {
                200 => break response,
                status if may_pass(status) => std::thread::sleep(AGAIN),
                _ => panic!("an append is refused: {response:?}"),
            }
        };
        self.acknowledged(first, sent.len(), &response);
    }

    fn acknowledged(&self, first: usize, count: usize, response: &Response) {
        let number = |name: &str| response.json[name].as_u64().expect("the response has numbers");
        let (version, last, position) = (number("first_version"), number("last_version"), number("position"));
        assert_eq!(last - version + 1, count as u64, "{response:?}");
        let mut events = self.0.lock().expect("nobody panics");
        for (at, event) in (0_u64..).zip(&mut events[first..first + count]) {
            event.stored = Some((version + at, position + 1 + at - count as u64));
        }
    }
}

/// Whether a response of this status may be another one next time: the host is down, or a part of it is being restarted.
pub(crate) fn may_pass(status: u16) -> bool {
    status == 0 || status >= 500
}

/// Appends to random streams until `ending`.
pub(crate) fn append_until(
    ending: &AtomicBool,
    events: &Events,
    http: &Client,
    clock: Clock,
    mut random: Rng,
) {
    while !ending.load(Ordering::Relaxed) {
        let stream = STREAMS[random.usize(..STREAMS.len())];
        // One append in twenty has a batch that fills windows at once.
        let count = if random.u8(..20) == 0 { 40 } else { 1 + random.usize(..4) };
        events.append(http, clock, stream, count, &mut random);
        std::thread::sleep(time_below(&mut random, PAUSE_MAX));
    }
}
