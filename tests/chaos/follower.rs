//! Followers of the store: of all of it, of one stream, and of what a filter lets through.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use exesdb_test_support::Rng;
use exesdb_tests::Client;
use serde_json::Value;

use crate::consumer::{Received, Stream};
use crate::load::{Event, Events};

/// Pause before another connection.
const AGAIN: Duration = Duration::from_millis(50);

/// One in so many reads is followed by the end of the connection.
const CUT_EACH: u16 = 100;

/// What is followed: the path below the store, and what comes over it.
type Followed = (&'static str, fn(&Event) -> bool);

const FOLLOWED: [Followed; 4] = [
    ("/events", |_| true),
    ("/streams/order-5/events", |event| event.stream == "order-5"),
    ("/events?type=paid", |event| event.kind == "paid"),
    ("/events?tag=t2&stream_prefix=order-", |event| event.tag == "t2" && event.stream.starts_with("order-")),
];

/// What came over one connection.
#[derive(Clone, Debug, Default)]
struct Part {
    /// The position after which it began; none for the start.
    after: Option<u64>,
    positions: Vec<u64>,
}

/// A follower that runs, and connects again and again.
pub(crate) struct Follower {
    followed: Followed,
    parts: Arc<Mutex<Vec<Part>>>,
    last: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// Starts the followers.
pub(crate) fn start(
    events: &Arc<Events>,
    ending: &Arc<AtomicBool>,
    url: &str,
    random: &mut Rng,
) -> Vec<Follower> {
    let start = |followed: Followed| {
        let (parts, last): (Arc<Mutex<Vec<Part>>>, Arc<AtomicU64>) = Default::default();
        let (http, mut random) = (Client::new(url), random.fork());
        let (events, ending) = (events.clone(), ending.clone());
        let (ours, our_last) = (parts.clone(), last.clone());
        let thread = std::thread::spawn(move || {
            let mut last_id = None;
            while !ending.load(Ordering::Relaxed) {
                let part = follow(&http, followed.0, &events, last_id, &mut random, &ending, &our_last);
                if let Some((part, last)) = part {
                    ours.lock().expect("nobody panics").push(part);
                    last_id = last.or(last_id);
                }
                std::thread::sleep(AGAIN);
            }
        });
        Follower { followed, parts, last, thread }
    };
    FOLLOWED.into_iter().map(start).collect()
}

/// Follows over one connection. Returns what came, and the last id.
fn follow(
    http: &Client,
    path: &str,
    events: &Events,
    after: Option<u64>,
    random: &mut Rng,
    ending: &AtomicBool,
    seen: &AtomicU64,
) -> Option<(Part, Option<u64>)> {
    let mut stream = Stream::begin(http, &format!("{}{path}", http.path()), after)?;
    let (mut part, mut last) = (Part { after, positions: Vec::new() }, None);
    while !ending.load(Ordering::Relaxed) && random.u16(..CUT_EACH) != 0 {
        let Received::Messages(messages) = stream.read() else { break };
        for message in messages {
            if message.event.is_some() {
                continue;
            }
            if let Some(data) = &message.data {
                let event: Value = serde_json::from_str(data).expect("the data of a message is JSON");
                // What a trapping component refused is not there, and nobody else appends.
                let found = events.find(&event);
                found.unwrap_or_else(|violation| panic!("the follower of {path}: {violation}"));
                part.positions.push(event["position"].as_u64().expect("an event has a position"));
            }
            let id = message.id.as_deref().and_then(|id| id.split('@').next()?.parse::<u64>().ok());
            if let Some(id) = id {
                last = Some(id);
                seen.store(id, Ordering::Relaxed);
            }
        }
    }
    Some((part, last))
}

impl Follower {
    /// Whether it has come as far as the last event that it follows.
    pub(crate) fn is_at_end(&self, events: &[Event]) -> bool {
        assert!(!self.thread.is_finished(), "the follower of {} has ended", self.followed.0);
        let last = positions(self.followed.1, events).last().copied();
        last.is_none_or(|last| last <= self.last.load(Ordering::Relaxed))
    }

    /// Waits for its end. Returns what it missed or had twice within a connection, and the number of its connections.
    pub(crate) fn finish(self, events: &[Event]) -> (Vec<String>, usize) {
        let (path, follows) = self.followed;
        assert!(self.thread.join().is_ok(), "the follower of {path} has panicked");
        let parts = self.parts.lock().expect("nobody panics").clone();
        let expected = positions(follows, events);
        let violations = parts.iter().filter_map(|part| {
            let last = part.positions.last()?;
            let between = expected
                .iter()
                .filter(|position| part.after.is_none_or(|after| after < **position) && *position <= last);
            let is_complete = between.clone().eq(&part.positions);
            let between: Vec<_> = between.collect();
            (!is_complete).then(|| format!("the follower of {path} got {part:?}, and not {between:?}"))
        });
        (violations.collect(), parts.len())
    }
}

/// The positions of what is followed, in their order.
fn positions(follows: fn(&Event) -> bool, events: &[Event]) -> Vec<u64> {
    let followed = events.iter().filter(|event| follows(event)).filter_map(|event| event.stored);
    let mut positions: Vec<u64> = followed.map(|(_, position)| position).collect();
    positions.sort_unstable();
    positions
}
