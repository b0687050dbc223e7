//! What reads saw, against what their levels promise.

use std::collections::HashMap;

use exesdb_tests::Outcome;

use super::Stored;
use crate::record::{History, Level, Read};

/// From a time on, a stream has so many events at least.
type Fact = (u64, u64);

/// Reads that saw too little, or what is not there.
pub(super) fn wrong_reads(stored: &Stored<'_>, history: &History) -> Vec<String> {
    let mut violations: Vec<String> = history.reads.iter().filter_map(|read| unreal(stored, read)).collect();
    // What anybody was told, by stream, and what each client was told.
    let mut told: HashMap<&str, Vec<Fact>> = HashMap::new();
    let mut told_to: HashMap<(usize, &str), Vec<Fact>> = HashMap::new();
    for call in &history.calls {
        let Outcome::Acknowledged { last_version, .. } = call.append.outcome else { continue };
        let fact = (call.ended, last_version + 1);
        let stream = call.append.stream.as_str();
        told.entry(stream).or_default().push(fact);
        told_to.entry((call.client, stream)).or_default().push(fact);
    }
    for read in &history.reads {
        let fact = (read.ended, read.count());
        // A read of what a node has shows what is committed, and so did everything that others read there.
        told_to.entry((read.client, read.stream.as_str())).or_default().push(fact);
        if read.level == Level::Linearizable {
            told.entry(&read.stream).or_default().push(fact);
        }
    }
    told.values_mut().chain(told_to.values_mut()).for_each(|facts| rise(facts));
    for read in &history.reads {
        let facts = match read.level {
            Level::Linearizable => told.get(read.stream.as_str()),
            Level::AtLeast => told_to.get(&(read.client, read.stream.as_str())),
            Level::Local => None,
        };
        let least = facts.map_or(0, |facts| known_before(facts, read.begun));
        if read.count() < least {
            violations.push(format!("the stream had {least} events by then: {read:?}"));
        }
    }
    violations
}

/// Sorts facts by time, and has each one say what all before it say, too.
fn rise(facts: &mut [Fact]) {
    facts.sort_unstable();
    let mut most = 0;
    for (_, count) in facts {
        most = most.max(*count);
        *count = most;
    }
}

/// How many events a stream is known to have had before a time.
fn known_before(facts: &[Fact], time: u64) -> u64 {
    let earlier = facts.partition_point(|(since, _)| *since < time);
    earlier.checked_sub(1).map_or(0, |last| facts[last].1)
}

/// A read of an event that is not stored where it was seen, or was sent later.
fn unreal(stored: &Stored<'_>, read: &Read) -> Option<String> {
    let (version, id) = read.last.as_ref()?;
    let events = stored.streams.get(read.stream.as_str());
    let there = usize::try_from(*version).ok().and_then(|version| events?.get(version));
    match there {
        Some((found, by)) if found == id => {
            let is_too_early = by.is_some_and(|by| by.begun > read.ended);
            is_too_early.then(|| format!("it was sent after it was read: {read:?}"))
        }
        _ => Some(format!("{id} is not stored there, of {} events: {read:?}", stored.count(&read.stream))),
    }
}
