//! What was committed, as the logs of the nodes have it, and as a model applies it.

use std::collections::BTreeMap;

use bytes::Bytes;
use exesdb_storage::{Entry, EntryContent, Term};

use crate::clients::id_of;
use crate::history::{Append, Committed, Expects, History, Outcome};

/// Decodes an entry of a log.
///
/// # Errors
///
/// What is wrong with it.
pub fn decode(bytes: &Bytes) -> Result<Committed, String> {
    let Entry { id, time, content } = Entry::decode(bytes).map_err(|error| error.to_string())?;
    let EntryContent::Commits(commits) = content else {
        return Ok(Committed { id, time: 0, appends: vec![] });
    };
    let mut appends = Vec::new();
    for commit in &commits {
        for batch in &commit.batches {
            appends.push((id_of(batch).ok_or("a batch is of no append")?, commit.fence));
        }
    }
    Ok(Committed { id, time, appends })
}

/// What the log should have come to: a model of the rules, which is not the code that applies them.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// Where each append is in the log, and what it came to.
    pub outcomes: BTreeMap<usize, Vec<(u64, Outcome)>>,
    /// The appends that were applied, by position.
    pub applied: Vec<usize>,
}

/// Applies the log to nothing, by what the clients had asked for.
///
/// # Errors
///
/// An entry that is missing, or has something that nobody asked for.
pub fn replay(history: &History) -> Result<Replay, String> {
    let mut replay = Replay::default();
    let mut versions = BTreeMap::new();
    for (expected, (index, entry)) in (2..).zip(&history.log) {
        if *index != expected || entry.id.index != expected {
            return Err(format!("no log has entry {expected}, and {index} was committed"));
        }
        for (id, _) in &entry.appends {
            let append = history.appends.get(*id).ok_or_else(|| format!("nobody asked for append {id}"))?;
            let outcome = apply(append, *id, entry.id.proposed_under(), &mut replay.applied, &mut versions);
            replay.outcomes.entry(*id).or_default().push((*index, outcome));
        }
    }
    Ok(replay)
}

fn apply(
    append: &Append,
    id: usize,
    term: Term,
    applied: &mut Vec<usize>,
    versions: &mut BTreeMap<u8, u64>,
) -> Outcome {
    if append.fence.is_some_and(|fence| fence != term) {
        return Outcome::Fenced;
    }
    let position = applied.len() as u64;
    let holds = match append.expects {
        Expects::Nothing => true,
        Expects::End(end) => end == position,
        Expects::Version { stream, version } => versions.get(&stream).copied().unwrap_or(0) == version,
    };
    if !holds {
        return Outcome::GuardFailed;
    }
    if let Expects::Version { stream, version } = append.expects {
        versions.insert(stream, version + 1);
    }
    applied.push(id);
    Outcome::Applied { position }
}
