//! Creating a replica in memory from a dump.

use std::io::Read;

use super::decode::{Decoder, Item};
use super::restore::RestoreError;
use super::summary::Summary;
use crate::engine::{Engine, EngineRecord, Memory};
use crate::engine_failure::EngineFailure;
use crate::name;
use crate::replica::write_meta;

/// As [`restore_replica`](super::restore_replica()) without a genesis, in an engine in memory that holds nothing. What is
/// needed to open the replica is written last.
///
/// # Errors
///
/// [`RestoreError`]: the dump is not accepted, or not one of a replica, or the engine fails.
pub fn restore_in_memory(memory: &Memory, input: &mut dyn Read) -> Result<Summary, RestoreError> {
    let failed =
        |failure: EngineFailure| RestoreError::Write { path: "memory".into(), reason: failure.reason };
    let mut decoder = Decoder::begin(input)?;
    let state = decoder.replica().cloned().ok_or(RestoreError::NoReplica)?;
    let mut keyspaces = Vec::new();
    loop {
        match decoder.next()? {
            Item::Keyspace { owner, keyspace } => {
                keyspaces.push(memory.keyspace(&name::join(owner, keyspace)).map_err(failed)?);
            }
            Item::Entries(entries) => {
                let keyspace = keyspaces.last().expect("entries follow their keyspace");
                let mut record = memory.record(0);
                for (key, value) in entries {
                    record.insert(keyspace, key, value);
                }
                memory.commit(record).map_err(failed)?;
            }
            Item::End(summary) => {
                let histories = summary.histories.as_ref().expect("the dump of a replica has histories");
                write_meta(memory, summary.head, histories, &state, &keyspaces).map_err(failed)?;
                return Ok(summary);
            }
        }
    }
}
