//! Replicas that have applied the same entry are the same: whatever was seen of one at any time is on the way of all of them,
//! and nothing that was seen is undone.

use std::collections::BTreeMap;

use crate::committed::Replay;
use crate::history::{History, State};

pub(super) fn check_seen(history: &History) -> Result<(), String> {
    if let Some(conflict) = history.conflicts.first() {
        return Err(conflict.clone());
    }
    let mut states: BTreeMap<(u64, u32), (usize, State)> = BTreeMap::new();
    for (node, state) in all_states(history) {
        let (other, before) = *states.entry((state.id.index, state.batches)).or_insert((node, state));
        if state != before {
            return Err(format!("node-{node} had {state:?} where node-{other} had {before:?}"));
        }
    }
    Ok(())
}

pub(super) fn check_end(history: &History, _replay: &Replay) -> Result<(), String> {
    let [first, others @ ..] = &history.replicas[..] else { return Ok(()) };
    for other in others {
        if (other.state, other.digest) != (first.state, first.digest) {
            return Err(format!(
                "node-{} ends with {:?} and digest {:032x}, node-{} with {:?} and {:032x}",
                first.node, first.state, first.digest, other.node, other.state, other.digest
            ));
        }
    }
    // The first entry is the genesis, which no log has.
    for (node, state) in all_states(history).filter(|(_, state)| state.id.index > 1) {
        let committed = history.log.get(&state.id.index).map(|entry| entry.id);
        if committed != Some(state.id) {
            return Err(format!("node-{node} has shown {:?}, and the log has {committed:?} there", state.id));
        }
    }
    Ok(())
}

fn all_states(history: &History) -> impl Iterator<Item = (usize, State)> {
    let seen = history.seen.iter().map(|seen| (seen.node, seen.state));
    let read = history.reads.iter().filter_map(|read| Some((read.node, read.answer?.1)));
    let last = history.replicas.iter().map(|replica| (replica.node, replica.state));
    seen.chain(read).chain(last)
}

#[cfg(test)]
mod tests {
    use super::{check_end, check_seen};
    use crate::committed::Replay;
    use crate::invariants::sample::sample;

    #[test]
    fn replicas_that_differ_at_an_index_are_found() {
        let log = Replay::default();
        assert_eq!((check_seen(&sample()), check_end(&sample(), &log)), (Ok(()), Ok(())));
        let mut history = sample();
        history.seen[2].state.head.chain ^= 1;
        assert!(check_seen(&history).is_err());
        let mut history = sample();
        history.replicas[1].digest ^= 1;
        assert!(check_end(&history, &log).is_err());
        let mut history = sample();
        history.seen[1].state.id.term += 1;
        assert!(check_end(&history, &log).is_err(), "it was undone");
        let mut history = sample();
        history.conflicts.push("two logs".into());
        assert!(check_seen(&history).is_err());
    }
}
