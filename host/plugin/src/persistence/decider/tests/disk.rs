//! A real store whose fsyncs a test holds and fails.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use exesdb_storage::{FailPoint, Options, Store};
use parking_lot::Mutex;

use super::{KEYSPACE, OWNER};

/// A store whose fsyncs wait for their outcome once they are held.
pub(super) struct Disk {
    /// Dropped before the store, whose end waits for a held fsync.
    pub(super) go: mpsc::Sender<io::Result<()>>,
    store: Option<Store>,
    dir: tempfile::TempDir,
    is_held: Arc<AtomicBool>,
    reached: Mutex<mpsc::Receiver<()>>,
}

impl Disk {
    pub(super) fn new() -> Self {
        let is_held = Arc::new(AtomicBool::new(false));
        let (reaches, reached) = mpsc::channel();
        let (go, goes) = mpsc::channel();
        let goes = Mutex::new(goes);
        let held = Arc::clone(&is_held);
        let hook = move |at| {
            if at != FailPoint::BeforeSync || !held.load(Ordering::SeqCst) {
                return Ok(());
            }
            // The test may have ended and dropped the channels.
            let _ = reaches.send(());
            goes.lock().recv().unwrap_or(Ok(()))
        };
        let dir = tempfile::tempdir().expect("there is room for a test's folder");
        let options = Options { fail_points: Some(Arc::new(hook)), ..Options::default() };
        let store = Some(Store::open(dir.path(), options).expect("the store is created"));
        Self { dir, store, is_held, reached: Mutex::new(reached), go }
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open")
    }

    pub(super) fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
    }

    /// Waits until a group is applied and about to be synced.
    pub(super) fn applied(&self) {
        self.reached.lock().recv_timeout(Duration::from_secs(20)).expect("a group is written");
    }

    /// Lets the held fsync end, and all later ones.
    pub(super) fn release(&self, outcome: io::Result<()>) {
        self.is_held.store(false, Ordering::SeqCst);
        self.go.send(outcome).expect("the committer waits");
    }

    pub(super) fn set(&self, set: &str) -> Vec<u8> {
        let found = self.store().snapshot().get(OWNER, KEYSPACE, set.as_bytes()).expect("the store is open");
        found.map(|ids| ids.to_vec()).unwrap_or_default()
    }

    pub(super) fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(self.dir.path(), Options::default()).expect("the store opens"));
    }
}
