//! One stream of everything that happens.
//!
//! The stream is one ring of the latest events. A subscription is a position in that ring and has no queue of
//! its own, so a reader that stands still costs nothing and can hold nobody up: what has left the ring before
//! it was read is reported as missed, with the number. What supervisors tell lies in the ring as data, and becomes
//! an [`Event`] with text and JSON when it is read.

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

/// Events that the ring keeps by default. A kill storm of 100 kills a second makes about 300 events a second:
/// a reader may then be more than ten seconds late. At about 200 bytes each, and what children tell is as large
/// as its detail, this is some 1 MB.
pub const TELEMETRY_RING_EVENTS: usize = 4096;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up by one from 0 for each event of the stream.
    pub seq: u64,
    /// When, in microseconds of unix time.
    pub at_micros: u64,
    /// Whom it concerns: ids from the root, joined by `/`.
    pub path: String,
    /// What: see the table in the crate's documentation; children report kinds of their own.
    pub kind: String,
    /// The rest, by kind.
    pub detail: Value,
}

/// An event as the ring keeps it.
struct Record {
    seq: u64,
    at_micros: u64,
    path: Arc<str>,
    what: What,
}

enum What {
    Fact {
        fact: Fact,
        who: Who,
    },
    /// Told by a child.
    Other {
        kind: String,
        detail: Value,
    },
}

impl Record {
    fn event(&self) -> Arc<Event> {
        let (kind, detail) = match &self.what {
            What::Fact { fact, who } => (fact.kind().to_owned(), fact.detail(*who)),
            What::Other { kind, detail } => (kind.clone(), detail.clone()),
        };
        let path = self.path.to_string();
        Arc::new(Event { seq: self.seq, at_micros: self.at_micros, path, kind, detail })
    }
}

struct Ring {
    next_seq: u64,
    events: VecDeque<Arc<Record>>,
    capacity: usize,
    /// All [`Telemetry`] are gone: nothing more will come.
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
        self.add(path.into(), What::Other { kind: kind.to_owned(), detail });
    }

    /// Adds what a supervisor tells; never waits.
    pub(crate) fn tell(&self, path: &Arc<str>, fact: Fact, who: Who) {
        self.add(Arc::clone(path), What::Fact { fact, who });
    }

    fn add(&self, path: Arc<str>, what: What) {
        let shared = &self.sender.0;
        let mut ring = shared.ring.lock();
        let seq = ring.next_seq;
        ring.next_seq += 1;
        let oldest = if ring.events.len() == ring.capacity { ring.events.pop_front() } else { None };
        // Stamped under the lock, so that `at_micros` follows `seq` as far as the system's clock lets it.
        ring.events.push_back(Arc::new(Record { seq, at_micros: unix_micros(), path, what }));
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
    /// The next event; `None` when every [`Telemetry`] of the stream is gone and all was read.
    ///
    /// If events left the ring unread, the answer is one event of kind `missed` with their number in
    /// `detail.missed`, and then the stream goes on with the oldest event that is still there.
    ///
    /// Cancel safe: a call that is dropped loses no event.
    pub async fn recv(&mut self) -> Option<Arc<Event>> {
        let shared = Arc::clone(&self.shared);
        loop {
            let more = shared.more.notified();
            tokio::pin!(more);
            // Enlisted before the look, so that an event between look and wait is not slept through.
            more.as_mut().enable();
            match self.look() {
                Look::Record(record) => return Some(record.event()),
                Look::Missed(event) => return Some(event),
                Look::Closed => return None,
                Look::Empty => more.await,
            }
        }
    }

    /// The next event, if there is one already.
    pub fn try_recv(&mut self) -> Option<Arc<Event>> {
        match self.look() {
            Look::Record(record) => Some(record.event()),
            Look::Missed(event) => Some(event),
            Look::Closed | Look::Empty => None,
        }
    }

    fn look(&mut self) -> Look {
        let ring = self.shared.ring.lock();
        let oldest = ring.next_seq - ring.events.len() as u64;
        if self.next < oldest {
            let missed = oldest - self.next;
            self.next = oldest;
            return Look::Missed(Arc::new(Event {
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
                Look::Record(Arc::clone(record))
            }
            None if ring.closed => Look::Closed,
            None => Look::Empty,
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("next", &self.next).finish_non_exhaustive()
    }
}

enum Look {
    Record(Arc<Record>),
    Missed(Arc<Event>),
    Empty,
    Closed,
}

/// Now, in microseconds of unix time; 0 if the system's clock stands before 1970.
pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Telemetry;

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_it_missed() {
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
