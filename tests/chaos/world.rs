//! All that goes on in the test: the subscriptions with their consumers, and what is known about them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exesdb_test_support::Rng;
use exesdb_tests::{Client, Host, PATIENCE, after, eventually, last_seq};
use serde_json::{Value, json};

use crate::check::{missing, parked, poison};
use crate::consumer::{self, REASON, Running, Time, path};
use crate::follower::Follower;
use crate::load::{Clock, Events};
use crate::plan::subscriptions;
use crate::record::{Record, Seen};
use crate::trouble::{Tally, calm};

/// Longest time without progress until the test gives up.
const STANDSTILL_MAX: Duration = PATIENCE;

/// The beginning of the reason for which an event is parked that ends instances.
const POISON_REASON: &str = "it ended 2 instances of the subscriptions component";

/// Subscriptions that are described when there is no progress.
const DESCRIBED_MAX: usize = 5;

/// All that goes on.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) events: Arc<Events>,
    pub(crate) time: Arc<Time>,
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) consumers: Vec<Running>,
    /// The quiet times that are over.
    pub(crate) quiet: Vec<Range<u64>>,
}

impl World {
    pub(crate) fn start(host: &Host, random: &mut Rng) -> Self {
        let clock = Clock::start();
        let records: Vec<Arc<Record>> = subscriptions()
            .into_iter()
            .map(|subscription| Arc::new(Record::new(subscription, clock)))
            .collect();
        for record in &records {
            let path = path(&host.http, &record.subscription.name);
            host.http.put(&path, &record.subscription.request()).expect(201);
        }
        let (events, time): (Arc<Events>, Arc<Time>) = Default::default();
        let consumers =
            records.iter().flat_map(|record| consumer::start(record, &events, &time, &host.url, random));
        let consumers = consumers.collect();
        Self { clock, events, time, records, consumers, quiet: Vec::new() }
    }

    /// Says when something has happened.
    pub(crate) fn say(&self, what: &str) {
        println!("{:.1} s: {what}", seconds_of(self.clock.now()));
    }

    /// Begins a quiet time: waits until everything runs and each consumer has begun another session. Returns when it began, and
    /// the last event of the telemetry before that.
    pub(crate) fn begin_quiet(&mut self, host: &Host, tally: &mut Tally) -> (u64, Option<u64>) {
        calm(host, tally);
        let time = self.time.begin(false);
        let until = Instant::now() + STANDSTILL_MAX;
        loop {
            let waiting: Vec<&str> = self
                .consumers
                .iter_mut()
                .filter_map(|consumer| (!consumer.serves(time)).then_some(consumer.name()))
                .collect();
            if waiting.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "consumers do not begin another session: {waiting:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        for record in &self.records {
            let path = path(&host.http, &record.subscription.name);
            eventually(&format!("{path} has an emitter"), || {
                let info = host.http.get(&path);
                (info.status == 200 && info.json["emitter"].is_object()).then_some(())
            });
        }
        calm(host, tally);
        let mark = last_seq(&host.events());
        (self.clock.now(), mark)
    }

    /// Ends a quiet time that began then. Nothing may have ended in it by itself. If the machine is so busy that a call took too
    /// long, or that an event of the storm ends instances only now, it was none.
    pub(crate) fn end_quiet(&mut self, begun: u64, host: &Host, mark: Option<u64>) {
        let ended: Vec<Value> =
            after(&host.events(), mark).into_iter().filter(|event| event["kind"] == "terminated").collect();
        let reason = |event: &Value| event["detail"]["reason"].as_str().unwrap_or_default().to_owned();
        let has_a_reason = |event: &Value| {
            ["error:timeout:", "error:trap:"].iter().any(|known| reason(event).starts_with(known))
        };
        let (late, wrong): (Vec<Value>, Vec<Value>) = ended.into_iter().partition(has_a_reason);
        assert!(wrong.is_empty(), "children ended in a quiet time: {wrong:#?}");
        if late.is_empty() {
            self.quiet.push(begun..self.clock.now());
        } else {
            self.say(&format!("no quiet time: {} children ended", late.len()));
        }
    }

    /// Waits until each subscription has delivered everything.
    pub(crate) fn finish(&self, host: &Host, followers: &[Follower]) {
        let events = self.events.all();
        let open = || -> Vec<(&str, usize)> {
            let open = self
                .records
                .iter()
                .map(|record| (&*record.subscription.name, record.known(&events, missing).len()));
            open.filter(|(_, count)| *count > 0).collect()
        };
        let (mut before, mut since) = (usize::MAX, Instant::now());
        loop {
            let open = open();
            let followed = followers.iter().filter(|follower| !follower.is_at_end(&events)).count();
            let left = open.iter().map(|(_, count)| count).sum::<usize>() + followed;
            if left == 0 {
                break;
            }
            if left < before {
                (before, since) = (left, Instant::now());
            }
            // The check says what is missing.
            if since.elapsed() > STANDSTILL_MAX {
                println!("no progress: {followed} followers, {open:?}");
                for (name, _) in open.into_iter().take(DESCRIBED_MAX) {
                    println!("{}", host.http.get(&path(&host.http, name)).text);
                }
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        for record in &self.records {
            let name = &record.subscription.name;
            let path = path(&host.http, name);
            let mut info = Value::Null;
            let until = Instant::now() + STANDSTILL_MAX;
            // What was parked since the last checkpoint is stored with the next one.
            while info["lag"]["events"] != 0 {
                assert!(Instant::now() < until, "{name} does not come to the end: {info:#}");
                std::thread::sleep(Duration::from_millis(20));
                info = host.http.get(&path).expect(200).json;
            }
            assert_eq!(info["state"], "active", "{info:#}");
        }
    }

    /// Compares what is parked with what consumers parked and what ended instances, and has the former delivered once more.
    pub(crate) fn replay_parked(&self, host: &Host) -> usize {
        let events = self.events.all();
        let (mut total, mut replayed) = (0, Vec::new());
        for record in &self.records {
            let path = path(&host.http, &record.subscription.name);
            let (by_consumers, by_host) =
                (parked(&record.subscription, &events), poison(&record.subscription, &events));
            let mut expected: BTreeMap<u64, &str> =
                by_consumers.iter().map(|place| (*place, REASON)).collect();
            expected.extend(by_host.iter().map(|place| (*place, POISON_REASON)));
            let listed = listed(&host.http, &path);
            assert_eq!(
                listed.iter().map(|(place, _)| *place).collect::<Vec<_>>(),
                expected.keys().copied().collect::<Vec<_>>(),
                "{path}: what is parked, and what should be: {listed:?}"
            );
            for ((place, reason), expected) in listed.iter().zip(expected.values()) {
                assert!(reason.starts_with(expected), "{path}: {place} is parked, because {reason}");
            }
            total += by_consumers.len();
            record.acknowledge_all();
            replayed.push(self.clock.now());
            // What ends instances would do so again, so what is between is replayed.
            let mut from = 0;
            for poison in by_host.into_iter().chain([u64::MAX]) {
                if let Some(up_to) = poison.checked_sub(1).filter(|up_to| from <= *up_to) {
                    let path = format!("{path}/parked/replay?from={from}&up_to={up_to}");
                    host.http.post(&path, &json!({})).expect(200);
                }
                from = poison.saturating_add(1);
            }
        }
        for (record, begun) in self.records.iter().zip(replayed) {
            let path = path(&host.http, &record.subscription.name);
            eventually(&format!("{path}: what consumers parked is not parked any more"), || {
                let left = poison(&record.subscription, &events).len();
                (host.http.get(&path).json["parked"] == left).then_some(())
            });
            let is_replayed = |seen: &&Seen| {
                let is_parked = seen.settlements.iter().any(|settlement| settlement.parked);
                is_parked && seen.deliveries.iter().any(|delivery| delivery.at > begun)
            };
            assert_eq!(
                record.known(&events, |known| known.seen.values().filter(is_replayed).count()),
                parked(&record.subscription, &events).len(),
                "{path}: delivered once more"
            );
        }
        total
    }
}

/// The places of what is parked, and why, page by page.
fn listed(http: &Client, path: &str) -> Vec<(u64, String)> {
    let (mut listed, mut from): (Vec<(u64, String)>, u64) = Default::default();
    loop {
        let page = http.get(&format!("{path}/parked?count=1000&from={from}")).expect(200).json;
        for parked in page["parked"].as_array().expect("it is a list") {
            let place = parked["place"].as_u64().expect("it has a place");
            listed.push((place, parked["reason"].as_str().expect("it has a reason").to_owned()));
        }
        match listed.last() {
            Some((place, _)) if page["more"] == true => from = place + 1,
            _ => return listed,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // a test does not last for centuries
pub(crate) fn seconds_of(micros: u64) -> f64 {
    micros as f64 / 1e6
}
