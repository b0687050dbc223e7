//! What consumers say, and what it means that they say nothing.

use exesdb_sdk::subscriptions::{
    EventNames, Fed, Input, Joining, Output, Refusal, Refusing, Settings, Settling, Strategy,
};

use super::{
    SECOND, acknowledge, delivered, dispatcher, events, join, left, left_by_itself, page, read, refuse,
    resize, settings, stored,
};
use crate::dispatch::REASON_BYTES_MAX;

#[test]
fn an_event_is_parked_when_it_failed_too_often() {
    for (what, reason) in [
        ("timeout", "no consumer acknowledged it in time"),
        ("retry", "a consumer refused it each time"),
        ("leave", "its consumers failed without acknowledging it"),
    ] {
        let mut dispatcher = dispatcher(settings(Strategy::RoundRobin));
        let mut now = 0;
        let mut outcome = dispatcher.step(now, vec![join(1, 2)]);
        assert!(read(&outcome).is_some());
        outcome = dispatcher.step(now, vec![page(0, 2)]);
        let mut consumer = 1;
        for failures in 0..3 {
            let first: Vec<_> = delivered(&outcome).into_iter().filter(|(_, place, _)| *place == 0).collect();
            assert_eq!(first, [(consumer, 0, failures)], "{what}");
            outcome = match what {
                "timeout" => {
                    assert!(outcome.wake_at.is_none_or(|at| at <= now + 10 * SECOND));
                    now += 10 * SECOND;
                    let silent = dispatcher.step(now, Vec::new());
                    // It gets something when it says something.
                    assert_eq!(delivered(&silent), []);
                    let mut outcome = dispatcher.step(now, vec![acknowledge(1, &[])]);
                    outcome.outputs.extend(silent.outputs);
                    outcome
                }
                "retry" => dispatcher.step(now, vec![refuse(1, &[0], Refusal::Retry)]),
                _ => {
                    consumer += 1;
                    dispatcher.step(now, vec![left(consumer - 1), join(consumer, 2)])
                }
            };
        }
        let advance = stored(&outcome).expect("it is parked at once");
        let parked: Vec<(u64, u32, &str)> = advance
            .parked
            .iter()
            .map(|parking| (parking.place, parking.deliveries, parking.reason.as_str()))
            .collect();
        assert_eq!(parked[0], (0, 3, reason));
        // A timeout counts against both events, the failure of a consumer against the first one alone.
        assert_eq!(parked.len(), if what == "timeout" { 2 } else { 1 }, "{what}");
        assert_eq!((advance.epoch, advance.checkpoint), (7, if what == "timeout" { 2 } else { 1 }), "{what}");
    }
}

#[test]
fn a_refused_event_is_parked_skipped_or_halts_the_subscription() {
    let begun = || {
        let mut dispatcher = dispatcher(settings(Strategy::RoundRobin));
        dispatcher.step(0, vec![join(1, 5)]);
        dispatcher.step(0, vec![page(0, 5)]);
        dispatcher
    };
    let long = "ü".repeat(REASON_BYTES_MAX);
    let outcome = begun().step(0, vec![refuse(1, &[1, 2], Refusal::Park(long.clone()))]);
    let advance = stored(&outcome).unwrap();
    assert_eq!(advance.checkpoint, 0, "the first event is in flight");
    let places: Vec<u64> = advance.parked.iter().map(|parking| parking.place).collect();
    assert_eq!(places, [1, 2]);
    assert!(advance.parked.iter().all(|parking| parking.reason.len() == REASON_BYTES_MAX));
    let outcome = begun().step(3 * SECOND, vec![refuse(1, &[0, 1], Refusal::Skip)]);
    assert_eq!(stored(&outcome).map(|advance| (advance.checkpoint, advance.parked.len())), Some((2, 0)));
    let mut stopped = begun();
    let outcome = stopped.step(0, vec![refuse(1, &[3], Refusal::Stop("no more".to_owned()))]);
    assert_eq!(outcome.outputs, [Output::Halt("no more".to_owned())]);
    assert_eq!(outcome.wake_at, None);
    // What is not in flight at the consumer, a claim of a client, changes nothing.
    for input in [
        acknowledge(1, &[5, u64::MAX]),
        acknowledge(9, &[0]),
        refuse(2, &[0], Refusal::Stop(String::new())),
        refuse(1, &[7], Refusal::Park(String::new())),
        Input::Acknowledged(Settling { consumer: 1, events: EventNames::Ids(vec!["id-0".to_owned()]) }),
        left(8),
    ] {
        let mut dispatcher = begun();
        let before = dispatcher.state();
        assert_eq!(stored(&dispatcher.step(3 * SECOND, vec![input.clone()])), None, "{input:?}");
        assert_eq!(dispatcher.state(), before, "{input:?}");
    }
}

#[test]
fn a_consumer_may_name_events_by_their_ids() {
    let mut dispatcher = dispatcher(settings(Strategy::RoundRobin));
    dispatcher.step(0, vec![Input::Joined(Joining { consumer: 1, window: 5, by_id: true })]);
    dispatcher.step(0, vec![page(0, 3)]);
    let ids = |ids: &[&str]| EventNames::Ids(ids.iter().map(|id| (*id).to_owned()).collect());
    let events = ids(&["id-1", "id-1", "nobody's"]);
    dispatcher.step(0, vec![Input::Acknowledged(Settling { consumer: 1, events })]);
    assert_eq!((dispatcher.state().acknowledged, dispatcher.state().in_flight), (1, 2));
    let events = ids(&["id-0"]);
    let retried = Refusing { consumer: 1, events: events.clone(), refusal: Refusal::Retry };
    assert_eq!(delivered(&dispatcher.step(0, vec![Input::Refused(retried)])), [(1, 0, 1)]);
    dispatcher.step(0, vec![Input::Acknowledged(Settling { consumer: 1, events })]);
    assert_eq!(dispatcher.state().checkpoint, 2);
}

#[test]
fn there_are_no_more_consumers_than_may_be() {
    let mut dispatcher = dispatcher(settings(Strategy::RoundRobin));
    let outcome = dispatcher.step(0, (1..=5).map(|number| join(number, 1)).collect());
    let away: Vec<&Output> =
        outcome.outputs.iter().filter(|output| matches!(output, Output::TurnAway(_))).collect();
    assert_eq!(away, [&Output::TurnAway(4), &Output::TurnAway(5)]);
    let outcome = dispatcher.step(0, vec![left(2), join(6, 1)]);
    assert!(!outcome.outputs.iter().any(|output| matches!(output, Output::TurnAway(_))));
    assert_eq!(dispatcher.state().consumers.iter().map(|one| one.consumer).collect::<Vec<_>>(), [1, 3, 6]);
}

#[test]
fn a_silent_consumer_gets_nothing_and_is_cut_off() {
    for strategy in
        [Strategy::RoundRobin, Strategy::DispatchToSingle, Strategy::Pinned, Strategy::PinnedByCorrelation]
    {
        let mut dispatcher = dispatcher(settings(strategy));
        dispatcher.step(0, vec![join(1, 2)]);
        let outcome = dispatcher.step(0, vec![page(0, 6)]);
        assert_eq!(delivered(&outcome), [(1, 0, 0), (1, 1, 0)]);
        dispatcher.step(5 * SECOND, vec![join(2, 9)]);
        // What it did not acknowledge in time goes to the other one, with all that follows.
        let outcome = dispatcher.step(10 * SECOND, Vec::new());
        assert!(delivered(&outcome).iter().all(|(consumer, ..)| *consumer == 2), "{strategy:?}: {outcome:?}");
        assert!(delivered(&outcome).iter().any(|(_, place, earlier)| (*place, *earlier) == (0, 1)));
        let places: Vec<u64> = (0..6).collect();
        // Too late, because the other one has it.
        let outcome = dispatcher.step(11 * SECOND, vec![acknowledge(1, &[0]), acknowledge(2, &places)]);
        assert_eq!(outcome.counts, [0, 6]);
        // It has said something, so it is asked again.
        dispatcher.step(11 * SECOND, vec![left_by_itself(2)]);
        let outcome = dispatcher.step(11 * SECOND, vec![page(6, 2)]);
        assert_eq!(delivered(&outcome), [(1, 6, 0), (1, 7, 0)]);
        dispatcher.step(21 * SECOND, Vec::new());
        // Nobody else has these, so its word counts.
        let outcome = dispatcher.step(22 * SECOND, vec![acknowledge(1, &[6])]);
        assert_eq!((outcome.counts.as_slice(), delivered(&outcome)), (&[1][..], vec![(1, 7, 1)]));
        let outcome = dispatcher.step(32 * SECOND, vec![Input::Stored]);
        assert_eq!(outcome.wake_at, Some(62 * SECOND));
        let outcome = dispatcher.step(62 * SECOND, Vec::new());
        assert_eq!(outcome.outputs, [Output::CutOff(1)]);
        assert_eq!(dispatcher.state().consumers, []);
    }
}

#[test]
fn a_consumer_without_a_window_keeps_what_it_has_and_gets_nothing_more() {
    for strategy in
        [Strategy::RoundRobin, Strategy::DispatchToSingle, Strategy::Pinned, Strategy::PinnedByCorrelation]
    {
        let mut dispatcher = dispatcher(settings(strategy));
        dispatcher.step(0, vec![join(1, 3)]);
        assert_eq!(delivered(&dispatcher.step(0, vec![page(0, 2)])), [(1, 0, 0), (1, 1, 0)]);
        let outcome = dispatcher.step(0, vec![resize(1, 0)]);
        assert_eq!(read(&outcome), None, "nobody has room for what would be read");
        assert_eq!(delivered(&dispatcher.step(0, vec![page(2, 2)])), [], "{strategy:?}");
        assert_eq!(dispatcher.step(0, vec![acknowledge(1, &[0, 1])]).counts, [2]);
        // Nothing is pinned to it any more.
        let outcome = dispatcher.step(0, vec![join(2, 1)]);
        assert_eq!(delivered(&outcome), [(2, 2, 0)], "{strategy:?}");
        let outcome = dispatcher.step(0, vec![left_by_itself(2), resize(1, 5)]);
        assert_eq!(delivered(&outcome), [(1, 2, 1), (1, 3, 0)], "{strategy:?}");
        // Nobody knows this one.
        dispatcher.step(0, vec![resize(9, 5)]);
        assert_eq!(dispatcher.state().consumers.len(), 1);
    }
}

#[test]
fn a_consumer_without_a_window_may_acknowledge_what_is_late() {
    let mut dispatcher = dispatcher(settings(Strategy::RoundRobin));
    dispatcher.step(0, vec![join(1, 5)]);
    dispatcher.step(0, vec![page(0, 5)]);
    dispatcher.step(0, vec![resize(1, 0)]);
    dispatcher.step(10 * SECOND, Vec::new());
    assert_eq!(dispatcher.step(11 * SECOND, vec![acknowledge(1, &[0, 1, 2, 3, 4])]).counts, [5]);
}

#[test]
fn a_consumer_that_leaves_by_itself_has_not_failed() {
    let mut dispatcher = dispatcher(Settings { retries_max: 0, ..settings(Strategy::RoundRobin) });
    dispatcher.step(0, vec![join(1, 5)]);
    dispatcher.step(0, vec![page(0, 3)]);
    for consumer in 2..20 {
        let outcome = dispatcher.step(0, vec![left_by_itself(consumer - 1), join(consumer, 5)]);
        let earlier = u32::try_from(consumer - 1).unwrap();
        assert_eq!(delivered(&outcome), [0, 1, 2].map(|place| (consumer, place, earlier)));
        assert_eq!(stored(&outcome), None);
    }
    assert_eq!(dispatcher.state().retrying, 0);
    let outcome = dispatcher.step(0, vec![left(19)]);
    let places: Vec<u64> = stored(&outcome).unwrap().parked.iter().map(|parking| parking.place).collect();
    assert_eq!((places, dispatcher.state().retrying), (vec![0], 2));
}

#[test]
fn events_of_one_id_are_named_one_after_the_other() {
    let mut dispatcher = dispatcher(settings(Strategy::RoundRobin));
    dispatcher.step(0, vec![Input::Joined(Joining { consumer: 1, window: 9, by_id: true })]);
    let mut twice = events(&[(0, "s", "")]);
    let one = twice.clone();
    // The same event at another position, as in a stream of the same ids.
    twice.extend(&one);
    twice[one.len()] = 1;
    dispatcher.step(0, vec![Input::Page(Fed { from: 0, events: twice, next: 2 })]);
    assert_eq!(dispatcher.state().in_flight, 2);
    let ids = |count| EventNames::Ids(vec!["id-0".to_owned(); count]);
    let mut again = |count| {
        let settling = Settling { consumer: 1, events: ids(count) };
        dispatcher.step(0, vec![Input::Acknowledged(settling)]).counts
    };
    assert_eq!(again(1), [1]);
    assert_eq!(again(2), [1]);
    assert_eq!(again(1), [0]);
    assert_eq!(dispatcher.state().checkpoint, 2);
}
