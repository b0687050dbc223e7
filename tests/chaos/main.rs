//! Durable subscriptions while everything goes wrong: nothing that was acknowledged goes undelivered.
//!
//! Clients append to several streams, 50 subscriptions of all kinds have one to three consumers each, and some clients follow
//! the store. Storms and quiet times alternate. In a storm, children of the supervision tree are killed at random, a
//! component traps, every other time the process is killed, and consumers die, stall and forget to settle. A quiet time
//! begins when the tree runs again and each consumer has begun another session.
//!
//! | module | |
//! |---|---|
//! | `load` | what is appended |
//! | `plan` | the subscriptions, and what each selects: computed from what was sent, not from what the store says |
//! | `consumer`, `follower` | the clients |
//! | `trouble` | what is killed |
//! | `record` | what each consumer was given and said |
//! | `check` | what has to hold of it |
//! | `seeded` | the same checks find faults that are put in on purpose |
//! | `receipt` | a large log is processed whole while it is imported |
//!
//! `EXESDB_CHAOS_SECONDS` says how long the storms and quiet times go on (default: 60), and `EXESDB_TEST_SEED` repeats their
//! choices. The schedules of threads differ, so a seed makes a failure likely to recur, not certain.

mod check;
mod consumer;
mod follower;
mod load;
mod plan;
mod receipt;
mod record;
mod seeded;
mod trouble;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use exesdb_test_support::{Rng, number, random};
use exesdb_tests::{Client, Host, PATIENCE, after, encoded, last_seq, path_of, probe};
use serde_json::{Value, json};

use crate::check::{Findings, findings, missing, parked};
use crate::consumer::{REASON, Running, Time};
use crate::follower::Follower;
use crate::load::{Clock, Events, append_until};
use crate::record::{Record, Seen};
use crate::trouble::{Tally, calm, storm};

/// How long a storm lasts, and a quiet time.
const STORM: Duration = Duration::from_secs(6);
const QUIET: Duration = Duration::from_secs(4);

const APPENDERS: usize = 4;

/// Longest time without progress until the test gives up.
const STANDSTILL_MAX: Duration = PATIENCE;

/// Lines about violations that are printed.
const PRINTED_MAX: usize = 60;

/// Subscriptions that are described when there is no progress.
const DESCRIBED_MAX: usize = 5;

/// Events of an emitter's telemetry that are printed.
const TELEMETRY_MAX: usize = 5;

/// All that goes on.
struct World {
    clock: Clock,
    events: Arc<Events>,
    time: Arc<Time>,
    records: Vec<Arc<Record>>,
    consumers: Vec<Running>,
    quiet: Vec<Range<u64>>,
}

/// The path of a subscription.
fn path(http: &Client, name: &str) -> String {
    format!("{}/subscriptions/{}", http.path(), encoded(name))
}

/// What is parked, page by page.
fn listed(http: &Client, path: &str) -> Vec<Value> {
    let (mut parked, mut from): (Vec<Value>, u64) = Default::default();
    loop {
        let page = http.get(&format!("{path}/parked?count=1000&from={from}")).expect(200).json;
        parked.extend_from_slice(page["parked"].as_array().expect("it is a list"));
        match parked.last() {
            Some(last) if page["more"] == true => from = last["place"].as_u64().expect("it has a place") + 1,
            _ => return parked,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // a test does not last for centuries
fn seconds_of(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// What is done once the host serves: some parts of it may still be starting.
fn patiently(what: &str, mut request: impl FnMut() -> exesdb_tests::Response) -> Value {
    let mut last = String::new();
    exesdb_tests::eventually(what, || {
        let response = request();
        last.clone_from(&response.text);
        (response.status < 300 && response.status > 0).then_some(response.json)
    })
}

impl World {
    fn start(host: &Host, random: &mut Rng) -> Self {
        let clock = Clock::start();
        let records: Vec<Arc<Record>> = plan::subscriptions()
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
    fn say(&self, what: &str) {
        println!("{:.1} s: {what}", seconds_of(self.clock.now()));
    }

    /// Begins a quiet time: waits until everything runs and each consumer has begun another session. Returns when it began, and
    /// the last event of the telemetry before that.
    fn begin_quiet(&mut self, host: &Host, tally: &mut Tally) -> (u64, Option<u64>) {
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
            exesdb_tests::eventually(&format!("{path} has an emitter"), || {
                let info = host.http.get(&path);
                (info.status == 200 && info.json["emitter"].is_object()).then_some(())
            });
        }
        calm(host, tally);
        let mark = last_seq(&host.events());
        (self.clock.now(), mark)
    }

    /// Ends a quiet time that began then. Nothing may have ended in it by itself, unless the machine is so busy that a call took
    /// too long: then it was none.
    fn end_quiet(&mut self, begun: u64, host: &Host, mark: Option<u64>) {
        let ended: Vec<Value> =
            after(&host.events(), mark).into_iter().filter(|event| event["kind"] == "terminated").collect();
        let reason = |event: &Value| event["detail"]["reason"].as_str().unwrap_or_default().to_owned();
        let (slow, wrong): (Vec<Value>, Vec<Value>) =
            ended.into_iter().partition(|event| reason(event).starts_with("error:timeout:"));
        assert!(wrong.is_empty(), "children ended in a quiet time: {wrong:#?}");
        if slow.is_empty() {
            self.quiet.push(begun..self.clock.now());
        } else {
            println!("not a quiet time: {slow:?}");
        }
    }

    /// Waits until each subscription has delivered everything.
    fn finish(&self, host: &Host, followers: &[Follower]) {
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

    /// Compares what is parked with what consumers parked, and has it delivered once more.
    fn replay_parked(&self, host: &Host) -> usize {
        let events = self.events.all();
        let (mut total, mut replayed) = (0, Vec::new());
        for record in &self.records {
            let path = path(&host.http, &record.subscription.name);
            let listed = listed(&host.http, &path);
            let expected = parked(&record.subscription, &events);
            let before = self.clock.now();
            let found: std::collections::BTreeSet<u64> =
                listed.iter().filter_map(|parked| parked["place"].as_u64()).collect();
            assert_eq!(found, expected, "{path}: what is parked, and what consumers parked");
            assert!(listed.iter().all(|parked| parked["reason"] == REASON), "{path}: {listed:?}");
            total += found.len();
            record.acknowledge_all();
            replayed.push(before);
            let count = patiently("parked events are replayed", || {
                host.http.post(&format!("{path}/parked/replay"), &json!({}))
            });
            assert!(count["count"].as_u64() <= Some(found.len() as u64), "{path}: {count}");
        }
        for (record, begun) in self.records.iter().zip(replayed) {
            let path = path(&host.http, &record.subscription.name);
            exesdb_tests::eventually(&format!("{path}: nothing is parked any more"), || {
                (host.http.get(&path).json["parked"] == 0).then_some(())
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

/// Lets storms and quiet times alternate for this time.
fn alternate(world: &mut World, mut host: Host, time: Duration, random: &mut Rng, tally: &mut Tally) -> Host {
    let begun = Instant::now();
    for round in 0.. {
        if begun.elapsed() >= time {
            break;
        }
        world.time.begin(true);
        host = storm(host, STORM, round % 2 == 1, random, tally);
        let (quiet, mark) = world.begin_quiet(&host, tally);
        std::thread::sleep(QUIET);
        world.end_quiet(quiet, &host, mark);
        world.say(&format!("a quiet time is over that began at {:.1} s", seconds_of(quiet)));
    }
    host
}

/// Checks what every client got.
///
/// # Panics
///
/// When something is wrong, which is printed, with the last things that happened to the emitters.
fn judge(world: &World, host: &Host, followers: Vec<Follower>, tally: &Tally) {
    let events = world.events.all();
    assert!(events.iter().all(|event| event.stored.is_some()), "every append was acknowledged");
    let findings: Vec<Findings> =
        world.records.iter().map(|record| findings(record, &events, &world.quiet)).collect();
    let mut violations: Vec<String> = Vec::new();
    let telemetry = host.events();
    for (record, findings) in world.records.iter().zip(&findings).filter(|(_, it)| !it.violations.is_empty())
    {
        violations.extend(findings.violations.iter().cloned());
        let emitter = format!("/emitters/{}", record.subscription.name);
        let last =
            telemetry.iter().rev().filter(|event| path_of(event).ends_with(&emitter)).take(TELEMETRY_MAX);
        violations.extend(last.map(|event| format!("before: {event}")));
    }
    let mut connections = 0;
    for follower in followers {
        let (its, count) = follower.finish(&events);
        violations.extend(its);
        connections += count;
    }
    let sum = |of: fn(&Findings) -> usize| findings.iter().map(of).sum::<usize>();
    let sessions: u32 = world.records.iter().map(|record| record.sessions()).sum();
    world.say(&format!(
        "{tally:?}, {} quiet times, {} events appended, {sessions} sessions of consumers, {connections} of followers, \
         {} events delivered in {} deliveries, {} more than once, {} checked to be delivered once, {} in order",
        world.quiet.len(),
        events.len(),
        sum(|findings| findings.events),
        sum(|findings| findings.deliveries),
        sum(|findings| findings.delivered_again),
        sum(|findings| findings.checked_once),
        sum(|findings| findings.checked_order),
    ));
    violations.iter().take(PRINTED_MAX).for_each(|violation| println!("{violation}"));
    assert!(violations.is_empty(), "something is wrong: {} lines", violations.len());
    assert!(sum(|findings| findings.checked_once) > 0 && sum(|findings| findings.checked_order) > 0);
}

#[test]
fn nothing_acknowledged_goes_undelivered_whatever_is_killed() {
    let seconds = Duration::from_secs(number("EXESDB_CHAOS_SECONDS", 60));
    let mut random = random();
    let streams = probe("streams-probe");
    let host = Host::with_config(&format!(
        "[[store]]\nname = \"main\"\n[store.components]\nstreams = {streams:?}\n"
    ));
    let mut world = World::start(&host, &mut random);
    let (stop, ending): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
    let followers = follower::start(&world.events, &ending, &host.url, &mut random);
    let appender = |_| {
        let (http, events, stop) = (Client::new(&host.url), world.events.clone(), stop.clone());
        let (clock, random) = (world.clock, random.fork());
        std::thread::spawn(move || append_until(&stop, &events, &http, clock, random))
    };
    let appenders: Vec<_> = (0..APPENDERS).map(appender).collect();

    let mut tally = Tally::default();
    let host = alternate(&mut world, host, seconds, &mut random, &mut tally);
    stop.store(true, Ordering::Relaxed);
    for appender in appenders {
        appender.join().expect("no append is refused for good");
    }
    world.say("no more is appended");
    world.finish(&host, &followers);
    world.say("everything is consumed");
    ending.store(true, Ordering::Relaxed);
    judge(&world, &host, followers, &tally);
    let parked = world.replay_parked(&host);
    world.say(&format!("{parked} parked events were delivered once more"));
    world.time.end();
    world.consumers.into_iter().for_each(Running::join);
}
