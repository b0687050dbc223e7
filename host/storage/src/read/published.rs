//! What the committer shows of the store, applied and durable, and what readers and committer share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use crate::engine::Engine;
use crate::head::LogHead;
use crate::history::Histories;
use crate::replica::ReplicaState;

/// Handles of every owner's keyspaces: by owner, then by name.
pub(crate) type Keyspaces<E> = HashMap<String, HashMap<String, <E as Engine>::Keyspace>>;

/// How far a store has come.
pub(crate) struct Reached {
    pub(crate) head: LogHead,
    /// How far a replica has applied the log.
    pub(crate) replica: Option<ReplicaState>,
}

/// What readers share with whoever applies.
pub(crate) struct Published<E: Engine> {
    /// The store as of the last fsync.
    pub(crate) view: ArcSwap<View<E>>,
    /// The store as of the last group that was written, whether it is synced or not. Once the store is poisoned it may
    /// be ahead of `view` for good.
    pub(crate) applied: ArcSwap<View<E>>,
    /// Version of the store's format; the first record of the log changes it.
    pub(crate) format: AtomicU32,
    /// Fixed for as long as the store is open.
    pub(crate) histories: Histories,
    /// `None` once the store is closed. Each read holds the lock for as long as it uses a handle. So when the map has
    /// been taken away no reader has a handle of the database left, however long it keeps its snapshot.
    pub(crate) keyspaces: RwLock<Option<Keyspaces<E>>>,
    /// Whether a whole keyspace is being compacted: writers may have to wait for that, which is no failure.
    pub(crate) compacting: AtomicBool,
    /// The views that readers hold, including the published one.
    pub(crate) held_views: Arc<HeldViews>,
    /// This crate's own keyspace; `None` once the store is closed.
    pub(crate) meta: RwLock<Option<E::Keyspace>>,
    /// See [`Options::is_json`](crate::Options::is_json).
    pub(crate) is_json: fn(&[u8]) -> bool,
    /// No file holds anything that was deleted up to this batch. 0 if the store was not erased since it was opened.
    pub(crate) erased: AtomicU64,
}

impl<E: Engine> Published<E> {
    pub(crate) fn new(
        snapshot: E::Snapshot,
        reached: Reached,
        format: u32,
        histories: Histories,
        keyspaces: Keyspaces<E>,
        meta: E::Keyspace,
        is_json: fn(&[u8]) -> bool,
    ) -> Self {
        let held_views = Arc::default();
        let view = Arc::new(View::new(snapshot, reached, &held_views));
        Self {
            view: ArcSwap::new(Arc::clone(&view)),
            applied: ArcSwap::new(view),
            format: AtomicU32::new(format),
            histories,
            keyspaces: RwLock::new(Some(keyspaces)),
            compacting: AtomicBool::new(false),
            held_views,
            meta: RwLock::new(Some(meta)),
            is_json,
            erased: AtomicU64::new(0),
        }
    }

    /// Shows a group that was written and is not synced yet.
    pub(crate) fn apply(&self, snapshot: E::Snapshot, reached: Reached) {
        self.applied.store(Arc::new(View::new(snapshot, reached, &self.held_views)));
    }

    /// Shows to readers what was applied, which is durable by now.
    pub(crate) fn publish(&self) {
        self.view.store(self.applied.load_full());
    }

    /// Waits for reads in progress, then leaves no handle of the database in any reader.
    pub(crate) fn close(&self) {
        self.keyspaces.write().take();
        self.meta.write().take();
    }
}

/// The store as of one group.
pub(crate) struct View<E: Engine> {
    pub(crate) snapshot: E::Snapshot,
    pub(crate) head: LogHead,
    /// How far a replica has applied the log.
    pub(crate) replica: Option<ReplicaState>,
    /// Declared after the snapshot, and so dropped after it: views that are no longer counted are really gone.
    _counted: CountedView,
}

impl<E: Engine> View<E> {
    fn new(snapshot: E::Snapshot, reached: Reached, held_views: &Arc<HeldViews>) -> Self {
        let Reached { head, replica } = reached;
        Self { snapshot, head, replica, _counted: CountedView::new(held_views, head.sequence) }
    }
}

/// How many views of each sequence are held.
#[derive(Default)]
pub(crate) struct HeldViews(Mutex<BTreeMap<u64, usize>>);

impl HeldViews {
    /// The sequence of the oldest view that is held.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.0.lock().first_key_value().map(|(sequence, _)| *sequence)
    }
}

/// Counts a view among the [`HeldViews`] until it is dropped.
struct CountedView {
    held_views: Arc<HeldViews>,
    sequence: u64,
}

impl CountedView {
    fn new(held_views: &Arc<HeldViews>, sequence: u64) -> Self {
        *held_views.0.lock().entry(sequence).or_default() += 1;
        Self { held_views: Arc::clone(held_views), sequence }
    }
}

impl Drop for CountedView {
    fn drop(&mut self) {
        let mut counts = self.held_views.0.lock();
        if let Some(count) = counts.get_mut(&self.sequence) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.sequence);
            }
        }
    }
}
