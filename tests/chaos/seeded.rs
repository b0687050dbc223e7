//! The checks find promises that the host breaks on purpose, and nothing where it keeps them.
//!
//! `EXESDB_FAULT` chooses the fault of a host that was built with the feature `faults`. What a random run finds by luck, a
//! short scene finds surely: it does what the fault is about, consumes the rest, and has the same checks look at it.

use std::time::{Duration, Instant};

use exesdb_test_support::{Rng, random};
use exesdb_tests::fault_fs::{CAPACITY_MAX, Cut, Disk};
use exesdb_tests::{Client, Down, Host, eventually};
use serde_json::{Value, json};

use crate::check::findings;
use crate::consumer::{Received, Stream, path};
use crate::load::{Clock, Event, Events};
use crate::plan::{Decision, Strategy, Subscription, Transport};
use crate::record::{Record, Taken};

/// Rounds until the fault of which a loss of power is the only witness must be found.
const ROUNDS: usize = 5;

/// How long a sync takes while an event is looked for that should not be delivered before its end.
const SYNC: Duration = Duration::from_secs(4);

/// How long it is looked for.
const LOOKED_FOR: Duration = Duration::from_secs(1);

const STREAM: &str = "order-0";

/// One subscription of a host.
struct Scene {
    record: Record,
    events: Events,
    clock: Clock,
    random: Rng,
}

impl Scene {
    /// A host with a subscription of this selector, which selects everything that the scene appends.
    fn begin(down: Down, fault: Option<&str>, selector: Value) -> (Self, Host) {
        let faults: Vec<(&str, &str)> = fault.map(|fault| ("EXESDB_FAULT", fault)).into_iter().collect();
        let host = down.with_faults(&faults).start();
        let selects = |_: &Event| true;
        let ack_timeout_ms = 60_000;
        let subscription = Subscription {
            name: "s".to_owned(),
            selector,
            selects,
            strategy: Strategy::RoundRobin,
            settings: json!({ "ack_timeout_ms": ack_timeout_ms, "checkpoint_ms": 10, "checkpoint_events_min": 0 }),
            ack_timeout_ms,
            transport: Transport::Batch,
            consumers: 1,
            window: 100,
            refuses: None,
            is_steady: false,
        };
        host.http.put(&path(&host.http, "s"), &subscription.request()).expect(201);
        let clock = Clock::start();
        let record = Record::new(subscription, clock);
        (Self { record, events: Events::default(), clock, random: random() }, host)
    }

    fn append(&mut self, http: &Client, count: usize) {
        self.events.append(http, self.clock, STREAM, count, &mut self.random);
    }

    /// A consumer of server-sent events takes so many events.
    fn stream(&self, http: &Client, count: usize) -> (Stream, u64, Vec<Taken>) {
        let mut stream =
            Stream::begin(http, &format!("{}/events", path(http, "s")), None).expect("the host serves");
        let (session, mut consumer, mut taken) = (self.record.begin_session(), None, Vec::new());
        eventually("the consumer has its events", || {
            self.read(&mut stream, session, &mut consumer, &mut taken);
            (consumer.is_some() && taken.len() >= count).then_some(())
        });
        (stream, consumer.expect("it has begun"), taken)
    }

    fn read(&self, stream: &mut Stream, session: u32, consumer: &mut Option<u64>, taken: &mut Vec<Taken>) {
        let Received::Messages(messages) = stream.read() else { panic!("the response has ended") };
        for message in messages {
            let value: Value = serde_json::from_str(&message.data.unwrap_or_default()).expect("it is JSON");
            match message.event {
                Some(_) => *consumer = value["consumer"].as_u64(),
                None => taken.extend(self.record.delivered(&self.events, session, &[value])),
            }
        }
    }

    fn acknowledge(&self, http: &Client, session: u32, consumer: u64, taken: &[Taken]) {
        assert!(taken.iter().all(|taken| taken.decision == Decision::Acknowledge));
        let places: Vec<u64> = taken.iter().map(|taken| taken.place).collect();
        self.record.settling(session, taken);
        let words = json!({ "consumer": consumer, "ack": places });
        http.post(&format!("{}/settlements", path(http, "s")), &words).expect(200);
    }

    /// Another consumer takes and acknowledges everything that is left.
    fn consume_the_rest(&self, http: &Client) {
        let session = self.record.begin_session();
        let mut consumer: Option<u64> = None;
        eventually("nothing is left", || {
            let number = consumer.map(|number| format!("&consumer={number}")).unwrap_or_default();
            let batch = http.get(&format!("{}/events?wait_ms=200{number}", path(http, "s"))).expect(200).json;
            let id = *consumer.insert(batch["consumer"].as_u64().expect("it has a number"));
            let taken = self.record.delivered(
                &self.events,
                session,
                batch["events"].as_array().expect("it is a list"),
            );
            self.acknowledge(http, session, id, &taken);
            let info = http.get(&path(http, "s")).expect(200).json;
            (taken.is_empty() && info["lag"]["events"] == 0).then_some(())
        });
    }

    fn violations(&self) -> Vec<String> {
        findings(&self.record, &self.events.all(), &[]).violations
    }
}

/// A consumer has acknowledged a part of what it was given when the host dies.
fn a_part_is_acknowledged(fault: Option<&str>) -> Vec<String> {
    let (mut scene, host) = Scene::begin(Down::new(None), fault, json!({}));
    scene.append(&host.http, 10);
    let (_stream, consumer, taken) = scene.stream(&host.http, 10);
    scene.acknowledge(&host.http, 1, consumer, &taken[..3]);
    eventually("a checkpoint is stored", || {
        (host.http.get(&path(&host.http, "s")).json["checkpoint"].as_u64() >= Some(3)).then_some(())
    });
    let host = host.crash_and_restart();
    scene.consume_the_rest(&host.http);
    scene.violations()
}

/// A consumer dies with everything that it was given.
fn a_consumer_dies(fault: Option<&str>) -> Vec<String> {
    let (mut scene, host) = Scene::begin(Down::new(None), fault, json!({}));
    scene.append(&host.http, 5);
    let (stream, ..) = scene.stream(&host.http, 5);
    drop(stream);
    scene.append(&host.http, 2);
    scene.consume_the_rest(&host.http);
    scene.violations()
}

/// A filtered subscription reaches the end of the store, and more is appended then.
fn more_comes_at_the_end(fault: Option<&str>) -> Vec<String> {
    let (mut scene, host) = Scene::begin(Down::new(None), fault, json!({ "stream_prefixes": ["order-"] }));
    scene.append(&host.http, 5);
    let (stream, consumer, taken) = scene.stream(&host.http, 5);
    scene.acknowledge(&host.http, 1, consumer, &taken);
    for _ in 0..3 {
        scene.append(&host.http, 1);
    }
    drop(stream);
    scene.consume_the_rest(&host.http);
    scene.violations()
}

/// A consumer begins while the sync of an event takes long, and then the power fails.
fn a_sync_is_held(fault: Option<&str>) -> Vec<String> {
    let disk = Disk::new(CAPACITY_MAX);
    let (mut scene, host) = Scene::begin(Down::on_disk(None, &disk), fault, json!({}));
    // The first event of a store is written with syncs of its own.
    scene.append(&host.http, 1);
    eventually("the emitter has stored that it serves", || {
        host.http.get(&path(&host.http, "s")).json["emitter"].is_object().then_some(())
    });
    disk.syncs_take(SYNC);
    let (_, sent) = scene.events.begin(scene.clock, STREAM, 1, &mut scene.random);
    let http = host.http.clone();
    let appending = std::thread::spawn(move || http.append(STREAM, "any", &sent));
    // It should not be readable before the end of the sync, but if it is, the consumer is to come after that.
    looked_for(|| host.http.read_all().len() > 1);
    let (mut stream, consumer, mut early) = scene.stream(&host.http, 0);
    looked_for(|| {
        scene.read(&mut stream, 1, &mut Some(consumer), &mut early);
        early.len() > 1
    });
    drop(stream);
    let down = host.crash();
    // It may have been acknowledged, on a machine that is busy for as long as the sync takes.
    drop(appending.join().expect("it does not panic"));
    down.at_rest(|disk| {
        disk.syncs_take(Duration::ZERO);
        disk.cut(Cut::Unsynced, &mut scene.random);
    });
    let host = down.start();
    scene.events.look_up(&host.http.read_all());
    scene.consume_the_rest(&host.http);
    scene.violations()
}

/// Looks for what should not be there, for a while.
fn looked_for(mut is_there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < LOOKED_FOR && !is_there() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn found(violations: &[String], expected: &str) {
    println!("{violations:#?}");
    assert!(violations.iter().any(|violation| violation.contains(expected)), "it is not found");
}

const NONE: [String; 0] = [];

#[test]
fn a_host_without_a_fault_passes() {
    for scene in [a_part_is_acknowledged, a_consumer_dies, more_comes_at_the_end, a_sync_is_held] {
        assert_eq!(scene(None), NONE);
    }
}

#[test]
fn a_checkpoint_before_the_acknowledgement_is_found() {
    found(&a_part_is_acknowledged(Some("checkpoint-before-ack")), "7 events are missing");
}

#[test]
fn a_delivery_before_the_sync_is_found() {
    let mut rounds = (0..ROUNDS).map(|_| a_sync_is_held(Some("publish-before-durable")));
    let violations = rounds.find(|violations| !violations.is_empty());
    found(&violations.unwrap_or_default(), "was delivered, and is not stored there");
}

#[test]
fn a_lost_redelivery_after_the_death_of_a_consumer_is_found() {
    found(&a_consumer_dies(Some("lose-redelivery")), "5 events are missing");
}

#[test]
fn a_filter_that_skips_at_the_switch_to_live_is_found() {
    found(&more_comes_at_the_end(Some("skip-at-switch")), "1 events are missing");
}
