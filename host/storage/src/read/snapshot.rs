//! The handles to read with, and point reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use super::error::ReadError;
use super::published::{Keyspaces, Published, View};
use super::scan::{Direction, Page, Scan, key_range, page};
use crate::Slice;
use crate::engine::{Engine, Fjall};
use crate::engine_failure::EngineFailure;
use crate::format;
use crate::head::LogHead;
use crate::history::Histories;
use crate::limits;
use crate::name;
use crate::replica::ReplicaState;

/// A handle to read a store with: cheap to clone, and harmless to keep after the store is closed.
pub struct Reader<E: Engine = Fjall> {
    published: Arc<Published<E>>,
}

/// The store as of one group of commits: whole commits only. They are durable, unless the snapshot is of the
/// [applied](Reader::applied) state. A snapshot that is held for long keeps old versions from being reclaimed.
pub struct Snapshot<E: Engine = Fjall> {
    view: Arc<View<E>>,
    published: Arc<Published<E>>,
}

// Derived, both would ask for an engine that can be cloned.
impl<E: Engine> Clone for Reader<E> {
    fn clone(&self) -> Self {
        Self { published: Arc::clone(&self.published) }
    }
}

impl<E: Engine> Clone for Snapshot<E> {
    fn clone(&self) -> Self {
        Self { view: Arc::clone(&self.view), published: Arc::clone(&self.published) }
    }
}

impl<E: Engine> Reader<E> {
    pub(crate) fn new(published: Arc<Published<E>>) -> Self {
        Self { published }
    }

    /// The store as of the last fsync.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<E> {
        Snapshot { view: self.published.view.load_full(), published: Arc::clone(&self.published) }
    }

    /// The store as of the last group that was written, whether it is synced or not. It is for deciding on the next
    /// commits: their guards hold then, though the disk is still busy with the last ones. Nothing that was learned from
    /// it may leave the process before it is durable, which a commit is replied to after, and
    /// [`Writer::when_durable`](crate::Writer::when_durable) waits for.
    #[must_use]
    pub fn applied(&self) -> Snapshot<E> {
        Snapshot { view: self.published.applied.load_full(), published: Arc::clone(&self.published) }
    }

    /// Every position below this one is durable and readable.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.head().next_position
    }

    /// The store's histories.
    #[must_use]
    pub fn histories(&self) -> &Histories {
        &self.published.histories
    }

    /// The head as of the last fsync.
    #[must_use]
    pub fn head(&self) -> LogHead {
        self.published.view.load().head
    }
}

impl<E: Engine> Snapshot<E> {
    /// Every position below this one is in the snapshot.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.view.head.next_position
    }

    /// The head that describes exactly what the snapshot holds.
    #[must_use]
    pub fn head(&self) -> LogHead {
        self.view.head
    }

    /// The highest time that a commit of the snapshot was [decided on](crate::Commit::time). No time in its data that came
    /// with a commit is later, whatever the clock says by now. 0 if there is none, and as long as the store has no log,
    /// because format 2 keeps no time.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.view.head.time
    }

    /// How far the log of a replica's group was applied in the snapshot, and the group's members; `None` in a store that is
    /// no replica.
    #[must_use]
    pub fn replica(&self) -> Option<&ReplicaState> {
        self.view.replica.as_ref()
    }

    /// The store's histories.
    #[must_use]
    pub fn histories(&self) -> &Histories {
        &self.published.histories
    }

    /// Whether the store has a log of its own, which begins with its first record. Before that, positions are those of
    /// events that the streams component keeps.
    #[must_use]
    pub fn log_has_begun(&self) -> bool {
        format::has_log(self.format())
    }

    /// The version of the store's format.
    pub(crate) fn format(&self) -> u32 {
        self.published.format.load(Ordering::Acquire)
    }

    /// Owners and names of all keyspaces, ascending: those of the components, and the log. A keyspace that was created
    /// after the snapshot is listed, and empty.
    ///
    /// # Errors
    ///
    /// [`ReadError::Closed`].
    pub fn keyspaces(&self) -> Result<Vec<(String, String)>, ReadError> {
        let keyspaces = self.published.keyspaces.read();
        let keyspaces = keyspaces.as_ref().ok_or(ReadError::Closed)?;
        let mut names: Vec<_> = keyspaces
            .iter()
            .flat_map(|(owner, owned)| owned.keys().map(move |keyspace| (owner.clone(), keyspace.clone())))
            .filter(|(owner, keyspace)| !format::is_filler(owner, keyspace))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The handles of all keyspaces; `None` once the store is closed. Whoever uses one holds the lock meanwhile.
    pub(crate) fn shared_keyspaces(&self) -> &RwLock<Option<Keyspaces<E>>> {
        &self.published.keyspaces
    }

    /// The check of [`Options::is_json`](crate::Options::is_json).
    pub(crate) fn is_json(&self) -> fn(&[u8]) -> bool {
        self.published.is_json
    }

    /// The engine's snapshot.
    pub(crate) fn engine(&self) -> &E::Snapshot {
        &self.view.snapshot
    }

    /// The value of a key; `None` if the key or keyspace does not exist.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: a malformed name or key, a closed store, or an unreadable disk.
    pub fn get(&self, owner: &str, keyspace: &str, key: &[u8]) -> Result<Option<Slice>, ReadError> {
        check_key(key)?;
        self.with_keyspace(owner, keyspace, None, |handle| E::get_in(&self.view.snapshot, handle, key))
    }

    /// The values of the first `n >= 1` keys whose values together fit into `max_bytes`. If the first value alone is
    /// larger, it is returned by itself. Missing keys are `None` and count no bytes.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: a malformed name or key, too many keys, a closed store, or an unreadable disk.
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        owner: &str,
        keyspace: &str,
        keys: &[K],
        max_bytes: usize,
    ) -> Result<Vec<Option<Slice>>, ReadError> {
        if keys.len() > limits::PAGE_ENTRIES_MAX {
            return Err(ReadError::Invalid(format!(
                "{} keys at once, over the limit of {}",
                keys.len(),
                limits::PAGE_ENTRIES_MAX
            )));
        }
        for key in keys {
            check_key(key.as_ref())?;
        }
        let max_bytes = max_bytes.min(limits::PAGE_BYTES_MAX);
        self.with_keyspace(owner, keyspace, vec![None; keys.len()], |handle| {
            let mut values = Vec::with_capacity(keys.len());
            let mut bytes = 0;
            for key in keys {
                let value = E::get_in(&self.view.snapshot, handle, key.as_ref())?;
                bytes += value.as_ref().map_or(0, |value| value.len());
                if bytes > max_bytes && !values.is_empty() {
                    break;
                }
                values.push(value);
            }
            Ok(values)
        })
    }

    /// One page of a range.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: a malformed name or range, a limit of 0, a closed store, or an unreadable disk.
    pub fn scan(&self, owner: &str, scan: &Scan) -> Result<Page, ReadError> {
        if scan.limit == 0 {
            return Err(ReadError::Invalid("a scan's limit is 0; it must be at least 1".into()));
        }
        check_bound(&scan.start)?;
        check_bound(scan.end.as_deref().unwrap_or_default())?;
        self.with_keyspace(owner, &scan.keyspace, Page::default(), |handle| {
            let Some(range) = key_range(&scan.start, scan.end.as_deref()) else { return Ok(Page::default()) };
            let entries = E::range_in(&self.view.snapshot, handle, range);
            match scan.direction {
                Direction::Forward => page(entries, scan),
                Direction::Backward => page(entries.rev(), scan),
            }
        })
    }

    /// Runs `read` on the handle of a keyspace and holds the store open meanwhile. A keyspace that does not exist reads
    /// as `empty`.
    pub(crate) fn with_keyspace<T>(
        &self,
        owner: &str,
        keyspace: &str,
        empty: T,
        read: impl FnOnce(&E::Keyspace) -> Result<T, E::Error>,
    ) -> Result<T, ReadError> {
        let keyspaces = self.published.keyspaces.read();
        let keyspaces = keyspaces.as_ref().ok_or(ReadError::Closed)?;
        let Some(handle) = keyspaces.get(owner).and_then(|owned| owned.get(keyspace)) else {
            name::check("owner", owner).map_err(ReadError::Invalid)?;
            name::check("keyspace", keyspace).map_err(ReadError::Invalid)?;
            return Ok(empty);
        };
        EngineFailure::catch(|| read(handle)).map_err(|failure| ReadError::Engine {
            owner: owner.into(),
            keyspace: keyspace.into(),
            failure,
        })
    }
}

fn check_key(key: &[u8]) -> Result<(), ReadError> {
    if key.is_empty() {
        return Err(ReadError::Invalid("a key is empty; keys have at least one byte".into()));
    }
    check_length(key, limits::KEY_BYTES_MAX)
}

/// A bound may be the key that directly follows the longest one: that key with a zero byte added.
fn check_bound(bound: &[u8]) -> Result<(), ReadError> {
    check_length(bound, limits::KEY_BYTES_MAX + 1)
}

fn check_length(key: &[u8], limit: usize) -> Result<(), ReadError> {
    if key.len() > limit {
        return Err(ReadError::Invalid(format!("a key has {} bytes, over the limit of {limit}", key.len())));
    }
    Ok(())
}
