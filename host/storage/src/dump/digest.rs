//! A digest of a whole store, to compare replicas with.

use std::io;

use xxhash_rust::xxh3::Xxh3;

use super::error::DumpError;
use super::frame::manifest_payload;
use crate::engine::Engine;
use crate::head::LogHead;
use crate::read::Snapshot;

impl<E: Engine> Snapshot<E> {
    /// A digest of everything that the snapshot of a store or replica holds: all entries of all keyspaces, the head, the
    /// histories, and how far the log of a replica's group was applied. It has nothing of what differs between copies of one
    /// store, such as the numbers that the engine gives to keyspaces and records. Two replicas that have applied the same
    /// entries have the same digest.
    ///
    /// # Errors
    ///
    /// [`DumpError`]: the store could not be read.
    pub fn digest(&self) -> Result<u128, DumpError> {
        let summary = self.dump(&mut io::sink(), &mut |_| {})?;
        let mut hash = Xxh3::new();
        hash.update(&manifest_payload(&summary.keyspaces, 0));
        let LogHead { sequence, next_position, chain, time } = summary.head;
        for number in [sequence, next_position, chain, time] {
            hash.update(&number.to_be_bytes());
        }
        hash.update(&self.histories().encode());
        if let Some(replica) = &summary.replica {
            hash.update(&replica.applied.encode());
            hash.update(&replica.membership);
        }
        Ok(hash.digest128())
    }
}
