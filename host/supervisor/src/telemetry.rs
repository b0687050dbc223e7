//! One stream of all events.
//!
//! The stream is a ring of the latest events. A subscription is a position in that ring and has no queue of its own, so a
//! slow reader costs nothing and delays nobody: events that left the ring before they were read are reported as missed,
//! with their number. The ring holds supervisors' reports as data; they become an [`Event`] with text and JSON when they
//! are read.

mod fact;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

pub use self::fact::EVENT_KINDS;
pub(crate) use self::fact::{Fact, Who, millis};

/// Events that the ring keeps by default. 100 kills per second make about 300 events per second: then a reader may be more
/// than ten seconds late. At about 200 bytes each, without the details of children's events, the ring takes about 1 MB.
pub const TELEMETRY_RING_EVENTS: usize = 4096;

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The number of the event in the stream, from 0.
    pub seq: u64,
    /// When it happened, in microseconds of Unix time.
    pub at_micros: u64,
    /// The child that it concerns: ids from the root, joined by `/`.
    pub path: String,
    /// What happened: see the table in the crate's documentation. Children report kinds of their own.
    pub kind: String,
    /// More data, depending on the kind.
    pub detail: Value,
}

/// An event in the ring.
struct Record {
    seq: u64,
    at_micros: u64,
    path: Arc<str>,
    content: Content,
}

enum Content {
    Fact {
        fact: Fact,
        who: Who,
    },
    /// Emitted by a child.
    Other {
        kind: String,
        detail: Value,
    },
}

impl Record {
    fn event(&self) -> Arc<Event> {
        let (kind, detail) = match &self.content {
            Content::Fact { fact, who } => (fact.kind().to_owned(), fact.detail(*who)),
            Content::Other { kind, detail } => (kind.clone(), detail.clone()),
        };
        let path = self.path.to_string();
        Arc::new(Event { seq: self.seq, at_micros: self.at_micros, path, kind, detail })
    }
}

struct Ring {
    next_seq: u64,
    events: VecDeque<Arc<Record>>,
    capacity: usize,
    /// Every [`Telemetry`] was dropped: no further event will come.
    closed: bool,
}

struct Shared {
    ring: Mutex<Ring>,
    /// Wakes the readers that have read everything.
    more: Notify,
}

/// Counts the senders: readers share only the ring, so that the stream can end.
struct Sender(Arc<Shared>);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.ring.lock().closed = true;
        self.0.more.notify_waiters();
    }
}

/// The sending half of the stream. Clones feed one stream.
#[derive(Clone)]
pub struct Telemetry {
    sender: Arc<Sender>,
}

impl Default for Telemetry {
    fn default() -> Telemetry {
        Telemetry::new()
    }
}

impl Telemetry {
    /// A stream that keeps the latest [`TELEMETRY_RING_EVENTS`] events.
    pub fn new() -> Telemetry {
        Telemetry::with_capacity(TELEMETRY_RING_EVENTS)
    }

    /// A stream that keeps the latest `events` events, at least one.
    pub fn with_capacity(events: usize) -> Telemetry {
        let ring = Ring { next_seq: 0, events: VecDeque::new(), capacity: events.max(1), closed: false };
        let shared = Arc::new(Shared { ring: Mutex::new(ring), more: Notify::new() });
        Telemetry { sender: Arc::new(Sender(shared)) }
    }

    /// Adds an event; never waits.
    pub fn emit(&self, path: &str, kind: &str, detail: Value) {
        self.add(path.into(), Content::Other { kind: kind.to_owned(), detail });
    }

    /// Adds a supervisor's report; never waits.
    pub(crate) fn report(&self, path: &Arc<str>, fact: Fact, who: Who) {
        self.add(Arc::clone(path), Content::Fact { fact, who });
    }

    fn add(&self, path: Arc<str>, content: Content) {
        let shared = &self.sender.0;
        let mut ring = shared.ring.lock();
        let seq = ring.next_seq;
        ring.next_seq += 1;
        let oldest = if ring.events.len() == ring.capacity { ring.events.pop_front() } else { None };
        // Stamped under the lock, so that `at_micros` ascends with `seq` as far as the system's clock does.
        ring.events.push_back(Arc::new(Record { seq, at_micros: unix_micros(), path, content }));
        drop(ring);
        drop(oldest);
        shared.more.notify_waiters();
    }

    /// A reader of everything from now on.
    pub fn subscribe(&self) -> Subscription {
        let shared = Arc::clone(&self.sender.0);
        let next = shared.ring.lock().next_seq;
        Subscription { shared, next }
    }

    /// A reader of what the ring still holds, and of everything from then on.
    pub fn subscribe_from_oldest(&self) -> Subscription {
        let shared = Arc::clone(&self.sender.0);
        let ring = shared.ring.lock();
        let next = ring.next_seq - ring.events.len() as u64;
        drop(ring);
        Subscription { shared, next }
    }

    /// The latest events, oldest first.
    pub fn recent(&self) -> Vec<Arc<Event>> {
        let records: Vec<Arc<Record>> = self.sender.0.ring.lock().events.iter().cloned().collect();
        records.iter().map(|record| record.event()).collect()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("next_seq", &self.sender.0.ring.lock().next_seq).finish()
    }
}

/// A position in the stream.
pub struct Subscription {
    shared: Arc<Shared>,
    next: u64,
}

impl Subscription {
    /// The next event; `None` when every [`Telemetry`] of the stream was dropped and all events were read.
    ///
    /// If events left the ring unread, this returns an event of kind `missed` with their number in `detail.missed`; the
    /// stream then continues with the oldest event in the ring.
    ///
    /// Cancel safe: a call that is dropped loses no event.
    pub async fn recv(&mut self) -> Option<Arc<Event>> {
        let shared = Arc::clone(&self.shared);
        loop {
            let more = shared.more.notified();
            tokio::pin!(more);
            // Registered before the check, so that no event between check and wait is missed.
            more.as_mut().enable();
            match self.poll_ring() {
                Polled::Record(record) => return Some(record.event()),
                Polled::Missed(event) => return Some(event),
                Polled::Closed => return None,
                Polled::Empty => more.await,
            }
        }
    }

    /// The next event, if there is one.
    pub fn try_recv(&mut self) -> Option<Arc<Event>> {
        match self.poll_ring() {
            Polled::Record(record) => Some(record.event()),
            Polled::Missed(event) => Some(event),
            Polled::Closed | Polled::Empty => None,
        }
    }

    fn poll_ring(&mut self) -> Polled {
        let ring = self.shared.ring.lock();
        let oldest = ring.next_seq - ring.events.len() as u64;
        if self.next < oldest {
            let missed = oldest - self.next;
            self.next = oldest;
            return Polled::Missed(Arc::new(Event {
                seq: oldest - 1,
                at_micros: unix_micros(),
                path: String::new(),
                kind: "missed".to_owned(),
                detail: json!({ "missed": missed }),
            }));
        }
        let index = usize::try_from(self.next - oldest).expect("a position in the ring fits usize");
        match ring.events.get(index) {
            Some(record) => {
                self.next += 1;
                Polled::Record(Arc::clone(record))
            }
            None if ring.closed => Polled::Closed,
            None => Polled::Empty,
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("next", &self.next).finish_non_exhaustive()
    }
}

enum Polled {
    Record(Arc<Record>),
    Missed(Arc<Event>),
    Empty,
    Closed,
}

/// Now, in microseconds of Unix time; 0 if the system's clock is before 1970.
pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Telemetry;

    #[tokio::test]
    async fn a_slow_reader_gets_the_number_of_missed_events() {
        let telemetry = Telemetry::with_capacity(2);
        let mut reader = telemetry.subscribe();
        for i in 0..5 {
            telemetry.emit("root", "tick", json!({ "i": i }));
        }
        let missed = reader.recv().await.unwrap();
        assert_eq!((missed.kind.as_str(), &missed.detail), ("missed", &json!({ "missed": 3 })));
        assert_eq!(reader.recv().await.unwrap().detail, json!({ "i": 3 }));
        assert_eq!(reader.recv().await.unwrap().seq, 4);
        assert_eq!(telemetry.recent().len(), 2);
        drop(telemetry);
        assert!(reader.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let telemetry = Telemetry::new();
        let mut reader = telemetry.subscribe();
        let reading = tokio::spawn(async move { reader.recv().await });
        tokio::task::yield_now().await;
        telemetry.emit("root/a", "started", json!({}));
        assert_eq!(reading.await.unwrap().unwrap().path, "root/a");
    }
}
