//! What was acknowledged is in the log once, with the outcome and at the position that the client was told. What was refused
//! is not, and of what nobody knows there is one at most.

use crate::committed::Replay;
use crate::history::{Answer, History, Outcome};

pub(super) fn check(history: &History, replay: &Replay) -> Result<(), String> {
    for (id, append) in history.appends.iter().enumerate() {
        let found = replay.outcomes.get(&id).map_or(&[][..], Vec::as_slice);
        match (&append.answer, found) {
            (_, [_, _, ..]) => return Err(format!("append {id} is in the log more than once: {found:?}")),
            (Some((_, Answer::Decided { entry, outcome })), [(index, in_log)]) => {
                if entry.index != *index || history.log[index].id != *entry {
                    return Err(format!("append {id} was said to be in {entry:?} and is in entry {index}"));
                }
                if outcome != in_log {
                    return Err(format!("append {id} was answered {outcome:?}; by the log it is {in_log:?}"));
                }
            }
            (Some((_, Answer::Decided { entry, outcome })), []) => {
                return Err(format!("append {id}, {outcome:?} in {entry:?}, is lost"));
            }
            (Some((_, Answer::Refused(reason))), [(index, _)]) => {
                return Err(format!("append {id} was refused ({reason}) and is in entry {index}"));
            }
            (None | Some((_, Answer::Unknown | Answer::Refused(_))), _) => {}
        }
    }
    for replica in &history.replicas {
        for (id, append) in history.appends.iter().enumerate() {
            let Some((_, Answer::Decided { outcome: Outcome::Applied { position }, .. })) = append.answer
            else {
                continue;
            };
            let at = usize::try_from(position).unwrap_or(usize::MAX);
            if replica.appends.get(at) != Some(&id) {
                let found = replica.appends.get(at);
                let node = replica.node;
                return Err(format!("append {id} is at {position}, where node-{node} has {found:?}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::history::{Answer, History, Outcome};
    use crate::invariants::check;
    use crate::invariants::sample::sample;

    type Change = fn(&mut History);

    #[test]
    fn what_is_lost_repeated_moved_or_refused_is_found() {
        assert_eq!(check(&sample(), true), []);
        let table: [(&str, Change); 5] = [
            ("lost", |history| history.log.get_mut(&3).expect("it is there").appends.clear()),
            ("more than once", |history| {
                let again = history.log[&3].appends[0];
                history.log.get_mut(&4).expect("it is there").appends.push(again);
            }),
            ("was refused", |history| {
                history.appends[0].answer = Some((4, Answer::Refused("full".into())));
            }),
            ("was said to be in", |history| {
                if let Some((_, Answer::Decided { entry, .. })) = &mut history.appends[0].answer {
                    entry.term += 1;
                }
            }),
            ("was answered", |history| {
                if let Some((_, Answer::Decided { outcome, .. })) = &mut history.appends[0].answer {
                    *outcome = Outcome::GuardFailed;
                }
            }),
        ];
        for (expected, change) in table {
            let mut history = sample();
            change(&mut history);
            let found = check(&history, true);
            assert!(found.iter().any(|violation| violation.what.contains(expected)), "{expected}: {found:?}");
        }
    }
}
