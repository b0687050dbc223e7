//! What is stored, and when.

use exesdb_sdk::subscriptions::{Fed, Input, Outcome, Output, Refusal, Settings, Strategy};

use super::{SECOND, acknowledge, delivered, dispatcher, join, page, read, refuse, settings, stored};

#[test]
fn a_checkpoint_is_stored_by_number_and_by_time() {
    let mut dispatcher = dispatcher(settings(Strategy::RoundRobin));
    dispatcher.step(0, vec![join(1, 20)]);
    dispatcher.step(0, vec![page(0, 12)]);
    let outcome = dispatcher.step(SECOND, vec![acknowledge(1, &[0, 1, 2, 3])]);
    assert_eq!((stored(&outcome), outcome.wake_at), (None, Some(2 * SECOND)));
    let outcome = dispatcher.step(SECOND, vec![acknowledge(1, &[4])]);
    assert_eq!(stored(&outcome).map(|advance| advance.checkpoint), Some(5));
    // One after the other.
    let outcome = dispatcher.step(9 * SECOND, vec![acknowledge(1, &[5, 6, 7, 8, 9])]);
    assert_eq!(stored(&outcome), None);
    let outcome = dispatcher.step(9 * SECOND, vec![Input::Stored]);
    assert_eq!(stored(&outcome).map(|advance| advance.checkpoint), Some(10));
    let outcome = dispatcher.step(9 * SECOND, vec![Input::Stored, acknowledge(1, &[11])]);
    assert_eq!(stored(&outcome), None, "the one before it is in flight");
    let outcome = dispatcher.step(9 * SECOND, vec![acknowledge(1, &[10])]);
    assert_eq!((stored(&outcome), outcome.wake_at), (None, Some(11 * SECOND)));
    let outcome = dispatcher.step(11 * SECOND, Vec::new());
    assert_eq!(stored(&outcome).map(|advance| advance.checkpoint), Some(12));
    // It moves on if nothing matches, too.
    dispatcher.step(11 * SECOND, vec![Input::Stored]);
    let nothing = Input::Page(Fed { from: 12, events: Vec::new(), next: 5_000 });
    let outcome = dispatcher.step(11 * SECOND, vec![nothing]);
    assert_eq!((stored(&outcome), outcome.wake_at), (None, Some(13 * SECOND)));
    assert_eq!(read(&outcome).map(|reading| reading.from), Some(5_000));
    let outcome = dispatcher.step(13 * SECOND, Vec::new());
    assert_eq!(stored(&outcome).map(|advance| advance.checkpoint), Some(5_000));
}

#[test]
fn a_dispatcher_that_ends_stores_what_is_settled() {
    let begun = || {
        let mut dispatcher = dispatcher(settings(Strategy::RoundRobin));
        dispatcher.step(0, vec![join(1, 3)]);
        dispatcher.step(0, vec![page(0, 9)]);
        dispatcher
    };
    // Drained: nothing more is delivered or read, and acknowledgements count.
    let mut drained = begun();
    assert_eq!(drained.step(0, vec![Input::Drain]).outputs, []);
    let outcome = drained.step(0, vec![acknowledge(1, &[0, 1, 2])]);
    assert_eq!((stored(&outcome).map(|advance| advance.checkpoint), outcome.outputs.len()), (Some(3), 1));
    // Halted: what was settled in the same step, and what is parked, is stored before.
    let stop = || refuse(1, &[2], Refusal::Stop("no more".to_owned()));
    let mut halted = begun();
    let park = refuse(1, &[1], Refusal::Park("because".to_owned()));
    let outcome = halted.step(0, vec![acknowledge(1, &[0]), park, stop()]);
    let advance = stored(&outcome).unwrap();
    assert_eq!((advance.checkpoint, advance.parked.len(), outcome.outputs.len()), (2, 1, 1));
    let outcome = halted.step(0, vec![Input::Stored]);
    assert_eq!(outcome.outputs, [Output::Halt("no more".to_owned())]);
    assert_eq!(halted.step(99 * SECOND, vec![acknowledge(1, &[0]), stop()]).outputs, [], "once");
    // What is refused for good cannot be stored later, either.
    let mut refused = begun();
    refused.step(0, vec![refuse(1, &[1], Refusal::Park("because".to_owned()))]);
    let outcome = refused.step(0, vec![Input::NotStored("too many are parked".to_owned())]);
    assert_eq!(outcome.outputs, [Output::Halt("too many are parked".to_owned())]);
}

#[test]
fn more_than_fits_is_stored_in_parts_and_the_checkpoint_waits_for_the_rest() {
    let mut dispatcher = dispatcher(Settings { buffer_events: 10_000, ..settings(Strategy::RoundRobin) });
    dispatcher.step(0, vec![join(1, 5_000)]);
    (0..3).for_each(|thousand| drop(dispatcher.step(0, vec![page(1_000 * thousand, 1_000)])));
    let all: Vec<u64> = (0..2_500).collect();
    let outcome = dispatcher.step(0, vec![refuse(1, &all, Refusal::Park("because".to_owned()))]);
    let part = |outcome: &Outcome| stored(outcome).map(|advance| (advance.checkpoint, advance.parked.len()));
    assert_eq!(part(&outcome), Some((1_000, 1_000)));
    // Meanwhile nothing is delivered or read.
    let outcome = dispatcher.step(0, vec![refuse(1, &[2_999], Refusal::Retry)]);
    assert_eq!(outcome.outputs, []);
    assert_eq!(part(&dispatcher.step(0, vec![Input::Stored])), Some((2_000, 1_000)));
    let outcome = dispatcher.step(0, vec![Input::Stored]);
    assert_eq!((part(&outcome), delivered(&outcome)), (Some((2_500, 500)), vec![(1, 2_999, 1)]));
}

#[test]
fn the_next_step_is_at_the_first_deadline() {
    let rare = Settings { checkpoint_ms: 60_000, ..settings(Strategy::RoundRobin) };
    let mut dispatcher = dispatcher(rare);
    dispatcher.step(0, vec![join(1, 1)]);
    dispatcher.step(SECOND, vec![page(0, 3)]);
    assert_eq!(dispatcher.step(3 * SECOND, Vec::new()).wake_at, Some(11 * SECOND));
    dispatcher.step(4 * SECOND, vec![acknowledge(1, &[0])]);
    assert_eq!(dispatcher.step(5 * SECOND, Vec::new()).wake_at, Some(14 * SECOND));
}
