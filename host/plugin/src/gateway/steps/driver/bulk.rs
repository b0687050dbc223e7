//! The step `bulk`: the rest of a request is a read, or a follower.

use std::sync::Arc;

use http::response::Parts;

use super::{Driver, HeadSender, Over};
use crate::bindings::gateway::steps::{Bulk, Cause, Event, Step};
use crate::bindings::store::types::Error;
use crate::gateway::error::GatewayError;
use crate::gateway::steps::bulk::{Reached, Sending};
use crate::gateway::steps::delivery::Delivery;
use crate::gateway::steps::exports::NextStep;
use crate::gateway::steps::form::Form;
use crate::gateway::steps::outflow::outflow;
use crate::long_read::{Page, Reading};
use crate::problem::{code, problem};
use crate::request_control::RequestControl;

/// What was sent of a bulk read.
enum Sent {
    /// All of it.
    Over,
    /// This page; the others follow.
    Follows(Page),
}

/// Why a bulk read failed.
enum Unsent {
    /// It failed before the head was sent.
    Failed(Error),
    /// It failed later, and could not be concluded.
    Broken(GatewayError),
}

impl Driver {
    /// Sends a bulk read. If that fails before its head, the gateway makes another step. Once a follower has begun, it is the
    /// store's.
    pub(super) async fn bulk(&mut self, mut bulk: Bulk) -> Result<Step, Over> {
        self.drop_open();
        let token = Arc::new(std::mem::take(&mut bulk.token));
        let reading = Reading::of(bulk.query.clone(), bulk.follow, bulk.page_bytes);
        let follows = reading.follows() && !self.is_head;
        let followers = self.worker.followers.clone();
        let seat = if follows { followers.seat() } else { None };
        if follows && seat.is_none() {
            let full = problem(code::OVERLOADED, "the store has as many followers as it may have");
            return Ok(self.step(NextStep::Resume(token, Arc::new(Event::Failed(full)))).await?);
        }
        let form = Arc::new(Form::of(&mut bulk));
        let out = std::mem::replace(&mut self.out, outflow(&self.worker.followers.untaken).0);
        let mut sending = Sending {
            origin: self.worker.origin.clone(),
            worker: Some(self.worker.clone()),
            trace: self.control.trace.clone(),
            reader: self.reader(reading),
            delivery: Delivery::new(out, form.wanted(), bulk.within_ms, seat),
            form,
            closing: self.control.closing().clone(),
            unreached: None,
        };
        let left = sending.delivery.out.left();
        let sent = tokio::select! {
            begun = Self::send(&mut self.head, &self.control, self.is_head, &mut sending, bulk, follows) => begun,
            () = left => return Err(Over::Done),
        };
        match sent {
            Ok(Sent::Follows(page)) => {
                sending.worker = None;
                sending.closing = followers.closing.clone();
                sending.reader.caller.request = None;
                followers.go_on(sending, Some(page));
                Err(Over::Done)
            }
            Ok(Sent::Over) => Err(Over::Done),
            Err(Unsent::Broken(error)) => Err(error.into()),
            Err(Unsent::Failed(error)) => {
                self.out = sending.delivery.out;
                Ok(self.step(NextStep::Resume(token, Arc::new(Event::Failed(error)))).await?)
            }
        }
    }

    /// Sends a bulk read to its end or, if it follows, its first page.
    async fn send(
        sender: &mut Option<HeadSender>,
        control: &RequestControl,
        is_head: bool,
        sending: &mut Sending,
        bulk: Bulk,
        follows: bool,
    ) -> Result<Sent, Unsent> {
        let begin = |head: Parts| {
            control.response_began();
            if let Some(sender) = sender.take() {
                // The client may be gone.
                drop(sender.send(Ok(head)));
            }
        };
        let page = sending.begin(&bulk.head, bulk.opening, is_head, begin).await.map_err(Unsent::Failed)?;
        if is_head {
            return Ok(Sent::Over);
        }
        if follows {
            return Ok(Sent::Follows(page));
        }
        let cause = match sending.rest(Some(page)).await {
            Ok(Reached::End | Reached::Live) => Cause::Complete,
            Err(cause) => cause,
        };
        sending.conclude(cause).await.map_err(Unsent::Broken)?;
        Ok(Sent::Over)
    }
}
