//! Batches as the host passes them, for tests of sinks outside of a component.
//!
//! ```
//! use exesdb_sdk::events::EventData;
//! use exesdb_sdk::packed::Events;
//! use exesdb_sdk::sinks::testing::{Event, batch, deliver};
//! use exesdb_sdk::sinks::{Batch, Failure, Outcome, Sink};
//!
//! /// Takes what was not delivered before.
//! struct Once;
//!
//! impl Sink for Once {
//!     fn deliver(batch: Batch) -> Outcome {
//!         let again = batch.earlier.iter().position(|earlier| *earlier > 0);
//!         let done = again.unwrap_or(batch.earlier.len()) as u32;
//!         Outcome { done, failure: again.map(|_| Failure::Rejected("it was delivered before".into())) }
//!     }
//! }
//!
//! let paid = || EventData { event_type: "paid".into(), data: b"12".to_vec(), ..EventData::default() };
//! let first = batch([("order-1", paid()), ("order-2", paid()), ("order-1", paid())]);
//! let versions: Vec<u64> = Events::new(&first.events).map(|event| event.unwrap().1.version).collect();
//! assert_eq!(versions, [0, 0, 1]);
//! assert_eq!(deliver::<Once>(first), Outcome::done(3));
//!
//! let second = batch([Event::new("order-1", paid()).at(41), Event::new("order-1", paid()).earlier(1)]);
//! assert_eq!(deliver::<Once>(Batch { time_ms: 100, ..second }).done, 1);
//! ```

use std::collections::BTreeMap;

use super::{Batch, Failure, Outcome, Sink, Unavailability};
use crate::events::EventData;
use crate::packed::{Events, push_event, set_json_flags};

/// The most events of a batch.
const EVENTS_MAX: usize = 1_000;

/// The most bytes of a reason.
const REASON_BYTES_MAX: usize = 1_024;

/// A quarter of what a subscription gives its consumers by default.
const TIME_MS: u32 = 7_500;

/// An event of a batch, and its place in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    stream_id: String,
    data: EventData,
    position: Option<u64>,
    version: Option<u64>,
    created: u64,
    earlier: u32,
}

impl Event {
    /// An event that comes right after the one before it, in the batch and in its stream, and is delivered for the first time.
    #[must_use]
    pub fn new(stream_id: &str, data: EventData) -> Self {
        let (stream_id, position, version) = (stream_id.to_owned(), None, None);
        Self { stream_id, data, position, version, created: 0, earlier: 0 }
    }

    /// Its position in the store.
    #[must_use]
    pub fn at(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }

    /// Its version in its stream.
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// When it was appended: microseconds since 1970-01-01T00:00:00 UTC.
    #[must_use]
    pub fn created(mut self, created: u64) -> Self {
        self.created = created;
        self
    }

    /// How often it was delivered before.
    #[must_use]
    pub fn earlier(mut self, times: u32) -> Self {
        self.earlier = times;
        self
    }
}

impl From<(&str, EventData)> for Event {
    fn from((stream_id, data): (&str, EventData)) -> Self {
        Self::new(stream_id, data)
    }
}

/// A batch of the subscription `test`, for which there are 7.5 seconds; its fields can be changed. Positions begin with 0, and so
/// do the versions of each stream. What the content type says to be JSON is taken to be JSON, and so is metadata: the host has
/// checked that.
///
/// # Panics
///
/// If there is no event or more than 1,000 (E12), or a part of one is longer than any event may have.
#[must_use]
pub fn batch(events: impl IntoIterator<Item: Into<Event>>) -> Batch {
    let (mut packed, mut earlier, mut next) = (Vec::new(), Vec::new(), 0);
    let mut versions = BTreeMap::<String, u64>::new();
    for event in events.into_iter().map(Into::into) {
        let Event { stream_id, data, position, version, created, earlier: times } = event;
        let position = position.unwrap_or(next);
        let version = version.unwrap_or_else(|| versions.get(&stream_id).copied().unwrap_or(0));
        push_event(&mut packed, position, &data.parts(&stream_id, version, created))
            .expect("no part of an event is too long");
        earlier.push(times);
        next = position.saturating_add(1);
        versions.insert(stream_id, version.saturating_add(1));
    }
    let count = earlier.len();
    assert!((1..=EVENTS_MAX).contains(&count), "a batch of {count} events (E12)");
    set_json_flags(&mut packed, |_| true).expect("they were packed just now");
    Batch { subscription: "test".to_owned(), events: packed, earlier, time_ms: TIME_MS }
}

/// Has a sink deliver a batch, and checks what it returns as the host does.
///
/// # Panics
///
/// If the sink breaks its contract.
pub fn deliver<S: Sink>(batch: Batch) -> Outcome {
    let events = Events::check(&batch.events).expect("a batch has packed events");
    assert_eq!(events, batch.earlier.len(), "each event has its number of deliveries (E13)");
    let outcome = S::deliver(batch);
    let done = outcome.done as usize;
    assert!(done <= events, "{done} of {events} events are done (E8)");
    match &outcome.failure {
        None => assert!(done > 0, "no event is done, and nothing says why (E9)"),
        Some(failure) => {
            assert!(done < events, "all {events} events are done, and one has failed (E9)");
            let (Failure::Unavailable(Unavailability { reason, .. })
            | Failure::Failed(reason)
            | Failure::Rejected(reason)
            | Failure::Broken(reason)) = failure;
            check_reason(reason);
        }
    }
    outcome
}

/// Has a sink check its settings, which [`config::Given`](crate::config::Given) provides.
///
/// # Errors
///
/// What the sink says about them.
///
/// # Panics
///
/// If the error is longer than 1 KiB (E11).
pub fn check<S: Sink>() -> Result<(), String> {
    S::check().inspect_err(|why| check_reason(why))
}

fn check_reason(reason: &str) {
    assert!(reason.len() <= REASON_BYTES_MAX, "a reason of {} bytes (E14)", reason.len());
}

#[cfg(test)]
mod tests {
    use super::{Batch, Event, Failure, Outcome, Sink, batch, deliver};
    use crate::events::{EventData, unpack};
    use crate::packed::Events;

    fn event(content_type: &str) -> EventData {
        let content_type = content_type.to_owned();
        EventData { content_type, data: b"1".to_vec(), metadata: b"{}".to_vec(), ..EventData::default() }
    }

    #[test]
    fn events_follow_each_other_unless_they_say_where_they_are() {
        let events = [
            Event::new("s", event("")),
            Event::new("t", event("")).at(7).created(9),
            Event::new("s", event("")).earlier(2),
            Event::new("t", event("")).version(5),
            Event::new("t", event("")),
        ];
        let batch = batch(events);
        let events = unpack(&batch.events).unwrap();
        let places: Vec<_> =
            events.iter().map(|event| (event.position, event.version, event.created)).collect();
        assert_eq!(places, [(0, 0, 0), (7, 0, 9), (8, 1, 0), (9, 5, 0), (10, 6, 0)]);
        assert_eq!((batch.earlier, batch.time_ms), (vec![0, 0, 2, 0, 0], 7_500));
    }

    #[test]
    fn what_says_to_be_json_is_json() {
        for (content_type, is_json) in [("application/json", true), ("a/b+json", true), ("text/plain", false)]
        {
            let batch = batch([("s", event(content_type))]);
            let (_, event) = Events::new(&batch.events).next().unwrap().unwrap();
            assert_eq!((event.data_is_json(), event.metadata_is_json()), (is_json, true), "{content_type}");
        }
    }

    /// Returns what its first event says.
    struct Scripted;

    impl Sink for Scripted {
        fn deliver(batch: Batch) -> Outcome {
            let (_, event) = Events::new(&batch.events).next().unwrap().unwrap();
            let (done, reason) = event.event_type.split_once(' ').unwrap();
            let failure = (!reason.is_empty()).then(|| Failure::Failed(reason.to_owned()));
            Outcome { done: done.parse().unwrap(), failure }
        }
    }

    #[test]
    fn what_the_host_would_not_accept_is_a_panic() {
        let outcome = |event_type: String| {
            let first = EventData { event_type, ..EventData::default() };
            std::panic::catch_unwind(|| deliver::<Scripted>(batch([("s", first), ("s", event(""))])))
        };
        for (said, is_good) in [
            ("2 ".to_owned(), true),
            ("1 ".to_owned(), true),
            ("0 no".to_owned(), true),
            ("1 no".to_owned(), true),
            ("0 ".to_owned(), false),
            ("3 ".to_owned(), false),
            ("2 no".to_owned(), false),
            (format!("0 {}", "x".repeat(1_024)), true),
            (format!("0 {}", "x".repeat(1_025)), false),
        ] {
            assert_eq!(outcome(said.clone()).is_ok(), is_good, "{said}");
        }
        assert!(std::panic::catch_unwind(|| batch(Vec::<Event>::new())).is_err());
    }
}
