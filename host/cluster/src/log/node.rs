//! The part of one group in the log of its node, in files.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use exesdb_log::{Log, LogError, ReadError};

use super::{GroupLog, LogFailure, LogState, Noted, Synced};

/// The part of one group in a node's [`Log`]. All groups of the node share the log, its fsyncs and its first failure.
#[derive(Clone)]
pub struct NodeLog {
    log: Arc<Log>,
    group: u64,
}

impl NodeLog {
    /// The part of the group with this number.
    #[must_use]
    pub fn new(log: Arc<Log>, group: u64) -> Self {
        Self { log, group }
    }
}

impl GroupLog for NodeLog {
    fn state(&self) -> Result<LogState, LogFailure> {
        if let Some(failure) = self.failed() {
            return Err(failure);
        }
        let Some(info) = self.log.group(self.group) else { return Ok(LogState::default()) };
        Ok(LogState {
            state: info.state,
            purged: info.purged.map(of_log),
            committed: info.committed.map(of_log),
            first: info.first,
            next: info.next,
        })
    }

    fn is_broken(&self) -> bool {
        self.log.group(self.group).is_some_and(|info| info.is_broken)
    }

    fn failed(&self) -> Option<LogFailure> {
        self.log.poisoned().map(|reason| failure(&LogError::Poisoned { reason }))
    }

    fn refuses(&self, bytes: usize) -> Option<String> {
        self.log.check_room(self.group, bytes).err().map(|error| error.to_string())
    }

    fn append(&self, first: u64, entries: &[Bytes], synced: Synced) -> Result<(), LogFailure> {
        self.log.append(self.group, first, entries, called_back(synced)).map_err(|error| failure(&error))
    }

    fn set_state(&self, state: Bytes, synced: Synced) -> Result<(), LogFailure> {
        self.log.set_state(self.group, state, called_back(synced)).map_err(|error| failure(&error))
    }

    fn truncate(&self, from: u64, synced: Synced) -> Result<(), LogFailure> {
        self.log.truncate(self.group, from, called_back(synced)).map_err(|error| failure(&error))
    }

    fn purge(&self, through: Noted, synced: Synced) -> Result<(), LogFailure> {
        self.log.purge(self.group, to_log(through), called_back(synced)).map_err(|error| failure(&error))
    }

    fn set_committed(&self, through: Noted) -> Result<(), LogFailure> {
        match self.log.note_committed(self.group, to_log(through)) {
            // The next one says it as well.
            Ok(()) | Err(LogError::Overloaded { .. }) => Ok(()),
            Err(error) => Err(failure(&error)),
        }
    }

    fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<Bytes>, LogFailure> {
        match self.log.read(self.group, range, max_bytes) {
            Ok(entries) => Ok(entries.into_iter().map(|entry| entry.data).collect()),
            Err(ReadError::Gone { .. }) => Ok(Vec::new()),
            Err(error) => Err(LogFailure { reason: error.to_string() }),
        }
    }
}

fn called_back(synced: Synced) -> impl FnOnce(Result<(), LogError>) + Send + 'static {
    move |outcome| synced(outcome.map_err(|error| failure(&error)))
}

fn failure(error: &LogError) -> LogFailure {
    LogFailure { reason: error.to_string() }
}

fn of_log(noted: exesdb_log::Noted) -> Noted {
    Noted { index: noted.index, note: noted.note }
}

fn to_log(noted: Noted) -> exesdb_log::Noted {
    exesdb_log::Noted { index: noted.index, note: noted.note }
}
