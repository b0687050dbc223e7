//! The events that a durable subscription delivers to a consumer: as an event stream, or one batch with each request.

use exesdb_json::{push_number, text_bytes};
use exesdb_sdk::packed::{Broken, Envelope, Events};
use exesdb_sdk::steps::{Delivered, Event, Stopped};
use serde::{Deserialize, Serialize};

use super::subscription::subscription_name;
use super::{Step, Waiting, live, unexpected};
use crate::accept::{Representation, stream_or_json};
use crate::encode::{Delivery, push_delivered};
use crate::form::closing;
use crate::limits::{CONSUMER_WAIT_MS_MAX, CONSUMER_WINDOW_DEFAULT, CONSUMER_WINDOW_MAX};
use crate::problem::{Kind, Problem};
use crate::query::Query;
use crate::request::Head;
use crate::response;
use crate::route::Route;
use crate::store_error::{Subject, problem};

/// A consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consume {
    subscription: String,
    consumer: Option<u64>,
    window: u32,
    /// It names events by their ids.
    by_id: bool,
    /// For one batch; none for an event stream.
    wait_ms: Option<u32>,
    has_begun: bool,
}

/// The payload of the feed.
#[derive(Serialize)]
struct Payload<'a> {
    name: &'a str,
    consumer: Option<u64>,
    window: u32,
    wait_ms: Option<u32>,
    by_id: bool,
}

/// What the feed says about the events.
#[derive(Deserialize)]
struct Notes {
    consumer: u64,
    places: Vec<u64>,
    earlier: Vec<u32>,
}

impl Consume {
    /// Reads the head.
    pub(crate) fn parse(head: &Head<'_>, subscription: &str) -> Result<Route, Problem> {
        let query = Query::parse(head.query, &["by_id", "consumer", "wait_ms", "window"])?;
        let narrow = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
        let is_stream = stream_or_json(head)? == Representation::EventStream;
        let wait_ms = narrow(query.number("wait_ms", 0, CONSUMER_WAIT_MS_MAX)?);
        if is_stream && wait_ms.is_some() {
            return Err(Problem::invalid("wait_ms", "is for batches; an event stream has no end"));
        }
        if head.is_head() {
            return Err(Problem::invalid("method", "HEAD would take events; use GET"));
        }
        Ok(Route::Consume(Self {
            subscription: subscription_name(subscription)?,
            consumer: query.number("consumer", 0, u64::MAX)?,
            window: narrow(query.number("window", 1, CONSUMER_WINDOW_MAX)?)
                .unwrap_or(CONSUMER_WINDOW_DEFAULT),
            by_id: query.flag("by_id")?,
            wait_ms: (!is_stream).then(|| wait_ms.unwrap_or(0)),
            has_begun: false,
        }))
    }

    /// The first step.
    pub(super) fn begin(self) -> Step<Waiting> {
        let payload = Payload {
            name: &self.subscription,
            consumer: self.consumer,
            window: self.window,
            wait_ms: self.wait_ms,
            by_id: self.by_id,
        };
        let credit = self.wait_ms.map(|_| self.window);
        live::subscribe(Waiting::Consume(self.clone()), "subscriptions/consume", &payload, credit)
    }

    pub(super) fn resume(self, event: Event) -> Result<Step<Waiting>, Problem> {
        match event {
            Event::Page(delivered) => self.page(&delivered),
            Event::Stopped(Stopped { error, .. }) => {
                let reason = error
                    .map_or_else(closing, |error| problem(error, Subject::Subscription(&self.subscription)));
                if self.has_begun { Ok(live::end(Waiting::Consume(self), &reason)) } else { Err(reason) }
            }
            Event::Timer(_) => Ok(live::keep_alive(Waiting::Consume(self))),
            Event::Draining(_) => Ok(live::end(Waiting::Consume(self), &closing())),
            _ => Err(unexpected("another event than what is delivered")),
        }
    }

    fn page(mut self, delivered: &Delivered) -> Result<Step<Waiting>, Problem> {
        let broken = |what: String| Problem::new(Kind::Internal, what);
        let notes: Notes =
            serde_json::from_slice(&delivered.notes).map_err(|error| broken(error.to_string()))?;
        if self.wait_ms.is_some() {
            let body = batch(&notes, &delivered.events).map_err(|error| broken(error.to_string()))?;
            return Ok(Step::Respond(response::json(body)));
        }
        let mut out = Vec::with_capacity(text_bytes(&delivered.events) + 64);
        if !self.has_begun {
            out.extend_from_slice(b"event: consumer\ndata: {\"consumer\":");
            push_number(&mut out, notes.consumer);
            out.extend_from_slice(b"}\n\n");
        }
        each(&notes, &delivered.events, |position, envelope, delivery| {
            out.extend_from_slice(b"data: ");
            push_delivered(&mut out, position, envelope, delivery);
            out.extend_from_slice(b"\n\n");
        })
        .map_err(|error| broken(error.to_string()))?;
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        Ok(live::send(Waiting::Consume(self), out, is_first))
    }
}

/// Calls `push` with each event and its delivery.
fn each(
    notes: &Notes,
    events: &[u8],
    mut push: impl FnMut(u64, &Envelope<'_>, Delivery),
) -> Result<(), Broken> {
    let deliveries = notes.places.iter().zip(&notes.earlier);
    for (event, (place, earlier)) in Events::new(events).zip(deliveries) {
        let (position, envelope) = event?;
        push(position, &envelope, Delivery { place: *place, earlier: *earlier });
    }
    Ok(())
}

/// The body of a response with one batch.
fn batch(notes: &Notes, events: &[u8]) -> Result<Vec<u8>, Broken> {
    let mut out = Vec::with_capacity(text_bytes(events) + 64);
    out.extend_from_slice(b"{\"consumer\":");
    push_number(&mut out, notes.consumer);
    out.extend_from_slice(b",\"events\":[");
    let mut is_first = true;
    each(notes, events, |position, envelope, delivery| {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        push_delivered(&mut out, position, envelope, delivery);
    })?;
    out.extend_from_slice(b"]}");
    Ok(out)
}
