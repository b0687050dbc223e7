//! Proposing: what is refused of a commit before it becomes part of an entry.

use std::collections::HashMap;

use super::entry::{EntryCommit, Term};
use crate::batch::{Batch, BatchError, Operation};
use crate::commit::{CheckedCommit, Outcomes};
use crate::engine::Engine;
use crate::limits;
use crate::read::Snapshot;

/// The batches of a commit that were refused before it was proposed, each at its place among all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused(Vec<(usize, BatchError)>);

impl CheckedCommit {
    /// Refuses the batches that would give their owner too many keyspaces, as far as this snapshot tells. A replica applies
    /// whatever was proposed, so that is up to who proposes; keyspaces of commits that are still on their way are not
    /// counted.
    pub fn refuse_too_many_keyspaces<E: Engine>(&mut self, snapshot: &Snapshot<E>) {
        let keyspaces = snapshot.shared_keyspaces().read();
        let owned = keyspaces.as_ref().and_then(|keyspaces| keyspaces.get(&self.owner));
        let is_known = |name: &str| owned.is_some_and(|owned| owned.contains_key(name));
        let count = owned.map_or(0, HashMap::len);
        let mut new = Vec::<String>::new();
        for batch in &mut self.batches {
            let Ok(checked) = batch else { continue };
            let before = new.len();
            for name in keyspaces_put_to(checked).filter(|name| !is_known(name)) {
                if !new.iter().any(|known| known == name) {
                    new.push(name.to_owned());
                }
            }
            let actual = count + new.len();
            if actual > limits::OWNER_KEYSPACES_MAX && new.len() > before {
                new.truncate(before);
                *batch = Err(BatchError::TooLarge {
                    what: "the number of the owner's keyspaces",
                    actual: actual as u64,
                    limit: limits::OWNER_KEYSPACES_MAX as u64,
                });
            }
        }
    }

    /// The commit as it is proposed, without the batches that were refused.
    #[must_use]
    pub fn propose(self, fence: Option<Term>, topics: Vec<String>) -> (EntryCommit, Refused) {
        let mut batches = Vec::with_capacity(self.batches.len());
        let mut refused = Vec::new();
        for (at, batch) in self.batches.into_iter().enumerate() {
            match batch {
                Ok(batch) => batches.push(batch),
                Err(error) => refused.push((at, error)),
            }
        }
        (EntryCommit { owner: self.owner, fence, topics, batches }, Refused(refused))
    }
}

impl Refused {
    /// The outcomes of all batches of the commit, given those of the ones that were proposed.
    #[must_use]
    pub fn merge(self, mut outcomes: Outcomes) -> Outcomes {
        for (at, error) in self.0 {
            outcomes.insert(at.min(outcomes.len()), Err(error));
        }
        outcomes
    }
}

/// The keyspaces that a batch creates if they do not exist.
fn keyspaces_put_to(batch: &Batch) -> impl Iterator<Item = &str> {
    let operations = batch.operations.iter().filter_map(|operation| match operation {
        Operation::Put { keyspace, .. } => Some(&**keyspace),
        Operation::Delete { .. } => None,
    });
    let changes = batch.changes.iter().filter(|changes| !changes.puts.is_empty());
    operations.chain(changes.map(|changes| &*changes.keyspace))
}
