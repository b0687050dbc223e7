//! A replica in memory.

use std::io::Read;
use std::sync::Arc;

use exesdb_storage::dump::restore_in_memory;
use exesdb_storage::{Genesis, Histories, Memory, Options, Replica, ReplicaState};
use parking_lot::Mutex;

use super::{HomeError, ReplicaHome};

/// Keeps a replica in memory. Clones share it, so a clone that is kept is the disk that outlives the replica.
#[derive(Clone, Default)]
pub struct MemoryHome(Arc<Mutex<Option<Memory>>>);

impl MemoryHome {
    /// Has no replica.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the first replica of a group.
    ///
    /// # Errors
    ///
    /// [`HomeError::Open`].
    pub fn create(genesis: &Genesis, histories: &Histories) -> Result<Self, HomeError> {
        let memory = Memory::new();
        Replica::create_in(memory.clone(), Options::default(), genesis, histories)?;
        Ok(Self(Arc::new(Mutex::new(Some(memory)))))
    }

    /// What the replica is in now.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        self.0.lock().clone()
    }
}

impl ReplicaHome for MemoryHome {
    type Engine = Memory;
    type Incoming = Memory;

    fn open(&self) -> Result<Option<Replica<Memory>>, HomeError> {
        let memory = self.memory();
        Ok(memory.map(|memory| Replica::open_in(memory, Options::default())).transpose()?)
    }

    fn receive(&self, dump: &mut dyn Read) -> Result<(Memory, ReplicaState), HomeError> {
        let memory = Memory::new();
        let state = restore_in_memory(&memory, dump)?.replica.ok_or(HomeError::NoReplica)?;
        Ok((memory, state))
    }

    fn install(&self, incoming: Memory) -> Result<Replica<Memory>, HomeError> {
        let replica = Replica::open_in(incoming.clone(), Options::default())?;
        *self.0.lock() = Some(incoming);
        Ok(replica)
    }
}
