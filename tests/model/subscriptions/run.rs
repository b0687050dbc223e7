//! Performs the operations, and compares what is delivered with the model.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use exesdb_tests::{Client, Host, Response};
use serde_json::{Value, json};

use super::model::{Event, Model, RETRIES_MAX, SELECTORS};
use super::operation::{CONSUMERS, Operation, Part, Refusal};
use super::pace::Pace;

/// Types of events, which take turns.
const KINDS: [&str; 3] = ["placed", "paid", "shipped"];

/// How long something may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long settled events may be without a stored checkpoint: some operations wait for it, and others come before it.
const CHECKPOINT_MS: u32 = 100;

/// How long a batch is waited for that need not come.
const WAIT_MS: u32 = 30;

type Checked<T = ()> = Result<T, String>;

/// A consumer: its number, and the window that it joined with.
type Consumer = Option<(u64, usize)>;

struct Subscription {
    name: String,
    path: String,
    model: Model,
    consumers: [Consumer; CONSUMERS],
}

struct Run<'a> {
    host: &'a Host,
    http: &'a Client,
    pace: &'a mut Pace,
    prefix: String,
    subscriptions: Vec<Subscription>,
    appended: usize,
    deliveries: u64,
}

/// Performs the operations, and returns the number of deliveries, or the first difference.
pub(super) fn run(host: &Host, pace: &mut Pace, number: u64, operations: &[Operation]) -> Checked<u64> {
    let prefix = format!("run-{number}-");
    let mut run = Run {
        host,
        http: &host.http,
        pace,
        prefix: prefix.clone(),
        subscriptions: Vec::new(),
        appended: 0,
        deliveries: 0,
    };
    for kind in SELECTORS {
        let name = format!("{prefix}{}", kind.0);
        let path = format!("{}/subscriptions/{name}", run.http.path());
        let model = Model::new(kind, &prefix);
        let new = json!({
            "selector": model.selector(),
            "settings": {
                "strategy": kind.1,
                "retries_max": RETRIES_MAX,
                "ack_timeout_ms": 3_600_000,
                "checkpoint_ms": CHECKPOINT_MS,
                "checkpoint_events_min": 0,
            },
        });
        run.http.put(&path, &new).expect(201);
        run.subscriptions.push(Subscription { name, path, model, consumers: [None; CONSUMERS] });
    }
    for (number, operation) in operations.iter().enumerate() {
        run.perform(*operation)
            .map_err(|difference| format!("operation {number}, {operation:?}: {difference}"))?;
    }
    for (at, (kind, _)) in SELECTORS.iter().enumerate() {
        run.finish(at).map_err(|difference| format!("{kind} at the end: {difference}"))?;
    }
    for subscription in &run.subscriptions {
        run.http.delete(&subscription.path).expect(204);
    }
    Ok(run.deliveries)
}

/// Repeats something until it has a value.
fn until<T>(what: &str, mut ask: impl FnMut() -> Checked<Option<T>>) -> Checked<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ask()? {
            return Ok(value);
        }
        if Instant::now() > end {
            return Err(format!("it does not come to this: {what}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Run<'_> {
    fn perform(&mut self, operation: Operation) -> Checked {
        match operation {
            Operation::Append { stream, events } => {
                self.append(stream, events);
                Ok(())
            }
            Operation::Take { subscription, consumer, window } => {
                self.take(subscription, consumer, window, WAIT_MS).map(drop)
            }
            Operation::Acknowledge { subscription, consumer, from, events } => {
                let held = self.held(subscription, consumer);
                let from = from.checked_rem(held.len()).unwrap_or(0);
                let places: Vec<u64> = held.into_iter().skip(from).take(events).collect();
                self.settle(subscription, consumer, "ack", &places)?;
                places.iter().for_each(|place| self.subscriptions[subscription].model.settled(*place));
                Ok(())
            }
            Operation::Refuse { subscription, consumer, event, refusal } => {
                let held = self.held(subscription, consumer);
                let Some(at) = event.checked_rem(held.len()) else { return Ok(()) };
                let (place, model) = (held[at], &mut self.subscriptions[subscription].model);
                let word = match refusal {
                    Refusal::Retry => {
                        model.retried(place);
                        "retry"
                    }
                    Refusal::Park => {
                        model.parks(place);
                        "park"
                    }
                    Refusal::Skip => {
                        model.settled(place);
                        "skip"
                    }
                };
                self.settle(subscription, consumer, word, &[place])
            }
            Operation::Leave { subscription, consumer } => {
                self.leave(subscription, consumer);
                Ok(())
            }
            Operation::Replay { subscription } => {
                let listed = self.parked_as_known(subscription)?;
                let Subscription { path, model, .. } = &mut self.subscriptions[subscription];
                model.looked_at(&listed)?;
                self.http.post(&format!("{path}/parked/replay"), &json!({})).expect(200);
                model.replay(&listed);
                Ok(())
            }
            Operation::Truncate { subscription } => {
                let listed = self.parked_as_known(subscription)?;
                let Subscription { path, model, .. } = &mut self.subscriptions[subscription];
                model.looked_at(&listed)?;
                self.http.delete(&format!("{path}/parked")).expect(200);
                model.truncate(&listed);
                Ok(())
            }
            Operation::Pause { subscription } => {
                let path = self.subscriptions[subscription].path.clone();
                self.http.post(&format!("{path}/pause"), &json!({})).expect(204);
                until("its emitter ends", || Ok(self.info(subscription)["emitter"].is_null().then_some(())))?;
                self.http.post(&format!("{path}/resume"), &json!({})).expect(204);
                self.restarted(subscription)
            }
            Operation::Kill { part, subscription } => self.kill(part, subscription),
        }
    }

    fn append(&mut self, stream: usize, count: usize) {
        let stream = format!("{}{stream}", self.prefix);
        let first = self.appended;
        let kind = |number: usize| KINDS[number % KINDS.len()];
        let event =
            |number| json!({ "type": kind(number), "data": { "of": kind(number), "number": number } });
        let events: Vec<Value> = (first..first + count).map(event).collect();
        let appended = self.http.append(&stream, "any", &events).expect(200).json;
        let first_of = |last: &str| appended[last].as_u64().expect("a number") + 1 - count as u64;
        let (version, position) = (first_of("last_version"), first_of("position"));
        for (number, offset) in (first..first + count).zip(0_u64..) {
            let (position, version) = (position + offset, version + offset);
            let event = Event { stream: stream.clone(), kind: kind(number), position, version };
            self.subscriptions.iter_mut().for_each(|subscription| subscription.model.appended(&event));
        }
        self.appended += count;
    }

    fn held(&self, subscription: usize, consumer: usize) -> Vec<u64> {
        let subscription = &self.subscriptions[subscription];
        subscription.consumers[consumer].map_or_else(Vec::new, |(number, _)| subscription.model.held(number))
    }

    /// A consumer takes a batch. Returns the places.
    fn take(&mut self, at: usize, consumer: usize, window: usize, wait_ms: u32) -> Checked<Vec<u64>> {
        let Subscription { path, model, consumers, .. } = &mut self.subscriptions[at];
        let (as_consumer, window) = match consumers[consumer] {
            Some((number, window)) => (format!("&consumer={number}"), window),
            None => (String::new(), window),
        };
        let target = format!("{path}/events?window={window}&wait_ms={wait_ms}{as_consumer}");
        let batch = until("a batch is taken", || {
            let response: Response = self.http.get(&target);
            Ok((response.status == 200).then_some(response.json))
        })?;
        let number = batch["consumer"].as_u64().ok_or("a batch has no consumer")?;
        consumers[consumer] = Some((number, window));
        let mut places = Vec::new();
        for event in batch["events"].as_array().ok_or("a batch has no events")? {
            places.push(model.delivered(number, window, event)?);
            self.deliveries += 1;
        }
        Ok(places)
    }

    /// A consumer says something about events that it has.
    fn settle(&self, at: usize, consumer: usize, word: &str, places: &[u64]) -> Checked {
        let Subscription { path, consumers, .. } = &self.subscriptions[at];
        let Some((number, _)) = consumers[consumer].filter(|_| !places.is_empty()) else { return Ok(()) };
        let words = json!({ "consumer": number, word: places, "reason": "why" });
        let counts = self.http.post(&format!("{path}/settlements"), &words).expect(200).json;
        let meant = counts["acknowledged"].as_u64().zip(counts["refused"].as_u64());
        let meant = meant.map(|(acknowledged, refused)| acknowledged + refused);
        if meant == Some(places.len() as u64) { Ok(()) } else { Err(format!("{word} {places:?}: {counts}")) }
    }

    fn leave(&mut self, at: usize, consumer: usize) {
        let Subscription { path, model, consumers, .. } = &mut self.subscriptions[at];
        let Some((number, _)) = consumers[consumer].take() else { return };
        let words = json!({ "consumer": number, "leave": true });
        self.http.post(&format!("{path}/settlements"), &words).expect(200);
        model.left(number);
    }

    fn info(&self, at: usize) -> Value {
        self.http.get(&self.subscriptions[at].path).json
    }

    /// What is parked, with whether it is to be delivered once more.
    fn parked(&self, at: usize) -> BTreeMap<u64, bool> {
        let target = format!("{}/parked?count=1000", self.subscriptions[at].path);
        let listed = self.http.get(&target).expect(200).json["parked"].clone();
        let entry = |event: &Value| Some((event["place"].as_u64()?, event["is_replayed"].as_bool()?));
        listed.as_array().into_iter().flatten().filter_map(entry).collect()
    }

    /// The same, once everything is stored that the model has parked: what is stored between this and the next request would be
    /// meant by that, and the model would not know it.
    fn parked_as_known(&self, at: usize) -> Checked<BTreeMap<u64, bool>> {
        until("what is parked is stored", || {
            let listed = self.parked(at);
            let is_stored = |place: &u64| listed.get(place) == Some(&false);
            Ok(self.subscriptions[at].model.parked_for_good().iter().all(is_stored).then_some(listed))
        })
    }

    fn kill(&mut self, part: Part, subscription: usize) -> Checked {
        let name = &self.subscriptions[subscription].name;
        let system = "main/system";
        let paths: Vec<String> = match part {
            Part::Emitter => (0..2)
                .map(|partition| format!("{system}/emitter-system/{partition}/emitters/{name}"))
                .collect(),
            Part::Pool => vec![format!("{system}/core-system/persistence-system/subscriptions/0")],
            Part::Readers => vec![format!("{system}/core-system/persistence-system/streams/readers/0")],
            Part::EmitterSystem => vec![format!("{system}/emitter-system")],
            Part::Gateway => vec![format!("{system}/gateway-system")],
        };
        if matches!(part, Part::EmitterSystem | Part::Gateway) {
            self.pace.next();
        }
        let kill = || paths.iter().any(|path| self.host.exesdb(&["kill", path]).status.success());
        until("it is killed", || Ok(kill().then_some(())))?;
        until("the gateway serves", || Ok(self.info(subscription)["state"].is_string().then_some(())))?;
        match part {
            Part::Emitter => self.restarted(subscription),
            Part::EmitterSystem => (0..self.subscriptions.len()).try_for_each(|at| self.restarted(at)),
            // No emitter is concerned.
            Part::Pool | Part::Readers | Part::Gateway => Ok(()),
        }
    }

    /// Waits for the new emitter of a subscription. Nothing is read or delivered then, since nobody takes anything.
    fn restarted(&mut self, at: usize) -> Checked {
        let info = until("its emitter serves", || {
            let info = self.info(at);
            Ok((!info["emitter"].is_null()).then_some(info))
        })?;
        let listed = self.parked(at);
        let checkpoint = info["checkpoint"].as_u64().ok_or("a subscription has no checkpoint")?;
        self.subscriptions[at].model.restarted(checkpoint, &listed)
    }

    /// Acknowledges everything, until nothing is left.
    fn finish(&mut self, at: usize) -> Checked {
        (0..CONSUMERS).for_each(|consumer| self.leave(at, consumer));
        let end = Instant::now() + PATIENCE;
        while !self.subscriptions[at].model.open().is_empty() {
            let places = self.take(at, 0, 100, 500)?;
            self.settle(at, 0, "ack", &places)?;
            let model = &mut self.subscriptions[at].model;
            places.iter().for_each(|place| model.settled(*place));
            if Instant::now() > end {
                return Err(format!("these are not delivered: {:?}", model.open()));
            }
        }
        let parked = self.subscriptions[at].model.parked();
        until("what is parked is stored", || {
            let listed: Vec<u64> = self.parked(at).into_keys().collect();
            Ok((listed == parked).then_some(()))
        })
        .map_err(|late| format!("{late}: {parked:?} are, listed are {:?}", self.parked(at)))?;
        until("it has no lag", || Ok((self.info(at)["lag"]["events"] == 0).then_some(())))
    }
}
