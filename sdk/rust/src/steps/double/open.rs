//! What a request has open: its numbers, calls, holds, subscriptions and timers, and the receipt of its body.

use std::collections::{BTreeMap, VecDeque};

use super::feeds::Feeds;
use super::numbers::{Kind, Numbers};
use super::timers::Timers;
use super::{Backend, Call, Called, Delivery, Intake, rules};
use crate::steps::{Grant, Holding, NumberedCall, Subscription, Timer};

#[derive(Default)]
pub(super) struct Open {
    numbers: Numbers,
    /// Calls that were not made yet.
    calls: VecDeque<NumberedCall>,
    /// Outcomes that were not delivered yet, and whether they are in order.
    outcomes: VecDeque<(Called, bool)>,
    held: BTreeMap<u32, Vec<u8>>,
    pub(super) feeds: Feeds,
    pub(super) timers: Timers,
    intake: Option<Intake>,
}

impl Open {
    pub(super) fn begin_step(&mut self) {
        self.numbers.begin_step();
    }

    /// Checks what is open after the actions of a step.
    pub(super) fn end_step(&self) {
        self.numbers.end_step();
        let can_go_on = self.intake.is_some() || self.numbers.bring_event();
        assert!(can_go_on, "nothing is open that could bring an event (P3)");
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.len() + self.outcomes.len()
    }

    pub(super) fn add(&mut self, mut call: NumberedCall) {
        rules::call(&call);
        if let Some(held) = call.held {
            self.numbers.expect(held, Kind::Hold, "held");
            self.numbers.free(held);
            let held = self.held.remove(&held).unwrap_or_default();
            if let Call::Write(write) = &mut call.call
                && let [append] = write.request.appends.as_mut_slice()
            {
                append.events = [held, std::mem::take(&mut append.events)].concat();
            }
        }
        self.numbers.take(call.id, Kind::Call);
        self.calls.push_back(call);
    }

    pub(super) fn hold(&mut self, Holding { id, events }: Holding) {
        if self.numbers.get(id) != Some(Kind::Hold) {
            self.numbers.take(id, Kind::Hold);
        }
        crate::packed::Events::check(&events).expect("what is held are packed events");
        self.held.entry(id).or_default().extend(events);
    }

    pub(super) fn subscribe(&mut self, subscription: Subscription) {
        self.numbers.take(subscription.id, Kind::Subscription);
        self.feeds.add(subscription);
    }

    pub(super) fn grant(&mut self, Grant { id, credit }: Grant) {
        self.numbers.expect(id, Kind::Subscription, "credit");
        self.feeds.grant(id, credit);
    }

    pub(super) fn set_timer(&mut self, Timer { id, ms }: Timer, now: u64) {
        self.numbers.take(id, Kind::Timer);
        self.timers.add(id, now.saturating_add(ms.into()));
    }

    pub(super) fn cancel(&mut self, id: u32) {
        match self.numbers.free(id) {
            None => panic!("`cancel` of {id}, which is not open (P2)"),
            Some(Kind::Call) => {
                self.calls.retain(|call| call.id != id);
                self.outcomes.retain(|(called, _)| called.id != id);
            }
            Some(Kind::Hold) => drop(self.held.remove(&id)),
            Some(Kind::Subscription) => self.feeds.cancel(id),
            Some(Kind::Timer) => self.timers.cancel(id),
        }
    }

    /// A number is free again after its last event.
    pub(super) fn is_over(&mut self, id: u32) {
        self.numbers.free(id);
    }

    pub(super) fn receive(&mut self, intake: Intake) {
        assert!(self.intake.is_none(), "`receive` while one is open (P3)");
        rules::intake(&intake);
        self.intake = Some(intake);
    }

    pub(super) fn awaits_body(&self) -> bool {
        self.intake.is_some()
    }

    pub(super) fn take_intake(&mut self) -> Option<Intake> {
        self.intake.take()
    }

    /// Nothing more is received or delivered, because the host stops.
    pub(super) fn drain(&mut self) {
        self.intake = None;
        self.feeds.drain();
    }

    /// Makes all calls.
    pub(super) fn make_calls(&mut self, backend: &mut impl Backend) {
        for NumberedCall { id, call, context, in_order, .. } in self.calls.drain(..) {
            let outcome = backend.call(call);
            self.outcomes.push_back((Called { id, context, outcome }, in_order));
        }
    }

    /// Takes the outcomes of the next event.
    pub(super) fn outcomes(&mut self, delivery: Delivery) -> Vec<Called> {
        let taken: Vec<(Called, bool)> = match delivery {
            Delivery::Together => self.outcomes.drain(..).collect(),
            Delivery::Alone => self.outcomes.pop_front().into_iter().collect(),
            Delivery::Reversed => {
                let last = self.outcomes.iter().rposition(|(_, in_order)| !in_order).unwrap_or(0);
                self.outcomes.remove(last).into_iter().collect()
            }
        };
        for (called, _) in &taken {
            self.numbers.free(called.id);
        }
        taken.into_iter().map(|(called, _)| called).collect()
    }
}
