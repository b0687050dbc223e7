//! The time of entries does not go down in the log, nor that of what replicas show with their sequence.

use std::collections::BTreeMap;

use crate::committed::Replay;
use crate::history::History;

pub(super) fn check(history: &History, _replay: &Replay) -> Result<(), String> {
    let mut last = 0;
    for entry in history.log.values().filter(|entry| !entry.appends.is_empty()) {
        if entry.time < last {
            return Err(format!("{:?} has time {} after {last}", entry.id, entry.time));
        }
        last = entry.time;
    }
    let times: BTreeMap<_, _> = history
        .seen
        .iter()
        .map(|seen| ((seen.state.id.index, seen.state.batches), (seen.state.time, seen.state.head.time)))
        .collect();
    for (before, after) in times.iter().zip(times.iter().skip(1)) {
        if after.1.0 < before.1.0 || after.1.1 < before.1.1 {
            return Err(format!(
                "times are {:?} at {:?} and {:?} at {:?}",
                before.1, before.0, after.1, after.0
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::committed::Replay;
    use crate::invariants::sample::sample;

    #[test]
    fn time_that_goes_back_is_found() {
        let log = Replay::default();
        assert_eq!(check(&sample(), &log), Ok(()));
        let mut history = sample();
        history.log.get_mut(&3).expect("it is there").time = 900;
        assert!(check(&history, &log).is_err());
        let mut history = sample();
        history.seen[1].state.time = 900;
        assert!(check(&history, &log).is_err());
    }
}
