//! What has to hold of the deliveries of a subscription. Pure.
//!
//! - **Nothing is missing**: each event that it selects was delivered to a consumer that was able to say something about it.
//! - **What is delivered is stored**, where the delivery says.
//! - **Nothing comes again without a fault.** A quiet time is one without a fault: nothing is killed, and no consumer dies or
//!   stalls. An event that was sent in one is delivered once in it, and once more each time a consumer refuses it to have it
//!   again. There is one excuse: its time was over, because the machine is busy. That cannot be if it was delivered again, or
//!   its acknowledgement was confirmed, sooner after it was sent than a consumer may take.
//! - **Order**: of the events that were sent in a quiet time, a consumer gets those of one lane first in their order. While
//!   a consumer has an event of a lane, no other one gets a later event of that lane.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::load::Event;
use crate::plan::{Decision, Subscription};
use crate::record::{Delivery, Record, Seen};

/// Violations of one kind that are described, of one subscription.
const DESCRIBED_MAX: usize = 5;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) violations: Vec<String>,
    pub(crate) events: usize,
    pub(crate) deliveries: usize,
    /// Events that were delivered more than once.
    pub(crate) delivered_again: usize,
    /// Events of which was checked that they did not come again.
    pub(crate) checked_once: usize,
    /// Deliveries whose order was checked.
    pub(crate) checked_order: usize,
}

/// The numbers of the events that a subscription selects and that nobody was able to settle.
pub(crate) fn missing(record: &Record, events: &[Event]) -> Vec<usize> {
    record.with_seen(|seen| {
        let is_done = |number: &usize| seen.get(number).is_some_and(|seen| !seen.settlements.is_empty());
        selected(&record.subscription, events).filter(|number| !is_done(number)).collect()
    })
}

fn selected<'a>(subscription: &'a Subscription, events: &'a [Event]) -> impl Iterator<Item = usize> + 'a {
    let is_selected = |event: &Event| event.stored.is_some() && (subscription.selects)(event);
    events.iter().enumerate().filter(move |(_, event)| is_selected(event)).map(|(number, _)| number)
}

/// The places of the events that are parked if consumers park what they decide to.
pub(crate) fn parked(subscription: &Subscription, events: &[Event]) -> BTreeSet<u64> {
    selected(subscription, events)
        .filter(|number| subscription.decision(*number) == Decision::Park)
        .filter_map(|number| events[number].stored)
        .map(|stored| subscription.place(stored))
        .collect()
}

/// Checks everything.
pub(crate) fn check(record: &Record, events: &[Event], quiet: &[Range<u64>]) -> Findings {
    let mut findings = Findings { violations: record.violations(), ..Findings::default() };
    let (seen, name) = (record.with_seen(Clone::clone), &record.subscription.name);
    findings.events = seen.len();
    findings.deliveries = seen.values().map(|seen| seen.deliveries.len()).sum();
    findings.delivered_again = seen.values().filter(|seen| seen.deliveries.len() > 1).count();
    let missing = missing(record, events);
    if !missing.is_empty() {
        let places: Vec<_> = missing.iter().take(20).collect();
        findings.violations.push(format!("{name}: {} events are missing: {places:?}", missing.len()));
    }
    for number in missing.into_iter().take(DESCRIBED_MAX) {
        findings.violations.push(describe("was not delivered for good", record, events, number));
    }
    for (number, seen) in &seen {
        let place = events[*number].stored.map(|stored| record.subscription.place(stored));
        let is_there = |delivery: &Delivery| place == Some(delivery.place);
        if !seen.deliveries.iter().all(is_there) {
            findings.violations.push(describe(
                "was delivered, and is not stored there",
                record,
                events,
                *number,
            ));
        }
    }
    for window in quiet {
        again(record, events, &seen, window, &mut findings);
        order(record, events, &seen, window, &mut findings);
    }
    findings
}

/// What happened to an event, for people.
fn describe(what: &str, record: &Record, events: &[Event], number: usize) -> String {
    let seen = record.with_seen(|seen| seen.get(&number).cloned()).unwrap_or_default();
    let Subscription { name, settings, transport, .. } = &record.subscription;
    let event = &events[number];
    format!("{name}: {number} {what}: {event:?}, {seen:?}; {transport:?}, {settings}")
}

fn timeout(subscription: &Subscription) -> u64 {
    subscription.ack_timeout_ms * 1_000
}

/// Finds what came again without a fault.
fn again(
    record: &Record,
    events: &[Event],
    seen: &BTreeMap<usize, Seen>,
    window: &Range<u64>,
    findings: &mut Findings,
) {
    let timeout = timeout(&record.subscription);
    let mut described = 0;
    for (number, seen) in seen.iter().filter(|(number, _)| window.contains(&events[**number].begun)) {
        let begun = events[*number].begun;
        let in_time = |at: u64| at - begun < timeout;
        let settled_in_time = seen.settlements.iter().filter_map(|settlement| settlement.confirmed);
        let settled_in_time = settled_in_time.min().is_some_and(in_time);
        findings.checked_once += usize::from(settled_in_time);
        let received = seen.deliveries.iter().filter(|delivery| window.contains(&delivery.at));
        let one_too_many = received.map(|delivery| delivery.at).nth(1 + seen.retried);
        if one_too_many.is_some_and(|at| in_time(at) || settled_in_time) && described < DESCRIBED_MAX {
            described += 1;
            findings.violations.push(describe("came again without a fault", record, events, *number));
        }
    }
}

/// A delivery that was the first one of its event.
struct First<'a> {
    number: usize,
    place: u64,
    lane: Option<&'a str>,
    delivery: Delivery,
    seen: &'a Seen,
}

/// Finds what came before what it has to follow.
fn order(
    record: &Record,
    events: &[Event],
    seen: &BTreeMap<usize, Seen>,
    window: &Range<u64>,
    findings: &mut Findings,
) {
    let subscription = &record.subscription;
    let first = |(number, seen): (&usize, &'_ Seen)| {
        let (number, event) = (*number, &events[*number]);
        let delivery = *seen.deliveries.iter().find(|delivery| delivery.earlier == 0)?;
        let is_within = window.contains(&event.begun) && window.contains(&delivery.at);
        let place = subscription.place(event.stored?);
        is_within.then_some((number, place, delivery))
    };
    let mut firsts: Vec<First<'_>> = Vec::new();
    for (number, seen) in seen {
        if let Some((number, place, delivery)) = first((number, seen)) {
            let lane = subscription.lane(&events[number]);
            firsts.push(First { number, place, lane, delivery, seen });
        }
    }
    firsts.sort_by_key(|first| first.delivery.order);
    let mut last: BTreeMap<(u32, Option<&str>), u64> = BTreeMap::new();
    for First { number, place, lane, delivery, .. } in &firsts {
        let before = last.insert((delivery.session, *lane), *place);
        findings.checked_order += usize::from(before.is_some());
        if before.is_some_and(|before| before > *place) {
            findings.violations.push(describe("came after what follows it", record, events, *number));
        }
    }
    firsts.sort_by_key(|first| (first.lane, first.place));
    for pair in firsts.windows(2) {
        let [one, next] = pair else { continue };
        let is_pinned = one.lane.is_some() && one.lane == next.lane && one.seen.retried == 0;
        if !is_pinned || one.delivery.session == next.delivery.session {
            continue;
        }
        let at = next.delivery.at;
        let settled = one.seen.settlements.iter().map(|settlement| settlement.begun).min();
        let is_in_time = at - events[one.number].begun < timeout(subscription);
        if is_in_time && settled.is_none_or(|settled| settled > at) {
            let what = format!("was with a consumer when {} came to another one", next.number);
            findings.violations.push(describe(&what, record, events, one.number));
        }
    }
}
