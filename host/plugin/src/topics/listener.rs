//! A listener of a topic: what it hears next.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Topics;
use super::heard::Heard;
use super::notes::{Begun, Listen};
use super::sample::{HealthWatch, METRICS_INTERVAL};
use super::stored::StoredEvents;
use super::telemetry::TelemetryEvents;
use super::topic::{SystemTopic, Topic};
use crate::bindings::store::types::Error;
use crate::caller::Caller;
use crate::context::ComponentContext;
use crate::long_read::Turns;
use crate::seats::Seat;
use crate::store_calls::StoreCalls;

/// A listener. It is over when it is dropped.
pub(crate) struct Listener {
    context: Arc<ComponentContext>,
    topics: Arc<Topics>,
    turns: Arc<Turns>,
    caller: Caller,
    name: String,
    hearing: Hearing,
    _seat: Seat,
}

/// What a listener hears.
enum Hearing {
    /// It has not begun.
    Nothing(Topic),
    Stored(Box<StoredEvents>),
    Telemetry(TelemetryEvents),
    Health(HealthWatch),
    /// When the next figures are due; none for now.
    Metrics(Option<Instant>),
}

impl Listener {
    /// A listener of a store.
    ///
    /// # Errors
    ///
    /// There is no such topic, or the store has as many listeners as it may have.
    pub(crate) fn new(
        context: &Arc<ComponentContext>,
        topics: &Arc<Topics>,
        turns: &Arc<Turns>,
        caller: Caller,
        listen: Listen,
    ) -> Result<Self, Error> {
        let topic = Topic::parse(&listen.topic)?;
        let seat = topics.seat()?;
        Ok(Self {
            context: context.clone(),
            topics: topics.clone(),
            turns: turns.clone(),
            caller,
            name: listen.topic,
            hearing: Hearing::Nothing(topic),
            _seat: seat,
        })
    }

    /// Waits for what is heard next, of at most so many events. The first time, it begins and says where.
    ///
    /// # Errors
    ///
    /// Nothing more is heard.
    pub(crate) async fn next(&mut self, most: u32) -> Result<Heard, Error> {
        let heard = self.hear(most).await?;
        if let Some(dropped) = &heard.notes.dropped {
            self.topics.samples.count_dropped(dropped.events);
        }
        Ok(heard)
    }

    async fn hear(&mut self, most: u32) -> Result<Heard, Error> {
        let (context, samples) = (&*self.context, &self.topics.samples);
        match &mut self.hearing {
            Hearing::Nothing(_) => self.begin(most).await,
            Hearing::Stored(stored) => stored.next(most).await,
            Hearing::Telemetry(telemetry) => telemetry.next(context, samples).await,
            Hearing::Health(watch) => Ok(Heard::record(samples.next_health(context, watch).await)),
            Hearing::Metrics(due) => {
                if let Some(due) = *due {
                    tokio::time::sleep_until(due).await;
                }
                *due = Some(Instant::now() + METRICS_INTERVAL);
                Ok(Heard::record(samples.metrics(context).await))
            }
        }
    }

    async fn begin(&mut self, most: u32) -> Result<Heard, Error> {
        let Hearing::Nothing(topic) = &self.hearing else { return Ok(Heard::default()) };
        let context = &*self.context;
        let (hearing, from, mut heard) = match topic {
            Topic::Events(topic) => {
                let calls = StoreCalls::of(&self.context);
                let wall = Duration::from_millis(context.limits.response_wall_ms);
                let (caller, live) = (self.caller.clone(), &self.topics.live);
                let mut stored = StoredEvents::begin(topic, calls, caller, wall, &self.turns, live).await?;
                let from = stored.place();
                let heard = stored.first(most).await?;
                (Hearing::Stored(Box::new(stored)), from, heard)
            }
            Topic::System(topic) => (self.system(*topic), None, Heard::default()),
        };
        self.hearing = hearing;
        heard.notes.begun = Some(Begun { topic: self.name.clone(), from });
        Ok(heard)
    }

    fn system(&self, topic: SystemTopic) -> Hearing {
        match topic {
            SystemTopic::Health => Hearing::Health(HealthWatch::default()),
            SystemTopic::Metrics => Hearing::Metrics(None),
            SystemTopic::Lifecycle | SystemTopic::Subscriptions => {
                Hearing::Telemetry(TelemetryEvents::begin(&self.context, topic, None))
            }
            SystemTopic::Alerts => {
                let health = self.topics.samples.health(&self.context.registry, &self.context.store);
                let watch = HealthWatch::knowing(health);
                Hearing::Telemetry(TelemetryEvents::begin(&self.context, topic, Some(watch)))
            }
        }
    }
}
