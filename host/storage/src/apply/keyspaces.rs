//! The handles of keyspaces: looking them up, and creating those that a batch is the first to write to.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::{Batch, BatchError, Operation};
use crate::engine::Engine;
use crate::format;
use crate::log::log_keyspace;
use crate::name;
use crate::poison::PoisonReason;
use crate::read::Published;

/// Handles of the keyspaces of one batch, by name. There are a few at most, so comparing beats hashing.
pub(super) type BatchHandles<E> = Vec<(String, <E as Engine>::Keyspace)>;

/// Handles of `meta` and of the owners' keyspaces, which readers find through [`Published`].
pub(crate) struct KeyspaceHandles<E: Engine> {
    published: Arc<Published<E>>,
    /// Keyspaces that were created and are not listed in `meta` yet.
    unlisted: Vec<E::Keyspace>,
    meta: E::Keyspace,
    owner_keyspaces_max: usize,
}

impl<E: Engine> KeyspaceHandles<E> {
    pub(super) fn new(published: Arc<Published<E>>, meta: E::Keyspace, owner_keyspaces_max: usize) -> Self {
        Self { published, unlisted: Vec::new(), meta, owner_keyspaces_max }
    }

    /// This crate's own keyspace.
    pub(crate) fn meta(&self) -> &E::Keyspace {
        &self.meta
    }

    pub(super) fn get(&self, owner: &str, keyspace: &str) -> Option<E::Keyspace> {
        self.published.keyspaces.read().as_ref()?.get(owner)?.get(keyspace).cloned()
    }

    /// The log's keyspace, in a store whose next position is this one; `None` before the first record.
    pub(super) fn log(&self, next_position: u64) -> Option<E::Keyspace> {
        let keyspaces = self.published.keyspaces.read();
        let (owner, keyspace) = log_keyspace::<E>(keyspaces.as_ref()?, next_position);
        keyspaces.as_ref()?.get(owner)?.get(keyspace).cloned()
    }

    /// As [`log`](Self::log), and creates it if it does not exist.
    pub(super) fn log_or_create(
        &mut self,
        engine: &E,
        next_position: u64,
    ) -> Result<E::Keyspace, PoisonReason> {
        match self.log(next_position) {
            Some(log) => Ok(log),
            None => self.create(engine, format::LOG.0, format::LOG.1),
        }
    }

    /// Handles of all keyspaces.
    pub(crate) fn all(&self) -> Vec<E::Keyspace> {
        let keyspaces = self.published.keyspaces.read();
        let owned = keyspaces.iter().flatten().flat_map(|(_, owned)| owned.values());
        owned.chain([&self.meta]).cloned().collect()
    }

    /// The name of a keyspace for which `which` holds.
    pub(crate) fn find(&self, which: fn(&E::Keyspace) -> bool) -> Option<String> {
        let keyspaces = self.published.keyspaces.read();
        let mut owned = keyspaces.iter().flatten().flat_map(|(_, owned)| owned.values()).chain([&self.meta]);
        owned.find(|handle| which(handle)).map(|handle| E::name(handle).to_owned())
    }

    /// Takes the keyspaces that the next record has to list in `meta`.
    pub(super) fn take_unlisted(&mut self) -> Vec<E::Keyspace> {
        std::mem::take(&mut self.unlisted)
    }

    /// The keyspaces that a batch writes to. Missing ones are created, unless the owner would exceed its limit: then
    /// none is.
    pub(super) fn resolve(
        &mut self,
        engine: &E,
        owner: &str,
        batch: &Batch,
    ) -> Result<Result<BatchHandles<E>, BatchError>, PoisonReason> {
        let mut handles = BatchHandles::<E>::new();
        let mut missing: Vec<&str> = Vec::new();
        let operations = batch
            .operations
            .iter()
            .map(|operation| (operation.keyspace(), matches!(operation, Operation::Put { .. })));
        let changes = batch.changes.iter().map(|changes| (&*changes.keyspace, !changes.puts.is_empty()));
        for (name, is_put) in operations.chain(changes) {
            if handles.iter().any(|(known, _)| known == name) || missing.contains(&name) {
                continue;
            }
            match self.get(owner, name) {
                Some(handle) => handles.push((name.to_owned(), handle)),
                // There is nothing to delete in a keyspace that does not exist.
                None if !is_put => {}
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            let count = self.count(owner) + missing.len();
            if count > self.owner_keyspaces_max {
                return Ok(Err(BatchError::TooLarge {
                    what: "the number of the owner's keyspaces",
                    actual: count as u64,
                    limit: self.owner_keyspaces_max as u64,
                }));
            }
        }
        for name in missing {
            handles.push((name.to_owned(), self.create(engine, owner, name)?));
        }
        Ok(Ok(handles))
    }

    fn count(&self, owner: &str) -> usize {
        let keyspaces = self.published.keyspaces.read();
        keyspaces.as_ref().and_then(|keyspaces| keyspaces.get(owner)).map_or(0, HashMap::len)
    }

    fn create(&mut self, engine: &E, owner: &str, keyspace: &str) -> Result<E::Keyspace, PoisonReason> {
        let full = name::join(owner, keyspace);
        let handle = engine
            .keyspace(&full)
            .map_err(PoisonReason::failed(format!("creating keyspace {full} failed")))?;
        let mut keyspaces = self.published.keyspaces.write();
        let keyspaces = keyspaces.as_mut().expect("only this thread takes the keyspaces away, when it ends");
        keyspaces.entry(owner.to_owned()).or_default().insert(keyspace.to_owned(), handle.clone());
        self.unlisted.push(handle.clone());
        Ok(handle)
    }
}
