//! Closing: everything is brought into tables and the journal is emptied, so that the next open has nothing to replay.

use std::path::PathBuf;
use std::time::Duration;

use fjall::{Database, PersistMode};

use crate::apply::KeyspaceHandles;
use crate::engine::Fjall;
use crate::engine_files::recovery;
use crate::mark::MarkFile;
use crate::panic::catch_panic;
use crate::poison::PoisonReason;
use crate::stall;

/// Longest time that closing waits for memtables to be flushed. 10 s: a slow disk takes less for two full memtables of
/// every keyspace in use, and what is not flushed by then is replayed at the next open.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// Empties the newest journal when it is dropped, if everything in it is in tables.
pub(super) struct JournalCleanup {
    data: PathBuf,
    all_in_tables: bool,
}

impl JournalCleanup {
    pub(super) fn new(data: PathBuf) -> Self {
        Self { data, all_in_tables: false }
    }
}

impl Drop for JournalCleanup {
    fn drop(&mut self) {
        if !self.all_in_tables {
            return;
        }
        if let Err(error) = recovery::empty_newest(&self.data) {
            tracing::warn!(%error, "the journal could not be emptied; the next open reads it");
        }
    }
}

/// Brings everything into tables. If that fails or takes too long, the store is left as it is: the journal has it all.
pub(super) fn flush(
    database: &Database,
    keyspaces: &KeyspaceHandles<Fjall>,
    mark: &mut MarkFile,
    cleanup: &mut JournalCleanup,
) {
    let flushed = catch_panic(|| try_flush(database, keyspaces, mark))
        .unwrap_or_else(|panic| Err(PoisonReason(format!("the engine gave up: {panic}"))));
    match flushed {
        Ok(()) => cleanup.all_in_tables = true,
        Err(PoisonReason(reason)) => {
            tracing::warn!(reason, "the store was closed without a flush; the next open replays its journal");
        }
    }
}

fn try_flush(
    database: &Database,
    keyspaces: &KeyspaceHandles<Fjall>,
    mark: &mut MarkFile,
) -> Result<(), PoisonReason> {
    // This is how fjall reports that a worker has failed, and a worker that has failed flushes nothing.
    database.persist(PersistMode::SyncData).map_err(PoisonReason::failed("syncing the journal failed"))?;
    for handle in keyspaces.all() {
        handle.rotate_memtable().map_err(PoisonReason::failed("sealing a memtable failed"))?;
    }
    let busy = || keyspaces.find(|handle| handle.sealed_memtable_count() > 0);
    stall::wait(database, FLUSH_LIMIT, busy, || false).map_err(PoisonReason)?;
    mark.flushed().map_err(PoisonReason::failed("writing the durable mark failed"))
}
