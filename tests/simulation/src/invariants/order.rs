//! What was acknowledged before something else was sent is before it in the log.

use crate::history::{Answer, History};

pub(super) fn check(history: &History) -> Result<(), String> {
    let mut answered: Vec<_> = history
        .appends
        .iter()
        .enumerate()
        .filter_map(|(id, append)| match &append.answer {
            Some((at, Answer::Decided { entry, .. })) => Some((*at, entry.index, id)),
            _ => None,
        })
        .collect();
    answered.sort_unstable();
    // The highest entry that was acknowledged up to each answer.
    let mut highest = Vec::with_capacity(answered.len());
    for (at, index, id) in &answered {
        let before = highest.last().copied().unwrap_or((0, 0, 0));
        highest.push(if *index > before.1 { (*at, *index, *id) } else { (*at, before.1, before.2) });
    }
    for (_, index, id) in &answered {
        let asked = history.appends[*id].asked;
        let before = highest.partition_point(|(at, _, _)| *at < asked);
        let Some((_, earlier, other)) = before.checked_sub(1).map(|at| highest[at]) else { continue };
        // Two commits that wait together share an entry, but not one that was answered before the other was sent.
        if earlier >= *index {
            return Err(format!(
                "append {other} was acknowledged in entry {earlier} before append {id} was sent, which is in {index}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::invariants::sample::sample;

    #[test]
    fn an_append_that_was_sent_later_and_is_earlier_is_found() {
        let mut history = sample();
        assert_eq!(check(&history), Ok(()));
        // The first one, of entry 3, is sent after the answer to the last one.
        history.appends[0].asked = 1_000;
        history.appends[0].answer.as_mut().expect("it has one").0 = 1_001;
        let found = check(&history).expect_err("it is out of order");
        assert!(found.contains("before append 0 was sent"), "{found}");
    }
}
