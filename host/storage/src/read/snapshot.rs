//! Reading, always from a snapshot of whole, durable commits.
//!
//! fjall's own `Keyspace::get` reads the newest memtable entry, so it can see half a batch and data that no fsync has
//! reached. Readers therefore never touch it: after each fsync the committer takes a fjall snapshot and publishes it
//! here together with the position it reaches. A [`Snapshot`] is that publication, held for as long as one call needs
//! it; held for longer, it keeps old versions from being reclaimed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;
use fjall::{Keyspace, Readable, Slice};
use parking_lot::{Mutex, RwLock};

use crate::engine_failure::EngineFailure;
use crate::format;
use crate::head::Head;
use crate::history::Histories;
use crate::limits;
use crate::name;
use crate::open::panic_message;

/// What is published after each fsync.
pub(crate) struct View {
    pub(crate) snapshot: fjall::Snapshot,
    pub(crate) head: Head,
    /// Dropped behind the snapshot: what is not listed is held by nobody.
    _listed: Listed,
}

impl View {
    pub(crate) fn new(snapshot: fjall::Snapshot, head: Head, views: &Arc<Views>) -> Self {
        Self { snapshot, head, _listed: Listed::new(views, head.sequence) }
    }
}

/// The views that somebody holds, by sequence, and how many there are of each.
#[derive(Default)]
pub(crate) struct Views(Mutex<BTreeMap<u64, usize>>);

impl Views {
    /// The sequence of the oldest view that anybody holds.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.0.lock().first_key_value().map(|(sequence, _)| *sequence)
    }
}

/// A view's entry among [`Views`], for as long as the view is there.
struct Listed {
    views: Arc<Views>,
    sequence: u64,
}

impl Listed {
    fn new(views: &Arc<Views>, sequence: u64) -> Self {
        *views.0.lock().entry(sequence).or_default() += 1;
        Self { views: Arc::clone(views), sequence }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut views = self.views.0.lock();
        if let Some(count) = views.get_mut(&self.sequence) {
            *count -= 1;
            if *count == 0 {
                views.remove(&self.sequence);
            }
        }
    }
}

/// Handles of every owner's keyspaces.
pub(crate) type Keyspaces = HashMap<String, HashMap<String, Keyspace>>;

/// What readers share with the committer.
pub(crate) struct Published {
    pub(crate) view: ArcSwap<View>,
    /// They stay as they are for as long as the store is open.
    pub(crate) histories: Histories,
    /// `None` once the store is closed. Each read holds the lock for as long as it uses a handle, so that taking the
    /// map away means that no handle of the database is left in any reader, however long it keeps its snapshot.
    pub(crate) keyspaces: RwLock<Option<Keyspaces>>,
    /// A compaction of a whole keyspace runs: writers may have to wait for it, and that is no failure.
    pub(crate) compacting: AtomicBool,
    /// The views that readers hold, the published one among them.
    pub(crate) views: Arc<Views>,
    /// This layer's own keyspace; `None` once the store is closed, as the others.
    pub(crate) meta: RwLock<Option<Keyspace>>,
    /// Nothing of what was deleted up to this batch is in any file; 0 if nobody has seen to that.
    pub(crate) erased: AtomicU64,
}

/// A handle to read a store with: cheap to clone, and harmless to keep after the store is gone.
#[derive(Clone)]
pub struct Reader {
    published: Arc<Published>,
}

/// The store as of one fsync: whole commits, durable ones only.
#[derive(Clone)]
pub struct Snapshot {
    view: Arc<View>,
    published: Arc<Published>,
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys, from `start`.
    #[default]
    Forward,
    /// Descending keys, from just below `end`.
    Backward,
}

/// A range of keys, read in pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Keyspace of the owner.
    pub keyspace: String,
    /// First key of the range, inclusive; empty for the beginning of the keyspace.
    pub start: Vec<u8>,
    /// First key behind the range; `None` for the end of the keyspace.
    pub end: Option<Vec<u8>>,
    /// Which end of the range to begin at.
    pub direction: Direction,
    /// Most entries of the page; lowered to [`limits::PAGE_ENTRIES_MAX`]. At least 1.
    pub limit: usize,
    /// Most bytes of keys and values of the page; lowered to [`limits::PAGE_BYTES_MAX`]. The first entry is returned
    /// even if it alone is larger.
    pub max_bytes: usize,
}

/// Entries of a scan, in its direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys with their values. Empty only when the range holds nothing.
    pub entries: Vec<(Slice, Slice)>,
    /// The range holds more: forward, go on with a start just behind the last key (the key and a zero byte);
    /// backward, with the last key as end.
    pub more: bool,
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The request is malformed; it would never be answered.
    #[error("the read is malformed: {0}")]
    Invalid(String),
    /// The store was closed while this reader still held it.
    #[error("the store is closed; find its successor and read again")]
    Closed,
    /// The engine could not read.
    #[error("keyspace {keyspace} of {owner} could not be read: {failure}")]
    Engine {
        /// Whose keyspace.
        owner: String,
        /// Which keyspace.
        keyspace: String,
        /// Why.
        failure: EngineFailure,
    },
}

impl Reader {
    pub(crate) fn new(published: Arc<Published>) -> Self {
        Self { published }
    }

    /// The store as of the last fsync.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { view: self.published.view.load_full(), published: Arc::clone(&self.published) }
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

    /// How far the store has come: durable, and readable.
    #[must_use]
    pub fn head(&self) -> Head {
        self.published.view.load().head
    }
}

impl Snapshot {
    /// Every position below this one is in the snapshot, and durable.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.view.head.next_position
    }

    /// How far the store had come: exactly what the snapshot holds.
    #[must_use]
    pub fn head(&self) -> Head {
        self.view.head
    }

    /// The store's histories.
    #[must_use]
    pub fn histories(&self) -> &Histories {
        &self.published.histories
    }

    /// Owners and names of all keyspaces but those of this layer itself, ascending. One that was created after the snapshot is listed, and empty.
    ///
    /// # Errors
    ///
    /// [`ReadError::Closed`].
    pub fn keyspaces(&self) -> Result<Vec<(String, String)>, ReadError> {
        let keyspaces = self.published.keyspaces.read();
        let keyspaces = keyspaces.as_ref().ok_or(ReadError::Closed)?;
        let mut names: Vec<_> = keyspaces
            .iter()
            .filter(|(owner, _)| *owner != format::FILLER_OWNER)
            .flat_map(|(owner, owned)| owned.keys().map(move |keyspace| (owner.clone(), keyspace.clone())))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The engine's snapshot.
    pub(crate) fn engine(&self) -> &fjall::Snapshot {
        &self.view.snapshot
    }

    /// The value of a key; `None` when key or keyspace do not exist.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: a malformed name or key, a closed store, or an unreadable disk.
    pub fn get(&self, owner: &str, keyspace: &str, key: &[u8]) -> Result<Option<Slice>, ReadError> {
        check_key(key)?;
        self.with_keyspace(owner, keyspace, None, |handle| self.view.snapshot.get(handle, key))
    }

    /// The values of the first `n >= 1` keys whose values fit into `max_bytes` together; the first is returned even if
    /// it alone is larger, and nothing behind it then. Missing keys are `None` and have no bytes.
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
                let value = self.view.snapshot.get(handle, key.as_ref())?;
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
            let Some(range) = range(&scan.start, scan.end.as_deref()) else { return Ok(Page::default()) };
            let entries = self.view.snapshot.range::<&[u8], _>(handle, range);
            match scan.direction {
                Direction::Forward => page(entries, scan),
                Direction::Backward => page(entries.rev(), scan),
            }
        })
    }

    /// Runs `read` on the handle of a keyspace while holding the store open; a keyspace that does not exist reads as
    /// `empty`.
    pub(crate) fn with_keyspace<T>(
        &self,
        owner: &str,
        keyspace: &str,
        empty: T,
        read: impl FnOnce(&Keyspace) -> fjall::Result<T>,
    ) -> Result<T, ReadError> {
        let keyspaces = self.published.keyspaces.read();
        let keyspaces = keyspaces.as_ref().ok_or(ReadError::Closed)?;
        let Some(handle) = keyspaces.get(owner).and_then(|owned| owned.get(keyspace)) else {
            name::check("owner", owner).map_err(ReadError::Invalid)?;
            name::check("keyspace", keyspace).map_err(ReadError::Invalid)?;
            return Ok(empty);
        };
        contained(|| read(handle)).map_err(|failure| ReadError::Engine {
            owner: owner.into(),
            keyspace: keyspace.into(),
            failure,
        })
    }
}

/// Runs a read of the engine. It asserts, in places, that a table is as it wrote it; a damaged one must be an error of
/// this read, and not the end of the thread.
pub(crate) fn contained<T>(read: impl FnOnce() -> fjall::Result<T>) -> Result<T, EngineFailure> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| EngineFailure::of(&error)),
        Err(panic) => Err(EngineFailure::of_panic(panic_message(&*panic))),
    }
}

/// Bounds as fjall takes them.
type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The bounds of `start..end` as fjall takes them; `None` when nothing can lie between them (fjall's memtable panics on
/// a range that ends before it begins).
pub(crate) fn range<'a>(start: &'a [u8], end: Option<&'a [u8]>) -> Option<KeyRange<'a>> {
    if end.is_some_and(|end| end <= start) {
        return None;
    }
    let lower = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) };
    Some((lower, end.map_or(Bound::Unbounded, Bound::Excluded)))
}

fn page(entries: impl Iterator<Item = fjall::Guard>, scan: &Scan) -> fjall::Result<Page> {
    let limit = scan.limit.min(limits::PAGE_ENTRIES_MAX);
    let max_bytes = scan.max_bytes.min(limits::PAGE_BYTES_MAX);
    let mut page = Page::default();
    let mut bytes = 0;
    for entry in entries {
        if page.entries.len() == limit {
            page.more = true;
            break;
        }
        let (key, value) = entry.into_inner()?;
        bytes += key.len() + value.len();
        if bytes > max_bytes && !page.entries.is_empty() {
            page.more = true;
            break;
        }
        page.entries.push((key, value));
    }
    Ok(page)
}

fn check_key(key: &[u8]) -> Result<(), ReadError> {
    if key.is_empty() {
        return Err(ReadError::Invalid("a key is empty; keys have at least one byte".into()));
    }
    check_length(key, limits::KEY_BYTES_MAX)
}

/// A bound may be the first key behind any other: that with a zero added.
fn check_bound(bound: &[u8]) -> Result<(), ReadError> {
    check_length(bound, limits::KEY_BYTES_MAX + 1)
}

fn check_length(key: &[u8], limit: usize) -> Result<(), ReadError> {
    if key.len() > limit {
        return Err(ReadError::Invalid(format!("a key has {} bytes, over the limit of {limit}", key.len())));
    }
    Ok(())
}
