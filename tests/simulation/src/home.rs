//! Where a simulated replica is: in memory.

use std::io::Read;
use std::ops::Bound;

use exesdb_cluster::home::MemoryHome;
use exesdb_cluster::{HomeError, ReplicaHome};
use exesdb_storage::{Engine, EngineRecord, Memory, Replica, ReplicaState};

use crate::faults::Fault;

/// The owner of the keyspaces that clients write to.
pub const OWNER: &str = "test";
/// The keyspace that has the id of the append at each position.
pub const ALL: &str = "all";
/// The keyspace that has the version of each stream.
pub const HEADS: &str = "heads";

/// A home in memory. Clones share it.
#[derive(Clone)]
pub struct Home {
    /// What outlives the replica.
    pub memory: MemoryHome,
    /// What is wrong with it.
    pub fault: Option<Fault>,
}

impl ReplicaHome for Home {
    type Engine = Memory;
    type Incoming = Memory;

    fn open(&self) -> Result<Option<Replica<Memory>>, HomeError> {
        self.memory.open()
    }

    fn receive(&self, dump: &mut dyn Read) -> Result<(Memory, ReplicaState), HomeError> {
        let (memory, state) = self.memory.receive(dump)?;
        if self.fault == Some(Fault::SnapshotWithoutKeyspace) {
            empty(&memory, HEADS);
        }
        Ok((memory, state))
    }

    fn install(&self, incoming: Memory) -> Result<Replica<Memory>, HomeError> {
        self.memory.install(incoming)
    }
}

fn empty(memory: &Memory, keyspace: &str) {
    let handle = memory.keyspace(&format!("{OWNER}.{keyspace}")).expect("memory does not fail");
    let mut record = memory.record(0);
    for entry in Memory::range_in(&memory.snapshot(), &handle, (Bound::Unbounded, Bound::Unbounded)) {
        record.remove(&handle, entry.expect("memory does not fail").0);
    }
    memory.commit(record).expect("memory does not fail");
}
