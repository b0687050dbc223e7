//! An event is in the log where what its client expected of it held, and nowhere else.

use crate::committed::Replay;
use crate::history::{Expects, History, Outcome};

pub(super) fn check(history: &History, replay: &Replay) -> Result<(), String> {
    for replica in &history.replicas {
        let mut versions = std::collections::BTreeMap::new();
        for (position, id) in replica.appends.iter().enumerate() {
            let Some(append) = history.appends.get(*id) else { return Err(format!("nobody appended {id}")) };
            let holds = match append.expects {
                Expects::Nothing => true,
                Expects::End(end) => end == position as u64,
                Expects::Version { stream, version } => {
                    let has = versions.entry(stream).or_insert(0);
                    let holds = *has == version;
                    *has = version + 1;
                    holds
                }
            };
            if !holds {
                let (node, expects) = (replica.node, append.expects);
                return Err(format!("node-{node} has append {id} at {position}, which expected {expects:?}"));
            }
        }
        for (id, found) in &replay.outcomes {
            let is_applied = matches!(found[..], [(_, Outcome::Applied { .. })]);
            if !is_applied && replica.appends.contains(id) {
                return Err(format!("node-{} has append {id}, and by the log it is {found:?}", replica.node));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::committed::Replay;
    use crate::history::Expects;
    use crate::invariants::sample::sample;

    #[test]
    fn an_event_that_expected_another_version_or_end_is_found() {
        let log = Replay::default();
        assert_eq!(check(&sample(), &log), Ok(()));
        for expects in [Expects::Version { stream: 0, version: 7 }, Expects::End(7)] {
            let mut history = sample();
            history.appends[0].expects = expects;
            assert!(check(&history, &log).is_err(), "{expects:?}");
        }
    }
}
