//! Replicas in memory.

use std::ops::Bound;
use std::sync::Arc;

use super::Replica;
use super::error::ReplicaOpenError;
use super::files::Genesis;
use super::keeper::NoFiles;
use super::state::{Applied, ReplicaState};
use crate::Slice;
use crate::apply::Applier;
use crate::engine::{Engine, EngineRecord, Memory};
use crate::engine_failure::EngineFailure;
use crate::format;
use crate::head::{LogHead, RecordedHead};
use crate::history::Histories;
use crate::name;
use crate::options::Options;
use crate::read::{Keyspaces, Published, Reached};

impl Replica<Memory> {
    /// As [`create`](Replica::create), in memory. `histories` are those of the group: chance has no place in a simulation.
    ///
    /// # Errors
    ///
    /// [`ReplicaOpenError::Memory`].
    pub fn create_in(
        memory: Memory,
        options: Options,
        genesis: &Genesis,
        histories: &Histories,
    ) -> Result<Self, ReplicaOpenError> {
        write_meta(&memory, LogHead::default(), histories, &genesis.state(0), &[])?;
        Self::open_in(memory, options)
    }

    /// As [`open`](Replica::open), in memory. Of the options, it uses the fail points.
    ///
    /// # Errors
    ///
    /// [`ReplicaOpenError::Memory`].
    pub fn open_in(memory: Memory, options: Options) -> Result<Self, ReplicaOpenError> {
        let meta = memory.keyspace(format::META)?;
        let value = |key: &[u8]| memory.get(&meta, key)?.ok_or_else(|| missing("a key of meta"));
        if let Some(found) = memory.get(&meta, format::DIVERGED_KEY)? {
            return Err(ReplicaOpenError::diverged(&found));
        }
        let head = RecordedHead::decode(&value(format::HEAD_KEY)?).ok_or_else(|| missing("a head"))?.head;
        let histories = Histories::decode(&value(format::HISTORIES_KEY)?, head.next_position)
            .map_err(|what| missing(&what))?;
        let applied =
            Applied::decode(&value(format::APPLIED_KEY)?).ok_or_else(|| missing("an applied state"))?;
        let state = ReplicaState { applied, membership: (*value(format::MEMBERSHIP_KEY)?).into() };
        let keyspaces = listed(&memory, &meta)?;
        // As in files: what was found is made durable before it is served.
        memory.sync()?;
        let published = Arc::new(Published::new(
            memory.snapshot(),
            Reached { head, replica: Some(state.clone()) },
            format::REPLICA_FORMAT_VERSION,
            histories,
            keyspaces,
            meta.clone(),
            options.is_json,
        ));
        let applier = Applier::new(memory, meta, head, &published, usize::MAX);
        Ok(Self::new(published, state, applier, Box::new(NoFiles), options.fail_points))
    }
}

/// Writes what a replica in memory is opened with, durably.
pub(crate) fn write_meta(
    memory: &Memory,
    head: LogHead,
    histories: &Histories,
    state: &ReplicaState,
    keyspaces: &[<Memory as Engine>::Keyspace],
) -> Result<(), EngineFailure> {
    let meta = memory.keyspace(format::META)?;
    let mut record = memory.record(0);
    record.insert(&meta, format::FORMAT_KEY, format::REPLICA_FORMAT_VERSION.to_be_bytes());
    record.insert(&meta, &format::HEAD_KEY[..], RecordedHead { head, engine_floor: 0 }.encode());
    record.insert(&meta, format::HISTORIES_KEY, histories.encode());
    record.insert(&meta, format::APPLIED_KEY, state.applied.encode());
    record.insert(&meta, format::MEMBERSHIP_KEY, &*state.membership);
    for keyspace in keyspaces {
        let key = format!("{}{}", format::KEYSPACE_KEY_PREFIX, Memory::name(keyspace));
        record.insert(&meta, key.into_bytes(), Memory::number(keyspace).to_be_bytes());
    }
    memory.commit(record)?;
    memory.sync()
}

/// The keyspaces that are listed in `meta`.
fn listed(memory: &Memory, meta: &<Memory as Engine>::Keyspace) -> Result<Keyspaces<Memory>, EngineFailure> {
    let prefix = format::KEYSPACE_KEY_PREFIX.as_bytes();
    let range = (Bound::Included(prefix), Bound::Unbounded);
    let mut keyspaces = Keyspaces::<Memory>::default();
    for entry in Memory::range_in(&memory.snapshot(), meta, range) {
        let (key, _): (Slice, _) = entry?;
        let Some(full) = key.strip_prefix(prefix) else { break };
        let full = String::from_utf8_lossy(full);
        let (owner, keyspace) = name::split(&full).ok_or_else(|| missing("a keyspace's name"))?;
        let handle = memory.keyspace(&full)?;
        keyspaces.entry(owner.to_owned()).or_default().insert(keyspace.to_owned(), handle);
    }
    Ok(keyspaces)
}

fn missing(what: &str) -> EngineFailure {
    let reason = format!("there is no replica in it ({what} is missing or malformed)");
    EngineFailure { said: reason.clone(), reason, advice: "", is_damage: true }
}
