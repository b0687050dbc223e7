//! A commit that belongs to a term is applied under that term only.

use crate::committed::Replay;
use crate::history::{Answer, History, Outcome};

pub(super) fn check(history: &History, replay: &Replay) -> Result<(), String> {
    for (id, append) in history.appends.iter().enumerate() {
        let Some(fence) = append.fence else { continue };
        let in_log = replay.outcomes.get(&id).into_iter().flatten();
        let answered = match &append.answer {
            Some((_, Answer::Decided { entry, outcome })) => Some((entry.index, *outcome)),
            _ => None,
        };
        for (index, outcome) in in_log.copied().chain(answered) {
            let Some(entry) = history.log.get(&index) else { continue };
            if (outcome == Outcome::Fenced) == (entry.id.proposed_under() == fence) {
                return Err(format!("append {id} of {fence:?} is {outcome:?} in {:?}", entry.id));
            }
            let is_there = history.replicas.iter().any(|replica| replica.appends.contains(&id));
            if entry.id.proposed_under() != fence && is_there {
                return Err(format!("append {id} of {fence:?} was applied in {:?}", entry.id));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use exesdb_storage::Term;

    use super::check;
    use crate::committed::replay;
    use crate::invariants::sample::sample;

    #[test]
    fn a_commit_that_was_applied_under_another_term_is_found() {
        let mut history = sample();
        history.appends[0].fence = Some(Term { term: 1, replica: 1 });
        let log = replay(&history).expect("the sample is whole");
        assert_eq!(check(&history, &log), Ok(()));
        history.appends[0].fence = Some(Term { term: 1, replica: 2 });
        let found = check(&history, &replay(&history).expect("the sample is whole"));
        assert!(found.is_err());
    }
}
