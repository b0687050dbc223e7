//! Checks the actions of a step, one after the other, before any of them is in force.

use std::collections::{HashMap, HashSet};

use super::{Draining, Exchange, Open};
use crate::bindings::gateway::steps::{Action, Intake, NumberedCall, Pending};
use crate::gateway::steps::limits::{
    ACTIONS_MAX, CALLS_MAX, CALLS_OF_RERUNS_MAX, OTHERS_MAX, SUBSCRIPTIONS_MAX,
};
use crate::gateway::steps::rules::{self, Breach, Content, unless};

/// What the actions of a step change.
#[derive(Default)]
struct Plan {
    /// Numbers, with what they stand for afterwards; none for a number that is free then.
    numbers: HashMap<u32, Option<Open>>,
    /// Numbers that were taken. What a call brings at once must not be mistaken for the outcome of another one.
    taken: HashSet<u32>,
    cancelled: Vec<u32>,
    in_order: Vec<u64>,
    calls: u64,
    intake: Option<Intake>,
    starts: bool,
    finishes: bool,
}

impl<G> Exchange<G> {
    /// Accepts the actions of a step.
    pub(super) fn pend(&mut self, pending: &Pending) -> Result<(), Breach> {
        let mut plan = Plan::default();
        rules::token(&pending.token)?;
        let (count, runs_again) = (pending.actions.len(), pending.token.is_empty());
        unless(count <= ACTIONS_MAX, || {
            format!("a step has {count} actions, over the limit of {ACTIONS_MAX}")
        })?;
        for action in &pending.actions {
            unless(!plan.finishes, || "an action after `finish`".to_owned())?;
            if runs_again {
                let may = matches!(action, Action::Call(_) | Action::Receive(_));
                unless(may, || {
                    "a step with an empty token has other actions than `call` and `receive`".to_owned()
                })?;
            }
            self.act(&mut plan, action)?;
        }
        unless(!(runs_again && self.started), || "an empty token after `start`".to_owned())?;
        let calls = self.calls_made + plan.calls;
        unless(!runs_again || calls <= CALLS_OF_RERUNS_MAX as u64, || {
            format!("{calls} calls of a request that runs again, over the limit of {CALLS_OF_RERUNS_MAX}")
        })?;
        self.check_room(&plan)?;
        unless(plan.finishes || self.brings_event(&plan), || {
            "nothing is open that could bring an event".to_owned()
        })?;
        self.adopt(plan, runs_again);
        Ok(())
    }

    fn act(&self, plan: &mut Plan, action: &Action) -> Result<(), Breach> {
        let after_start = |plan: &Plan, what: &str| {
            unless(self.started || plan.starts, || format!("`{what}` before `start`"))
        };
        match action {
            Action::Start(head) => {
                unless(!self.started && !plan.starts, || "`start` comes a second time".to_owned())?;
                rules::head(head, Content::Streamed)?;
                plan.starts = true;
            }
            Action::Send(_) => after_start(plan, "send")?,
            Action::Finish(trailers) => {
                after_start(plan, "finish")?;
                rules::trailers(trailers)?;
                plan.finishes = true;
            }
            Action::Call(calls) => {
                for call in calls {
                    self.add_call(plan, call)?;
                }
            }
            Action::Hold(holding) => {
                let more = holding.events.len();
                if let Some(Open::Hold { bytes }) = self.at(plan, holding.id) {
                    plan.numbers.insert(holding.id, Some(Open::Hold { bytes: bytes.saturating_add(more) }));
                } else {
                    self.take_number(plan, holding.id, Open::Hold { bytes: more })?;
                }
                exesdb_packed::Events::check(&holding.events)
                    .map_err(|broken| Breach(format!("hold {}: {broken}", holding.id)))?;
            }
            Action::Receive(intake) => self.receive(plan, *intake)?,
            Action::Subscribe(subscription) => {
                self.take_number(plan, subscription.id, Open::Subscription)?;
            }
            Action::Credit(grant) => {
                let is_open = self.at(plan, grant.id) == Some(Open::Subscription);
                if !is_open {
                    return Err(not_open("credit", grant.id));
                }
            }
            Action::Timer(timer) => self.take_number(plan, timer.id, Open::Timer)?,
            Action::Cancel(id) => {
                match self.at(plan, *id) {
                    None => return Err(Breach(format!("`cancel` of {id}, which is not open"))),
                    Some(Open::Call { nth, .. }) => plan.in_order.retain(|other| *other != nth),
                    Some(_) => {}
                }
                plan.numbers.insert(*id, None);
                plan.cancelled.push(*id);
            }
        }
        Ok(())
    }

    fn add_call(&self, plan: &mut Plan, call: &NumberedCall) -> Result<(), Breach> {
        rules::call(call)?;
        let mut bytes = rules::call_bytes(&call.call);
        if let Some(held) = call.held {
            let Some(Open::Hold { bytes: of_hold }) = self.at(plan, held) else {
                return Err(not_open("held", held));
            };
            bytes = bytes.saturating_add(of_hold);
            plan.numbers.insert(held, None);
        }
        let nth = self.calls_made + plan.calls;
        self.take_number(plan, call.id, Open::Call { nth, in_order: call.in_order, bytes })?;
        plan.calls += 1;
        if call.in_order {
            plan.in_order.push(nth);
        }
        unless(plan.calls <= CALLS_MAX as u64, too_many_calls)
    }

    fn receive(&self, plan: &mut Plan, intake: Intake) -> Result<(), Breach> {
        unless(self.body.intake.is_none() && plan.intake.is_none(), || {
            "`receive` while one is open".to_owned()
        })?;
        rules::intake(&intake)?;
        let (used, given) = (intake.used as usize, self.body.given);
        unless(used <= given, || format!("{used} bytes of a piece of {given} were used"))?;
        unless(!(self.body.ended && used == given), || "`receive` after the end of the body".to_owned())?;
        plan.intake = Some(intake);
        Ok(())
    }

    /// What a number stands for after the actions so far.
    fn at(&self, plan: &Plan, id: u32) -> Option<Open> {
        plan.numbers.get(&id).copied().unwrap_or_else(|| self.open.get(&id).copied())
    }

    fn take_number(&self, plan: &mut Plan, id: u32, open: Open) -> Result<(), Breach> {
        unless(self.at(plan, id).is_none(), || format!("the number {id} is in use"))?;
        unless(plan.taken.insert(id), || format!("the number {id} is taken twice in one step"))?;
        plan.numbers.insert(id, Some(open));
        Ok(())
    }

    /// Everything that is open after the actions.
    fn after<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = Open> + 'a {
        let before = self.open.iter().filter(|(id, _)| !plan.numbers.contains_key(id)).map(|(_, open)| *open);
        before.chain(plan.numbers.values().copied().flatten())
    }

    fn check_room(&self, plan: &Plan) -> Result<(), Breach> {
        let (mut calls, mut others, mut subscriptions) = (0_usize, 0_usize, 0_usize);
        for open in self.after(plan) {
            match open {
                Open::Call { .. } => calls += 1,
                Open::Subscription => subscriptions += 1,
                Open::Hold { .. } | Open::Timer => others += 1,
            }
        }
        unless(calls <= CALLS_MAX, too_many_calls)?;
        unless(subscriptions <= SUBSCRIPTIONS_MAX, || {
            format!("more than {SUBSCRIPTIONS_MAX} subscriptions are open")
        })?;
        unless(others <= OTHERS_MAX, || format!("more than {OTHERS_MAX} holds and timers are open"))
    }

    /// Whether something is open that could bring an event. What draining has closed may still be meant.
    fn brings_event(&self, plan: &Plan) -> bool {
        self.body.intake.is_some()
            || plan.intake.is_some()
            || self.draining == Draining::Delivered
            || self.after(plan).any(|open| !matches!(open, Open::Hold { .. }))
    }

    fn adopt(&mut self, plan: Plan, runs_again: bool) {
        for id in plan.cancelled {
            if let Some(Open::Call { nth, .. }) = self.open.remove(&id) {
                self.finished.remove(&nth);
                self.in_order.retain(|other| *other != nth);
            }
            self.timers.retain(|timer| *timer != id);
            self.pages.retain(|page| page.id != id);
            self.stops.retain(|stopped| stopped.id != id);
        }
        for (id, open) in plan.numbers {
            match open {
                Some(open) => self.open.insert(id, open),
                None => self.open.remove(&id),
            };
        }
        self.in_order.extend(plan.in_order);
        (self.calls, self.call_bytes) = (0, 0);
        for open in self.open.values() {
            if let Open::Call { bytes, .. } = open {
                self.calls += 1;
                self.call_bytes += bytes;
            }
        }
        self.calls_made += plan.calls;
        if plan.intake.is_some() {
            self.body.intake = plan.intake;
        }
        self.started |= plan.starts;
        self.runs_again = runs_again;
        if plan.finishes {
            self.end();
        }
    }
}

fn not_open(action: &str, id: u32) -> Breach {
    Breach(format!("`{action}` of {id}, which is not open for it"))
}

fn too_many_calls() -> String {
    format!("more than {CALLS_MAX} calls are open")
}
