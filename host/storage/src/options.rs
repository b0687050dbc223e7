//! Options of a store: every number that may differ from store to store, with its default and the reason for it.

use fjall::KeyspaceCreateOptions;

use crate::fail_point::FailPoints;
#[cfg(feature = "faults")]
use crate::fault::Fault;
use crate::limits;
use crate::space::FreeSpace;

/// How to run a store. The defaults suit a single store on a small machine.
#[derive(Clone)]
pub struct Options {
    /// Bytes of the block cache. 32 MiB: the working set of stream heads and recent events of a small store. Each store
    /// has its own, and many stores share a process.
    pub cache_bytes: u64,
    /// Bytes of full journals at which the keyspaces that keep them from being deleted are flushed. 64 MiB, the minimum:
    /// each full journal is reclaimed as soon as the next begins. Whatever is kept is replayed at open, at about a
    /// microsecond for each operation. At least [`limits::JOURNAL_BYTES_MIN`].
    pub max_journal_bytes: u64,
    /// Bytes of one keyspace's memtable. 32 MiB: the replay at open grows with it. At least
    /// [`limits::MEMTABLE_BYTES_MIN`]. A change affects only keyspaces that are created later.
    pub memtable_bytes: u64,
    /// Table files that are kept open between reads. 900: more than a store of a few gigabytes has. At least
    /// [`limits::OPEN_TABLES_MIN`].
    pub open_tables: usize,
    /// Threads that flush and compact. 3: with one, flushes wait for a long compaction until writes stall. With two, the first
    /// one, which leaves compactions to the others, takes them from the queue and puts them back, over and over, while the
    /// second one compacts: that is how fjall 3.1 keeps a thread free for flushes.
    pub worker_threads: usize,
    /// Commits that may be queued. 1,024: at 250 fsyncs a second (a busy disk) and 100 commits a group, 40 ms of work.
    pub commit_queue: usize,
    /// Bytes of the commits that may be queued. 64 MiB: four of the largest commits.
    pub commit_queue_bytes: usize,
    /// Most commits of one group. 1,024: the cost of the fsync is well spread by then, and the first commit of the group
    /// waits for the last.
    pub group_commits: usize,
    /// Bytes of one group after which it takes no further commit. 4 MiB: about what a disk writes in the time of an fsync.
    /// At most [`limits::GROUP_BYTES_MAX`].
    pub group_bytes: usize,
    /// Milliseconds that a group waits for flushes and compactions before the store is poisoned. 30,000: fjall
    /// itself would wait without end, even if its workers are dead.
    pub stall_limit_ms: u64,
    /// Bytes of free disk space below which the store is read-only. 256 MiB: accepted commits must still fit, that is
    /// another journal of 64 MiB, a flush of two memtables, and a compaction of the tables that they became.
    pub reserve_bytes: u64,
    /// Rebuilds the durable mark from the journals if it is missing or damaged. `false`: without the mark nobody knows
    /// whether the journal's end is the end of what was acknowledged, so an operator has to decide.
    pub rebuild_mark: bool,
    /// Whether bytes are JSON that may be embedded in other JSON. Asked about the metadata of events of format 2, and about
    /// their data if the content type says JSON: they do not say whether that was checked.
    pub is_json: fn(&[u8]) -> bool,
    /// Writes zeroes ahead of the journal's end, which makes syncs faster. Only tests and measurements turn it off.
    pub zeroes_ahead: bool,
    /// Replaces the file system's figure of free bytes; only for tests.
    pub free_space: Option<FreeSpace>,
    /// Called at each fail point; only for tests.
    pub fail_points: Option<FailPoints>,
    /// A promise to break; only for tests.
    #[cfg(feature = "faults")]
    pub fault: Option<Fault>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 32 * 1024 * 1024,
            max_journal_bytes: limits::JOURNAL_BYTES_MIN,
            memtable_bytes: 32 * 1024 * 1024,
            open_tables: 900,
            worker_threads: 3,
            commit_queue: 1024,
            commit_queue_bytes: 64 * 1024 * 1024,
            group_commits: 1024,
            group_bytes: 4 * 1024 * 1024,
            stall_limit_ms: 30_000,
            reserve_bytes: 256 * 1024 * 1024,
            rebuild_mark: false,
            is_json: |_| false,
            zeroes_ahead: true,
            free_space: None,
            fail_points: None,
            #[cfg(feature = "faults")]
            fault: None,
        }
    }
}

/// An option is out of its range.
pub(crate) struct InvalidOption {
    pub(crate) option: &'static str,
    pub(crate) actual: u64,
    pub(crate) range: String,
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), InvalidOption> {
        let at_least = |option, actual: u64, least: u64| {
            if actual >= least {
                return Ok(());
            }
            Err(InvalidOption { option, actual, range: format!("at least {least}") })
        };
        at_least("max_journal_bytes", self.max_journal_bytes, limits::JOURNAL_BYTES_MIN)?;
        at_least("memtable_bytes", self.memtable_bytes, limits::MEMTABLE_BYTES_MIN)?;
        at_least("open_tables", self.open_tables as u64, limits::OPEN_TABLES_MIN as u64)?;
        at_least("worker_threads", self.worker_threads as u64, 1)?;
        at_least("commit_queue", self.commit_queue as u64, 1)?;
        at_least("group_commits", self.group_commits as u64, 1)?;
        at_least("stall_limit_ms", self.stall_limit_ms, 1)?;
        if self.group_bytes > limits::GROUP_BYTES_MAX {
            return Err(InvalidOption {
                option: "group_bytes",
                actual: self.group_bytes as u64,
                range: format!("at most {}", limits::GROUP_BYTES_MAX),
            });
        }
        Ok(())
    }

    /// fjall's defaults of inline values and leveled compaction: value separation and FIFO compaction have open bugs.
    pub(crate) fn keyspace(&self) -> KeyspaceCreateOptions {
        KeyspaceCreateOptions::default().max_memtable_size(self.memtable_bytes)
    }

    /// Whether this fault is injected.
    #[cfg(feature = "faults")]
    pub(crate) fn injects(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}
