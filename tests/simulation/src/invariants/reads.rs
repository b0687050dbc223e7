//! A linearizable read sees everything that was acknowledged before it began, and what reads before it saw; one with a token
//! sees what the token stands for. That each sees a prefix of the log, [`replicas`](super::replicas) finds out.

use crate::history::{History, Level};
use crate::invariants::position;

pub(super) fn check(history: &History) -> Result<(), String> {
    // When something was acknowledged, and the positions that are there since then.
    let mut known: Vec<_> = history
        .appends
        .iter()
        .filter_map(|append| Some((append.answer.as_ref()?.0, position(append)? + 1)))
        .collect();
    for read in history.reads.iter().filter(|read| read.level == Level::Linearizable) {
        known.extend(read.answer.map(|(at, state)| (at, state.head.next_position)));
    }
    known.sort_unstable();
    let mut end = 0;
    for (_, known) in &mut known {
        end = end.max(*known);
        *known = end;
    }
    for (number, read) in history.reads.iter().enumerate() {
        let Some((_, state)) = read.answer else { continue };
        let (least, sequence) = match read.level {
            Level::Linearizable => {
                let before = known.partition_point(|(at, _)| *at < read.asked);
                (before.checked_sub(1).map_or(0, |at| known[at].1), 0)
            }
            Level::AtLeast { token, position } => (position + 1, token),
            Level::Local => (0, 0),
        };
        let head = state.head;
        if head.next_position < least || head.sequence < sequence {
            let node = read.node;
            return Err(format!(
                "read {number} ({:?}) of node-{node} saw {head}, where {least} positions were there",
                read.level
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::history::{Level, Read};
    use crate::invariants::sample::sample;

    #[test]
    fn a_read_that_misses_something_is_found() {
        let history = sample();
        let old = history.seen[1].state;
        let new = history.seen.last().expect("it is there").state;
        let at_least = Level::AtLeast { token: new.head.sequence, position: new.head.next_position - 1 };
        let table = [
            (Level::Linearizable, old, 1_000, false),
            (Level::Linearizable, new, 1_000, true),
            (Level::Linearizable, old, 1, true),
            (at_least, old, 1_000, false),
            (at_least, new, 1, true),
            (Level::Local, old, 1_000, true),
        ];
        for (level, state, asked, expected) in table {
            let mut history = sample();
            history.reads.push(Read { level, node: 0, asked, answer: Some((asked + 1, state)) });
            assert_eq!(check(&history).is_ok(), expected, "{level:?} {asked}");
        }
    }
}
