//! A simulated disk: an image, its capacity and the failures to come, shared with its mount.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use fuser::Notifier;
use rustix::io::Errno;

use super::bytes::PAGE;
use super::cut::Cut;
use super::fault::{Fault, Operation};
use super::image::{Content, Image, ROOT, Result};
use exesdb_test_support::Rng;

/// Largest capacity, in bytes. All data is in memory; overwritten pages that were not synced are there twice.
pub const CAPACITY_MAX: u64 = 1 << 30;

/// A simulated disk. Cheap to clone: all clones are the same disk.
#[derive(Debug, Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    /// Wakes the syncs that wait for [`Power`] to change.
    power_changed: Arc<Condvar>,
}

/// Whether a sync makes changes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    On,
    /// The power fails: nothing becomes durable, and no sync returns.
    Going,
    /// The power is off: nothing becomes durable, and a sync returns an error.
    Gone,
}

/// A part of a file that was written. The rest of the file is holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The file, relative to the root.
    pub path: PathBuf,
    /// The offset of the part, in bytes.
    pub offset: u64,
    /// Its length, in bytes, up to the end of the file.
    pub length: u64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) image: Image,
    pub(super) capacity_pages: u64,
    pub(super) mounted: bool,
    /// Invalidates and fills the kernel's cache, while mounted.
    pub(super) notifier: Option<Notifier>,
    faults: Vec<Fault>,
    /// The folder to which failures and ignored syncs apply.
    counted: OsString,
    lies: bool,
    failed: u64,
    pub(super) power: Power,
    /// How long a sync takes.
    pub(super) sync_takes: Duration,
}

impl State {
    /// Returns the injected failure of an operation on a node, if any.
    pub(super) fn check(&mut self, operation: Operation, node: u64) -> Result<()> {
        if self.faults.is_empty() || self.image.top_of(node) != Some(&*self.counted) {
            return Ok(());
        }
        for fault in &mut self.faults {
            if let Some(code) = fault.error_of(operation) {
                self.failed += 1;
                return Err(code);
            }
        }
        Ok(())
    }

    /// Whether a sync of a node is ignored.
    pub(super) fn lies_about(&self, node: u64) -> bool {
        self.lies && self.image.top_of(node) == Some(&*self.counted)
    }
}

impl Disk {
    /// An empty disk of this capacity, in bytes.
    ///
    /// # Panics
    ///
    /// When it is more than [`CAPACITY_MAX`].
    pub fn new(capacity: u64) -> Self {
        let state = State {
            image: Image::new(),
            capacity_pages: 0,
            mounted: false,
            notifier: None,
            faults: Vec::new(),
            counted: OsString::new(),
            lies: false,
            failed: 0,
            power: Power::On,
            sync_takes: Duration::ZERO,
        };
        let disk = Self { state: Arc::new(Mutex::new(state)), power_changed: Arc::default() };
        disk.set_capacity(capacity);
        disk
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no operation panics")
    }

    /// The state, after the duration of a sync; an error if the power is off by then.
    pub(super) fn lock_for_sync(&self) -> Result<MutexGuard<'_, State>> {
        let takes = self.lock().sync_takes;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        let waiting = self.power_changed.wait_while(self.lock(), |state| state.power == Power::Going);
        let state = waiting.expect("no operation panics");
        if state.power == Power::On { Ok(state) } else { Err(Errno::IO) }
    }

    /// Begins a loss of power. From now on nothing becomes durable, and no sync returns before `kill` was called, which must
    /// end every process that could act on the result. [`Disk::power_returns`] ends the loss.
    pub fn power_goes(&self, kill: impl FnOnce()) {
        self.lock().power = Power::Going;
        kill();
        self.lock().power = Power::Gone;
        self.power_changed.notify_all();
    }

    /// Ends a loss of power. The visible state is unchanged until a [`Disk::cut`].
    pub fn power_returns(&self) {
        self.lock().power = Power::On;
    }

    /// Sets how long a sync takes.
    pub fn syncs_take(&self, time: Duration) {
        self.lock().sync_takes = time;
    }

    /// The image. The disk must not be mounted: the kernel's cache would hide changes.
    fn unmounted(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        assert!(!state.mounted, "the disk must not be mounted");
        state
    }

    /// Sets the capacity in bytes. Existing content stays, even if it is larger.
    ///
    /// # Panics
    ///
    /// When it is more than [`CAPACITY_MAX`].
    pub fn set_capacity(&self, capacity: u64) {
        assert!(capacity <= CAPACITY_MAX, "{capacity} bytes are more than the maximum of {CAPACITY_MAX}");
        self.lock().capacity_pages = capacity / PAGE as u64;
    }

    /// The total size of all files, in bytes.
    pub fn used(&self) -> u64 {
        self.lock().image.used_pages * PAGE as u64
    }

    /// Makes every change durable, as `sync` does.
    pub fn sync(&self) {
        let mut state = self.lock();
        let nodes: Vec<u64> = state.image.nodes.keys().copied().collect();
        for node in nodes {
            // A node that is freed when the names become durable needs no sync.
            let _ = state.image.sync(node);
        }
    }

    /// Adds a failure to come. It counts operations below `folder`, a name at the root; all failures share that folder.
    pub fn fail(&self, folder: &str, fault: Fault) {
        let mut state = self.lock();
        state.counted = folder.into();
        state.faults.push(fault);
    }

    /// From now on, `fsync` below `folder`, a name at the root, succeeds and does nothing.
    pub fn lie(&self, folder: &str) {
        let mut state = self.lock();
        state.counted = folder.into();
        state.lies = true;
    }

    /// Removes failures and ignored syncs, and returns how many operations failed since the last call.
    pub fn heal(&self) -> u64 {
        let mut state = self.lock();
        state.faults.clear();
        state.lies = false;
        std::mem::take(&mut state.failed)
    }

    /// The number of operations that [`Disk::fail`] made fail since the last [`Disk::heal`].
    pub fn failed(&self) -> u64 {
        self.lock().failed
    }

    /// Cuts the power. The disk must not be mounted, and its users must have ended.
    pub fn cut(&self, cut: Cut, random: &mut Rng) {
        self.unmounted().image.cut(cut, random);
    }

    /// An independent copy. Cheap: pages are shared until one side changes them.
    pub fn copy(&self) -> Self {
        let state = self.unmounted();
        let copy = Self::new(state.capacity_pages * PAGE as u64);
        copy.lock().image = state.image.clone();
        copy
    }

    /// The written parts of all files below a folder, in the order of their paths.
    pub fn extents(&self, folder: &Path) -> Vec<Extent> {
        let state = self.lock();
        let mut extents = Vec::new();
        if let Ok(node) = find(&state.image, folder) {
            collect(&state.image, node, folder, &mut extents);
        }
        extents
    }

    /// Flips bits of one byte, durably.
    ///
    /// # Panics
    ///
    /// When the byte does not exist.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) {
        let mut state = self.unmounted();
        let node = find(&state.image, path).expect("the file is there");
        let byte = state.image.read(node, offset, 1).expect("it is a file");
        let [byte] = byte.as_slice() else { panic!("{} has no byte {offset}", path.display()) };
        state.image.write(node, offset, &[byte ^ mask], u64::MAX).expect("it is a file");
        state.image.sync(node).expect("it is a file");
    }

    /// Truncates a file, durably.
    ///
    /// # Panics
    ///
    /// When the file does not exist.
    pub fn truncate(&self, path: &Path, size: u64) {
        let mut state = self.unmounted();
        let node = find(&state.image, path).expect("the file is there");
        state.image.truncate(node, size).expect("it is a file");
        state.image.sync(node).expect("it is a file");
    }
}

fn find(image: &Image, path: &Path) -> Result<u64> {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_)));
    names.map(Component::as_os_str).try_fold(ROOT, |folder, name: &OsStr| image.lookup(folder, name))
}

fn collect(image: &Image, node: u64, path: &Path, extents: &mut Vec<Extent>) {
    match &image.nodes[&node].content {
        Content::File { now, .. } => {
            for page in now.pages.keys() {
                let offset = page * PAGE as u64;
                let length = (PAGE as u64).min(now.size - offset);
                match extents.last_mut() {
                    Some(last) if last.path == path && last.offset + last.length == offset => {
                        last.length += length;
                    }
                    _ => extents.push(Extent { path: path.to_owned(), offset, length }),
                }
            }
        }
        Content::Folder { now, .. } => {
            now.iter().for_each(|(name, node)| collect(image, *node, &path.join(name), extents));
        }
        Content::Socket => {}
    }
}
