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
use crate::record::{Delivery, Known, Record, Seen};

/// Violations of one kind that are described, of one subscription.
const DESCRIBED_MAX: usize = 5;

/// Numbers of missing events that are listed.
const NUMBERS_MAX: usize = 20;

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
pub(crate) fn missing(known: Known<'_>) -> Vec<usize> {
    let is_done = |number: &usize| known.seen.get(number).is_some_and(|seen| !seen.settlements.is_empty());
    selected(known.subscription, known.events).filter(|number| !is_done(number)).collect()
}

fn selected<'a>(subscription: &'a Subscription, events: &'a [Event]) -> impl Iterator<Item = usize> + 'a {
    let is_selected = |event: &Event| event.stored.is_some() && subscription.delivers(event);
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

/// The places of the events that are parked because they end the instances to which they are given.
pub(crate) fn poison(subscription: &Subscription, events: &[Event]) -> BTreeSet<u64> {
    let poison = events.iter().filter(|event| event.is_poison() && subscription.reads_all());
    poison.filter_map(|event| Some(subscription.place(event.stored?))).collect()
}

/// Checks all that is known of a subscription, with what was seen at once to be wrong.
pub(crate) fn findings(record: &Record, events: &[Event], quiet: &[Range<u64>]) -> Findings {
    let mut findings = record.known(events, |known| check(known, quiet));
    findings.violations.splice(0..0, record.violations());
    findings
}

fn check(known: Known<'_>, quiet: &[Range<u64>]) -> Findings {
    let Known { subscription, events, seen } = known;
    let mut findings = Findings {
        events: seen.len(),
        deliveries: seen.values().map(|seen| seen.deliveries.len()).sum(),
        delivered_again: seen.values().filter(|seen| seen.deliveries.len() > 1).count(),
        ..Findings::default()
    };
    let missing = missing(known);
    if !missing.is_empty() {
        let (name, first) = (&subscription.name, &missing[..missing.len().min(NUMBERS_MAX)]);
        findings.violations.push(format!("{name}: {} events are missing: {first:?}", missing.len()));
    }
    for number in missing.into_iter().take(DESCRIBED_MAX) {
        findings.violations.push(describe(known, "was not delivered for good", number));
    }
    for (number, seen) in seen {
        let place = events[*number].stored.map(|stored| subscription.place(stored));
        if !seen.deliveries.iter().all(|delivery| place == Some(delivery.place)) {
            findings.violations.push(describe(known, "was delivered, and is not stored there", *number));
        }
    }
    for window in quiet {
        again(known, window, &mut findings);
        order(known, window, &mut findings);
    }
    findings
}

/// What happened to an event, for people.
fn describe(known: Known<'_>, what: &str, number: usize) -> String {
    let Subscription { name, settings, transport, .. } = known.subscription;
    let (event, seen) = (&known.events[number], known.seen.get(&number));
    format!("{name}: {number} {what}: {event:?}, {seen:?}; {transport:?}, {settings}")
}

fn timeout(subscription: &Subscription) -> u64 {
    subscription.ack_timeout_ms * 1_000
}

/// Finds what came again without a fault.
fn again(known: Known<'_>, window: &Range<u64>, findings: &mut Findings) {
    let Known { subscription, events, seen } = known;
    let timeout = timeout(subscription);
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
            findings.violations.push(describe(known, "came again without a fault", *number));
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

/// The first deliveries of the events that were sent and delivered in a quiet time.
fn firsts<'a>(known: Known<'a>, window: &Range<u64>) -> Vec<First<'a>> {
    let first = |(number, seen): (&usize, &'a Seen)| {
        let event = &known.events[*number];
        let delivery = *seen.deliveries.iter().find(|delivery| delivery.earlier == 0)?;
        let (place, lane) = (known.subscription.place(event.stored?), known.subscription.lane(event));
        let is_within = window.contains(&event.begun) && window.contains(&delivery.at);
        is_within.then_some(First { number: *number, place, lane, delivery, seen })
    };
    known.seen.iter().filter_map(first).collect()
}

/// Finds what came before what it has to follow.
fn order(known: Known<'_>, window: &Range<u64>, findings: &mut Findings) {
    let mut firsts = firsts(known, window);
    firsts.sort_by_key(|first| first.delivery.order);
    let mut last: BTreeMap<(u32, Option<&str>), u64> = BTreeMap::new();
    for First { number, place, lane, delivery, .. } in &firsts {
        let before = last.insert((delivery.session, *lane), *place);
        findings.checked_order += usize::from(before.is_some());
        if before.is_some_and(|before| before > *place) {
            findings.violations.push(describe(known, "came after what follows it", *number));
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
        let is_in_time = at - known.events[one.number].begun < timeout(known.subscription);
        if is_in_time && settled.is_none_or(|settled| settled > at) {
            let what = format!("was with a consumer when {} came to another one", next.number);
            findings.violations.push(describe(known, &what, one.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Range;

    use super::check;
    use crate::load::Event;
    use crate::plan::{Subscription, subscriptions};
    use crate::record::{Delivery, Known, Seen, Settlement};

    /// A pinned subscription of the whole store, in which an event has this many microseconds.
    fn subscription() -> (Subscription, u64) {
        let pinned = subscriptions()
            .into_iter()
            .find(|it| it.name.ends_with("pinned") && it.selector == serde_json::json!({}));
        let subscription = pinned.expect("there is one");
        let timeout = subscription.ack_timeout_ms * 1_000;
        (subscription, timeout)
    }

    /// An event of one stream that was sent then, at this place.
    fn event(begun: u64, place: u64) -> Event {
        Event {
            stream: "order-0",
            kind: "paid",
            tag: "t0",
            country: "BE",
            amount: 1,
            correlation: None,
            begun,
            stored: Some((place, place)),
        }
    }

    fn delivery(at: u64, session: u32, place: u64) -> Delivery {
        Delivery { at, order: usize::try_from(at).expect("it is small"), session, place, earlier: 0 }
    }

    /// Delivered at these times to these sessions; settled in the first one then, if at all.
    fn seen(place: u64, deliveries: &[(u64, u32)], settled: Option<u64>) -> Seen {
        let deliveries = deliveries.iter().map(|(at, session)| delivery(*at, *session, place)).collect();
        let settlement = |at| Settlement { session: 1, begun: at, confirmed: Some(at + 1), parked: false };
        Seen { deliveries, settlements: settled.map(settlement).into_iter().collect(), retried: 0 }
    }

    const QUIET: Range<u64> = 5..1_000_000_000;

    /// What is found of two events that were sent at 10 and 11.
    #[track_caller]
    fn expect(seen: [Seen; 2], found: &[&str]) {
        let (subscription, _) = subscription();
        let events = [event(10, 0), event(11, 1)];
        let seen: BTreeMap<usize, Seen> = seen.into_iter().enumerate().collect();
        let known = Known { subscription: &subscription, events: &events, seen: &seen };
        let violations = check(known, std::slice::from_ref(&QUIET)).violations;
        assert_eq!(violations.len(), found.len(), "{violations:#?}");
        for (violation, part) in violations.iter().zip(found) {
            assert!(violation.contains(part), "{violation}: {part}");
        }
    }

    #[test]
    fn what_nobody_settled_is_missing() {
        expect([seen(0, &[(20, 1)], Some(30)), seen(1, &[(21, 1)], Some(31))], &[]);
        let missing = ["1 events are missing: [1]", "1 was not delivered for good"];
        expect([seen(0, &[(20, 1)], Some(30)), seen(1, &[(21, 1)], None)], &missing);
        expect([seen(0, &[(20, 1)], Some(30)), Seen::default()], &missing);
    }

    #[test]
    fn what_is_not_stored_there_is_found() {
        let there = "1 was delivered, and is not stored there";
        expect([seen(0, &[(20, 1)], Some(30)), seen(7, &[(21, 1)], Some(31))], &[there]);
    }

    #[test]
    fn what_comes_again_needs_a_reason() {
        let (_, timeout) = subscription();
        let again = "0 came again without a fault";
        let other = || seen(1, &[(21, 1)], Some(31));
        expect([seen(0, &[(20, 1), (40, 1)], Some(30)), other()], &[again]);
        expect([seen(0, &[(20, 1), (40, 2)], Some(50)), other()], &[again]);
        // Its time was over; or it was not, because the acknowledgement came in time.
        expect([seen(0, &[(20, 1), (20 + timeout, 1)], Some(20 + timeout)), other()], &[]);
        expect([seen(0, &[(20, 1), (20 + timeout, 1)], Some(30)), other()], &[again]);
        // It is not quiet any more.
        expect([seen(0, &[(20, 1), (2_000_000_000, 1)], Some(30)), other()], &[]);
        expect([Seen { retried: 1, ..seen(0, &[(20, 1), (40, 1)], Some(50)) }, other()], &[]);
    }

    #[test]
    fn a_lane_is_in_order_and_with_one_consumer_at_a_time() {
        let after = "0 came after what follows it";
        expect([seen(0, &[(22, 1)], Some(30)), seen(1, &[(21, 1)], Some(31))], &[after]);
        let with_two = "0 was with a consumer when 1 came to another one";
        expect([seen(0, &[(20, 1)], Some(30)), seen(1, &[(21, 2)], Some(31))], &[with_two]);
        expect([seen(0, &[(20, 1)], Some(30)), seen(1, &[(40, 2)], Some(41))], &[]);
    }
}
