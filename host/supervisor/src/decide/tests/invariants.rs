//! Invariants of decisions under random events, in the simulated driver.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::{
    Just, ProptestConfig, Strategy as _, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::{Play, SECOND, Start, flags, rule};
use crate::decide::{Call, Event, Flags, Limit, Note, Rule};
use crate::pid::Key;
use crate::reason::Reason;
use crate::spec::{Restart, Strategy};

#[derive(Clone, Debug)]
enum Move {
    Dies(usize, &'static str),
    ReadOne,
    ReadAll,
    Wait(u64),
    Call(u8, usize),
    Fails(usize, u8),
}

fn moves() -> impl proptest::strategy::Strategy<Value = Vec<Move>> {
    let reason = prop_oneof![Just("normal"), Just("shutdown"), Just("killed"), Just("error:boom")];
    let one = prop_oneof![
        4 => (0_usize..6, reason).prop_map(|(child, reason)| Move::Dies(child, reason)),
        3 => Just(Move::ReadOne),
        2 => Just(Move::ReadAll),
        2 => (0_u64..4_000).prop_map(Move::Wait),
        2 => (0_u8..4, 0_usize..6).prop_map(|(op, child)| Move::Call(op, child)),
        1 => (0_usize..6, 1_u8..3).prop_map(|(child, times)| Move::Fails(child, times)),
    ];
    proptest::collection::vec(one, 0..60)
}

fn any_strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)]
}

fn any_restart() -> impl proptest::strategy::Strategy<Value = Restart> {
    prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)]
}

/// Starts and stops of one uninterrupted sequence come in their orders.
fn in_order(log: &str, order: &dyn Fn(&str) -> usize) -> bool {
    let words: Vec<(&str, usize)> = log
        .split_whitespace()
        .filter_map(|word| {
            let id = word.strip_prefix(['+', '-'])?;
            Some((&word[..1], order(id)))
        })
        .collect();
    words.windows(2).all(|pair| match (pair[0], pair[1]) {
        (("+", a), ("+", b)) => a < b,
        (("-", a), ("-", b)) => a > b,
        _ => true,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_under_random_events(
        strategy in any_strategy(),
        restarts in proptest::collection::vec(any_restart(), 1..6),
        parks in proptest::collection::vec(proptest::bool::weighted(0.2), 6),
        intensity in 0_u32..4,
        moves in moves(),
        stop_at_the_end in any::<bool>(),
    ) {
        let ids: Vec<String> = (0..restarts.len()).map(|i| format!("c{i}")).collect();
        let rule = |child: usize| Rule { park: parks[child], ..rule(&ids[child], restarts[child]) };
        let rules = (0..ids.len()).map(rule).collect();
        let limit = Limit { restarts: intensity, period: 5 * SECOND };
        let mut play = Play::new(Flags { limit, ..flags(strategy) }, rules);
        // Each child that can be parked has a count of its own; the others share one.
        let mut counted: HashMap<Option<Key>, Vec<Duration>> = HashMap::new();
        for step in moves {
            if play.ended {
                break;
            }
            play.take_log();
            play.noted.clear();
            match step {
                Move::Dies(child, reason) => {
                    if let Some(id) = ids.get(child)
                        && play.state.children().find(id).is_some_and(|key| play.running.contains_key(&key))
                    {
                        play.dies(id, reason);
                    }
                }
                Move::ReadOne => {
                    if let Some(event) = play.mailbox.pop_front() {
                        play.feed(event);
                        let order = |id: &str| play.state.children().find(id).map_or(0, |key| key.0 as usize + 1);
                        // Dropped children have no place in the order.
                        let log = play.log.join(" ");
                        if !log.contains('(') && restarts.iter().all(|r| *r != Restart::Temporary) {
                            prop_assert!(in_order(&log, &order), "{}", log);
                        }
                    }
                }
                Move::ReadAll => play.read_mail(),
                Move::Wait(ms) => play.now += Duration::from_millis(ms),
                Move::Call(op, child) => {
                    if let Some(id) = ids.get(child) {
                        let _ = play.call(match op {
                            0 => Call::TerminateChild(id.clone()),
                            1 => Call::RestartChild(id.clone()),
                            2 => Call::DeleteChild(id.clone()),
                            _ => Call::StartChild(rule(child)),
                        });
                    }
                }
                Move::Fails(child, times) => {
                    if let Some(id) = ids.get(child) {
                        let fails = std::iter::repeat_n(Start::Fail, times.into());
                        play.script.entry(id.clone()).or_default().extend(fails);
                    }
                }
            }
            for note in &play.noted {
                match note {
                    Note::Restarting { key, .. } => {
                        let id = play.id(*key);
                        let own = ids.iter().position(|other| *other == id).is_some_and(|child| parks[child]);
                        counted.entry(own.then_some(*key)).or_default().push(play.now);
                    }
                    Note::Parked { key, .. } => {
                        counted.remove(&Some(*key));
                    }
                    _ => {}
                }
            }
            for times in counted.values() {
                let recent = times.iter().filter(|at| play.now - **at <= limit.period).count();
                prop_assert!(recent <= intensity as usize, "{} restarts in a period", recent);
            }
            prop_assert!(play.ended || play.state.is_idle());
        }
        if stop_at_the_end && !play.ended {
            play.feed(Event::Shutdown(Reason::Shutdown));
        }
        if play.ended {
            // A process that the state does not know would be an orphan.
            prop_assert_eq!(play.running.len(), 0);
        }
    }
}
