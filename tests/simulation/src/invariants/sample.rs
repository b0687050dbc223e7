//! A history that is as it should be, for the tests of the properties to break: two replicas, of which the first leads, and two
//! appends, one after the other.

use exesdb_storage::{LogHead, LogId, Term};

use crate::history::{Answer, Append, Committed, Expects, Final, History, Led, Outcome, Seen, State};

const TERM: Term = Term { term: 1, replica: 1 };

fn id(index: u64) -> LogId {
    LogId { term: 1, leader: 1, index }
}

fn state(index: u64, count: u64) -> State {
    let head = LogHead { sequence: count, next_position: count, chain: count * 77, time: count * 100 };
    State { id: id(index), batches: 0, head, link: count * 99, time: count * 100 }
}

pub(super) fn sample() -> History {
    let append = |id: u64, expects| {
        let outcome = Outcome::Applied { position: id };
        let answer = Answer::Decided { entry: self::id(id + 3), outcome };
        Append { expects, fence: None, node: 0, asked: id * 10 + 5, answer: Some((id * 10 + 8, answer)) }
    };
    let appends = vec![
        append(0, Expects::Version { stream: 0, version: 0 }),
        append(1, Expects::Version { stream: 0, version: 1 }),
    ];
    let entry = |index: u64, appends| (index, Committed { id: id(index), time: (index - 2) * 100, appends });
    let states = [state(2, 0), state(3, 1), state(4, 2)];
    let replica = |node| Final { node, state: states[2], digest: 5, appends: vec![0, 1] };
    History {
        appends,
        seen: states.iter().map(|state| Seen { node: 0, state: *state }).collect(),
        led: vec![Led { node: 0, replica: 1, term: TERM, from: 2, until: 90 }],
        log: [entry(2, vec![]), entry(3, vec![(0, None)]), entry(4, vec![(1, None)])].into(),
        replicas: vec![replica(0), replica(1)],
        ..History::default()
    }
}
