//! Durable subscriptions while everything goes wrong: nothing that was acknowledged goes undelivered.
//!
//! Clients append to several streams, 50 subscriptions of all kinds have one to three consumers each, and some clients follow
//! the store. Storms and quiet times alternate. In a storm, children of the supervision tree are killed at random, components
//! trap (at an append, and at an event that ends instances until it is parked), every other time the process is killed, and
//! consumers die, stall and forget to settle. Those of a few subscriptions do not: their events are parked as soon as something
//! counts against them, and nothing that is done to the host may. A quiet time begins when the tree runs again and each consumer
//! has begun another session.
//!
//! | module | |
//! |---|---|
//! | `load` | what is appended |
//! | `plan` | the subscriptions, and what each selects: computed from what was sent, not from what the store says |
//! | `consumer`, `follower` | the clients |
//! | `trouble` | what is killed |
//! | `world` | all of this together, and how it comes to an end |
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
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use exesdb_test_support::{Rng, number, random};
use exesdb_tests::{Client, Host, path_of, probe};

use crate::check::{Findings, findings};
use crate::consumer::Running;
use crate::follower::Follower;
use crate::load::append_until;
use crate::trouble::{Tally, storm};
use crate::world::{World, seconds_of};

/// How long a storm lasts, and a quiet time.
const STORM: Duration = Duration::from_secs(6);
const QUIET: Duration = Duration::from_secs(4);

const APPENDERS: usize = 4;

/// Lines about violations that are printed.
const PRINTED_MAX: usize = 60;

/// Events of an emitter's telemetry that are printed.
const TELEMETRY_MAX: usize = 5;

/// Lets storms and quiet times alternate for this time.
fn alternate(world: &mut World, mut host: Host, time: Duration, random: &mut Rng, tally: &mut Tally) -> Host {
    let begun = Instant::now();
    for round in 0.. {
        if begun.elapsed() >= time {
            break;
        }
        world.time.begin(true);
        let (events, http, clock) = (world.events.clone(), host.http.clone(), world.clock);
        let poisoning = std::thread::spawn(move || events.append_poison(&http, clock));
        host = storm(host, STORM, round % 2 == 1, random, tally);
        poisoning.join().expect("the append is acknowledged at last");
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
    let (streams, subscriptions) = (probe("streams-probe"), probe("subscriptions-probe"));
    let host = Host::with_config(&format!(
        "[[store]]\nname = \"main\"\n[store.components]\nstreams = {streams:?}\n\
         subscriptions = {subscriptions:?}\n"
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
