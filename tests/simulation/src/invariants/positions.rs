//! Positions count from 0, without gaps: each replica has exactly the appends that the log says, in its order.

use crate::committed::Replay;
use crate::history::History;

pub(super) fn check(history: &History, replay: &Replay) -> Result<(), String> {
    for replica in &history.replicas {
        let (node, count) = (replica.node, replica.state.head.next_position);
        if count != replica.appends.len() as u64 {
            let has = replica.appends.len();
            return Err(format!("node-{node} has {has} events and gives the next one position {count}"));
        }
        if replica.appends != replay.applied {
            let same =
                replica.appends.iter().zip(&replay.applied).take_while(|(one, other)| one == other).count();
            let [found, expected] = [&replica.appends, &replay.applied].map(|appends| appends.get(same));
            return Err(format!("node-{node} has {found:?} at {same}, and the log has {expected:?} there"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::committed::replay;
    use crate::invariants::sample::sample;

    #[test]
    fn a_gap_and_an_event_too_many_are_found() {
        let history = sample();
        let log = replay(&history).expect("the sample is whole");
        assert_eq!(check(&history, &log), Ok(()));
        let changes: [fn(&mut Vec<usize>); 2] = [|appends| appends.truncate(1), |appends| appends.push(9)];
        for change in changes {
            let mut history = sample();
            change(&mut history.replicas[1].appends);
            assert!(check(&history, &log).is_err());
            history.replicas[1].state.head.next_position = history.replicas[1].appends.len() as u64;
            assert!(check(&history, &log).is_err());
        }
    }
}
