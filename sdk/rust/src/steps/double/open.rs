//! What a request has open: calls, holds, and the receipt of its body.

use std::collections::{BTreeMap, VecDeque};

use super::{Backend, CALLS_MAX, CONTEXT_BYTES_MAX, Call, Called, CalledList, Delivery, Intake, unsupported};
use crate::steps::{Holding, NumberedCall};

#[derive(Default)]
pub(super) struct Open {
    /// Calls that were not made yet.
    calls: VecDeque<NumberedCall>,
    /// Outcomes that were not delivered yet, and whether they are in order.
    outcomes: VecDeque<(Called, bool)>,
    held: BTreeMap<u32, Vec<u8>>,
    intake: Option<Intake>,
}

impl Open {
    pub(super) fn calls(&self) -> usize {
        self.calls.len() + self.outcomes.len()
    }

    fn is_taken(&self, id: u32) -> bool {
        self.calls.iter().any(|call| call.id == id) || self.outcomes.iter().any(|(called, _)| called.id == id)
    }

    pub(super) fn add(&mut self, call: NumberedCall) {
        assert!(!self.is_taken(call.id), "the number {} is open", call.id);
        assert!(call.context.len() <= CONTEXT_BYTES_MAX, "the context has {} bytes", call.context.len());
        self.calls.push_back(call);
        assert!(self.calls() <= CALLS_MAX, "more than {CALLS_MAX} calls are open");
    }

    pub(super) fn cancel(&mut self, id: u32) {
        self.calls.retain(|call| call.id != id);
        self.outcomes.retain(|(called, _)| called.id != id);
        self.held.remove(&id);
    }

    pub(super) fn hold(&mut self, holding: Holding) {
        assert!(!self.is_taken(holding.id), "the number {} is open", holding.id);
        self.held.entry(holding.id).or_default().extend(holding.events);
    }

    pub(super) fn receive(&mut self, intake: Intake) {
        assert!(self.intake.is_none(), "one `receive` is open at a time");
        self.intake = Some(intake);
    }

    pub(super) fn awaits_body(&self) -> bool {
        self.intake.is_some()
    }

    pub(super) fn take_intake(&mut self) -> Option<Intake> {
        self.intake.take()
    }

    /// Nothing more is received.
    pub(super) fn drain(&mut self) {
        self.intake = None;
    }

    /// Makes all calls, and takes the outcomes of the next event.
    pub(super) fn outcomes(&mut self, backend: &mut impl Backend, delivery: Delivery) -> CalledList {
        for NumberedCall { id, call, context, held, in_order, .. } in self.calls.drain(..) {
            let held = held.map(|held| self.held.remove(&held).unwrap_or_default());
            let outcome = match (held, call) {
                (None, call) => backend.call(call),
                (Some(held), Call::Write(mut write)) if write.request.appends.len() == 1 => {
                    let events = &mut write.request.appends[0].events;
                    *events = [held, std::mem::take(events)].concat();
                    backend.call(Call::Write(write))
                }
                (Some(_), _) => Err(unsupported("held events for this call")),
            };
            self.outcomes.push_back((Called { id, context, outcome }, in_order));
        }
        match delivery {
            Delivery::Together => self.outcomes.drain(..).map(|(called, _)| called).collect(),
            Delivery::Alone => self.outcomes.pop_front().into_iter().map(|(called, _)| called).collect(),
            Delivery::Reversed => {
                let last = self.outcomes.iter().rposition(|(_, in_order)| !in_order).unwrap_or(0);
                self.outcomes.remove(last).into_iter().map(|(called, _)| called).collect()
            }
        }
    }
}
