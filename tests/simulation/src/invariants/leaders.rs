//! A term has one ready leader, on one node, and what is acknowledged under it follows everything of the terms before it.

use std::collections::BTreeMap;

use exesdb_storage::Term;

use crate::committed::Replay;
use crate::history::{Answer, History};

pub(super) fn check_terms(history: &History) -> Result<(), String> {
    let mut of = BTreeMap::new();
    for led in &history.led {
        if led.term.replica != led.replica {
            return Err(format!(
                "replica {} is ready in the term of another one: {:?}",
                led.replica, led.term
            ));
        }
        let key = (led.term.term, led.term.replica);
        let node = *of.entry(key).or_insert(led.node);
        if node != led.node {
            return Err(format!("node-{node} and node-{} are ready in {:?}", led.node, led.term));
        }
    }
    for (id, append) in history.appends.iter().enumerate() {
        let Some((at, Answer::Decided { entry, .. })) = &append.answer else { continue };
        let term = entry.proposed_under();
        // What a replica is, is looked at between two steps, so it may have become ready within the last one.
        let is_known = history.led.iter().any(|led| led.node == append.node && led.term == term);
        if !is_known {
            return Err(format!(
                "node-{} answered append {id} in {entry:?} and was never ready",
                append.node
            ));
        }
        let later = |led: &&crate::history::Led| key(led.term) > key(term) && led.from < append.asked;
        if let Some(led) = history.led.iter().find(later) {
            let asked = append.asked;
            return Err(format!(
                "append {id}, sent at {asked} to {term:?}, was acknowledged at {at} after {led:?}"
            ));
        }
    }
    Ok(())
}

pub(super) fn check_log(history: &History, _replay: &Replay) -> Result<(), String> {
    let mut last = Term::default();
    for entry in history.log.values() {
        let term = entry.id.proposed_under();
        if key(term) < key(last) {
            return Err(format!("{:?} follows one of {last:?}", entry.id));
        }
        last = term;
    }
    Ok(())
}

fn key(term: Term) -> (u64, u64) {
    (term.term, term.replica)
}

#[cfg(test)]
mod tests {
    use exesdb_storage::Term;

    use super::{check_log, check_terms};
    use crate::committed::Replay;
    use crate::history::Led;
    use crate::invariants::sample::sample;

    #[test]
    fn two_leaders_of_a_term_and_a_deposed_one_that_answers_are_found() {
        assert_eq!(check_terms(&sample()), Ok(()));
        let first = sample().led[0];
        let later = Term { term: 9, replica: 2 };
        let table = [
            Led { node: 1, ..first },
            Led { replica: 5, ..first },
            Led { node: 1, replica: 2, term: later, from: 1, until: 2 },
        ];
        for led in table {
            let mut history = sample();
            history.led.push(led);
            assert!(check_terms(&history).is_err(), "{led:?}");
        }
        let mut history = sample();
        history.led.clear();
        assert!(check_terms(&history).is_err(), "nobody was ready");
    }

    #[test]
    fn an_entry_of_an_earlier_term_is_found() {
        let mut history = sample();
        assert_eq!(check_log(&history, &Replay::default()), Ok(()));
        history.log.get_mut(&3).expect("it is there").id.term = 7;
        assert!(check_log(&history, &Replay::default()).is_err());
    }
}
