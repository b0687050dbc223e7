//! What is read, and delivered to whom.

use exesdb_sdk::subscriptions::{Beginning, Fed, Input, Reading, Replaying, Settings, Strategy, Subscribed};

use super::{
    acknowledge, delivered, dispatcher, events, join, left, page, read, settings, stored, subscription,
};
use crate::dispatch::{AHEAD_EVENTS_MAX, Dispatcher};

#[test]
fn nothing_is_read_without_a_consumer_and_not_more_than_fits() {
    let mut dispatcher = dispatcher(settings(Strategy::RoundRobin));
    assert_eq!(dispatcher.step(0, Vec::new()).outputs.len(), 0);
    let outcome = dispatcher.step(0, vec![join(1, 5)]);
    assert_eq!(read(&outcome), Some(Reading { from: 0, count: 20 }));
    // Five are in flight and fifteen wait, so there is no room for others.
    let outcome = dispatcher.step(0, vec![page(0, 20)]);
    assert_eq!(delivered(&outcome).len(), 5);
    assert_eq!(read(&outcome), None);
    let outcome = dispatcher.step(0, vec![acknowledge(1, &[0, 1, 2, 3, 4])]);
    assert_eq!(delivered(&outcome).len(), 5);
    // The next page is asked for while there is room for what waits.
    let outcome = dispatcher.step(0, vec![acknowledge(1, &(5..10).collect::<Vec<_>>())]);
    assert_eq!(delivered(&outcome), [10, 11, 12, 13, 14].map(|place| (1, place, 0)));
    let outcome = dispatcher.step(0, vec![Input::Stored, acknowledge(1, &(10..15).collect::<Vec<_>>())]);
    assert_eq!(delivered(&outcome).len(), 5);
    let outcome = dispatcher.step(0, vec![acknowledge(1, &[15])]);
    assert_eq!(read(&outcome), Some(Reading { from: 20, count: 20 }));
    // A page of another read is ignored, and what comes twice is taken once.
    assert_eq!(delivered(&dispatcher.step(0, vec![page(0, 21), page(21, 3)])), []);
    let twice: Vec<_> = [19, 20, 20].map(|position| (position, "s", "")).to_vec();
    let twice = Input::Page(Fed { from: 20, events: events(&twice), next: 21 });
    assert_eq!(delivered(&dispatcher.step(0, vec![twice.clone(), twice])), [(1, 20, 0)]);
}

#[test]
fn each_strategy_shares_events_in_its_way() {
    let pinned_by_two = |strategy| {
        let mut dispatcher = dispatcher(settings(strategy));
        dispatcher.step(0, vec![join(1, 100), join(2, 100)]);
        let of: Vec<(u64, String, String)> = (0..20)
            .map(|position| (position, format!("s{}", position % 5), format!("c{}", position % 2)))
            .collect();
        let of: Vec<(u64, &str, &str)> =
            of.iter().map(|(position, stream, id)| (*position, stream.as_str(), id.as_str())).collect();
        let outcome = dispatcher.step(0, vec![Input::Page(Fed { from: 0, events: events(&of), next: 20 })]);
        let mut consumers = vec![0; 20];
        for (consumer, place, _) in delivered(&outcome) {
            consumers[usize::try_from(place).unwrap()] = consumer;
        }
        consumers
    };
    let robin = pinned_by_two(Strategy::RoundRobin);
    assert!(robin.chunks(2).all(|pair| pair == [1, 2]), "{robin:?}");
    assert_eq!(pinned_by_two(Strategy::DispatchToSingle), [1; 20]);
    let pinned = pinned_by_two(Strategy::Pinned);
    assert!((5..20).all(|at| pinned[at] == pinned[at - 5]), "{pinned:?}");
    let correlated = pinned_by_two(Strategy::PinnedByCorrelation);
    assert!((2..20).all(|at| correlated[at] == correlated[at - 2]), "{correlated:?}");
    // A single one gets events until its window is full.
    let mut single = dispatcher(settings(Strategy::DispatchToSingle));
    single.step(0, vec![join(1, 3), join(2, 2), join(3, 9)]);
    let outcome = single.step(0, vec![page(0, 7)]);
    assert_eq!(
        delivered(&outcome),
        [(1, 0, 0), (1, 1, 0), (1, 2, 0), (2, 3, 0), (2, 4, 0), (3, 5, 0), (3, 6, 0)]
    );
}

#[test]
fn a_pinned_lane_stays_with_its_consumer_while_something_is_in_flight() {
    let mut dispatcher = dispatcher(settings(Strategy::Pinned));
    dispatcher.step(0, vec![join(1, 2)]);
    let outcome = dispatcher.step(0, vec![page(0, 6)]);
    assert_eq!(delivered(&outcome), [(1, 0, 0), (1, 1, 0)]);
    // Others have room, but the third event would overtake the first two.
    let outcome = dispatcher.step(0, vec![join(2, 9), join(3, 9)]);
    assert_eq!(delivered(&outcome), []);
    let outcome = dispatcher.step(0, vec![acknowledge(1, &[0])]);
    assert_eq!(delivered(&outcome), [(1, 2, 0)]);
    // When it leaves, all of it goes to another one, in order.
    let outcome = dispatcher.step(0, vec![left(1)]);
    let places: Vec<u64> = delivered(&outcome).iter().map(|(_, place, _)| *place).collect();
    assert_eq!(places, [1, 2, 3, 4, 5]);
    assert!(delivered(&outcome).iter().all(|(consumer, ..)| *consumer == delivered(&outcome)[0].0));
}

#[test]
fn only_what_has_the_pattern_is_delivered_and_places_are_those_of_the_source() {
    for (source, expected) in
        [(Subscribed::All(None), vec![(1, 3, 0)]), (Subscribed::OneStream("s".to_owned()), vec![(1, 103, 0)])]
    {
        let subscription =
            subscription(settings(Strategy::RoundRobin), source.clone(), Some(r#"{"data":{"n":3}}"#));
        let mut dispatcher = Dispatcher::new(Beginning { subscription, epoch: 7, parked: Vec::new() });
        dispatcher.step(0, vec![join(1, 9)]);
        assert_eq!(delivered(&dispatcher.step(0, vec![page(0, 5)])), expected, "{source:?}");
    }
}

#[test]
fn replayed_events_are_delivered_once_more_and_forgotten_when_they_are_settled() {
    let beginning = Beginning {
        subscription: subscription(settings(Strategy::RoundRobin), Subscribed::All(None), None),
        epoch: 7,
        parked: vec![3, 4],
    };
    let mut dispatcher = Dispatcher::new(beginning);
    dispatcher.step(0, vec![join(1, 9)]);
    // What is parked is not delivered when it is read again.
    let outcome = dispatcher.step(0, vec![page(0, 6)]);
    let places: Vec<u64> = delivered(&outcome).iter().map(|(_, place, _)| *place).collect();
    assert_eq!(places, [0, 1, 2, 5]);
    // Retention hides the event at 4 by now.
    let replay = |places: &[u64]| {
        let there: Vec<_> =
            places.iter().filter(|place| **place != 4).map(|place| (*place, "s", "")).collect();
        Input::Replay(Replaying { places: places.to_vec(), events: events(&there) })
    };
    let outcome = dispatcher.step(0, vec![replay(&[3, 4])]);
    assert_eq!(delivered(&outcome), [(1, 3, 0)]);
    assert_eq!(stored(&outcome).map(|advance| advance.unparked.clone()), Some(vec![4]));
    // Asked for again, it is still the same delivery.
    assert_eq!(delivered(&dispatcher.step(0, vec![Input::Stored, replay(&[3])])), []);
    let outcome = dispatcher.step(0, vec![acknowledge(1, &[3])]);
    assert_eq!(stored(&outcome).map(|advance| advance.unparked.clone()), Some(vec![3]));
    assert_eq!(dispatcher.state().checkpoint, 0, "it does not stand for what is in flight");
}

#[test]
fn an_event_that_stays_bounds_what_is_read_beyond_it() {
    let mut dispatcher = dispatcher(Settings { buffer_events: 10_000, ..settings(Strategy::RoundRobin) });
    dispatcher.step(0, vec![join(1, 10_000)]);
    let mut from = 0;
    for _ in 0..1_000 {
        let outcome = dispatcher.step(0, vec![page(from, 1_000), Input::Stored]);
        let places: Vec<u64> =
            delivered(&outcome).into_iter().map(|(_, place, _)| place).filter(|place| *place > 0).collect();
        from += 1_000;
        if read(&outcome).is_none() && read(&dispatcher.step(0, vec![acknowledge(1, &places)])).is_none() {
            break;
        }
        dispatcher.step(0, vec![acknowledge(1, &places)]);
    }
    assert_eq!(usize::try_from(from).unwrap(), AHEAD_EVENTS_MAX);
    let outcome = dispatcher.step(0, vec![acknowledge(1, &[0])]);
    assert_eq!(read(&outcome).map(|reading| reading.from), Some(from));
}

#[test]
fn a_full_consumer_does_not_keep_the_lanes_of_others_from_being_read() {
    let mut dispatcher = dispatcher(settings(Strategy::Pinned));
    // Twenty events of one lane wait for the consumer that has its first one.
    dispatcher.step(0, vec![join(1, 1)]);
    let outcome = dispatcher.step(0, vec![page(0, 20)]);
    assert_eq!(delivered(&outcome), [(1, 0, 0)]);
    let outcome = dispatcher.step(0, vec![join(2, 9)]);
    assert_eq!((delivered(&outcome), read(&outcome)), (Vec::new(), Some(Reading { from: 20, count: 20 })));
}
