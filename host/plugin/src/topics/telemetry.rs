//! Events of the telemetry, as a listener hears them. It has a place in the ring; what leaves the ring unread is counted.

use std::sync::Arc;

use exesdb_supervisor::{Event, Subscription};

use super::heard::Heard;
use super::lag::Dropped;
use super::notes::Notes;
use super::record::{Record, belongs};
use super::sample::{HealthWatch, Samples};
use super::topic::SystemTopic;
use crate::bindings::store::types::Error;
use crate::context::ComponentContext;
use crate::names;
use crate::problem::{code, problem};

/// Records of a page. Each has some hundred bytes.
const RECORDS_MAX: usize = 256;

/// The kind of event by which the ring says how many were missed.
const MISSED: &str = "missed";

/// The events of a topic.
pub(super) struct TelemetryEvents {
    ring: Subscription,
    topic: SystemTopic,
    /// The path of the store.
    store: String,
    /// For a topic that says changes of the readiness, too.
    health: Option<HealthWatch>,
    /// What was missed after the last record, and not said yet.
    dropped: Option<Dropped>,
}

impl TelemetryEvents {
    /// Those that happen from now on.
    pub(super) fn begin(context: &ComponentContext, topic: SystemTopic, health: Option<HealthWatch>) -> Self {
        let (ring, store) = (context.telemetry.subscribe(), names::child(&context.registry, &context.store));
        Self { ring, topic, store, health, dropped: None }
    }

    /// Waits for the next ones.
    pub(super) async fn next(
        &mut self,
        context: &ComponentContext,
        samples: &Samples,
    ) -> Result<Heard, Error> {
        loop {
            let first = match self.dropped {
                Some(_) => self.ring.try_recv(),
                None => match self.first(context, samples).await? {
                    First::Event(event) => Some(event),
                    First::Health(record) => return Ok(heard(None, vec![record])),
                },
            };
            let (dropped, records) = self.taken(first);
            if dropped.is_some() || !records.is_empty() {
                return Ok(heard(dropped, records));
            }
        }
    }

    async fn first(&mut self, context: &ComponentContext, samples: &Samples) -> Result<First, Error> {
        let health = async {
            match &mut self.health {
                Some(watch) => samples.next_health(context, watch).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.ring.recv() => {
                event.map(First::Event).ok_or_else(|| problem(code::RESTARTING, "the host stops"))
            }
            record = health => Ok(First::Health(record)),
        }
    }

    /// Takes what there is, beginning with this event: what was missed, and the records after that. What was missed after a record
    /// is said with the next ones.
    fn taken(&mut self, first: Option<Arc<Event>>) -> (Option<Dropped>, Vec<Record>) {
        let (mut dropped, mut records) = (self.dropped.take(), Vec::new());
        let mut next = first;
        while let Some(event) = next {
            if event.kind == MISSED {
                let missed = missed(&event);
                if !records.is_empty() {
                    self.dropped = Some(missed);
                    break;
                }
                dropped = Some(dropped.map_or(missed, |dropped| dropped.and(missed)));
            } else if belongs(&event, self.topic, &self.store) {
                records.push(Record::of(&event));
            }
            next = if records.len() < RECORDS_MAX { self.ring.try_recv() } else { None };
        }
        (dropped, records)
    }
}

/// What a listener hears first.
enum First {
    Event(Arc<Event>),
    Health(Record),
}

fn heard(dropped: Option<Dropped>, records: Vec<Record>) -> Heard {
    Heard { notes: Notes { dropped, records, ..Notes::default() }, ..Heard::default() }
}

/// The events, of all stores and kinds, that left the ring unread.
fn missed(event: &Event) -> Dropped {
    let until = event.seq.saturating_add(1);
    let count = event.detail[MISSED].as_u64().unwrap_or(0);
    Dropped::of(until.saturating_sub(count), until)
}

#[cfg(test)]
mod tests {
    use exesdb_supervisor::Telemetry;
    use serde_json::json;

    use super::{Dropped, RECORDS_MAX, TelemetryEvents};
    use crate::topics::topic::SystemTopic;

    fn listener(telemetry: &Telemetry) -> TelemetryEvents {
        TelemetryEvents {
            ring: telemetry.subscribe(),
            topic: SystemTopic::Lifecycle,
            store: "host/main".to_owned(),
            health: None,
            dropped: None,
        }
    }

    /// The ranges that were dropped, and the number of records, of each page.
    fn pages(listener: &mut TelemetryEvents) -> Vec<(Option<Dropped>, usize)> {
        let mut pages = Vec::new();
        loop {
            let first = listener.ring.try_recv();
            if first.is_none() && listener.dropped.is_none() {
                return pages;
            }
            let (dropped, records) = listener.taken(first);
            pages.push((dropped, records.len()));
        }
    }

    fn dropped(from: u64, until: u64) -> Option<Dropped> {
        Some(Dropped::of(from, until))
    }

    #[test]
    fn a_listener_is_given_what_happens_from_now_on_in_pages() {
        let telemetry = Telemetry::new();
        telemetry.emit("host/main/a", "started", json!({}));
        let mut listener = listener(&telemetry);
        for _ in 0..RECORDS_MAX + 1 {
            telemetry.emit("host/main/a", "started", json!({}));
            telemetry.emit("host/other/a", "started", json!({}));
        }
        assert_eq!(pages(&mut listener), [(None, RECORDS_MAX), (None, 1)]);
    }

    #[test]
    fn what_left_the_ring_is_counted() {
        let telemetry = Telemetry::with_capacity(3);
        let mut listener = listener(&telemetry);
        for _ in 0..10 {
            telemetry.emit("host/main/a", "terminated", json!({}));
        }
        assert_eq!(pages(&mut listener), [(dropped(0, 7), 3)]);
        // Also if nothing of the topic is left.
        telemetry.emit("host/main/a", "terminated", json!({}));
        for _ in 0..5 {
            telemetry.emit("host/other/a", "terminated", json!({}));
        }
        assert_eq!(pages(&mut listener), [(dropped(10, 13), 0)]);
        let two = Dropped::of(1, 4).and(Dropped::of(6, 8));
        assert_eq!((two.from, two.until, two.events), (1, 8, 5));
    }
}
